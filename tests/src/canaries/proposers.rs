//! Bugs of proposers.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{
    AcceptorMessage, Ballot, Configurations, Effect, Envelope, Input, Inside, Membership, Message,
    NodeId, Promise, Proposer, ProposerMessage, Role, Slot, Value,
};
use serde_json::json;

use super::How::Seeds;
use super::plants::{edit, proposers, usual};
use super::{Against, Canary};
use crate::simulation::{Plan, Plant};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "adopts-the-first",
        against: Against::Safety,
        rule: "of the values reported for a slot, that of the highest ballot is proposed",
        source: "B1",
        how: Seeds(usual),
        plant: adopts_the_first,
    },
    Canary {
        id: "adopts-from-the-completing",
        against: Against::Safety,
        rule: "every promise of the quorum is searched for values",
        source: "S6",
        how: Seeds(usual),
        plant: adopts_from_the_completing,
    },
    Canary {
        id: "promises-are-counted",
        against: Against::Safety,
        rule: "promises are a set of nodes: a copy of one counts once",
        source: "S7",
        how: Seeds(usual),
        plant: promises_are_counted,
    },
    Canary {
        id: "one-promise-too-few",
        against: Against::Safety,
        rule: "a phase 1 quorum meets every phase 2 quorum",
        source: "B11",
        how: Seeds(usual),
        plant: one_promise_too_few,
    },
    Canary {
        id: "old-promise-counts",
        against: Against::Safety,
        rule: "a promise counts for its own ballot",
        source: "B13",
        how: Seeds(usual),
        plant: old_promise_counts,
    },
    Canary {
        id: "skips-phase-1",
        against: Against::Safety,
        rule: "phase 1 is never skipped, under the first ballot neither",
        source: "S4",
        how: Seeds(usual),
        plant: skips_phase_1,
    },
    Canary {
        id: "relabels-after-a-nack",
        against: Against::Safety,
        rule: "a higher ballot begins with a phase 1 of its own",
        source: "S5, B9",
        how: Seeds(usual),
        plant: relabels_after_a_nack,
    },
    Canary {
        id: "forgets-its-incarnation",
        against: Against::Safety,
        rule: "no ballot is used twice, by a later run neither",
        source: "S3",
        how: Seeds(usual),
        plant: forgets_its_incarnation,
    },
    Canary {
        id: "repeats-into-the-newest-slot",
        against: Against::Safety,
        rule: "what is repeated keeps its slot",
        source: "S12",
        how: Seeds(usual),
        plant: repeats_into_the_newest_slot,
    },
    Canary {
        id: "cuts-values-short",
        against: Against::Safety,
        rule: "a value is carried unchanged",
        source: "S21",
        how: Seeds(usual),
        plant: cuts_values_short,
    },
    Canary {
        id: "window-is-twice-as-wide",
        against: Against::Safety,
        rule: "nothing is proposed `alpha` slots or more beyond what is known to be chosen",
        source: "the invariant of `Proposer`",
        how: Seeds(narrow),
        plant: window_is_twice_as_wide,
    },
    Canary {
        id: "leaves-gaps",
        against: Against::Progress,
        rule: "a slot that nobody reported, below one that somebody did, is filled with a no-op",
        source: "B3",
        how: Seeds(usual),
        plant: leaves_gaps,
    },
    Canary {
        id: "accepts-are-sent-once",
        against: Against::Progress,
        rule: "an Accept without a quorum of answers is repeated",
        source: "S16",
        how: Seeds(usual),
        plant: accepts_are_sent_once,
    },
    Canary {
        id: "idle-leaders-propose-nothing",
        against: Against::Progress,
        rule: "what is due happens although nobody proposes anything",
        source: "CLI2",
        how: Seeds(waiting),
        plant: idle_leaders_propose_nothing,
    },
];

/// The promise in an input.
fn page(input: &mut Input) -> Option<(&mut NodeId, &mut Promise)> {
    match input {
        Input::Message(from, Message::Proposer(ProposerMessage::Promise(page))) => {
            Some((from, page))
        }
        _ => None,
    }
}

