//! Reads: what makes each certain, and how old the others are.

use std::time::Duration;

use bytes::Bytes;
use paxos_core::{NodeId, ReadLevel, Rejection, Slot, Time};
use paxos_net::protocol::{
    Call, ClientRequest, ClientResponse, Consistency, Forwarded, Refused, Relay, Response, Served,
};

use super::{Desk, Order, RELAY_AGAIN, RELAY_REPEAT};
use crate::gateway::pending::{Asker, Pending};
use crate::messages::Ask;

/// While stale reads come in, the leader is asked so often how far this node should be.
const FRESHEN: Duration = Duration::from_millis(100);

/// The leader's gateway is told that nobody waits for an index any more after this.
const INDEX_TIMEOUT_MS: u64 = 5_000;

/// Reads that share a question.
#[derive(Debug)]
pub(super) struct Reads {
    /// What they want; `None`: nothing but the state that is here.
    level: Option<ReadLevel>,
    /// Whose gateway was asked for them; `None`: this node leads, or it is answered.
    pub(super) of: Option<NodeId>,
    asked: Time,
    served: Option<Served>,
    pub(super) pending: Vec<Option<Pending>>,
}

/// When this node was up to date: the slots that leaders have named, and when they were asked.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    known: Vec<(Slot, Time)>,
    /// A question of this node's own, and when it was asked.
    question: Option<(u64, Time)>,
}

impl Freshness {
    fn learns(&mut self, slot: Slot, asked: Time) {
        let full = self.known.len() >= KNOWN_MAX;
        match self.known.last_mut() {
            Some((last, newest)) if *last == slot => *newest = asked.max(*newest),
            // A node that lags for long needs the oldest, which it will reach first.
            Some(last) if full => *last = (slot, asked),
            _ => self.known.push((slot, asked)),
        }
    }

    /// Of all that is applied, the newest question alone is worth keeping.
    pub(super) fn applied(&mut self, upto: Slot) {
        let newest = self.of(upto);
        self.known.retain(|(slot, asked)| *slot > upto || Some(*asked) == newest);
    }

    /// When a state with this slot applied was certainly up to date.
    fn of(&self, applied: Slot) -> Option<Time> {
        let reached = self.known.iter().filter(|(slot, _)| *slot <= applied);
        reached.map(|(_, asked)| *asked).max()
    }
}

/// Named slots that a node keeps while it has not applied them.
const KNOWN_MAX: usize = 64;

/// What a request wants to be certain of.
fn level(pending: &Pending) -> Option<ReadLevel> {
    match pending.call {
        Call::ReadIndex { level } => Some(level),
        Call::Query { consistency: Consistency::Linearizable, .. } => Some(ReadLevel::Linearizable),
        Call::Query { consistency: Consistency::Lease, .. } => Some(ReadLevel::Lease),
        _ => None,
    }
}

impl Desk {
    /// A read of whatever is here once so much is applied.
    pub(super) fn read_here(&mut self, applied: Slot, pending: Pending) {
        let (name, asked) = (self.name(), Time(0));
        let pending = vec![Some(pending)];
        let reads = Reads { level: None, of: None, asked, served: None, pending };
        self.reads.insert(name, reads);
        self.ask(name, applied);
    }

    /// Has reads made certain by the roles of this node, which leads.
    pub(super) fn read(&mut self, now: Time) {
        for level in [ReadLevel::Linearizable, ReadLevel::Lease] {
            if let Some(name) = self.begin(now, level, None) {
                self.orders.push(Order::Read(name, level));
            }
        }
    }

    /// Has reads made certain by the gateway of the leader. What a peer asks is refused: two
    /// gateways that each take the other for the leader would play ball with it.
    pub(super) fn read_by(&mut self, now: Time, leader: NodeId) {
        let queries = std::mem::take(&mut self.queries);
        for pending in queries {
            match pending.asker {
                Asker::Peer(_) => self.settle(pending, Response::Refused(Refused::Busy)),
                Asker::Client(_) => self.queries.push_back(pending),
            }
        }
        for level in [ReadLevel::Linearizable, ReadLevel::Lease] {
            if let Some(name) = self.begin(now, level, Some(leader)) {
                self.ask_for_index(name, level, leader);
            }
        }
    }

    /// Gathers the reads of one level under one question.
    fn begin(&mut self, now: Time, wanted: ReadLevel, of: Option<NodeId>) -> Option<u64> {
        let waits = self.queries.iter().any(|pending| level(pending) == Some(wanted));
        let asking = self.asking.get(&wanted).copied().unwrap_or_default();
        if !waits || asking >= self.options.reads_in_flight {
            return None;
        }
        let queries = self.queries.drain(..);
        let (pending, others): (Vec<_>, Vec<_>) =
            queries.partition(|pending| level(pending) == Some(wanted));
        self.queries = others.into();
        self.asking.insert(wanted, asking + 1);
        let name = self.name();
        let pending = pending.into_iter().map(Some).collect();
        let reads = Reads { level: Some(wanted), of, asked: now, served: None, pending };
        self.reads.insert(name, reads);
        Some(name)
    }

    fn ask_for_index(&mut self, id: u64, level: ReadLevel, leader: NodeId) {
        let call = Call::ReadIndex { level };
        let request = ClientRequest { id, timeout_ms: INDEX_TIMEOUT_MS, call };
        let forwarded = Forwarded { identity: format!("peer/{}", self.me.0), request };
        self.orders.push(Order::Relay(leader, Relay::Ask(vec![forwarded])));
    }

