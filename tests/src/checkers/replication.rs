//! What every node applies: in order, without gaps, only what clients sent, and to equal states.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use paxos_core::{NodeId, Proposal, Slot, Value};
use rustc_hash::FxHasher;

/// Watches what nodes apply.
#[derive(Debug, Default)]
pub struct Replication {
    submitted: BTreeSet<u64>,
    applied: BTreeMap<NodeId, Slot>,
    states: BTreeMap<Slot, (NodeId, u64)>,
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Replication {
    /// A client has sent a batch of these bytes.
    pub fn submitted(&mut self, proposal: &Proposal) {
        self.submitted.insert(match proposal {
            Proposal::Commands(bytes) => hash(&&bytes[..]),
            Proposal::Reconfigure(change) => hash(change),
        });
    }

    /// A node begins a run in which it has applied this much.
    pub fn started(&mut self, node: NodeId, applied: Slot) {
        self.applied.insert(node, applied);
    }

    /// A node goes on from the snapshot of every slot below.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn restored(&mut self, node: NodeId, next: Slot) -> Result<(), String> {
        let last = self.applied.entry(node).or_default();
        if next <= *last {
            return Err(format!("replication: {node} goes back from {last} to before {next}"));
        }
        *last = Slot(next.0 - 1);
        Ok(())
    }

    /// The last slot that a node has applied.
    pub fn applied(&self, node: NodeId) -> Slot {
        self.applied.get(&node).copied().unwrap_or_default()
    }

    /// A node applies the value of a slot.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn applies(&mut self, node: NodeId, slot: Slot, value: &Value) -> Result<(), String> {
        let last = self.applied.entry(node).or_default();
        if slot != last.next() {
            return Err(format!("replication: {node} applies {slot} behind {last}"));
        }
        *last = slot;
        let sent = match value {
            // A leader makes it by itself, for its stamp.
            Value::Commands(batch) if batch.bytes.is_empty() => return Ok(()),
            Value::Commands(batch) => hash(&&batch.bytes[..]),
            Value::Reconfigure(change) => hash(change),
            Value::Noop => return Ok(()),
        };
        if self.submitted.contains(&sent) {
            return Ok(());
        }
        Err(format!("replication: {node} applies in {slot} what nobody ever sent"))
    }

    /// A node's state behind a slot.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn state(&mut self, node: NodeId, slot: Slot, snapshot: &[u8]) -> Result<(), String> {
        let mine = hash(&snapshot);
        let (first, known) = self.states.entry(slot).or_insert((node, mine));
        if *known == mine {
            return Ok(());
        }
        Err(format!("replication: behind {slot} the state of {node} is not that of {first}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Batch, Time};

    const N: NodeId = NodeId(1);

    #[test]
    fn gaps_repeats_and_inventions_are_seen() {
        let mut checker = Replication::default();
        assert!(checker.applies(N, Slot(1), &Value::Noop).is_ok());
        assert!(checker.applies(N, Slot(3), &Value::Noop).is_err());
        let mut checker = Replication::default();
        checker.submitted(&Proposal::Commands(b"x".as_slice().into()));
        let batch = |bytes: &'static [u8]| {
            Value::Commands(Batch {
                stamp: Time(0),
                by: paxos_core::Ballot::ZERO,
                bytes: bytes.into(),
            })
        };
        assert!(checker.applies(N, Slot(1), &batch(b"x")).is_ok());
        assert!(checker.applies(N, Slot(1), &batch(b"x")).is_err(), "twice");
        assert!(checker.applies(N, Slot(2), &batch(b"y")).is_err(), "never sent");
    }

    #[test]
    fn states_that_differ_are_seen() {
        let mut checker = Replication::default();
        assert!(checker.state(N, Slot(4), b"a").is_ok());
        assert!(checker.state(NodeId(2), Slot(4), b"a").is_ok());
        assert!(checker.state(NodeId(3), Slot(4), b"b").is_err());
    }
}
