//! Applies chosen values: sessions and a state machine as one.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batch::{Commands, Entry, Operation, Origin, SessionId};
use crate::event::Event;
use crate::machine::{Context, RestoreError, StateMachine};
use crate::membership::Configurations;
use crate::message::{Inside, Restored};
use crate::sessions::{Admission, Rejection, Sessions};
use crate::types::{Ballot, Slot, Time};
use crate::value::{Batch, Reconfigure, Value, payload};

/// A state machine and what is replicated beside it.
///
/// Invariant: two replicas that applied the same slots have equal snapshots.
#[derive(Debug)]
pub struct Replica<S> {
    machine: S,
    sessions: Sessions,
    configurations: Configurations,
    applied: Slot,
    time: Time,
    /// Whose clock has stamped the last batch.
    led: Ballot,
    /// When something is due, as was told last.
    told: Option<Option<Time>>,
}

/// A state machine is woken so often by one batch at most; the next one goes on.
const WAKES_MAX: usize = 1024;

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The session is open.
    Opened(SessionId),
    /// The command ran, now or when it was sent first; its encoded reply.
    Replied(#[serde(with = "payload")] Bytes),
    /// The session is closed.
    Closed,
    /// The membership changes: the new one governs from this slot on.
    Reconfigured(Slot),
    /// It certainly had no effect.
    Rejected(Rejection),
}

/// What became of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Who made the batch; `None` for values without one.
    pub origin: Option<Origin>,
    /// The outcome of each of its operations, in order.
    pub outcomes: Vec<Outcome>,
    /// What the state machine told, in order.
    pub events: Vec<Event>,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    applied: Slot,
    time: Time,
    led: Ballot,
    sessions: Sessions,
    configurations: Configurations,
    machine: Vec<u8>,
}

impl<S: StateMachine> Replica<S> {
    /// A replica that has applied nothing, of a cluster that begins with this membership.
    pub fn new(genesis: Configurations) -> Self {
        Replica {
            machine: S::default(),
            sessions: Sessions::default(),
            configurations: genesis,
            applied: Slot(0),
            time: Time(0),
            led: Ballot::ZERO,
            told: None,
        }
    }

    /// The last slot applied; 0 at first.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// Replicated time: the greatest stamp applied.
    pub fn time(&self) -> Time {
        self.time
    }

    /// What the proposer of this node has to be told, if it is news: when something is due, or that
    /// it has not happened although its time has come. A driver asks after whatever it has applied.
    pub fn tell_due(&mut self) -> Option<Inside> {
        let (applied, at) = (self.applied, self.due());
        let passed = at.is_some_and(|at| at <= self.time);
        let is_news = passed || self.told != Some(at);
        self.told = Some(at);
        is_news.then_some(Inside::Due { applied, at })
    }

    /// The earliest replicated time at which a session ends unless it is used, or the state machine
    /// is to be woken: if nothing is proposed by then, the leader has to propose a batch without
    /// commands.
    pub fn due(&self) -> Option<Time> {
        let idle = self.configurations.at(self.applied.next()).sessions.idle;
        self.sessions.due(idle).into_iter().chain(self.machine.due()).min()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The state machine.
    pub fn machine(&self) -> &S {
        &self.machine
    }

    /// The memberships, as of the last slot applied.
    pub fn configurations(&self) -> &Configurations {
        &self.configurations
    }

    /// What a learner needs to know to go on behind it.
    pub fn restored(&self) -> Restored {
        let configurations = self.configurations.clone();
        Restored { next: self.applied.next(), clock: self.time, configurations }
    }

    /// Applies the next slot.
    ///
    /// # Panics
    /// If the slot is not the next: the driver broke its contract.
    pub fn apply(&mut self, slot: Slot, value: &Value) -> Applied {
        assert_eq!(slot, self.applied.next(), "slots are applied in order and without gaps");
        self.applied = slot;
        let batch = match value {
            Value::Noop => return Applied::default(),
            Value::Reconfigure(change) => return self.reconfigure(slot, change),
            Value::Commands(batch) => batch,
        };
        let mut events = Vec::new();
        self.pass_time(slot, batch, &mut events);
        let Some(commands) = Commands::decode(&batch.bytes) else {
            return Applied { events, ..Applied::default() };
        };
        let Commands { origin, identities, entries } = commands;
        let mut outcomes = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let identity = &identities[entry.identity as usize];
            let mut context = Context::new(slot, self.time, SessionId(0), identity, &mut events);
            context.index = index as u32;
            outcomes.push(self.operate(&mut context, entry));
        }
        Applied { origin: Some(origin), outcomes, events }
    }