/// Who promised what to whom: by proposing node, for its present ballot.
#[derive(Debug, Default)]
struct Promises {
    of: BTreeMap<NodeId, (Ballot, BTreeSet<NodeId>)>,
}

impl Promises {
    /// Those that have promised the ballot before.
    fn of(&mut self, me: NodeId, ballot: Ballot) -> &mut BTreeSet<NodeId> {
        let (known, nodes) = self.of.entry(me).or_default();
        if *known != ballot {
            (*known, *nodes) = (ballot, BTreeSet::new());
        }
        nodes
    }
}

/// An acceptor that is not among these.
fn another(membership: &Membership, nodes: &BTreeSet<NodeId>) -> Option<NodeId> {
    membership.quorums.acceptors().find(|node| !nodes.contains(node))
}

/// A promise with nothing in it.
fn empty(ballot: Ballot) -> Message {
    let (first, next, trimmed, accepted) = (Slot(0), None, Slot(0), Vec::new());
    let page = Promise { ballot, first, next, trimmed, accepted };
    Message::Proposer(ProposerMessage::Promise(page))
}

fn adopts_the_first() -> Box<dyn Plant> {
    let mut reported = BTreeMap::<(NodeId, Ballot), BTreeMap<Slot, Ballot>>::new();
    proposers(move |scene, proposer, mut input, out| {
        if let Some((_, page)) = page(&mut input) {
            let known = reported.entry((scene.me, page.ballot)).or_default();
            page.accepted.retain(|accepted| {
                *known.entry(accepted.slot).or_insert(accepted.ballot) == accepted.ballot
            });
        }
        proposer.handle(scene.now, input, out);
    })
}

fn adopts_from_the_completing() -> Box<dyn Plant> {
    proposers(|scene, proposer, mut input, out| {
        let mut trial = proposer.clone();
        trial.handle(scene.now, input.clone(), &mut Vec::new());
        let completes = !proposer.leads() && trial.leads();
        if let Some((_, page)) = page(&mut input)
            && !completes
        {
            page.accepted.clear();
        }
        proposer.handle(scene.now, input, out);
    })
}

fn promises_are_counted() -> Box<dyn Plant> {
    let mut promises = Promises::default();
    proposers(move |scene, proposer, mut input, out| {
        if let Some((from, page)) = page(&mut input) {
            let nodes = promises.of(scene.me, page.ballot);
            if !nodes.insert(*from)
                && let Some(other) = another(scene.membership, nodes)
            {
                nodes.insert(other);
                *from = other;
            }
        }
        proposer.handle(scene.now, input, out);
    })
}

fn one_promise_too_few() -> Box<dyn Plant> {
    let mut promises = Promises::default();
    proposers(move |scene, proposer, mut input, out| {
        let mut phantom = None;
        if let Some((from, page)) = page(&mut input) {
            let nodes = promises.of(scene.me, page.ballot);
            nodes.insert(*from);
            phantom = another(scene.membership, nodes).map(|other| (other, page.ballot));
            let more: Vec<_> = nodes.iter().copied().chain(phantom.map(|(node, _)| node)).collect();
            if !scene.membership.quorums.is_phase1(&more) {
                phantom = None;
            }
        }
        proposer.handle(scene.now, input, out);
        if let Some((other, ballot)) = phantom {
            proposer.handle(scene.now, Input::Message(other, empty(ballot)), out);
        }
    })
}

fn old_promise_counts() -> Box<dyn Plant> {
    proposers(|scene, proposer, mut input, out| {
        if let Some((_, page)) = page(&mut input)
            && let Some(ballot) = proposer.ballot()
            && page.ballot < ballot
        {
            page.ballot = ballot;
        }
        proposer.handle(scene.now, input, out);
    })
}

