//! No two leaders have a lease at once: computed from questions, answers and clocks, not from what
//! a leader believes of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_core::{Ballot, NodeId, Quorums, Slot, Time};

/// Questions of one leadership that are remembered.
const ROUNDS: u64 = 64;

/// Watches who was lent a lease.
#[derive(Debug)]
pub struct Leases {
    holds: Duration,
    asked: BTreeMap<NodeId, Asked>,
    /// Who holds a lease.
    held: BTreeMap<NodeId, Held>,
    /// Who has reported to the end to the newest ballot of each node.
    reported: BTreeMap<NodeId, (Ballot, BTreeSet<NodeId>)>,
    /// The highest ballot of each node that was given up.
    ended: BTreeMap<NodeId, Ballot>,
}

/// A lease: under which ballot, until when by the holder's clock, and who lent it.
#[derive(Clone, Debug)]
struct Held {
    ballot: Ballot,
    /// The leader may read once it knows everything below,
    reads_from: Slot,
    until: Time,
    by: BTreeSet<NodeId>,
}

#[derive(Debug, Default)]
struct Asked {
    ballot: Ballot,
    reads_from: Slot,
    rounds: BTreeMap<u64, (Time, BTreeSet<NodeId>)>,
}

impl Leases {
    /// A checker of a cluster whose leases are held for so long.
    pub fn new(holds: Duration) -> Self {
        let (asked, held, ended) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Leases { holds, asked, held, reported: BTreeMap::new(), ended }
    }

    /// A leader asks, at this moment of its own clock, when everything below `chosen` is chosen and
    /// nothing from there on.
    pub fn asked(&mut self, ballot: Ballot, round: u64, clock: Time, chosen: Slot) {
        let asked = self.asked.entry(ballot.node).or_default();
        if asked.ballot != ballot {
            *asked = Asked { ballot, reads_from: chosen, rounds: BTreeMap::new() };
        }
        asked.rounds.entry(round).or_insert((clock, BTreeSet::new()));
        asked.rounds = asked.rounds.split_off(&round.saturating_sub(ROUNDS));
    }

    /// Whoever campaigns or leads hears the end of what an acceptor has to report.
    pub fn reported(&mut self, by: NodeId, ballot: Ballot) {
        let (newest, all) = self.reported.entry(ballot.node).or_default();
        if ballot > *newest {
            (*newest, *all) = (ballot, BTreeSet::new());
        }
        if ballot == *newest {
            all.insert(by);
        }
    }

    /// A leader answers a read by its lease, from the state behind every slot below `next`.
    ///
    /// # Errors
    /// That something was chosen before it began to lead which is not in that state.
    pub fn reads(&self, node: NodeId, next: Slot) -> Result<(), String> {
        match self.asked.get(&node) {
            Some(asked) if next < asked.reads_from => {
                let Asked { ballot, reads_from, .. } = asked;
                Err(format!("leases: {ballot} reads below {next}, and not below {reads_from}"))
            }
            _ => Ok(()),
        }
    }

    /// A ballot is given up.
    pub fn ended(&mut self, ballot: Ballot) {
        let ended = self.ended.entry(ballot.node).or_default();
        *ended = ballot.max(*ended);
        if self.held.get(&ballot.node).is_some_and(|held| held.ballot <= ballot) {
            self.held.remove(&ballot.node);
        }
    }

