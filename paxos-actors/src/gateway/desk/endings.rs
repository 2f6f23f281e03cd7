//! Whose wait is over without an answer: their time is, or there is no sign of a leader.

use std::collections::VecDeque;
use std::time::Duration;

use paxos_core::Time;
use paxos_net::protocol::{Refused, Response};

use super::reads::Reads;
use super::{Batch, Desk, Order};
use crate::gateway::pending::Pending;

impl Desk {
    /// Sends those who wait for a leader elsewhere, if there has been no sign of one for too long.
    pub(super) fn send_away(&mut self, now: Time) {
        let in_vain = match self.leader {
            None => {
                let alone = self.reach.reached < self.reach.needed;
                let patience = if alone { Duration::ZERO } else { self.options.patience };
                self.leaderless.get_or_insert(now).after(patience) <= now
            }
            Some(leader) if leader == self.me || !self.asks_the_leader() => {
                self.answered = now;
                false
            }
            Some(_) => {
                if self.answered.after(self.options.patience / 2) <= now {
                    // Commands wait for disks; the answer to this question does not.
                    self.freshen(now);
                }
                self.answered.after(self.options.patience) <= now
            }
        };
        if !in_vain {
            return;
        }
        self.withdraw(Pending::wants_a_leader);
        if self.leader.is_none() && !self.forsakes {
            self.forsakes = true;
            self.orders.push(Order::Forsake(self.reach));
        }
    }

    /// Whether another node that leads is asked for something, or will be when it is reached, or is
    /// to tell what became of what this node proposed while it led.
    fn asks_the_leader(&self) -> bool {
        let asked = |reads: &Reads| reads.of.is_some();
        let waits = |batch: &Batch| batch.pending.iter().any(Option::is_some);
        !self.commands.is_empty()
            || !self.queries.is_empty()
            || !self.relayed.is_empty()
            || self.reads.values().any(asked)
            || self.batches.values().any(waits)
    }

    /// Answers some of those who wait that there was no answer in time.
    pub(super) fn withdraw(&mut self, late: impl Fn(&Pending) -> bool) {
        let mut over: Vec<(Pending, bool)> = Vec::new();
        for queue in [&mut self.commands, &mut self.queries] {
            let (gone, left) = queue.drain(..).partition(&late);
            *queue = left;
            let gone: VecDeque<Pending> = gone;
            over.extend(gone.into_iter().map(|pending| {
                let exposed = pending.exposed;
                (pending, exposed)
            }));
        }
        for batch in self.batches.values_mut() {
            let pending = batch.pending.iter_mut();
            let gone = pending.filter_map(|pending| pending.take_if(|pending| late(pending)));
            over.extend(gone.map(|pending| (pending, true)));
        }
        for reads in self.reads.values_mut() {
            let pending = reads.pending.iter_mut();
            let gone = pending.filter_map(|pending| pending.take_if(|pending| late(pending)));
            over.extend(gone.map(|pending| (pending, false)));
        }
        self.forget_idle_reads();
        let (gone, left) = std::mem::take(&mut self.transfers).into_iter().partition(&late);
        self.transfers = left;
        let gone: Vec<Pending> = gone;
        over.extend(gone.into_iter().map(|pending| (pending, false)));
        let relayed = std::mem::take(&mut self.relayed);
        for (id, relayed) in relayed {
            match late(&relayed.pending) {
                true => over.push((relayed.pending, true)),
                false => drop(self.relayed.insert(id, relayed)),
            }
        }
        self.expires = self.earliest();
        for (pending, exposed) in over {
            let why = self.reach;
            let pending = Pending { exposed, ..pending };
            self.settle(pending, Response::Refused(Refused::Unavailable(why)));
        }
    }

    fn earliest(&self) -> Option<Time> {
        let queued = self.commands.iter().chain(&self.queries).chain(&self.transfers);
        let batches = self.batches.values().flat_map(|batch| batch.pending.iter().flatten());
        let reads = self.reads.values().flat_map(|reads| reads.pending.iter().flatten());
        let relayed = self.relayed.values().map(|relayed| &relayed.pending);
        let all = queued.chain(batches).chain(reads).chain(relayed);
        all.map(|pending| pending.deadline).min()
    }
}
