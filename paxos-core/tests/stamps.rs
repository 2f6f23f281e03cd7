//! The leader's clock: what batches are stamped with, and replicated time, which follows from it.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_core::{
    AcceptorMessage, Ballot, Batch, Configurations, Effect, Input, Inside, Learner, LearnerMessage,
    LearnerOptions, Membership, Message, NodeId, Promise, Proposal, Proposer, ProposerMessage,
    ProposerOptions, Record, Recovered, Restored, Role, Slot, Time, Value,
};

const ME: NodeId = NodeId(1);

fn genesis() -> Configurations {
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    Configurations::genesis(Membership::of_voters(voters).unwrap())
}

fn hear(role: &mut dyn Role, now: u64, from: u64, message: Message) -> Vec<Effect> {
    let mut effects = Vec::new();
    role.handle(Time(now), Input::Message(NodeId(from), message), &mut effects);
    effects
}

/// The leader hears how far the log is known, and replicated time there.
fn advance(leader: &mut Proposer, now: u64, next: u64, clock: u64) {
    let (next, configurations, clock) = (Slot(next), genesis(), Time(clock));
    let advanced = Inside::Advanced { next, configurations, clock };
    hear(leader, now, 1, Message::Inside(advanced));
}

/// The stamp of a batch that is proposed now.
fn stamp(leader: &mut Proposer, now: u64) -> Option<Time> {
    let propose =
        Inside::Propose { ticket: now, proposal: Proposal::Commands(b"x".as_slice().into()) };
    let effects = hear(leader, now, 1, Message::Inside(propose));
    effects.iter().find_map(|effect| match effect {
        Effect::Send(envelope) => match &envelope.message {
            Message::Acceptor(AcceptorMessage::Accept { value, .. }) => value.stamp(),
            _ => None,
        },
        _ => None,
    })
}

#[test]
fn stamps_go_on_from_replicated_time_and_never_back() {
    let mut leader = Proposer::new(ME, 1, ProposerOptions::default(), genesis());
    advance(&mut leader, 10, 2, 500);
    hear(&mut leader, 20, 1, Message::Inside(Inside::Campaign { after: None }));
    for node in [1, 2] {
        let ballot = Ballot { round: 1, node: ME, incarnation: 1 };
        let (first, next, trimmed, accepted) = (Slot(2), None, Slot(0), Vec::new());
        let page = Promise { ballot, first, next, trimmed, accepted };
        hear(&mut leader, 30, node, Message::Proposer(ProposerMessage::Promise(page)));
    }
    assert!(leader.leads());
    assert_eq!(stamp(&mut leader, 37), Some(Time(507)), "7 after the election at 500");
    advance(&mut leader, 40, 3, 600);
    assert_eq!(stamp(&mut leader, 45), Some(Time(605)), "another leader's clock was ahead");
    advance(&mut leader, 60, 4, 605);
    assert_eq!(stamp(&mut leader, 61), Some(Time(621)), "its own batch, applied");
}

#[test]
fn replicated_time_is_the_greatest_stamp_and_outlives_a_restart() {
    let ballot = Ballot { round: 1, node: NodeId(2), incarnation: 1 };
    let clock = |learner: &Learner| match learner.advanced() {
        Inside::Advanced { clock, .. } => clock,
        other => panic!("{other}"),
    };
    let mut learner = Learner::new(ME, genesis());
    let mut log = Recovered::default();
    for (slot, stamp) in [(1, 5), (2, 9), (3, 3)] {
        let value = Value::Commands(Batch {
            stamp: Time(stamp),
            by: paxos_core::Ballot::ZERO,
            bytes: b"x".as_slice().into(),
        });
        let (slot, value) = (Slot(slot), Some(value));
        log.absorb(Record::Chosen { slot, ballot, value: value.clone() });
        let chosen = LearnerMessage::Chosen { ballot, slot, value };
        hear(&mut learner, 0, 2, Message::Learner(chosen));
    }
    assert_eq!((learner.next(), clock(&learner)), (Slot(4), Time(9)));
    let again = |restored| Learner::recover(ME, LearnerOptions::default(), restored, &log);
    assert_eq!(clock(&again(Restored::nothing(genesis()))), Time(9));
    let snapshot = Restored { clock: Time(11), ..Restored::nothing(genesis()) };
    assert_eq!(clock(&again(snapshot)), Time(11), "that of the snapshot, if it is later");
}