    /// A leader hears that an acceptor has lent. `shows` is what a node's clock shows now; `None`:
    /// it does not run, or is another run than that of the ballot. `governs` is what the first slot
    /// is governed by that a node does not know to be chosen; `None`: that is below the one given.
    ///
    /// A lease is worth something if the leader may read by it: it knows what was chosen before it
    /// began, and has heard a phase 1 quorum of what governs then to the end. Else it may have been
    /// elected by a membership of the past, and is nobody's leader.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn lent(
        &mut self,
        by: NodeId,
        ballot: Ballot,
        round: u64,
        shows: impl Fn(Ballot) -> Option<Time>,
        governs: impl Fn(NodeId, Slot) -> Option<Quorums>,
    ) -> Result<(), String> {
        let gone = self.ended.get(&ballot.node).is_some_and(|ended| *ended >= ballot);
        let asked = self.asked.get_mut(&ballot.node).filter(|asked| asked.ballot == ballot);
        let Some(asked) = asked.filter(|_| !gone) else { return Ok(()) };
        let reads_from = asked.reads_from;
        let Some((sent, lent_by)) = asked.rounds.get_mut(&round) else { return Ok(()) };
        lent_by.insert(by);
        let (until, by) = (sent.after(self.holds), lent_by.clone());
        let reported = &self.reported;
        let valid = |held: &Held| {
            let nobody = (Ballot::ZERO, BTreeSet::new());
            let (ballot, heard) = reported.get(&held.ballot.node).unwrap_or(&nobody);
            shows(held.ballot).is_some_and(|now| now < held.until)
                && *ballot == held.ballot
                && governs(held.ballot.node, held.reads_from)
                    .is_some_and(|it| it.is_phase1(heard) && it.is_phase2(&held.by))
        };
        let lease = Held { ballot, reads_from, until, by };
        if !valid(&lease) {
            return Ok(());
        }
        let others = self.held.values().filter(|held| held.ballot.node != ballot.node);
        if let Some(other) = others.into_iter().find(|other| valid(other)) {
            let other = other.ballot;
            return Err(format!("leases: {ballot} has one while that of {other} is valid"));
        }
        let held = self.held.entry(ballot.node).or_insert(lease.clone());
        if held.ballot != ballot || held.until <= until {
            *held = lease;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node), incarnation: 1 }
    }

    fn three(_: NodeId, _: Slot) -> Option<Quorums> {
        Some(Quorums::majority((1..=3).map(NodeId)).expect("three nodes"))
    }

    fn held_by_the_first() -> Leases {
        let mut leases = Leases::new(Duration::from_micros(100));
        for by in [1, 2].map(NodeId) {
            leases.reported(by, ballot(1, 1));
        }
        for by in [2, 3].map(NodeId) {
            leases.reported(by, ballot(2, 2));
        }
        leases.asked(ballot(1, 1), 1, Time(0), Slot(1));
        for by in [1, 2].map(NodeId) {
            assert_eq!(leases.lent(by, ballot(1, 1), 1, |_| Some(Time(9)), three), Ok(()));
        }
        leases.asked(ballot(2, 2), 1, Time(50), Slot(9));
        leases
    }

    fn second_takes(leases: &mut Leases, now: u64) -> Result<(), String> {
        let shows = |_| Some(Time(now));
        let mut by = [2, 3].into_iter().map(NodeId);
        by.try_for_each(|by| leases.lent(by, ballot(2, 2), 1, shows, three))
    }

    #[test]
    fn s13_two_valid_leases_are_seen_and_one_after_the_other_is_not_two() {
        assert!(second_takes(&mut held_by_the_first(), 99).is_err());
        assert_eq!(second_takes(&mut held_by_the_first(), 100), Ok(()));
        let mut given_up = held_by_the_first();
        given_up.ended(ballot(1, 1));
        assert_eq!(second_takes(&mut given_up, 60), Ok(()));
    }

    #[test]
    fn a_read_by_lease_contains_what_was_chosen_before_its_leader_began() {
        let leases = held_by_the_first();
        assert_eq!(leases.reads(NodeId(2), Slot(9)), Ok(()));
        assert!(leases.reads(NodeId(2), Slot(8)).is_err());
    }

    #[test]
    fn a_lease_of_a_membership_that_governs_no_more_is_none() {
        let mut leases = held_by_the_first();
        let governs = |node, slot| match node {
            NodeId(1) => Some(Quorums::majority([NodeId(3), NodeId(4)]).expect("two nodes")),
            node => three(node, slot),
        };
        for by in [2, 3].map(NodeId) {
            assert_eq!(leases.lent(by, ballot(2, 2), 1, |_| Some(Time(60)), governs), Ok(()));
        }
    }

    #[test]
    fn a_lease_by_which_its_holder_may_not_read_yet_is_none() {
        // It knows what is chosen below 8 and 9; before it began, everything below 9 was.
        for (knows, overlaps) in [(8, false), (9, true)] {
            let governs = |node, from| match node {
                NodeId(2) if from > Slot(knows) => None,
                node => three(node, from),
            };
            let mut leases = held_by_the_first();
            let mut lend = |by| leases.lent(by, ballot(2, 2), 1, |_| Some(Time(60)), governs);
            let lent = [2, 3].map(NodeId).into_iter().try_for_each(&mut lend);
            assert_eq!(lent.is_err(), overlaps, "{lent:?}");
        }
        let mut unheard = held_by_the_first();
        unheard.reported.remove(&NodeId(2));
        unheard.reported(NodeId(3), ballot(2, 2));
        assert_eq!(second_takes(&mut unheard, 60), Ok(()), "one of three has reported");
    }
}
