//! The model check, small: the roles keep every rule in every history within the bounds, and each
//! of some planted bugs is found. `cargo run --release -p paxos-tests --bin model` searches more.

use std::sync::Arc;

use paxos_core::{
    Effect, Input, LearnerMessage, Message, NodeId, Persist, ProposerMessage, Record, RoleKind,
};
use paxos_tests::model::{Bug, Configuration, Faithful, Node, Rule, Verdict, check};

/// Small enough for every run of the tests: phase 1 asks all three acceptors, phase 2 one.
const TINY: Configuration = Configuration { phase1: 3, phase2: 1, ..Configuration::SMALL };

#[test]
fn the_roles_keep_every_rule_in_every_small_history() {
    for configuration in [Configuration::SMALL, Configuration { learners: true, ..TINY }] {
        let verdict = check(configuration, Arc::new(Faithful), &Rule::ALL, 1);
        assert!(verdict.passed(), "{verdict:#?}");
        assert!(verdict.states > 50_000, "{} states are too few", verdict.states);
    }
}

#[test]
fn the_same_search_finds_the_same_states() {
    let search = |threads| check(TINY, Arc::new(Faithful), &Rule::ALL, threads);
    let (one, two) = (search(1), search(2));
    assert_eq!((one.states, one.transitions), (two.states, two.transitions));
}

/// The bug breaks the rule, and the shortest trace to it is not a matter of a step or two.
fn breaks(bug: impl Bug + 'static, configuration: Configuration, rule: Rule) {
    let verdict: Verdict = check(configuration, Arc::new(bug), &[rule], 1);
    let violation = verdict.violation.expect("the planted bug is found");
    println!("{} states, {} broken:\n{}", verdict.states, rule.name(), violation.trace.join("\n"));
    assert_eq!(violation.rule, rule.name());
    assert!(violation.trace.len() >= 4, "{:#?}", violation.trace);
}

/// An acceptor answers at once and writes meanwhile.
struct AnswersBeforeSync;

impl Bug for AnswersBeforeSync {
    fn effects(&self, _kind: RoleKind, effects: Vec<Effect>) -> Vec<Effect> {
        let split = |effect| match effect {
            Effect::Persist(Persist { records, then }) => {
                let written = Effect::Persist(Persist { records, then: Vec::new() });
                then.into_iter().map(Effect::Send).chain([written]).collect()
            }
            other => vec![other],
        };
        effects.into_iter().flat_map(split).collect()
    }
}

#[test]
fn an_answer_before_its_sync_is_found() {
    let crashes = Configuration { unsynced: 1, crashes: true, ..TINY };
    breaks(AnswersBeforeSync, crashes, Rule::Agreement);
    let two_steps = check(crashes, Arc::new(AnswersBeforeSync), &[Rule::Durability], 1);
    assert_eq!(two_steps.violation.map(|found| found.trace.len()), Some(2));
}

/// An acceptor writes its promise down and then goes on as if it had not made it.
struct ForgetsItsPromise;

impl Bug for ForgetsItsPromise {
    fn handled(&self, kind: RoleKind, before: &Node, after: &mut Node) {
        let (Some(was), Some(is)) = (&before.acceptor, &mut after.acceptor) else { return };
        if kind == RoleKind::Acceptor {
            let mut edited = serde_json::to_value(&*is).unwrap();
            edited["promised"] = serde_json::to_value(was.promised()).unwrap();
            *is = serde_json::from_value(edited).unwrap();
        }
    }
}

#[test]
fn a_forgotten_promise_is_found() {
    breaks(ForgetsItsPromise, TINY, Rule::Agreement);
}

/// Edits the promises that a proposer hears.
struct Promises(fn(&mut paxos_core::Promise));

impl Bug for Promises {
    fn inputs(&self, _kind: RoleKind, mut input: Input) -> Vec<Input> {
        if let Input::Message(_, Message::Proposer(ProposerMessage::Promise(page))) = &mut input {
            self.0(page);
        }
        vec![input]
    }
}

#[test]
fn a_proposer_that_ignores_what_is_reported_is_found() {
    let deaf = Promises(|page| page.accepted.clear());
    breaks(deaf, TINY, Rule::Agreement);
}

#[test]
fn a_first_page_taken_for_the_whole_promise_is_found() {
    let hasty = Promises(|page| page.next = None);
    let pages = Configuration { slots: 2, commands: 2, ..TINY };
    breaks(hasty, pages, Rule::Agreement);
}

/// What one acceptor says counts for two: quorums that need not meet.
struct CountsTwice(RoleKind);

impl Bug for CountsTwice {
    fn inputs(&self, kind: RoleKind, input: Input) -> Vec<Input> {
        match &input {
            Input::Message(from, message) if kind == self.0 && is_answer(message) => {
                let again = Input::Message(NodeId(from.0 % 3 + 1), message.clone());
                vec![input, again]
            }
            _ => vec![input],
        }
    }
}

fn is_answer(message: &Message) -> bool {
    matches!(
        message,
        Message::Proposer(ProposerMessage::Promise(_))
            | Message::Learner(LearnerMessage::Accepted { .. })
    )
}

#[test]
fn a_phase_1_quorum_of_too_few_is_found() {
    let bug = CountsTwice(RoleKind::Proposer);
    breaks(bug, TINY, Rule::Agreement);
}

#[test]
fn a_phase_2_quorum_of_too_few_is_found() {
    let bug = CountsTwice(RoleKind::Learner);
    breaks(bug, Configuration { learners: true, ..Configuration::SMALL }, Rule::Learned);
}

/// A node forgets how often it has started.
struct CountsNoRuns;

impl Bug for CountsNoRuns {
    fn restarts(&self, _incarnation: u64, records: Vec<Record>) -> (u64, Vec<Record>) {
        (1, records)
    }
}

#[test]
fn a_ballot_used_by_two_runs_is_found() {
    let runs = Configuration { restarts: 1, campaigns: 2, ..TINY };
    breaks(CountsNoRuns, runs, Rule::OneValue);
    breaks(CountsNoRuns, runs, Rule::Agreement);
}