fn skips_phase_1() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        let campaigns =
            matches!(input, Input::Message(_, Message::Inside(Inside::Campaign { .. })));
        proposer.handle(scene.now, input, out);
        let Some(ballot) = proposer.ballot().filter(|ballot| campaigns && ballot.round == 1) else {
            return;
        };
        for acceptor in scene.membership.quorums.acceptors() {
            proposer.handle(scene.now, Input::Message(acceptor, empty(ballot)), out);
        }
    })
}

fn relabels_after_a_nack() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| match input {
        Input::Message(_, Message::Proposer(ProposerMessage::Nack { ballot, promised }))
            if proposer.leads() && proposer.ballot() == Some(ballot) =>
        {
            set_round(proposer, promised.round + 1);
        }
        input => proposer.handle(scene.now, input, out),
    })
}

fn set_round(proposer: &mut Proposer, round: u64) {
    edit(proposer, |state| {
        state["round"] = json!(round);
        state["term"]["ballot"]["round"] = json!(round);
    });
}

fn forgets_its_incarnation() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        if matches!(input, Input::Message(_, Message::Inside(Inside::Campaign { .. }))) {
            edit(proposer, |state| state["incarnation"] = json!(1));
        }
        proposer.handle(scene.now, input, out);
    })
}

/// Changes every `Accept` that leaves; whether it is a repetition is said.
fn accepts(
    mut change: impl FnMut(bool, Ballot, &mut Slot, &mut Value) -> bool + 'static,
) -> Box<dyn Plant> {
    proposers(move |scene, proposer, input, out| {
        let repeats = input == Input::Timeout;
        let mut effects = Vec::new();
        proposer.handle(scene.now, input, &mut effects);
        for mut effect in effects {
            let leaves = match &mut effect {
                Effect::Send(Envelope {
                    message: Message::Acceptor(AcceptorMessage::Accept { ballot, slot, value }),
                    ..
                }) => change(repeats, *ballot, slot, value),
                _ => true,
            };
            if leaves {
                out.push(effect);
            }
        }
    })
}

fn repeats_into_the_newest_slot() -> Box<dyn Plant> {
    let mut newest = BTreeMap::<Ballot, Slot>::new();
    accepts(move |repeats, ballot, slot, _| {
        let known = newest.entry(ballot).or_default();
        *known = (*known).max(*slot);
        if repeats {
            *slot = *known;
        }
        true
    })
}

fn cuts_values_short() -> Box<dyn Plant> {
    accepts(|_, _, _, value| {
        if let Value::Commands(batch) = value {
            batch.bytes.truncate(batch.bytes.len() / 2);
        }
        true
    })
}

/// A window that a few clients fill.
fn narrow(plan: Plan) -> Plan {
    let mut plan = plan.with_the_usual();
    plan.membership.alpha = 2;
    plan
}

fn window_is_twice_as_wide() -> Box<dyn Plant> {
    proposers(|scene, proposer, mut input, out| {
        if let Input::Message(_, Message::Inside(Inside::Advanced { configurations, .. })) =
            &mut input
        {
            let mut wide = scene.membership.clone();
            wide.alpha *= 2;
            *configurations = Configurations::genesis(wide);
        }
        proposer.handle(scene.now, input, out);
    })
}

fn leaves_gaps() -> Box<dyn Plant> {
    let mut opened = BTreeMap::<Ballot, Slot>::new();
    accepts(move |_, ballot, slot, value| {
        let first = *opened.entry(ballot).or_insert(*slot);
        *value != Value::Noop || *slot == first
    })
}

fn accepts_are_sent_once() -> Box<dyn Plant> {
    accepts(|repeats, _, _, _| !repeats)
}

/// The usual plan, in which something is due at the end.
fn waiting(plan: Plan) -> Plan {
    Plan { alarms: true, ..usual(plan) }
}

fn idle_leaders_propose_nothing() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        if !matches!(input, Input::Message(_, Message::Inside(Inside::Due { .. }))) {
            proposer.handle(scene.now, input, out);
        }
    })
}
