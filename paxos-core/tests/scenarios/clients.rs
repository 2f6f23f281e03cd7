//! Scenarios of clients: what they send is carried whole, and runs once.

use paxos_core::acceptor::Answer;
use paxos_core::batch::{BATCH_MAX, COMMAND_MAX, Commands, Entry};
use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Batch, Configurations, Membership, NodeId,
    Operation, Origin, Outcome, Record, Recovered, Rejection, Replica, SessionId, SessionLimits,
    Slot, Time, Value,
};

use crate::sum::Sum;

#[test]
fn cli6_what_fits_into_a_command_can_be_passed_on() {
    let session = SessionId(u64::MAX);
    let command = vec![0xff; COMMAND_MAX].into();
    let origin = Origin { node: NodeId(u64::MAX), incarnation: u64::MAX, number: u64::MAX };
    let identities = vec!["i".repeat(1024)];
    let operation = Operation::Run { session, sequence: u64::MAX, command };
    let entries = vec![Entry { identity: 0, operation }];
    let bytes = Commands { origin, identities, entries }.encode();
    assert!(bytes.len() <= BATCH_MAX, "{} bytes around the largest command", bytes.len());
    // A value larger than a page is a page: nothing that was accepted is ever too large to report.
    let mut log = Recovered::default();
    for slot in 1..=3 {
        let value = Value::Commands(Batch {
            stamp: Time(0),
            by: paxos_core::Ballot::ZERO,
            bytes: bytes.clone(),
        });
        let ballot = Ballot { round: 1, node: NodeId(1), incarnation: 1 };
        log.absorb(Record::Accepted { slot: Slot(slot), ballot, value });
    }
    let options = AcceptorOptions { page_bytes: COMMAND_MAX / 2, ..AcceptorOptions::default() };
    let mut acceptor = Acceptor::recover(NodeId(2), options, &log, Time(0));
    let ballot = Ballot { round: 2, node: NodeId(1), incarnation: 1 };
    for slot in 1..=3 {
        let prepare = AcceptorMessage::Prepare { ballot, first: Slot(slot), after: None };
        let Answer::After(persist) = acceptor.step(Time(0), NodeId(1), prepare) else {
            panic!("it promises");
        };
        let next = if slot < 3 { format!("#{}", slot + 1) } else { "end".to_owned() };
        let page = format!("n2 -> n1 promise 2.n1.1 #{slot}..{next} [#{slot} 1.n1.1 ");
        assert!(persist.then[0].to_string().starts_with(&page), "{}", persist.then[0]);
    }
}

const SESSIONS_MAX: u64 = 3;

/// A replica of a cluster of one node that keeps few sessions.
fn replica() -> Replica<Sum> {
    let membership = Membership::of_voters([(NodeId(1), "n1:1".to_owned())]).unwrap();
    let sessions = SessionLimits { max: SESSIONS_MAX, ..membership.sessions };
    Replica::new(Configurations::genesis(Membership { sessions, ..membership }))
}

/// Has a replica apply one operation of a client in the next slot.
fn apply(replica: &mut Replica<Sum>, identity: &str, operation: Operation) -> Outcome {
    let slot = replica.applied().next();
    let commands = Commands {
        origin: Origin { node: NodeId(1), incarnation: 1, number: slot.0 },
        identities: vec![identity.to_owned()],
        entries: vec![Entry { identity: 0, operation }],
    };
    let batch =
        Batch { stamp: Time(slot.0), by: paxos_core::Ballot::ZERO, bytes: commands.encode() };
    replica.apply(slot, &Value::Commands(batch)).outcomes.remove(0)
}

fn open(replica: &mut Replica<Sum>, identity: &str) -> SessionId {
    match apply(replica, identity, Operation::Open) {
        Outcome::Opened(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn d11_a_late_copy_of_an_ended_sessions_command_finds_nobody_under_its_name() {
    let mut replica = replica();
    let first = open(&mut replica, "client/ada");
    let add = |session| {
        let command = postcard::to_stdvec(&5u64).unwrap().into();
        Operation::Run { session, sequence: 1, command }
    };
    assert!(matches!(apply(&mut replica, "client/ada", add(first)), Outcome::Replied(_)));
    assert_eq!(replica.machine().0, 5);
    // Others crowd it out; the same client comes back at once.
    for _ in 0..SESSIONS_MAX {
        open(&mut replica, "client/eve");
    }
    let second = open(&mut replica, "client/ada");
    assert!(second > first);
    let expired = Outcome::Rejected(Rejection::SessionExpired { session: first });
    assert_eq!(apply(&mut replica, "client/ada", add(first)), expired);
    assert_eq!(replica.machine().0, 5, "and not 10");
    // Not after a restart from a snapshot either, nor when every session has ended.
    let mut restored = Replica::<Sum>::restore(&replica.snapshot()).unwrap();
    for session in (1..=second.0).map(SessionId) {
        for client in ["client/ada", "client/eve"] {
            apply(&mut restored, client, Operation::Close { session });
        }
    }
    assert!(open(&mut restored, "client/ada") > second);
    assert_eq!(apply(&mut restored, "client/ada", add(first)), expired);
    assert_eq!(restored.machine().0, 5);
}
