//! Whatever arrives, no role panics, and each goes on answering.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_core::message::{AcceptedValue, Resignation};
use paxos_core::{
    Acceptor, AcceptorMessage, Archive, ArchiveMessage, ArchiveOptions, Ballot, Batch,
    Configurations, Effect, Elector, Heartbeat, Input, LeadershipMessage, LeadershipOptions,
    Learner, LearnerMessage, Manifest, Membership, Message, NodeId, Policy, Promise, Proposal,
    Proposer, ProposerMessage, ProposerOptions, ReadLevel, Role, Slot, Time, Value,
};
use paxos_core::{Inside, RoleKind, receivers};
use proptest::collection::vec;
use proptest::prelude::*;

const ME: NodeId = NodeId(1);

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..6u64, 1 => Just(300), 1 => Just(1 << 62), 1 => u64::MAX - 2..=u64::MAX]
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![6 => 1..=3u64, 1 => Just(0), 1 => Just(u64::MAX)].prop_map(NodeId)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (number(), node(), 0..3u64).prop_map(|(round, node, incarnation)| Ballot {
        round,
        node,
        incarnation,
    })
}

fn slot() -> impl Strategy<Value = Slot> {
    number().prop_map(Slot)
}

/// The one value that a slot has in this world: two chosen values halt a learner, and ought to.
fn value_of(slot: Slot) -> Value {
    match slot.0 % 3 {
        0 => Value::Noop,
        stamp => Value::Commands(Batch {
            stamp: Time(stamp),
            by: paxos_core::Ballot::ZERO,
            bytes: b"x".as_slice().into(),
        }),
    }
}

fn to_acceptor() -> impl Strategy<Value = AcceptorMessage> {
    let round = number();
    (ballot(), slot(), proptest::option::of(ballot()), round, 0..3).prop_map(
        |(ballot, slot, after, round, kind)| match kind {
            0 => AcceptorMessage::Prepare { ballot, first: slot, after },
            1 => AcceptorMessage::Accept { ballot, slot, value: value_of(slot) },
            _ => AcceptorMessage::Confirm { ballot, round },
        },
    )
}

fn to_proposer() -> impl Strategy<Value = ProposerMessage> {
    let page = (ballot(), slot(), proptest::option::of(slot()), slot());
    let accepted = vec((slot(), ballot()), 0..4);
    (page, accepted, ballot(), number(), 0..4).prop_map(
        |((ballot, first, next, trimmed), accepted, promised, round, kind)| match kind {
            0 => ProposerMessage::Nack { ballot, promised },
            1 => ProposerMessage::Confirmed { ballot, round, granted: round % 2 == 0 },
            _ => {
                let with_value =
                    |(slot, ballot)| AcceptedValue { slot, ballot, value: value_of(slot) };
                let accepted = accepted.into_iter().map(with_value).collect();
                ProposerMessage::Promise(Promise { ballot, first, next, trimmed, accepted })
            }
        },
    )
}

fn to_learner() -> impl Strategy<Value = LearnerMessage> {
    (ballot(), slot(), vec(ballot(), 0..4), slot(), 0..6).prop_map(
        |(ballot, slot, fill, upto, kind)| match kind {
            0 => LearnerMessage::Accepted { ballot, slot },
            1 => LearnerMessage::Chosen { ballot, slot, value: None },
            2 => LearnerMessage::Chosen { ballot, slot, value: Some(value_of(slot)) },
            3 => LearnerMessage::Fetch { first: slot },
            _ => {
                let slots = (0..).map(|distance| Slot(slot.0.wrapping_add(distance)));
                let chosen = fill.into_iter().zip(slots.map(value_of)).collect();
                let snapshot = (kind == 5).then_some(upto);
                LearnerMessage::Fill { first: slot, chosen, upto, snapshot }
            }
        },
    )
}

fn to_leadership() -> impl Strategy<Value = LeadershipMessage> {
    let ballots = (proptest::option::of(ballot()), proptest::option::of(ballot()));
    (number(), number(), ballots, slot(), 0..4).prop_map(
        |(incarnation, sequence, (leading, hears), next, kind)| match (kind, leading) {
            (0, Some(ballot)) => LeadershipMessage::Succeed { ballot },
            _ => {
                let (sent, saved) = (Time(sequence), next);
                let campaigns = !sequence.is_multiple_of(5);
                let beat = Heartbeat {
                    incarnation,
                    sequence,
                    sent,
                    leading,
                    hears,
                    next,
                    saved,
                    campaigns,
                };
                LeadershipMessage::Heartbeat(beat)
            }
        },
    )
}

