//! What will happen, in order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use paxos_core::{Envelope, NodeId, RoleKind, Time};

use super::plan::Trouble;

/// Something that happens at one moment.
#[derive(Debug)]
pub(super) enum Event {
    /// A message arrives; one inside a node is for the run that sent it.
    Deliver(Box<Envelope>, u64),
    /// A role's timer may be due.
    Ring(NodeId, RoleKind),
    /// The disk is done with what a run has written.
    Synced(NodeId, u64),
    /// A run makes the snapshot that is due.
    Snapshot(NodeId, u64),
    /// Something befalls somebody.
    Befall(Trouble),
    /// A node that is down starts.
    Restart(NodeId),
    /// A run ends in peace, to start again with another role.
    Anew(NodeId, u64),
    /// A cut ends.
    Mend(u64),
    /// A client begins its next operation.
    Begin(usize),
    /// A client has waited long enough for an attempt.
    Impatient(usize, u64),
    /// A follower looks what there is for it.
    Listen(usize),
    /// Faults end.
    Heal,
}

/// Events to come: the earlier first, of one moment the older.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: BinaryHeap<Scheduled>,
    made: u64,
}

impl Events {
    /// Adds one.
    pub(super) fn add(&mut self, time: Time, event: Event) {
        self.made += 1;
        self.queue.push(Scheduled { time, order: self.made, event });
    }

    /// How many are to come.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next, unless it comes later than `until`: when it happens, how many were made
    /// before it, and what it is.
    pub(super) fn next_by(&mut self, until: Time) -> Option<(Time, u64, Event)> {
        if self.queue.peek()?.time > until {
            return None;
        }
        self.queue.pop().map(|Scheduled { time, order, event }| (time, order, event))
    }
}

#[derive(Debug)]
struct Scheduled {
    time: Time,
    order: u64,
    event: Event,
}

impl Scheduled {
    fn place(&self) -> (Reverse<Time>, Reverse<u64>) {
        (Reverse(self.time), Reverse(self.order))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Scheduled {}
