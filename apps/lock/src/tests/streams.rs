//! Whatever commands come in whatever order, the invariants hold.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Run(usize, Command),
    Pass(u64),
    ChangeLeader,
    Restart,
}

fn session() -> impl Strategy<Value = LockSession> {
    (0..8u64).prop_map(LockSession)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[abc]", 1 => "\\PC{0,3}", 1 => Just("x".repeat(201))]
}

fn command() -> impl Strategy<Value = Command> {
    let terms = (0..20_000u64, 0..20_000u64).prop_map(|(ttl, grace)| Terms {
        ttl: Duration::from_millis(ttl),
        grace: Duration::from_millis(grace),
    });
    prop_oneof![
        2 => Just(Command::Open { terms: TERMS }),
        1 => terms.prop_map(|terms| Command::Open { terms }),
        6 => (session(), name(), any::<bool>())
            .prop_map(|(session, name, waits)| Command::Acquire { session, name, waits }),
        2 => session().prop_map(|session| Command::Renew { session }),
        3 => (session(), name(), 0..9u64).prop_map(|(session, name, token)| Command::Release {
            session,
            name,
            token: Token(token),
        }),
        1 => session().prop_map(|session| Command::Close { session }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..8usize, command())
            .prop_map(|(at, command)| Step::Run(usize::from(at == 0), command)),
        2 => (0..SPAN).prop_map(Step::Pass),
        1 => Just(Step::ChangeLeader),
        1 => Just(Step::Restart),
    ]
}

/// What is seen from outside, step by step: tokens rise, and nobody overtakes.
#[derive(Default)]
struct Seen {
    tokens: BTreeMap<String, Token>,
    queues: BTreeMap<String, Vec<LockSession>>,
}

impl Seen {
    fn look(&mut self, story: &Story) {
        for name in ["a", "b", "c"] {
            let queue = story.queue(name);
            let before = self.queues.insert(name.to_owned(), queue.clone()).unwrap_or_default();
            // Those who stay keep their order, and whoever is new is behind them.
            let stayed: Vec<_> = before.iter().filter(|who| queue.contains(who)).collect();
            let first: Vec<_> = queue.iter().take(stayed.len()).collect();
            assert_eq!(stayed, first, "{name}");
            let Some((holder, token)) = story.holder(name) else { continue };
            let last = self.tokens.insert(name.to_owned(), token).unwrap_or_default();
            assert!(token >= last, "{name}: {token} after {last}");
            if token > last && !before.is_empty() {
                let at = before.iter().position(|who| *who == holder);
                let passed = &before[..at.unwrap_or(before.len())];
                assert!(passed.iter().all(|who| !queue.contains(who)), "{name}: overtaken");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_stream_of_commands_breaks_an_invariant(steps in prop::collection::vec(step(), 1..120)) {
        let (mut story, mut seen) = (Story::new(), Seen::default());
        for step in steps {
            match step {
                Step::Run(client, command) => drop(story.run_as(client, &command)),
                Step::Pass(micros) => story.pass(micros),
                Step::ChangeLeader => story.change_leader(),
                Step::Restart => {
                    story.replica = Replica::restore(&story.replica.snapshot()).unwrap();
                }
            }
            seen.look(&story);
        }
    }

    #[test]
    fn bytes_that_are_no_command_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut story = Story::new();
        story.open();
        let (session, sequence) = (SessionId(1), story.sequences[0] + 1);
        story.operate(0, Operation::Run { session, sequence, command: bytes.into() });
    }
}
