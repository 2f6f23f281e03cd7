//! Bugs of learners.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{
    AcceptorMessage, Ballot, Effect, Envelope, Input, LearnerMessage, Membership, Message, NodeId,
    Role, Slot, Value,
};

use super::How::Seeds;
use super::plants::{effects, learners, usual};
use super::{Against, Canary};
use crate::simulation::Plant;

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "votes-are-counted",
        against: Against::Safety,
        rule: "votes are a set of nodes: a copy of one counts once",
        source: "S7, B10",
        how: Seeds(usual),
        plant: votes_are_counted,
    },
    Canary {
        id: "one-vote-too-few",
        against: Against::Safety,
        rule: "a value is chosen by a whole phase 2 quorum",
        source: "B11",
        how: Seeds(usual),
        plant: one_vote_too_few,
    },
    Canary {
        id: "old-vote-counts",
        against: Against::Safety,
        rule: "a vote counts for its own ballot",
        source: "B13",
        how: Seeds(usual),
        plant: old_vote_counts,
    },
    Canary {
        id: "chosen-without-its-value",
        against: Against::Safety,
        rule: "what is chosen is learned from a value held at that ballot or a higher one",
        source: "the invariant of `Learner`",
        how: Seeds(usual),
        plant: chosen_without_its_value,
    },
    Canary {
        id: "fills-with-what-is-not-chosen",
        against: Against::Safety,
        rule: "a fetch is answered with chosen values alone",
        source: "the invariant of `Learner`",
        how: Seeds(usual),
        plant: fills_with_what_is_not_chosen,
    },
    Canary {
        id: "no-ops-are-not-slots",
        against: Against::Safety,
        rule: "every slot is handed out, in order and without gaps",
        source: "B3",
        how: Seeds(usual),
        plant: no_ops_are_not_slots,
    },
    Canary {
        id: "fetches-once",
        against: Against::Progress,
        rule: "a fetch without an answer is repeated",
        source: "S16",
        how: Seeds(usual),
        plant: fetches_once,
    },
];

/// The vote in an input.
fn vote(input: &mut Input) -> Option<(&mut NodeId, &mut Ballot, Slot)> {
    match input {
        Input::Message(from, Message::Learner(LearnerMessage::Accepted { ballot, slot })) => {
            Some((from, ballot, *slot))
        }
        _ => None,
    }
}

/// Who voted: by the learning node, its ballot and the slot.
type Votes = BTreeMap<(NodeId, Ballot, Slot), BTreeSet<NodeId>>;

fn another(membership: &Membership, nodes: &BTreeSet<NodeId>) -> Option<NodeId> {
    membership.quorums.acceptors().find(|node| !nodes.contains(node))
}

fn votes_are_counted() -> Box<dyn Plant> {
    let mut votes = Votes::new();
    learners(move |scene, learner, mut input, out| {
        if let Some((from, ballot, slot)) = vote(&mut input) {
            let nodes = votes.entry((scene.me, *ballot, slot)).or_default();
            if !nodes.insert(*from)
                && let Some(other) = another(scene.membership, nodes)
            {
                nodes.insert(other);
                *from = other;
            }
        }
        learner.handle(scene.now, input, out);
    })
}

fn one_vote_too_few() -> Box<dyn Plant> {
    let mut votes = Votes::new();
    learners(move |scene, learner, mut input, out| {
        let mut phantom = None;
        if let Some((from, ballot, slot)) = vote(&mut input) {
            let nodes = votes.entry((scene.me, *ballot, slot)).or_default();
            nodes.insert(*from);
            let other = another(scene.membership, nodes);
            let more: Vec<_> = nodes.iter().copied().chain(other).collect();
            if scene.membership.quorums.is_phase2(&more) {
                phantom = other.map(|other| {
                    let ballot = *ballot;
                    let vote = Message::Learner(LearnerMessage::Accepted { ballot, slot });
                    Input::Message(other, vote)
                });
            }
        }
        learner.handle(scene.now, input, out);
        if let Some(phantom) = phantom {
            learner.handle(scene.now, phantom, out);
        }
    })
}

fn old_vote_counts() -> Box<dyn Plant> {
    let mut newest = BTreeMap::<NodeId, Ballot>::new();
    learners(move |scene, learner, mut input, out| {
        if let Input::Message(_, Message::Acceptor(AcceptorMessage::Accept { ballot, .. })) = &input
            && ballot.node == scene.me
        {
            let known = newest.entry(scene.me).or_default();
            *known = (*known).max(*ballot);
        }
        if let Some((_, ballot, _)) = vote(&mut input)
            && let Some(newer) = newest.get(&scene.me).filter(|newer| **newer > *ballot)
        {
            *ballot = *newer;
        }
        learner.handle(scene.now, input, out);
    })
}

fn chosen_without_its_value() -> Box<dyn Plant> {
    learners(|scene, learner, mut input, out| {
        if let Input::Message(_, Message::Learner(LearnerMessage::Chosen { ballot, .. })) =
            &mut input
        {
            // Any value held will do.
            (ballot.round, ballot.incarnation) = (1, 0);
        }
        learner.handle(scene.now, input, out);
    })
}

fn fills_with_what_is_not_chosen() -> Box<dyn Plant> {
    let mut held = BTreeMap::<(NodeId, Slot), (Ballot, Value)>::new();
    learners(move |scene, learner, input, out| {
        if let Input::Message(_, Message::Acceptor(message)) = &input
            && let AcceptorMessage::Accept { ballot, slot, value } = message
        {
            held.insert((scene.me, *slot), (*ballot, value.clone()));
        }
        let before = out.len();
        learner.handle(scene.now, input, out);
        for effect in &mut out[before..] {
            if let Effect::Send(Envelope {
                message: Message::Learner(LearnerMessage::Fill { first, chosen, .. }),
                ..
            }) = effect
            {
                let mut slot = first.plus(chosen.len() as u64);
                while let Some(value) = held.get(&(scene.me, slot)) {
                    chosen.push(value.clone());
                    slot = slot.next();
                }
            }
        }
    })
}

fn no_ops_are_not_slots() -> Box<dyn Plant> {
    effects(|_, effect| match effect {
        Effect::Apply { value: Value::Noop, .. } => Vec::new(),
        effect => vec![effect],
    })
}

fn fetches_once() -> Box<dyn Plant> {
    let mut asked = BTreeSet::new();
    effects(move |scene, effect| {
        let again = match &effect {
            Effect::Send(Envelope {
                message: Message::Learner(LearnerMessage::Fetch { first }),
                ..
            }) => !asked.insert((scene.me, *first)),
            _ => false,
        };
        if again { Vec::new() } else { vec![effect] }
    })
}
