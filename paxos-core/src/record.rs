//! What is written to the log, and what a log says when it is read back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::types::{Ballot, NodeId, Slot};
use crate::value::Value;

/// One record of the log on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Record {
    /// Begins every segment and every run: what would be lost with the segments before it.
    Head {
        /// The highest promise.
        promised: Ballot,
        /// Slots below are cut.
        trimmed: Slot,
        /// How often the node has started.
        incarnation: u64,
        /// What is known of the runs of its peers.
        peers: BTreeMap<NodeId, PeerRun>,
    },
    /// A promise.
    Promised(Ballot),
    /// An acceptance, which implies the promise of its ballot: one record, so that no crash can
    /// keep one without the other.
    Accepted {
        /// Where.
        slot: Slot,
        /// Under which ballot.
        ballot: Ballot,
        /// What.
        value: Value,
    },
    /// A slot is chosen. It is not synced on its own account: losing it loses no promise.
    Chosen {
        /// Where.
        slot: Slot,
        /// At this ballot or a lower one.
        ballot: Ballot,
        /// The value, unless the node's own acceptance at this ballot or a higher one holds it.
        value: Option<Value>,
    },
    /// Slots below are cut.
    Trimmed(Slot),
    /// A peer was met in this run of it.
    Peer {
        /// The peer.
        node: NodeId,
        /// Its run.
        run: PeerRun,
    },
}

impl Record {
    /// Whether something waits until it is synced.
    pub fn needs_sync(&self) -> bool {
        !matches!(self, Record::Chosen { .. })
    }
}

/// One run of a peer, from start to end of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerRun {
    /// How often it had started.
    pub incarnation: u64,
    /// Drawn at random for the run: two runs of one incarnation are two processes with one
    /// identity.
    pub nonce: u64,
}

/// What a log says: the fold of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The highest ballot promised or accepted.
    pub promised: Ballot,
    /// Slots below are cut.
    pub trimmed: Slot,
    /// How often the node had started.
    pub incarnation: u64,
    /// The newest known run of each peer.
    pub peers: BTreeMap<NodeId, PeerRun>,
    /// The acceptance of the highest ballot in each slot that is not cut.
    pub accepted: BTreeMap<Slot, (Ballot, Value)>,
    marks: BTreeMap<Slot, (Ballot, Option<Value>)>,
}

impl Recovered {
    /// Takes one more record in.
    ///
    /// Invariant: nothing is held of a slot below the cut, be its record before the cut or behind
    /// it. What a segment that was kept for its later slots still has of them is not reported.
    pub fn absorb(&mut self, record: Record) {
        match record {
            Record::Head { promised, trimmed, incarnation, peers } => {
                self.promised = self.promised.max(promised);
                self.trim(trimmed);
                self.incarnation = self.incarnation.max(incarnation);
                peers.into_iter().for_each(|(node, run)| self.meet(node, run));
            }
            Record::Promised(ballot) => self.promised = self.promised.max(ballot),
            Record::Accepted { slot, ballot, value } => {
                self.promised = self.promised.max(ballot);
                let held = self.accepted.get(&slot).map(|(held, _)| *held);
                if slot >= self.trimmed && held.is_none_or(|held| ballot >= held) {
                    self.accepted.insert(slot, (ballot, value));
                }
            }
            Record::Chosen { slot, .. } if slot < self.trimmed => {}
            Record::Chosen { slot, ballot, value } => {
                let known = self.marks.entry(slot).or_insert((ballot, None));
                if known.1.is_none() && value.is_some() {
                    *known = (ballot, value);
                }
            }
            Record::Trimmed(slot) => self.trim(slot),
            Record::Peer { node, run } => self.meet(node, run),
        }
    }

    fn trim(&mut self, below: Slot) {
        if below > self.trimmed {
            self.trimmed = below;
            self.accepted = self.accepted.split_off(&below);
            self.marks = self.marks.split_off(&below);
        }
    }

    fn meet(&mut self, node: NodeId, run: PeerRun) {
        let known = self.peers.entry(node).or_insert(run);
        if run.incarnation > known.incarnation {
            *known = run;
        }
    }

    /// The chosen values of consecutive slots from `first` on, as far as the log has them. A mark
    /// whose value is missing ends it; what lies behind is fetched.
    pub fn chosen(&self, first: Slot) -> BTreeMap<Slot, (Ballot, Value)> {
        let mut chosen = BTreeMap::new();
        let mut slot = first;
        while let Some(found) = self.chosen_at(slot) {
            chosen.insert(slot, found);
            slot = slot.next();
        }
        chosen
    }

