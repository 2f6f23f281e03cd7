//! How a leader answers reads: by a question to the acceptors, or by its lease.

use std::time::Duration;

use crate::effect::{Effect, Refusal};
use crate::lease;
use crate::message::ReadLevel;
use crate::types::{Ballot, NodeId, Time};

use super::{Proposer, Stamped};

impl Proposer {
    /// Whether the lease of this leadership is valid now. `now` must be read after whatever is to
    /// be answered by it was stamped. From then on the answer may take its time, and the node stand
    /// still: a read is one of the moment of its stamp, which lies within the call.
    pub fn has_lease(&self, now: Time) -> bool {
        let membership = self.configurations.at(self.next);
        let lease = self.term.as_ref().map(|term| &term.rounds.lease);
        lease.is_some_and(|lease| lease.is_valid(now, membership))
    }

    /// Whether this leader answers reads by its lease now, once they are stamped.
    pub fn reads_by_lease(&self, now: Time) -> bool {
        self.may_read() && self.has_lease(now)
    }

    pub(super) fn read(&mut self, now: Time, read: Stamped, out: &mut Vec<Effect>) {
        let refusal = match &self.term {
            None => Some(Refusal::NotLeader),
            Some(_) if self.reads.len() >= self.options.reads_max => Some(Refusal::Busy),
            Some(_) => None,
        };
        match refusal {
            Some(refusal) => out.push(Effect::Refuse { ticket: read.ticket, refusal }),
            None => {
                self.reads.push_back(read);
                self.serve_reads(now, out);
            }
        }
    }

    /// Answers what can be answered by the lease, and asks on behalf of the others.
    pub(super) fn serve_reads(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.read_by_lease(now, out);
        self.confirm_reads(now, out);
    }

    /// The slot is that of the moment of the answer, not that of the stamp: what was reported to
    /// this leader may lie between.
    fn read_by_lease(&mut self, now: Time, out: &mut Vec<Effect>) {
        let waiting = self.reads.iter().any(|read| read.level == ReadLevel::Lease);
        if !waiting || !self.reads_by_lease(now) {
            return;
        }
        let next = self.next;
        self.reads.retain(|read| {
            let ready = read.level == ReadLevel::Lease && read.next <= next;
            if ready {
                let (ticket, level) = (read.ticket, read.level);
                out.push(Effect::ReadReady { ticket, next, level });
            }
            !ready
        });
    }

    /// Asks on behalf of the reads that wait, unless a question with reads is on its way: what
    /// arrives meanwhile shares the next.
    fn confirm_reads(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = &self.term else { return };
        let ready = self.reads.front().is_some_and(|read| read.next <= self.next);
        if ready && self.may_read() && !term.rounds.carries_reads() {
            self.confirm(now, out);
        }
    }

    /// Whether this leader knows everything that any leader before it may have had chosen: a phase
    /// 1 quorum has reported to the end, and all that it reported is known to be chosen.
    fn may_read(&self) -> bool {
        let quorums = &self.configurations.at(self.next).quorums;
        self.term.as_ref().is_some_and(|term| {
            term.elected
                && term.reports_end(quorums)
                && self.next >= term.top
                && self.next >= term.trimmed
        })
    }

    /// The reads that the next question shall confirm.
    pub(super) fn take_ready_reads(&mut self) -> Vec<u64> {
        if !self.may_read() {
            return Vec::new();
        }
        let next = self.next;
        let reads = self.reads.drain(..);
        let (ready, later): (Vec<_>, Vec<_>) = reads.partition(|read| read.next <= next);
        self.reads = later.into();
        ready.into_iter().map(|read| read.ticket).collect()
    }

    /// How long after a question the next is due at the latest: often enough that a lease is
    /// renewed before it ends, though one question or its answers be lost.
    pub(super) fn confirm_pause(&self) -> Duration {
        let lease = lease::holds(self.configurations.at(self.next));
        let pause = self.options.confirm_every;
        if lease.is_zero() { pause } else { pause.min(lease / 3) }
    }

    pub(super) fn confirmed(
        &mut self,
        now: Time,
        from: NodeId,
        (ballot, round, granted): (Ballot, u64, bool),
        out: &mut Vec<Effect>,
    ) {
        let Some(term) = self.term.as_mut().filter(|term| term.ballot == ballot) else { return };
        let level = ReadLevel::Linearizable;
        for (ticket, next) in term.rounds.answer(from, round, granted) {
            out.push(Effect::ReadReady { ticket, next, level });
        }
        self.serve_reads(now, out);
    }
}