    /// Asks how far this node should be, for nobody in particular, unless that was asked lately.
    pub(super) fn freshen(&mut self, now: Time) {
        let lately = |(_, asked): (u64, Time)| now < asked.after(FRESHEN);
        let Some(leader) = self.leader else { return };
        if self.freshness.question.is_some_and(lately) {
            return;
        }
        let name = self.name();
        self.freshness.question = Some((name, now));
        if leader == self.me {
            self.orders.push(Order::Read(name, ReadLevel::Lease));
        } else {
            self.ask_for_index(name, ReadLevel::Lease, leader);
        }
    }

    /// A question is answered: a state with so much applied contains all that was answered before
    /// it was asked.
    pub(super) fn certain(&mut self, name: u64, applied: Slot, level: ReadLevel) {
        if let Some((_, asked)) = self.freshness.question.filter(|(own, _)| *own == name) {
            return self.freshness.learns(applied, asked);
        }
        let Some(reads) = self.reads.get_mut(&name) else { return };
        reads.of = None;
        reads.served = Some(level.into());
        let asked = reads.asked;
        let is_index = |pending: &mut Pending| matches!(pending.call, Call::ReadIndex { .. });
        let indices: Vec<_> =
            reads.pending.iter_mut().filter_map(|pending| pending.take_if(is_index)).collect();
        let over = reads.pending.iter().all(Option::is_none);
        self.freshness.learns(applied, asked);
        for pending in indices {
            self.settle(pending, Response::Index { applied, level });
        }
        match over {
            true => drop(self.take_reads(name)),
            false => self.ask(name, applied),
        }
    }

    /// The leader's gateway has answered a question for an index, or has refused it.
    pub(super) fn index_told(&mut self, now: Time, told: ClientResponse) {
        if let Response::Index { applied, level } = told.response {
            self.certain(told.id, applied, level);
        } else if self.reads.get(&told.id).is_some_and(|reads| reads.of.is_some()) {
            self.relay_after = now.after(RELAY_AGAIN);
            self.put_reads_back(told.id);
        }
    }

    /// What waits for an index that one of these nodes should have named.
    pub(super) fn reads_asked_of(&self, is_lost: impl Fn(NodeId) -> bool) -> Vec<u64> {
        let lost = |reads: &Reads| reads.of.is_some_and(&is_lost);
        self.reads.iter().rev().filter(|(_, reads)| lost(reads)).map(|(name, _)| *name).collect()
    }

    /// A question for an index or its answer may be lost: asks anew, under another name, so that no
    /// late answer is taken for one to the new question.
    pub(super) fn repeat_indices(&mut self, now: Time) {
        let late = |reads: &Reads| reads.of.is_some() && reads.asked.after(RELAY_REPEAT) <= now;
        let late: Vec<_> =
            self.reads.iter().rev().filter(|(_, it)| late(it)).map(|(name, _)| *name).collect();
        late.into_iter().for_each(|name| self.put_reads_back(name));
    }

    pub(super) fn put_reads_back(&mut self, name: u64) {
        let Some(reads) = self.take_reads(name) else { return };
        reads.pending.into_iter().rev().flatten().for_each(|pending| self.put_back(pending));
    }

    fn ask(&mut self, ticket: u64, applied: Slot) {
        let Some(reads) = self.reads.get(&ticket) else { return };
        let until = reads.pending.iter().flatten().map(|pending| pending.deadline).max();
        let query = |pending: &Option<Pending>| match pending.as_ref().map(|pending| &pending.call)
        {
            Some(Call::Query { query, .. }) => query.clone(),
            Some(_) | None => Bytes::new(),
        };
        let queries = reads.pending.iter().map(query).collect();
        let until = until.unwrap_or_default();
        self.orders.push(Order::Ask(Ask { ticket, applied, until, queries }));
    }

    fn take_reads(&mut self, ticket: u64) -> Option<Reads> {
        let reads = self.reads.remove(&ticket)?;
        if let Some(asking) = reads.level.and_then(|level| self.asking.get_mut(&level)) {
            *asking -= 1;
        }
        Some(reads)
    }

    /// A question that nobody waits for any more is forgotten with its last asker.
    pub(super) fn forget_idle_reads(&mut self) {
        let idle = |reads: &Reads| reads.pending.iter().all(Option::is_none);
        let idle: Vec<_> =
            self.reads.iter().filter(|(_, reads)| idle(reads)).map(|(name, _)| *name).collect();
        idle.into_iter().for_each(|name| drop(self.take_reads(name)));
    }

    /// Queries were answered, in order.
    pub fn answered(
        &mut self,
        now: Time,
        ticket: u64,
        slot: Slot,
        answers: Vec<Result<Bytes, Rejection>>,
    ) {
        let Some(reads) = self.take_reads(ticket) else { return };
        // Rounded up: nobody is to take it for newer than it is.
        let age = |asked| now.since(asked).as_micros().div_ceil(1000) as u64;
        let behind = self.freshness.of(slot).map(age);
        let served = reads.served.unwrap_or(Served::Stale { behind_ms: behind });
        for (pending, answer) in reads.pending.into_iter().zip(answers) {
            let Some(pending) = pending else { continue };
            let response = match answer {
                Ok(answer) => Response::Answer { slot, answer, served },
                Err(rejection) => Response::Refused(Refused::Rejected(rejection)),
            };
            self.settle(pending, response);
        }
        self.pump(now);
    }
}
