//! The planted bugs, each with the bounds within which it shows and the rule that it breaks.

use std::sync::Arc;

use paxos_core::{
    AcceptorMessage, Batch, Effect, Input, LearnerMessage, Message, NodeId, Persist, Promise,
    ProposerMessage, Record, Refusal, RoleKind, Value,
};
use serde_json::json;

use super::bug::Bug;
use super::configuration::Configuration;
use super::node::Node;
use super::planted_changes::{
    AnyBase, CountsByTheFirst, CountsOpenSlots, GovernsAtOnce, PromisedOnce,
};
use super::properties::Rule;
use super::verdict::{Verdict, check};
use crate::canaries::plants::edit;

/// A bug to be found.
pub struct Planted {
    /// What is wrong.
    pub name: &'static str,
    /// Where.
    pub configuration: Configuration,
    /// What it breaks.
    pub rule: Rule,
    bug: Arc<dyn Bug>,
}

const TINY: Configuration = Configuration::FLEXIBLE;

const CRASHES: Configuration = Configuration { crashes: true, unsynced: 1, ..Configuration::PAIR };

impl Planted {
    /// All of them.
    pub fn every() -> Vec<Planted> {
        let of = |name, configuration, rule, bug| Planted { name, configuration, rule, bug };
        let synced = Configuration { unsynced: 0, ..CRASHES };
        let tail = Configuration { unsynced: 2, ..CRASHES };
        let pages = Configuration { slots: 2, commands: 2, ..TINY };
        let learners = Configuration { learners: true, ..Configuration::SMALL };
        let runs = Configuration { restarts: 1, campaigns: 2, ..Configuration::PAIR };
        vec![
            of(
                "an answer leaves before its sync",
                CRASHES,
                Rule::Agreement,
                Arc::new(AnswersAtOnce(|_| true)),
            ),
            of(
                "a repeated answer overtakes the sync it rests on",
                tail,
                Rule::Durability,
                Arc::new(AnswersAtOnce(|records| records.is_empty())),
            ),
            of("an acceptor forgets its promise", TINY, Rule::Agreement, Arc::new(Forgets)),
            of(
                "an acceptor comes back without its promise",
                synced,
                Rule::Agreement,
                Arc::new(Overlooks(|record| matches!(record, Record::Promised(_)))),
            ),
            of(
                "an acceptor comes back without what it accepted",
                synced,
                Rule::Agreement,
                Arc::new(Overlooks(|record| matches!(record, Record::Accepted { .. }))),
            ),
            of(
                "a proposer ignores what is reported",
                TINY,
                Rule::Agreement,
                Arc::new(Hears(|page| page.accepted.clear())),
            ),
            of(
                "a first page is taken for the whole promise",
                pages,
                Rule::Agreement,
                Arc::new(Hears(|page| page.next = None)),
            ),
            of(
                "a phase 1 quorum is one acceptor short",
                TINY,
                Rule::Agreement,
                Arc::new(CountsTwice(RoleKind::Proposer)),
            ),
            of(
                "a phase 2 quorum is one acceptor short",
                learners,
                Rule::Learned,
                Arc::new(CountsTwice(RoleKind::Learner)),
            ),
            of("two runs use one ballot", runs, Rule::Agreement, Arc::new(CountsNoRuns)),
            of(
                "acceptors are told different values",
                Configuration::SMALL,
                Rule::OneValue,
                Arc::new(TellsEachAnother),
            ),
            of("a command is refused and proposed", TINY, Rule::Validity, Arc::new(RefusesAll)),
        ]
        .into_iter()
        .chain(Self::of_changes())
        .collect()
    }

