//! Bugs of a lock service.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_core::batch::Commands;
use paxos_core::{
    AcceptorMessage, Applied, Batch, Effect, Input, Message, NodeId, Operation, Replica, Role,
    Slot, StateMachine, Time, Value,
};
use serde_json::{Value as Json, json};

use super::How::Seeds;
use super::plants::{edit, effects, usual};
use super::services::State;
use super::{Against, Canary};
use crate::simulation::demands::Demand;
use crate::simulation::{Actor, Plan, Plant, Service, Services};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "sessions-live-for-ever",
        against: Against::Progress,
        rule: "a session that shows no sign of life ends, and with it what it holds",
        source: "Gray & Cheriton, *Leases*, SOSP 1989",
        how: Seeds(locking),
        plant: || Box::new(Wrong(live_for_ever)),
    },
    Canary {
        id: "granted-before-the-ttl-is-over",
        against: Against::Safety,
        rule: "a lock is held as long as its holder may believe that it holds it",
        source: "Gray & Cheriton, *Leases*, SOSP 1989",
        how: Seeds(locking),
        plant: || Box::new(Wrong(end_early)),
    },
    Canary {
        id: "expiry-by-the-nodes-own-clock",
        against: Against::Safety,
        rule: "sessions expire by replicated time, in the same step on every node",
        source: "CLUS11",
        how: Seeds(locking),
        plant: || Box::<OwnClock>::default(),
    },
    Canary {
        id: "leaders-stamp-ahead",
        against: Against::Safety,
        rule: "replicated time goes no faster than clocks do",
        source: "the rule of `Term::stamp`",
        how: Seeds(locking),
        plant: leaders_stamp_ahead,
    },
    Canary {
        id: "new-leaders-end-sessions",
        against: Against::Safety,
        rule: "from another leader on, every session has its whole time again",
        source: "F3",
        how: Seeds(locking),
        plant: || Box::new(Wrong(no_grace_period)),
    },
    Canary {
        id: "who-is-gone-stays-in-line",
        against: Against::Safety,
        rule: "who expires leaves all queues before anything is passed on",
        source: "F2",
        how: Seeds(locking),
        plant: || Box::new(Wrong(stay_in_line)),
    },
    Canary {
        id: "next-in-line-has-the-same-token",
        against: Against::Safety,
        rule: "each grant of a lock has a higher token than all before it",
        source: "F6",
        how: Seeds(locking),
        plant: || Box::new(Wrong(repeat_tokens)),
    },
    Canary {
        id: "last-in-line-is-served-first",
        against: Against::Safety,
        rule: "a lock goes to the one who has waited longest",
        source: "F7",
        how: Seeds(locking),
        plant: || Box::new(LastFirst),
    },
];

/// The usual plan with lockers.
fn locking(plan: Plan) -> Plan {
    usual(plan).serving(Service::Lock)
}

/// Changes what a replica holds. The locks are handed over in the form in which they would be
/// written out.
fn change(replica: &mut Replica<Services>, change: impl FnOnce(&mut State, &mut Json)) {
    let snapshot = replica.snapshot();
    let mut state: State = postcard::from_bytes(&snapshot).expect("a snapshot has this form");
    let mut services = Services::restore(&state.machine).expect("a snapshot is one of them");
    edit(&mut services, |services| change(&mut state, &mut services["locks"]));
    state.machine = services.snapshot();
    let bytes = postcard::to_stdvec(&state).expect("plain data always encodes");
    *replica = Replica::restore(&bytes).expect("a snapshot has this form");
}

/// Changes the locks before a batch is applied.
struct Wrong(fn(&Batch, &mut State, &mut Json));

impl Plant for Wrong {
    fn apply(
        &mut self,
        _: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        if let Value::Commands(batch) = value {
            change(replica, |state, locks| self.0(batch, state, locks));
        }
        replica.apply(slot, value)
    }
}

/// The sessions, and when each expires.
fn sessions(locks: &mut Json) -> impl Iterator<Item = (u64, &mut Json)> {
    let sessions = locks["sessions"]["open"].as_object_mut().into_iter().flatten();
    sessions.map(|(id, session)| (id.parse().expect("a session is a number"), session))
}

/// All locks.
fn each(locks: &mut Json) -> impl Iterator<Item = (&String, &mut Json)> {
    locks["locks"]["locks"].as_object_mut().into_iter().flatten()
}

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap_or_default()
}

