//! Agreement: one value per slot is ever chosen, and only that is ever applied.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{Ballot, Membership, NodeId, Record, Slot, Value};

use super::memberships::Memberships;

/// Watches what is synced on the disks, and what is applied.
#[derive(Debug)]
pub struct Agreement {
    memberships: Memberships,
    votes: BTreeMap<(Slot, Ballot), (Value, BTreeSet<NodeId>)>,
    chosen: BTreeMap<Slot, Value>,
}

impl Agreement {
    /// A checker of a cluster that begins with this membership.
    pub fn new(genesis: Membership) -> Self {
        let memberships = Memberships::new(genesis);
        Agreement { memberships, votes: BTreeMap::new(), chosen: BTreeMap::new() }
    }

    /// The memberships, as they were chosen.
    pub fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    /// A node's disk holds the record, synced.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn synced(&mut self, node: NodeId, record: &Record) -> Result<(), String> {
        let Record::Accepted { slot, ballot, value } = record else { return Ok(()) };
        let empty = || (value.clone(), BTreeSet::new());
        let (known, voters) = self.votes.entry((*slot, *ballot)).or_insert_with(empty);
        if known != value {
            return Err(format!(
                "agreement: {ballot} proposed two values for {slot}: {known} and {value}"
            ));
        }
        voters.insert(node);
        if !self.memberships.at(*slot).quorums.is_phase2(voters.iter()) {
            return Ok(());
        }
        match self.chosen.get(slot) {
            Some(first) if first != value => {
                Err(format!("agreement: {slot} has two chosen values: {first} and {value}"))
            }
            Some(_) => Ok(()),
            None => {
                self.chosen.insert(*slot, value.clone());
                self.memberships.chosen(*slot, value);
                Ok(())
            }
        }
    }

    /// A node applies the value.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn applied(&self, node: NodeId, slot: Slot, value: &Value) -> Result<(), String> {
        match self.chosen.get(&slot) {
            Some(chosen) if chosen == value => Ok(()),
            Some(chosen) => {
                Err(format!("agreement: {node} applies {value} in {slot}, not {chosen}"))
            }
            None => Err(format!("agreement: {node} applies {slot}, which no quorum holds on disk")),
        }
    }

    /// The first slot behind all that are chosen.
    pub fn behind(&self) -> Slot {
        self.chosen.last_key_value().map_or(Slot(1), |(slot, _)| slot.next())
    }

    /// How many slots are chosen.
    pub fn chosen(&self) -> usize {
        self.chosen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(round: u64, value: &'static [u8]) -> Record {
        let batch = paxos_core::Batch {
            stamp: paxos_core::Time(0),
            by: paxos_core::Ballot::ZERO,
            bytes: value.into(),
        };
        let ballot = Ballot { round, node: NodeId(1), incarnation: 1 };
        Record::Accepted { slot: Slot(1), ballot, value: Value::Commands(batch) }
    }

    fn checker() -> Agreement {
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        Agreement::new(Membership::of_voters(voters).unwrap())
    }

    #[test]
    fn two_chosen_values_are_seen() {
        let mut checker = checker();
        for (node, round, value) in [(1, 1, b"x"), (2, 1, b"x"), (2, 2, b"y")] {
            checker.synced(NodeId(node), &accepted(round, value)).unwrap();
        }
        assert!(checker.synced(NodeId(3), &accepted(2, b"y")).is_err());
    }

    #[test]
    fn two_values_of_one_ballot_are_seen() {
        let mut checker = checker();
        checker.synced(NodeId(1), &accepted(1, b"x")).unwrap();
        assert!(checker.synced(NodeId(2), &accepted(1, b"y")).is_err());
    }

    #[test]
    fn what_only_one_disk_holds_must_not_be_applied() {
        let mut checker = checker();
        checker.synced(NodeId(1), &accepted(1, b"x")).unwrap();
        let Record::Accepted { value, .. } = accepted(1, b"x") else { unreachable!() };
        assert!(checker.applied(NodeId(1), Slot(1), &value).is_err());
        checker.synced(NodeId(2), &accepted(1, b"x")).unwrap();
        assert!(checker.applied(NodeId(1), Slot(1), &value).is_ok());
    }
}