    fn of_changes() -> [Planted; 6] {
        let of = |name, configuration, rule, bug| Planted { name, configuration, rule, bug };
        let once: Arc<dyn Bug> = Arc::new(PromisedOnce);
        let once_name = "phase 1 asks those alone who govern the first open slot";
        [
            of(once_name, Configuration::REPLACED, Rule::Agreement, Arc::clone(&once)),
            of(once_name, Configuration::REPLACED, Rule::Promised, once),
            of(
                "the window is so many open slots",
                Configuration { commands: 3, ..Configuration::AHEAD },
                Rule::Window,
                Arc::new(CountsOpenSlots),
            ),
            of(
                "votes of all slots count by the first membership",
                Configuration::JOINED,
                Rule::Learned,
                Arc::new(CountsByTheFirst),
            ),
            of(
                "a change governs as soon as it is known",
                Configuration::AHEAD,
                Rule::Learned,
                Arc::new(GovernsAtOnce),
            ),
            of(
                "a change counts whatever it was made from",
                Configuration::RIVALS,
                Rule::Memberships,
                Arc::new(AnyBase),
            ),
        ]
    }

    /// Searches until the bug shows.
    pub fn search(&self) -> Verdict {
        check(self.configuration, Arc::clone(&self.bug), &[self.rule], 1)
    }
}

/// An acceptor that has such records to write sends what waits for them at once.
struct AnswersAtOnce(fn(&[Record]) -> bool);

impl Bug for AnswersAtOnce {
    fn effects(&self, _kind: RoleKind, effects: Vec<Effect>) -> Vec<Effect> {
        let split = |effect| match effect {
            Effect::Persist(Persist { records, then }) if self.0(&records) => {
                let written = Effect::Persist(Persist { records, then: Vec::new() });
                then.into_iter().map(Effect::Send).chain([written]).collect()
            }
            other => vec![other],
        };
        effects.into_iter().flat_map(split).collect()
    }
}

/// An acceptor writes its promise down and then goes on as if it had not made it.
struct Forgets;

impl Bug for Forgets {
    fn handled(&self, kind: RoleKind, before: &Node, after: &mut Node) {
        let (Some(was), Some(is)) = (&before.acceptor, &mut after.acceptor) else { return };
        if kind == RoleKind::Acceptor {
            edit(is, |state| state["promised"] = json!(was.promised()));
        }
    }
}

/// A node does not see such records when it starts.
struct Overlooks(fn(&Record) -> bool);

impl Bug for Overlooks {
    fn restarts(&self, incarnation: u64, mut records: Vec<Record>) -> (u64, Vec<Record>) {
        records.retain(|record| !self.0(record));
        (incarnation, records)
    }
}

/// A proposer hears promises that are edited.
struct Hears(fn(&mut Promise));

impl Bug for Hears {
    fn inputs(&self, _kind: RoleKind, mut input: Input) -> Vec<Input> {
        if let Input::Message(_, Message::Proposer(ProposerMessage::Promise(page))) = &mut input {
            self.0(page);
        }
        vec![input]
    }
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

/// A node forgets how often it has started.
struct CountsNoRuns;

impl Bug for CountsNoRuns {
    fn restarts(&self, _incarnation: u64, records: Vec<Record>) -> (u64, Vec<Record>) {
        (1, records)
    }
}

/// A proposer sends every acceptor another command.
struct TellsEachAnother;

impl Bug for TellsEachAnother {
    fn effects(&self, _kind: RoleKind, mut effects: Vec<Effect>) -> Vec<Effect> {
        for effect in &mut effects {
            if let Effect::Send(envelope) = effect
                && let Message::Acceptor(AcceptorMessage::Accept { value, .. }) =
                    &mut envelope.message
                && let Value::Commands(Batch { bytes, .. }) = value
            {
                *bytes = envelope.to.to_string().into();
            }
        }
        effects
    }
}

/// A proposer refuses every command, and proposes it all the same.
struct RefusesAll;

impl Bug for RefusesAll {
    fn effects(&self, _kind: RoleKind, effects: Vec<Effect>) -> Vec<Effect> {
        let refused = |effect| match effect {
            Effect::Proposed { ticket, .. } => {
                Effect::Refuse { ticket, refusal: Refusal::NotLeader }
            }
            other => other,
        };
        effects.into_iter().map(refused).collect()
    }
}