    fn chosen_at(&self, slot: Slot) -> Option<(Ballot, Value)> {
        let (ballot, value) = self.marks.get(&slot)?;
        if let Some(value) = value {
            return Some((*ballot, value.clone()));
        }
        self.accepted.get(&slot).filter(|(accepted, _)| accepted >= ballot).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: NodeId(1), incarnation: 1 }
    }

    fn accepted(slot: u64, round: u64) -> Record {
        Record::Accepted { slot: Slot(slot), ballot: ballot(round), value: Value::Noop }
    }

    fn chosen(slot: u64, round: u64) -> Record {
        Record::Chosen { slot: Slot(slot), ballot: ballot(round), value: None }
    }

    fn recovered(records: impl IntoIterator<Item = Record>) -> Recovered {
        let mut recovered = Recovered::default();
        records.into_iter().for_each(|record| recovered.absorb(record));
        recovered
    }

    #[test]
    fn an_acceptance_implies_its_promise() {
        assert_eq!(recovered([accepted(1, 7), Record::Promised(ballot(3))]).promised, ballot(7));
    }

    #[test]
    fn the_chosen_prefix_ends_where_a_value_is_missing() {
        let log = [accepted(1, 1), accepted(2, 1), accepted(3, 1)];
        let marks = [chosen(1, 1), chosen(2, 2), chosen(3, 1)];
        let recovered = recovered(log.into_iter().chain(marks));
        assert_eq!(recovered.chosen(Slot(1)).keys().copied().collect::<Vec<_>>(), [Slot(1)]);
    }

    #[test]
    fn what_is_cut_is_neither_held_nor_taken_in_again_but_its_promise_is() {
        let log = [accepted(1, 1), accepted(2, 1), accepted(3, 1), chosen(1, 1), chosen(2, 1)];
        let cut = Record::Trimmed(Slot(3));
        let behind = [chosen(3, 1), accepted(2, 9), chosen(2, 9)];
        let recovered = recovered(log.into_iter().chain([cut]).chain(behind));
        assert_eq!(recovered.promised, ballot(9));
        assert_eq!(recovered.accepted.keys().copied().collect::<Vec<_>>(), [Slot(3)]);
        assert_eq!(recovered.chosen(Slot(3)).keys().copied().collect::<Vec<_>>(), [Slot(3)]);
    }

    #[test]
    fn a_mark_that_carries_its_value_is_not_taken_in_below_the_cut() {
        let (slot, value) = (Slot(2), Some(Value::Noop));
        let mark = Record::Chosen { slot, ballot: ballot(1), value };
        assert!(recovered([Record::Trimmed(Slot(3)), mark.clone()]).chosen(slot).is_empty());
        assert_eq!(recovered([Record::Trimmed(slot), mark]).chosen(slot).len(), 1);
    }

    #[test]
    fn a_peer_is_remembered_by_its_newest_run() {
        let meet = |incarnation, nonce| Record::Peer {
            node: NodeId(2),
            run: PeerRun { incarnation, nonce },
        };
        let recovered = recovered([meet(3, 1), meet(2, 9), meet(3, 8)]);
        assert_eq!(recovered.peers[&NodeId(2)], PeerRun { incarnation: 3, nonce: 1 });
    }

    #[test]
    fn everything_but_a_mark_is_waited_for() {
        let run = PeerRun { incarnation: 1, nonce: 1 };
        let (promised, trimmed, peers) = (ballot(1), Slot(1), BTreeMap::new());
        for record in [
            Record::Head { promised, trimmed, incarnation: 1, peers },
            Record::Promised(ballot(1)),
            accepted(1, 1),
            Record::Trimmed(Slot(1)),
            Record::Peer { node: NodeId(2), run },
        ] {
            assert!(record.needs_sync(), "{record}");
        }
        assert!(!chosen(1, 1).needs_sync());
    }

    #[test]
    fn a_slot_that_is_marked_again_stays_chosen() {
        let recovered = recovered([accepted(1, 1), chosen(1, 1), chosen(1, 2)]);
        assert_eq!(recovered.chosen(Slot(1)).keys().copied().collect::<Vec<_>>(), [Slot(1)]);
    }
}
