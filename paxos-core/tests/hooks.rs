//! What a state machine is called for beside commands: time that has come, sessions that have
//! ended, another leader; in which order, and that it is the same on every node.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_core::batch::{Commands, Entry};
use paxos_core::{
    Applied, Ballot, Batch, Configurations, Context, Membership, NodeId, Operation, Origin,
    Outcome, Position, Rejection, Replica, SessionId, SessionLimits, Slot, StateMachine, Time,
    Value,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// One lock, whose holder lets go by itself, or by the end of its session; and whatever it was
/// called for, told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Lock {
    holder: Option<SessionId>,
    tokens: u64,
    /// When the holder has to let go.
    until: Option<Time>,
    /// It is woken and goes on being due.
    stubborn: bool,
}

/// Holds the lock for so long at most, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
enum Wish {
    Hold(u64),
    BeStubborn,
}

impl StateMachine for Lock {
    type Command = Wish;
    type Reply = Option<u64>;
    type Query = ();
    type Answer = Option<SessionId>;

    fn apply(&mut self, context: &mut Context<'_>, wish: Wish) -> Option<u64> {
        context.tell("command", &(context.index, context.identity));
        let Wish::Hold(micros) = wish else {
            self.stubborn = true;
            return None;
        };
        if self.holder.is_some() {
            return None;
        }
        self.holder = Some(context.session);
        self.until = Some(context.time.after(Duration::from_micros(micros)));
        self.tokens += 1;
        Some(self.tokens)
    }

    fn query(&self, (): ()) -> Option<SessionId> {
        self.holder
    }

    fn due(&self) -> Option<Time> {
        self.until
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        let now = context.time;
        context.tell("wake", &now);
        if !self.stubborn {
            (self.holder, self.until) = (None, None);
        }
    }

    fn ended(&mut self, context: &mut Context<'_>, session: SessionId) {
        context.tell("ended", &session);
        if self.holder == Some(session) {
            (self.holder, self.until) = (None, None);
        }
    }

    fn led(&mut self, context: &mut Context<'_>) {
        let now = context.time;
        context.tell("led", &now);
        self.until = self.until.map(|until| until.after(Duration::from_micros(1)));
    }
}

const ADA: &str = "client/ada";
const IDLE: u64 = 100;

fn new() -> Replica<Lock> {
    let membership = Membership::of_voters([(NodeId(1), "n1:1".to_owned())]).unwrap();
    let sessions = SessionLimits { max: 3, idle: Duration::from_micros(IDLE) };
    Replica::new(Configurations::genesis(Membership { sessions, ..membership }))
}

fn batch(round: u64, stamp: u64, operations: Vec<Operation>) -> Value {
    let entries =
        operations.into_iter().map(|operation| Entry { identity: 0, operation }).collect();
    let origin = Origin { node: NodeId(1), incarnation: 1, number: stamp };
    let bytes = Commands { origin, identities: vec![ADA.to_owned()], entries }.encode();
    let by = Ballot { round, node: NodeId(1), incarnation: 1 };
    Value::Commands(Batch { stamp: Time(stamp), by, bytes })
}

/// What a leader proposes when something is due.
fn empty(round: u64, stamp: u64) -> Value {
    let by = Ballot { round, node: NodeId(1), incarnation: 1 };
    Value::Commands(Batch { stamp: Time(stamp), by, bytes: Default::default() })
}

fn run(session: u64, sequence: u64, wish: &Wish) -> Operation {
    let command = postcard::to_stdvec(wish).unwrap().into();
    Operation::Run { session: SessionId(session), sequence, command }
}

fn apply(replica: &mut Replica<Lock>, value: &Value) -> Applied {
    replica.apply(replica.applied().next(), value)
}

fn topics(applied: &Applied) -> Vec<&str> {
    applied.events.iter().map(|event| event.topic.as_str()).collect()
}