    /// Lets happen what a batch brings before its commands.
    ///
    /// Invariant: it follows from the log alone, so sessions end and a state machine is woken at
    /// the same place on every node. From one call of `led` to the next a single leader's clock
    /// moves time: a batch of an older leader that a later one has found behind its own is a
    /// change of clocks too, there and back, since the older clock may be ahead by as long as
    /// nobody led.
    fn pass_time(&mut self, slot: Slot, batch: &Batch, events: &mut Vec<Event>) {
        self.time = self.time.max(batch.stamp);
        let mut context = Context::new(slot, self.time, SessionId(0), "", events);
        if batch.by != self.led {
            self.led = batch.by;
            self.machine.led(&mut context);
        }
        let idle = self.configurations.at(slot).sessions.idle;
        for session in self.sessions.expire(self.time, idle) {
            self.machine.ended(&mut context, session);
        }
        for _ in 0..WAKES_MAX {
            let due = self.machine.due();
            if due.is_none_or(|due| due > self.time) {
                break;
            }
            self.machine.wake(&mut context);
            if self.machine.due() <= due {
                break;
            }
        }
    }

    fn reconfigure(&mut self, slot: Slot, change: &Reconfigure) -> Applied {
        let outcome = match self.configurations.changed(slot, change) {
            Ok(changed) => {
                self.configurations = changed;
                Outcome::Reconfigured(self.configurations.newest().0)
            }
            Err(why) => Outcome::Rejected(Rejection::Change(why)),
        };
        let (origin, outcomes) = (Some(change.origin), vec![outcome]);
        Applied { origin, outcomes, events: Vec::new() }
    }

    fn operate(&mut self, context: &mut Context<'_>, entry: Entry) -> Outcome {
        let done = match entry.operation {
            Operation::Open => {
                let max = self.configurations.at(context.slot).sessions.max;
                for session in self.sessions.make_room(max) {
                    self.machine.ended(context, session);
                }
                Ok(Outcome::Opened(self.sessions.open(context.time, context.identity)))
            }
            Operation::Close { session } => {
                self.sessions.close(session, context.identity).map(|()| {
                    self.machine.ended(context, session);
                    Outcome::Closed
                })
            }
            Operation::Run { session, sequence, command } => {
                context.session = session;
                self.run(context, sequence, &command).map(Outcome::Replied)
            }
        };
        done.unwrap_or_else(Outcome::Rejected)
    }

    fn run(
        &mut self,
        context: &mut Context<'_>,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<Bytes, Rejection> {
        let session = context.session;
        match self.sessions.admit(context.time, session, context.identity, sequence, bytes)? {
            Admission::Repeat(reply) => Ok(reply),
            Admission::Run => {
                let command = postcard::from_bytes(bytes).map_err(|_| Rejection::NotACommand)?;
                let reply = encode(&self.machine.apply(context, command));
                self.sessions.keep(session, sequence, bytes, reply.clone());
                Ok(reply)
            }
        }
    }

    /// Answers an encoded query.
    ///
    /// # Errors
    /// [`Rejection::NotACommand`] if the bytes are not a query.
    pub fn query(&self, bytes: &[u8]) -> Result<Bytes, Rejection> {
        let query = postcard::from_bytes(bytes).map_err(|_| Rejection::NotACommand)?;
        Ok(encode(&self.machine.query(query)))
    }

    /// Everything replicated, as bytes; equal for equal states.
    pub fn snapshot(&self) -> Bytes {
        encode(&Snapshot {
            applied: self.applied,
            time: self.time,
            led: self.led,
            sessions: self.sessions.clone(),
            configurations: self.configurations.clone(),
            machine: self.machine.snapshot(),
        })
    }

    /// The next snapshot: the one before, or the beginning, with values applied to it that are not
    /// in it yet. Answers the first slot that it does not cover, too.
    ///
    /// # Errors
    /// [`RestoreError`] if the one before cannot be read, or if slots between it and the values are
    /// missing.
    pub fn next_snapshot(
        previous: Option<Vec<u8>>,
        genesis: Configurations,
        values: &[(Slot, Value)],
        mut apply: impl FnMut(&mut Self, Slot, &Value),
    ) -> Result<(Slot, Bytes), RestoreError> {
        let mut replica = Self::behind(previous.as_deref(), genesis)?;
        drop(previous);
        for (slot, value) in values {
            if *slot > replica.applied.next() {
                return Err(RestoreError(format!("it ends at {}, not at {slot}", replica.applied)));
            }
            if *slot > replica.applied {
                apply(&mut replica, *slot, value);
            }
        }
        Ok((replica.applied.next(), replica.snapshot()))
    }

