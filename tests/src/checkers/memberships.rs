//! Memberships form one chain: computed from what is chosen on the disks, never from what a node
//! believes. Each node's memberships must be links of it.

use std::collections::BTreeMap;

use paxos_core::{Configurations, Membership, Slot, Value};

/// Every membership that there ever was, by the first slot that it governs.
#[derive(Debug)]
pub struct Memberships {
    newest: Configurations,
    all: BTreeMap<Slot, Membership>,
    /// Chosen values behind the first slot that is not known to be chosen.
    ahead: BTreeMap<Slot, Option<Value>>,
    next: Slot,
}

impl Memberships {
    /// A checker of a cluster that begins with this membership.
    pub fn new(genesis: Membership) -> Self {
        Memberships {
            newest: Configurations::genesis(genesis.clone()),
            all: BTreeMap::from([(Slot::FIRST, genesis)]),
            ahead: BTreeMap::new(),
            next: Slot::FIRST,
        }
    }

    /// The membership that governs a slot, which must lie in the window of what is chosen.
    pub fn at(&self, slot: Slot) -> &Membership {
        let governing = self.all.range(..=slot).next_back();
        governing.unwrap_or_else(|| self.newest()).1
    }

    /// The newest, in force or not, and the slot from which it governs.
    pub fn newest(&self) -> (&Slot, &Membership) {
        self.all.last_key_value().expect("genesis is never taken away")
    }

    /// The one that governs a slot, and all after it.
    pub fn since(&self, slot: Slot) -> impl Iterator<Item = &Membership> {
        let first = self.all.range(..=slot).next_back().map_or(slot, |(from, _)| *from);
        self.all.range(first..).map(|(_, membership)| membership)
    }

    /// How many changes were made.
    pub fn changes(&self) -> usize {
        self.all.len() - 1
    }

    /// A slot is chosen.
    pub fn chosen(&mut self, slot: Slot, value: &Value) {
        let change = matches!(value, Value::Reconfigure(_)).then(|| value.clone());
        self.ahead.insert(slot, change);
        while let Some(value) = self.ahead.remove(&self.next) {
            if let Some(Value::Reconfigure(change)) = value
                && let Ok(changed) = self.newest.changed(self.next, &change)
            {
                let (from, membership) = changed.newest().clone();
                self.all.insert(from, membership);
                self.newest = changed;
            }
            self.next = self.next.next();
        }
    }

    /// A node goes by these memberships.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn believed(&self, configurations: &Configurations) -> Result<(), String> {
        let (from, membership) = configurations.newest();
        match self.all.get(from) {
            Some(known) if known == membership => Ok(()),
            Some(_) => Err(format!("memberships: two govern from {from} on")),
            None => Err(format!("memberships: none was chosen that governs from {from} on")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{NodeId, Origin, Reconfigure};

    fn genesis() -> Membership {
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        Membership::of_voters(voters).unwrap().with_alpha(4).unwrap()
    }

    fn without(node: u64, base: Slot) -> Value {
        let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
        let membership = genesis().without(NodeId(node)).unwrap();
        let change = Reconfigure { base, membership, origin, by: "admin/ada".to_owned() };
        Value::Reconfigure(Box::new(change))
    }

    #[test]
    fn a_change_counts_once_everything_before_it_is_chosen_and_only_the_first_of_two() {
        let mut memberships = Memberships::new(genesis());
        memberships.chosen(Slot(3), &without(3, Slot(1)));
        memberships.chosen(Slot(2), &without(2, Slot(1)));
        assert_eq!(memberships.changes(), 0, "who knows what slot 1 holds");
        memberships.chosen(Slot(1), &Value::Noop);
        assert_eq!(memberships.changes(), 1, "the second was made from another");
        assert_eq!(memberships.newest().0, &Slot(6));
        assert!(memberships.at(Slot(5)).members.contains_key(&NodeId(2)));
        assert!(!memberships.at(Slot(6)).members.contains_key(&NodeId(2)));
    }

    #[test]
    fn a_membership_that_was_never_chosen_is_seen() {
        let mut memberships = Memberships::new(genesis());
        let Value::Reconfigure(change) = without(3, Slot(1)) else { unreachable!() };
        let believed = Configurations::genesis(genesis()).changed(Slot(2), &change).unwrap();
        assert!(memberships.believed(&believed).is_err());
        memberships.chosen(Slot(1), &Value::Noop);
        memberships.chosen(Slot(2), &without(2, Slot(1)));
        assert!(memberships.believed(&believed).is_err(), "another was");
        memberships.newest = believed;
        assert!(memberships.believed(&Configurations::genesis(genesis())).is_ok());
    }
}
