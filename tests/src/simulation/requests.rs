//! How clients ask nodes, and how they are answered.

use std::time::Duration;

use paxos_core::{Envelope, Message, NodeId, Proposal, ReadLevel, Slot, StateMachine};

use super::client::{Client, Wish};
use super::events::Event;
use super::world::World;

/// A client asks another node after this.
const CLIENT_PATIENCE: Duration = Duration::from_millis(400);

/// A client pauses for no longer than this between two operations once faults are over.
const HURRY: Duration = Duration::from_millis(100);

impl World<'_> {
    /// A read may be answered by a node that has applied so much.
    pub(super) fn read_ready(
        &mut self,
        node: NodeId,
        ticket: u64,
        next: Slot,
        level: ReadLevel,
    ) -> Result<(), String> {
        if level == ReadLevel::Lease {
            self.by_lease += 1;
            self.leases.reads(node, next)?;
        }
        *self.certified.entry(node).or_default() += 1;
        self.waiting_reads.entry((node, next)).or_default().push(ticket);
        self.answer_reads(node)
    }

    pub(super) fn answer(&mut self, id: usize, value: u64) -> Result<(), String> {
        // A restarted node may apply a slot again that it had answered before.
        if self.clients[id].present.is_none() {
            return Ok(());
        }
        self.clients[id].end(self.now, value);
        self.mind_belief(id)?;
        // Once all is healed nobody has time to think, or the slow ones would not be done in time.
        let hurried = self.plan.think.min(HURRY);
        let pause = match self.healed {
            Some(_) => hurried,
            None => self.locker_pauses(id).unwrap_or(self.plan.think),
        };
        let pause = self.upto(pause);
        self.at(pause, Event::Begin(id));
        Ok(())
    }

    pub(super) fn answer_reads(&mut self, node: NodeId) -> Result<(), String> {
        let Some(running) = self.running.get(&node) else { return Ok(()) };
        let applied = running.replica.applied();
        let value = running.replica.machine().query(());
        let (first, last) = ((node, Slot(0)), (node, applied.next()));
        let ready: Vec<_> = self.waiting_reads.range(first..=last).map(|(key, _)| *key).collect();
        for key in ready {
            for ticket in self.waiting_reads.remove(&key).unwrap_or_default() {
                let (id, _) = Client::of_ticket(ticket);
                let client = &self.clients[id];
                let reads =
                    client.present.is_some_and(|present| matches!(present.wish, Wish::Read(_)));
                if client.ticket() == ticket && client.node == node && reads {
                    self.answer(id, value)?;
                }
            }
        }
        Ok(())
    }

    /// Sends the present operation of a client to its node.
    pub(super) fn ask(&mut self, id: usize) {
        self.clients[id].attempts += 1;
        let (node, attempt) = (self.clients[id].node, self.clients[id].attempts);
        let Some(running) = self.running.get(&node) else {
            // Nobody is there, and that is soon noticed.
            return self.at(Duration::from_millis(50), Event::Impatient(id, attempt));
        };
        let incarnation = running.incarnation();
        // Each attempt gets more time, or a slow cluster would never be in time.
        let patience = CLIENT_PATIENCE * (1 << self.clients[id].tries.min(4));
        self.clients[id].tries += 1;
        self.at(patience, Event::Impatient(id, attempt));
        let ticket = self.clients[id].ticket();
        let message = match self.clients[id].batch(node, incarnation) {
            Some(bytes) => {
                let proposal = Proposal::Commands(bytes);
                self.replication.submitted(&proposal);
                paxos_core::Inside::Propose { ticket, proposal }
            }
            None => {
                let level = match self.clients[id].present.map(|present| present.wish) {
                    Some(Wish::Read(level)) => level,
                    _ => ReadLevel::Linearizable,
                };
                paxos_core::Inside::Read { ticket, level }
            }
        };
        let delay = self.upto(Duration::from_millis(1));
        let message = Message::Inside(message);
        self.post(delay, Envelope { from: node, to: node, message });
    }

    pub(super) fn try_another(&mut self, id: usize) {
        let place = self.random.below(self.fronts.len() as u64) as usize;
        self.clients[id].node = self.fronts[place];
        self.ask(id);
    }
}
