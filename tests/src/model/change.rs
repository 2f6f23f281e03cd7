//! Changes of membership: what a search changes, and what the disks say came of it.

use std::collections::BTreeSet;

use paxos_core::{Membership, Slot, Value};

use super::node::{Known, Vote};

/// A change of membership that is asked for during a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The acceptors at first, by the numbers of their nodes.
    pub before: &'static [u64],
    /// Those that each proposer is asked to change them into, before anything else is asked of it;
    /// none: it is asked for commands only. Both changes are made from the first membership.
    pub into: [&'static [u64]; 2],
    /// A change governs so many slots after its own, and so wide is the window.
    pub alpha: u64,
}

impl Change {
    /// How many nodes accept under one of the memberships; the others have higher numbers.
    pub const fn acceptors(&self) -> u64 {
        let (sets, mut highest, mut set) = ([self.before, self.into[0], self.into[1]], 0, 0);
        while set < sets.len() {
            let mut place = 0;
            while place < sets[set].len() {
                let node = sets[set][place];
                highest = if node > highest { node } else { highest };
                place += 1;
            }
            set += 1;
        }
        highest
    }
}

/// What the disks say: what is chosen, each slot by the acceptors of its own membership, and the
/// memberships that follow. Computed here anew, not with the code that ships.
pub(super) struct Chain<'a> {
    /// Every membership, with the first slot that it governs.
    pub(super) links: Vec<(Slot, &'a Membership)>,
    /// Every vote that is one of a phase 2 quorum's for the same ballot and value.
    pub(super) chosen: Vec<&'a Vote>,
    /// The first slot that is not chosen.
    pub(super) next: Slot,
}

impl<'a> Chain<'a> {
    pub(super) fn of(genesis: &'a Membership, nodes: &[&'a Known]) -> Self {
        let links = vec![(Slot::FIRST, genesis)];
        let mut chain = Chain { links, chosen: Vec::new(), next: Slot::FIRST };
        let votes = || nodes.iter().flat_map(|known| &known.votes);
        let slots: BTreeSet<Slot> = votes().map(|vote| vote.slot).collect();
        for slot in slots {
            let quorums = &chain.at(slot).quorums;
            let is_chosen = |vote: &&Vote| {
                let voters = nodes.iter().filter(|known| known.votes.contains(vote));
                vote.slot == slot && quorums.is_phase2(voters.map(|known| &known.node.me))
            };
            let chosen: Vec<_> = votes().filter(is_chosen).collect();
            if let Some(vote) = chosen.first().filter(|vote| vote.slot == chain.next) {
                chain.follow(vote);
            }
            chain.chosen.extend(chosen);
        }
        chain
    }

    /// A change counts if it was made from the newest membership, and that one is in force.
    fn follow(&mut self, vote: &'a Vote) {
        let (newest, membership) = self.newest();
        if let Value::Reconfigure(change) = &vote.value
            && change.base == newest
            && vote.slot >= newest
        {
            self.links.push((vote.slot.plus(membership.alpha), &change.membership));
        }
        self.next = vote.slot.next();
    }

    /// The membership that governs a slot.
    pub(super) fn at(&self, slot: Slot) -> &'a Membership {
        let governing = self.links.iter().rev().find(|(from, _)| *from <= slot);
        governing.unwrap_or(&self.links[0]).1
    }

    /// The newest membership, in force or not, and the slot from which it governs.
    pub(super) fn newest(&self) -> (Slot, &'a Membership) {
        self.links[self.links.len() - 1]
    }

    /// Whether a change is chosen that does not count.
    pub(super) fn has_void(&self) -> bool {
        let mut changes = self.chosen.iter().filter_map(|vote| match &vote.value {
            Value::Reconfigure(change) => Some((vote.slot, &change.membership)),
            _ => None,
        });
        changes.any(|(slot, membership)| {
            slot < self.next
                && !self.links.iter().any(|(from, known)| {
                    *known == membership && *from == slot.plus(membership.alpha)
                })
        })
    }
}