fn live_for_ever(_: &Batch, _: &mut State, locks: &mut Json) {
    locks["sessions"]["deadlines"] = json!([]);
}

/// Sessions end now that would have ended by then.
fn end_by(now: Time, then: Time, locks: &mut Json) {
    let mut deadlines = Vec::new();
    for (id, session) in sessions(locks) {
        if number(&session["expires"]) <= then.0 {
            session["expires"] = json!(now.0);
        }
        deadlines.push((number(&session["expires"]), id));
    }
    deadlines.sort_unstable();
    locks["sessions"]["deadlines"] = json!(deadlines);
}

fn end_early(batch: &Batch, state: &mut State, locks: &mut Json) {
    let now = batch.stamp.max(state.time);
    end_by(now, now.after(Duration::from_millis(400)), locks);
}

fn no_grace_period(batch: &Batch, state: &mut State, _: &mut Json) {
    state.led = batch.by;
}

fn stay_in_line(batch: &Batch, _: &mut State, locks: &mut Json) {
    let mut lines = Vec::new();
    for (name, lock) in each(locks) {
        let queue = lock["queue"].as_array().into_iter().flatten();
        lines.extend(queue.map(|waiter| (number(&waiter["session"]), json!(name))));
    }
    for (id, session) in sessions(locks) {
        if number(&session["expires"]) <= batch.stamp.0
            && let Some(names) = session["names"].as_array_mut()
        {
            names.retain(|name| !lines.contains(&(id, name.clone())));
        }
    }
}

fn repeat_tokens(_: &Batch, _: &mut State, locks: &mut Json) {
    for (_, lock) in each(locks) {
        let waited_for = lock["queue"].as_array().is_some_and(|queue| !queue.is_empty());
        if waited_for {
            lock["last"] = json!(number(&lock["holder"]["token"]).saturating_sub(1));
        }
    }
}

/// Only what holders are sure of shows it: by the log alone all is well.
fn leaders_stamp_ahead() -> Box<dyn Plant> {
    effects(|_, mut effect| {
        if let Effect::Send(envelope) = &mut effect
            && let Message::Acceptor(AcceptorMessage::Accept { ballot, value, .. }) =
                &mut envelope.message
            && let Value::Commands(batch) = value
            // What it did not stamp itself it must not touch.
            && batch.by == *ballot
        {
            batch.stamp = batch.stamp.after(Duration::from_millis(50));
        }
        vec![effect]
    })
}

/// Turns the queues around while a batch is applied that adds nobody to one.
struct LastFirst;

impl Plant for LastFirst {
    fn apply(
        &mut self,
        _: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        let turn = |_: &mut State, locks: &mut Json| {
            let queues = each(locks).filter_map(|(_, lock)| lock["queue"].as_array_mut());
            queues.for_each(|queue| queue.reverse());
        };
        if adds(value) {
            return replica.apply(slot, value);
        }
        change(replica, turn);
        let applied = replica.apply(slot, value);
        change(replica, turn);
        applied
    }
}

/// Whether a value may put somebody in line.
fn adds(value: &Value) -> bool {
    let Value::Commands(batch) = value else { return false };
    let entries = Commands::decode(&batch.bytes).map(|commands| commands.entries);
    entries.into_iter().flatten().any(|entry| match entry.operation {
        Operation::Run { command, .. } => {
            let demand = postcard::from_bytes(&command).ok().and_then(Demand::of);
            matches!(demand, Some(Demand::Acquire { .. }))
        }
        _ => false,
    })
}

/// Sessions expire by what the node's clock has counted since the first batch that it applied.
#[derive(Default)]
struct OwnClock {
    shows: BTreeMap<NodeId, Time>,
    began: BTreeMap<NodeId, (Time, Time)>,
}

impl Plant for OwnClock {
    fn handle(
        &mut self,
        me: NodeId,
        role: &mut Actor<'_>,
        now: Time,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        self.shows.insert(me, now);
        role.handle(now, input, out);
    }

    fn apply(
        &mut self,
        me: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        if let (Value::Commands(batch), Some(shown)) = (value, self.shows.get(&me)) {
            let (stamp, first) = *self.began.entry(me).or_insert((batch.stamp, *shown));
            let passed = stamp.after(shown.since(first));
            change(replica, |state, locks| end_by(batch.stamp.max(state.time), passed, locks));
        }
        replica.apply(slot, value)
    }
}