fn token(applied: &Applied) -> Option<u64> {
    match applied.outcomes.last() {
        Some(Outcome::Replied(reply)) => postcard::from_bytes(reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_batch_brings_comes_in_one_order() {
    let mut replica = new();
    let first = apply(&mut replica, &batch(1, 5, vec![Operation::Open, run(1, 1, &Wish::Hold(9))]));
    assert_eq!(topics(&first), ["led", "command"]);
    // A session more, used last at 20; then another leader, long after everything was due.
    apply(&mut replica, &batch(1, 6, vec![Operation::Open]));
    apply(&mut replica, &batch(1, 7, vec![run(2, 1, &Wish::Hold(0))]));
    let late = batch(2, 10 + IDLE, vec![Operation::Open, run(3, 1, &Wish::Hold(1))]);
    let all = apply(&mut replica, &late);
    assert_eq!(topics(&all), ["led", "ended", "ended", "command"], "its end leaves nobody to wake");
    let positions: Vec<_> = all.events.iter().map(|event| event.position).collect();
    let at = |index| Position { slot: Slot(4), index };
    assert_eq!(positions, [at(0), at(1), at(2), at(3)]);
    let command: (u32, String) = postcard::from_bytes(&all.events[3].bytes).unwrap();
    assert_eq!(command, (1, ADA.to_owned()), "the second of its batch");
    let woken = apply(&mut replica, &batch(2, 11 + IDLE, vec![run(3, 2, &Wish::Hold(1))]));
    assert_eq!(topics(&woken), ["wake", "command"], "it was woken before the command came");
    assert_eq!(token(&woken), Some(3));
}

#[test]
fn a_batch_of_an_older_leader_that_comes_late_is_a_change_of_clocks_there_and_back() {
    let mut replica = new();
    assert_eq!(topics(&apply(&mut replica, &empty(3, 1))), ["led"]);
    assert_eq!(topics(&apply(&mut replica, &empty(2, 2))), ["led"]);
    assert_eq!(topics(&apply(&mut replica, &empty(2, 3))), Vec::<&str>::new());
    let mut restored = Replica::<Lock>::restore(&replica.snapshot()).unwrap();
    for replica in [&mut replica, &mut restored] {
        assert_eq!(topics(&apply(replica, &empty(2, 4))), Vec::<&str>::new());
        assert_eq!(topics(&apply(replica, &empty(3, 5))), ["led"]);
        assert_eq!(topics(&apply(replica, &empty(4, 6))), ["led"]);
    }
    assert_eq!(replica.snapshot(), restored.snapshot());
}

#[test]
fn who_stays_due_is_woken_once_a_batch() {
    let mut replica = new();
    apply(
        &mut replica,
        &batch(
            1,
            5,
            vec![Operation::Open, run(1, 1, &Wish::Hold(2)), run(1, 2, &Wish::BeStubborn)],
        ),
    );
    assert_eq!(replica.due(), Some(Time(7)));
    for stamp in [7, 7, 8] {
        assert_eq!(topics(&apply(&mut replica, &empty(1, stamp))), ["wake"]);
        assert_eq!(replica.due(), Some(Time(7)));
    }
}

#[test]
fn cli2_who_vanishes_with_a_lock_loses_it_by_logged_time_and_the_next_token_is_larger() {
    let mut replica = new();
    apply(&mut replica, &batch(1, 5, vec![Operation::Open, Operation::Open]));
    let held = apply(&mut replica, &batch(1, 10, vec![run(1, 1, &Wish::Hold(u64::MAX))]));
    assert_eq!(token(&held), Some(1));
    // The other session is used; the first is not, and is due to end.
    let refused = apply(&mut replica, &batch(1, 60, vec![run(2, 1, &Wish::Hold(1))]));
    assert_eq!(token(&refused), None);
    assert_eq!(replica.due(), Some(Time(10 + IDLE)));
    // Nobody proposes anything any more. A slot without a clock ends nothing, however late.
    assert_eq!(apply(&mut replica, &Value::Noop), Applied::default());
    let ended = apply(&mut replica, &empty(1, 10 + IDLE));
    assert_eq!(topics(&ended), ["ended"]);
    let next = apply(&mut replica, &batch(1, 111, vec![run(2, 2, &Wish::Hold(1))]));
    assert_eq!(token(&next), Some(2));
    let late = apply(&mut replica, &batch(1, 111, vec![run(1, 2, &Wish::Hold(1))]));
    let expired = Rejection::SessionExpired { session: SessionId(1) };
    assert_eq!(late.outcomes, [Outcome::Rejected(expired)]);
}

#[test]
fn cli5_who_is_crowded_out_is_the_longest_unused_and_hears_that_its_session_ended() {
    let mut replica = new();
    let three = vec![Operation::Open, Operation::Open, Operation::Open];
    apply(&mut replica, &batch(1, 5, three));
    let held = apply(&mut replica, &batch(1, 6, vec![run(2, 1, &Wish::Hold(90))]));
    assert_eq!(token(&held), Some(1));
    apply(&mut replica, &batch(1, 7, vec![run(1, 1, &Wish::Hold(1)), run(3, 1, &Wish::Hold(1))]));
    let crowded = apply(&mut replica, &batch(1, 8, vec![Operation::Open]));
    assert_eq!(crowded.outcomes, [Outcome::Opened(SessionId(4))]);
    assert_eq!(topics(&crowded), ["ended"]);
    assert_eq!(replica.machine().holder, None, "what it held ended with it");
    // Sent again, its command is not run: it might be the second time.
    let again = apply(&mut replica, &batch(1, 9, vec![run(2, 1, &Wish::Hold(90))]));
    let expired = Rejection::SessionExpired { session: SessionId(2) };
    assert_eq!(again.outcomes, [Outcome::Rejected(expired)]);
    assert_eq!(replica.machine().tokens, 1);
    let closed =
        apply(&mut replica, &batch(1, 9, vec![Operation::Close { session: SessionId(3) }]));
    assert_eq!(topics(&closed), ["ended"], "who closes it is told like the others");
}

/// A batch: how much later it is stamped, by which of the leaders, and what is in it.
fn any_batch() -> impl Strategy<Value = (u64, u64, Vec<(u8, u64, u64)>)> {
    let operation = (0u8..6, 1u64..8, 0u64..60);
    (0u64..60, 1u64..4, proptest::collection::vec(operation, 0..4))
}

proptest! {
    #[test]
    fn d12_every_replica_is_called_for_the_same_in_the_same_order(
        batches in proptest::collection::vec(any_batch(), 1..40),
        restarts in proptest::collection::btree_set(0usize..40, 0..4),
    ) {
        let (mut one, mut other) = (new(), new());
        let (mut stamp, mut sequences) = (0, BTreeMap::new());
        for (number, (later, round, operations)) in batches.into_iter().enumerate() {
            stamp += later;
            let operations = operations.into_iter().map(|(kind, session, micros)| match kind {
                0 => Operation::Open,
                1 => Operation::Close { session: SessionId(session) },
                2 => run(session, 1, &Wish::BeStubborn),
                _ => {
                    let sequence = sequences.entry(session).or_insert(0u64);
                    *sequence += 1;
                    run(session, *sequence, &Wish::Hold(micros))
                }
            });
            let value = batch(round, stamp, operations.collect());
            if restarts.contains(&number) {
                other = Replica::restore(&other.snapshot()).unwrap();
            }
            prop_assert_eq!(apply(&mut one, &value), apply(&mut other, &value));
            prop_assert_eq!(one.due(), other.due());
            prop_assert_eq!(one.snapshot(), other.snapshot());
            let holder = one.machine().holder;
            prop_assert!(one.machine().stubborn || one.machine().due() > Some(one.time())
                || holder.is_none() || one.machine().until == Some(one.time()));
        }
    }
}