    /// A replica in the state of a snapshot; without one it has applied nothing.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not one.
    pub fn behind(snapshot: Option<&[u8]>, genesis: Configurations) -> Result<Self, RestoreError> {
        snapshot.map_or_else(|| Ok(Self::new(genesis)), Self::restore)
    }

    /// A replica in the state of a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not one.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let snapshot: Snapshot =
            postcard::from_bytes(bytes).map_err(|error| RestoreError(error.to_string()))?;
        Ok(Replica {
            machine: S::restore(&snapshot.machine)?,
            sessions: snapshot.sessions,
            configurations: snapshot.configurations,
            applied: snapshot.applied,
            time: snapshot.time,
            led: snapshot.led,
            told: None,
        })
    }
}

/// The state of a snapshot as the beginning of another cluster, with this membership from its first
/// slot on. Answers the first slot that it does not cover, too.
///
/// # Errors
/// [`RestoreError`] if the bytes are not a snapshot.
pub fn rehomed(bytes: &[u8], genesis: Configurations) -> Result<(Slot, Bytes), RestoreError> {
    let snapshot: Snapshot =
        postcard::from_bytes(bytes).map_err(|error| RestoreError(error.to_string()))?;
    let next = snapshot.applied.next();
    Ok((next, encode(&Snapshot { configurations: genesis, ..snapshot })))
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(postcard::to_stdvec(value).expect("plain data always encodes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{ChangeError, Membership};
    use crate::types::NodeId;

    fn new() -> Replica<Sum> {
        Replica::new(genesis())
    }

    fn genesis() -> Configurations {
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        Configurations::genesis(Membership::of_voters(voters).unwrap())
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Sum(u64);

    impl StateMachine for Sum {
        type Command = u64;
        type Reply = u64;
        type Query = u64;
        type Answer = u64;

        fn apply(&mut self, _: &mut Context<'_>, by: u64) -> u64 {
            self.0 += by;
            self.0
        }

        fn query(&self, more: u64) -> u64 {
            self.0 + more
        }
    }

    fn batch(number: u64, operations: Vec<Operation>) -> Value {
        let entries =
            operations.into_iter().map(|operation| Entry { identity: 0, operation }).collect();
        let origin = Origin { node: NodeId(1), incarnation: 1, number };
        let commands = Commands { origin, identities: vec!["client/ada".to_owned()], entries };
        let (stamp, by) = (Time(number), Ballot::ZERO);
        Value::Commands(Batch { stamp, by, bytes: commands.encode() })
    }

    fn add(sequence: u64, by: u64) -> Operation {
        Operation::Run { session: SessionId(1), sequence, command: encode(&by) }
    }

    #[test]
    fn the_same_command_in_two_slots_is_run_once_and_answered_twice() {
        let mut replica = new();
        replica.apply(Slot(1), &batch(1, vec![Operation::Open, add(1, 5)]));
        let again = replica.apply(Slot(2), &batch(2, vec![add(1, 5), add(2, 1)]));
        assert_eq!(
            again.outcomes,
            [Outcome::Replied(encode(&5u64)), Outcome::Replied(encode(&6u64))]
        );
        assert_eq!(replica.machine(), &Sum(6));
    }

    #[test]
    fn d5_a_snapshot_carries_sessions_and_time() {
        let mut replica = new();
        replica.apply(Slot(1), &batch(9, vec![Operation::Open, add(1, 5)]));
        let mut restored = Replica::<Sum>::restore(&replica.snapshot()).unwrap();
        assert_eq!(restored.time(), Time(9));
        let again = restored.apply(Slot(2), &batch(2, vec![add(1, 5)]));
        assert_eq!(again.outcomes, [Outcome::Replied(encode(&5u64))]);
        assert_eq!(restored.machine(), &Sum(5));
    }

    fn without_three(base: Slot, number: u64) -> Value {
        let membership = genesis().newest().1.without(NodeId(3)).unwrap();
        let origin = Origin { node: NodeId(1), incarnation: 1, number };
        let by = "admin/ada".to_owned();
        Value::Reconfigure(Box::new(Reconfigure { base, membership, origin, by }))
    }

    #[test]
    fn d6_a_snapshot_carries_memberships_those_that_are_not_in_force_too() {
        let mut replica = new();
        let applied = replica.apply(Slot(1), &without_three(Slot(1), 7));
        let governs = Slot(1 + Membership::ALPHA);
        assert_eq!(applied.outcomes, [Outcome::Reconfigured(governs)]);
        assert_eq!(applied.origin.map(|origin| origin.number), Some(7));
        let mut restored = Replica::<Sum>::restore(&replica.snapshot()).unwrap();
        assert_eq!(restored.configurations(), replica.configurations());
        assert_eq!(restored.configurations().newest().0, governs);
        let twice = Replica::<Sum>::restore(&restored.snapshot()).unwrap();
        assert_eq!(twice.restored(), replica.restored());
        let void = Rejection::Change(ChangeError::InProgress { newest: governs });
        let again = restored.apply(Slot(2), &without_three(Slot(1), 8));
        assert_eq!(again.outcomes, [Outcome::Rejected(void)]);
    }

    #[test]
    fn clus10_a_snapshot_begins_another_cluster_with_all_but_its_membership() {
        let mut replica = new();
        replica.apply(Slot(1), &batch(9, vec![Operation::Open, add(1, 5)]));
        let alone = Membership::of_voters([(NodeId(1), "m1:1".to_owned())]).unwrap();
        let other = Configurations::genesis(alone);
        let (next, bytes) = rehomed(&replica.snapshot(), other.clone()).unwrap();
        assert_eq!(next, Slot(2));
        let mut again = Replica::<Sum>::restore(&bytes).unwrap();
        assert_eq!((again.configurations(), again.time()), (&other, Time(9)));
        let repeated = again.apply(Slot(2), &batch(2, vec![add(1, 5)]));
        assert_eq!(repeated.outcomes, [Outcome::Replied(encode(&5u64))]);
        assert_eq!(again.machine(), &Sum(5));
        assert!(rehomed(b"spoiled", other).is_err());
    }

    #[test]
    fn bytes_that_are_no_batch_or_command_change_nothing() {
        let mut replica = new();
        let garbage = Value::Commands(Batch {
            stamp: Time(1),
            by: Ballot::ZERO,
            bytes: Bytes::from_static(b"\xff\xff"),
        });
        assert_eq!(replica.apply(Slot(1), &garbage), Applied::default());
        let command = Bytes::new();
        let run = Operation::Run { session: SessionId(1), sequence: 1, command };
        let applied = replica.apply(Slot(2), &batch(1, vec![Operation::Open, run]));
        assert_eq!(applied.outcomes[1], Outcome::Rejected(Rejection::NotACommand));
    }

    #[test]
    #[should_panic(expected = "in order and without gaps")]
    fn a_skipped_slot_is_a_broken_driver() {
        new().apply(Slot(2), &Value::Noop);
    }

    #[test]
    fn a_query_is_answered_from_the_state_and_one_that_is_none_is_refused() {
        let mut replica = new();
        replica.apply(Slot(1), &batch(1, vec![Operation::Open, add(1, 5)]));
        assert_eq!(replica.query(&encode(&3u64)), Ok(encode(&8u64)));
        assert_eq!(replica.query(b""), Err(Rejection::NotACommand));
    }

    /// A replica that has applied so many slots, and the values of these slots.
    fn applied(slots: u64) -> (Replica<Sum>, Vec<(Slot, Value)>) {
        let mut replica = new();
        let values: Vec<_> = (1..=slots)
            .map(|slot| (Slot(slot), batch(slot, vec![Operation::Open, add(slot, slot)])))
            .collect();
        values.iter().for_each(|(slot, value)| drop(replica.apply(*slot, value)));
        (replica, values)
    }

    fn next_snapshot(
        previous: Option<&[u8]>,
        values: &[(Slot, Value)],
    ) -> Result<(Slot, Bytes), RestoreError> {
        let previous = previous.map(<[u8]>::to_vec);
        Replica::<Sum>::next_snapshot(previous, genesis(), values, |replica, slot, value| {
            replica.apply(slot, value);
        })
    }

    #[test]
    fn a_snapshot_made_of_the_one_before_is_that_of_the_state() {
        let (replica, values) = applied(4);
        assert_eq!((replica.applied(), replica.machine()), (Slot(4), &Sum(10)));
        let first = next_snapshot(None, &values[..2]).unwrap();
        assert_eq!(first, (Slot(3), applied(2).0.snapshot()));
        let whole = (Slot(5), replica.snapshot());
        assert_eq!(next_snapshot(Some(&first.1), &values[2..]).unwrap(), whole);
        let again = next_snapshot(Some(&first.1), &values).unwrap();
        assert_eq!(again, whole, "what is in it already is not applied again");
    }

    #[test]
    fn no_snapshot_is_made_of_one_that_is_spoiled_or_of_values_that_do_not_follow() {
        let (_, values) = applied(4);
        let (_, first) = next_snapshot(None, &values[..1]).unwrap();
        assert!(next_snapshot(Some(&first), &values[2..]).is_err(), "a slot is missing");
        assert!(next_snapshot(Some(b"spoiled"), &values[1..]).is_err());
    }
}
