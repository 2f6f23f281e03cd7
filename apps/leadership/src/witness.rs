//! What is seen of a run: who suspects whom, who leads, and what that costs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paxos_actors::observer::Shown;
use paxos_core::effect::Took;
use paxos_core::{Ballot, Change, NodeId};
use paxos_tests::virtual_time::{Listener, Trace};

/// A change of leaders is put down to a fault until so long after the fault is over: who has begun
/// a campaign need not stop it.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Sees everything that happens in the nodes of a run. Clones are the same witness.
#[derive(Clone)]
pub struct Witness {
    trace: Trace,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen since the watch began.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether the watch has begun.
    watches: bool,
    /// When the node at fault was first suspected by another.
    pub suspected: Option<Duration>,
    /// When another than the node at fault was first elected, before that was well again.
    pub replaced: Option<Duration>,
    /// Suspicions of a leader that was well, by a node that was well too.
    pub mistakes: u64,
    /// Elections, also of who led before.
    pub changes: u64,
    /// Those of them while the leader before was well, and had been for a second.
    pub unjustified: u64,
    /// Messages between nodes.
    pub messages: u64,
    /// Nodes that are at fault, or were, and until when.
    faults: BTreeMap<NodeId, Option<Duration>>,
    /// Whom each node hears as leader.
    hears: BTreeMap<NodeId, Ballot>,
    /// Who was elected last.
    leader: Option<Ballot>,
}

impl Witness {
    /// Of a run with this trace.
    pub fn new(trace: Trace) -> Self {
        Witness { trace, seen: Arc::default() }
    }

    /// The way in for what happens.
    pub fn listener(&self) -> Listener {
        let seen = self.seen.clone();
        Arc::new(Mutex::new(move |now: Duration, node: NodeId, shown: &Shown<'_>| {
            lock(&seen).sees(now, node, shown);
        }))
    }

    /// What was before does not count: the watch begins now.
    pub fn begin(&self) {
        lock(&self.seen).watches = true;
    }

    /// A node is at fault from now on, or is well again.
    pub fn at_fault(&self, node: NodeId, is: bool) {
        let until = (!is).then(|| self.trace.elapsed());
        lock(&self.seen).faults.insert(node, until);
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Seen {
    fn sees(&mut self, now: Duration, node: NodeId, shown: &Shown<'_>) {
        match shown {
            Shown::Sent(envelope) if envelope.to != node => {
                self.messages += u64::from(self.watches);
            }
            Shown::Led(change) => self.led(now, node, change),
            _ => {}
        }
    }

    fn led(&mut self, now: Duration, node: NodeId, change: &Change) {
        match (change.leader, change.took) {
            (Some(ballot), Some(Took::Elect(_))) => self.elected(now, ballot),
            (None, Some(Took::Detect(_))) => self.suspects(now, node),
            _ => {}
        }
        match change.leader {
            Some(ballot) => self.hears.insert(node, ballot),
            None => self.hears.remove(&node),
        };
    }

    fn elected(&mut self, now: Duration, ballot: Ballot) {
        let before = self.leader.replace(ballot);
        if !self.watches {
            return;
        }
        self.changes += 1;
        self.unjustified += u64::from(before.is_some_and(|before| self.is_well(before.node, now)));
        let ill = |node: &NodeId| *node != ballot.node && !self.is_well(*node, now);
        if self.faults.keys().any(ill) {
            self.replaced.get_or_insert(now);
        }
    }

    fn suspects(&mut self, now: Duration, node: NodeId) {
        let Some(leader) = self.hears.get(&node).map(|ballot| ballot.node) else { return };
        if !self.watches || !self.is_well(node, now) {
            return;
        }
        if self.is_well(leader, now) {
            self.mistakes += 1;
        } else {
            self.suspected.get_or_insert(now);
        }
    }

    fn is_well(&self, node: NodeId, now: Duration) -> bool {
        match self.faults.get(&node) {
            None => true,
            Some(None) => false,
            Some(Some(until)) => now >= *until + AFTERMATH,
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