fn to_archive() -> impl Strategy<Value = ArchiveMessage> {
    (slot(), number(), 0..64_u64, proptest::bool::ANY).prop_map(|(upto, offset, bytes, pull)| {
        if pull {
            return ArchiveMessage::Pull { upto, offset };
        }
        let snapshot = Manifest { upto, bytes: offset.wrapping_add(bytes), crc32c: 0 };
        ArchiveMessage::Piece { snapshot, offset, bytes: vec![0; bytes as usize].into() }
    })
}

fn inside() -> impl Strategy<Value = Inside> {
    let levels = [ReadLevel::Linearizable, ReadLevel::Lease];
    let inside = move |(ballot, number, kind): (Ballot, u64, i32)| match kind {
        0 => {
            Inside::Propose { ticket: number, proposal: Proposal::Commands(b"x".as_slice().into()) }
        }
        1 => Inside::Read { ticket: number, level: levels[number as usize % 2] },
        2 => {
            let (ticket, next, level) = (number, Slot(number), levels[number as usize % 2]);
            Inside::Stamped { ticket, next, level }
        }
        3 => Inside::Campaign { after: None },
        4 => Inside::Resign { ballot },
        5 => Inside::Elected { ballot },
        _ => Inside::Resigned { ballot, reason: Resignation::Told },
    };
    (ballot(), number(), 0..7).prop_map(inside)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        to_acceptor().prop_map(Message::Acceptor),
        to_proposer().prop_map(Message::Proposer),
        to_learner().prop_map(Message::Learner),
        to_leadership().prop_map(Message::Leadership),
        to_archive().prop_map(Message::Archive),
        inside().prop_map(Message::Inside),
    ]
}

/// One node, whose messages to itself arrive at once.
struct Lonely {
    acceptor: Acceptor,
    proposer: Proposer,
    learner: Learner,
    elector: Elector,
    archive: Archive,
    now: Time,
}

impl Lonely {
    fn new() -> Self {
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        let membership = Membership::of_voters(voters).unwrap().with_alpha(4).unwrap();
        let genesis = Configurations::genesis(membership);
        let (options, to) = (LeadershipOptions::default(), || genesis.clone());
        let policy = Policy::new(ME, 1, options, to(), 1, Time(0));
        Lonely {
            acceptor: Acceptor::new(ME),
            proposer: Proposer::new(ME, 1, ProposerOptions::default(), to()),
            learner: Learner::new(ME, to()),
            elector: Elector::new(ME, policy),
            archive: Archive::new(ME, ArchiveOptions::default()),
            now: Time(0),
        }
    }

    fn take(&mut self, from: NodeId, message: &Message) {
        let mut inbox = vec![(from, message.clone())];
        for _ in 0..100 {
            let Some((from, message)) = inbox.pop() else { return };
            for kind in receivers(&message) {
                let input = Input::Message(from, message.clone());
                let effects = self.handle(*kind, input);
                inbox.extend(effects.into_iter().filter_map(|effect| match effect {
                    Effect::Send(envelope) if envelope.to == ME => Some((ME, envelope.message)),
                    _ => None,
                }));
            }
        }
    }

    fn handle(&mut self, kind: RoleKind, input: Input) -> Vec<Effect> {
        let role: &mut dyn Role = match kind {
            RoleKind::Acceptor => &mut self.acceptor,
            RoleKind::Proposer => &mut self.proposer,
            RoleKind::Learner => &mut self.learner,
            RoleKind::Leadership => &mut self.elector,
            RoleKind::Archive => &mut self.archive,
        };
        let mut effects = Vec::new();
        role.handle(self.now, input, &mut effects);
        role.next_deadline();
        effects
    }

    fn wake(&mut self) {
        use RoleKind::{Acceptor, Archive, Leadership, Learner, Proposer};
        for kind in [Acceptor, Proposer, Learner, Leadership, Archive] {
            self.handle(kind, Input::Timeout);
        }
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn s18_nonsense_never_ends_a_node(story in vec((node(), message(), 0..400u64), 1..80)) {
        let mut node = Lonely::new();
        for (from, message, pause) in story {
            let from = if matches!(message, Message::Inside(_)) { ME } else { from };
            node.take(from, &message);
            node.now = Time(node.now.0 + pause * 1000);
            node.wake();
        }
        let first = Slot(1);
        let ballot = Ballot { round: Ballot::ROUND_MAX, node: NodeId(2), incarnation: 7 };
        let prepare = Message::Acceptor(AcceptorMessage::Prepare { ballot, first, after: None });
        let answer = node.handle(RoleKind::Acceptor, Input::Message(NodeId(2), prepare));
        prop_assert!(!answer.is_empty(), "the acceptor is deaf");
        let fetch = Message::Learner(LearnerMessage::Fetch { first });
        let answer = node.handle(RoleKind::Learner, Input::Message(NodeId(2), fetch));
        prop_assert!(!answer.is_empty(), "the learner is deaf");
    }
}
