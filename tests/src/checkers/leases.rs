//! No two leaders have a lease at once: computed from questions, answers and clocks, not from what
//! a leader believes of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_core::{Ballot, NodeId, Quorums, Time};

/// Questions of one leadership that are remembered.
const ROUNDS: u64 = 64;

/// Watches who was lent a lease.
#[derive(Debug)]
pub struct Leases {
    quorums: Quorums,
    holds: Duration,
    asked: BTreeMap<NodeId, Asked>,
    /// Who holds a lease, under which ballot, and until when by its own clock.
    held: BTreeMap<NodeId, (Ballot, Time)>,
    /// The highest ballot of each node that was given up.
    ended: BTreeMap<NodeId, Ballot>,
}

#[derive(Debug, Default)]
struct Asked {
    ballot: Ballot,
    rounds: BTreeMap<u64, (Time, BTreeSet<NodeId>)>,
}

impl Leases {
    /// A checker for one membership whose leases are held for so long.
    pub fn new(quorums: Quorums, holds: Duration) -> Self {
        let (asked, held, ended) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Leases { quorums, holds, asked, held, ended }
    }

    /// A leader asks, at this moment of its own clock.
    pub fn asked(&mut self, ballot: Ballot, round: u64, clock: Time) {
        let asked = self.asked.entry(ballot.node).or_default();
        if asked.ballot != ballot {
            *asked = Asked { ballot, rounds: BTreeMap::new() };
        }
        asked.rounds.entry(round).or_insert((clock, BTreeSet::new()));
        asked.rounds = asked.rounds.split_off(&round.saturating_sub(ROUNDS));
    }

    /// A ballot is given up.
    pub fn ended(&mut self, ballot: Ballot) {
        let ended = self.ended.entry(ballot.node).or_default();
        *ended = ballot.max(*ended);
        if self.held.get(&ballot.node).is_some_and(|(held, _)| *held <= ballot) {
            self.held.remove(&ballot.node);
        }
    }

    /// A leader hears that an acceptor has lent. `shows` is what a node's clock shows now; `None`:
    /// it does not run, or is another run than that of the ballot.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn lent(
        &mut self,
        by: NodeId,
        ballot: Ballot,
        round: u64,
        shows: impl Fn(Ballot) -> Option<Time>,
    ) -> Result<(), String> {
        let gone = self.ended.get(&ballot.node).is_some_and(|ended| *ended >= ballot);
        let asked = self.asked.get_mut(&ballot.node).filter(|asked| asked.ballot == ballot);
        let round = asked.and_then(|asked| asked.rounds.get_mut(&round));
        let Some((sent, lent_by)) = round.filter(|_| !gone) else { return Ok(()) };
        lent_by.insert(by);
        let until = sent.after(self.holds);
        if !self.quorums.is_phase2(&*lent_by) || shows(ballot).is_none_or(|now| now >= until) {
            return Ok(());
        }
        for (other, end) in self.held.values() {
            if other.node != ballot.node && shows(*other).is_some_and(|now| now < *end) {
                return Err(format!("leases: {ballot} has one while that of {other} is valid"));
            }
        }
        let held = self.held.entry(ballot.node).or_insert((ballot, until));
        *held = (ballot, if held.0 == ballot { until.max(held.1) } else { until });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node), incarnation: 1 }
    }

    fn held_by_the_first() -> Leases {
        let quorums = Quorums::majority((1..=3).map(NodeId)).expect("three nodes");
        let mut leases = Leases::new(quorums, Duration::from_micros(100));
        leases.asked(ballot(1, 1), 1, Time(0));
        assert_eq!(leases.lent(NodeId(1), ballot(1, 1), 1, |_| Some(Time(9))), Ok(()));
        assert_eq!(leases.lent(NodeId(2), ballot(1, 1), 1, |_| Some(Time(9))), Ok(()));
        leases.asked(ballot(2, 2), 1, Time(50));
        leases
    }

    fn second_takes(leases: &mut Leases, now: u64) -> Result<(), String> {
        [2, 3]
            .into_iter()
            .try_for_each(|node| leases.lent(NodeId(node), ballot(2, 2), 1, |_| Some(Time(now))))
    }

    #[test]
    fn s13_two_valid_leases_are_seen_and_one_after_the_other_is_not_two() {
        assert!(second_takes(&mut held_by_the_first(), 99).is_err());
        assert_eq!(second_takes(&mut held_by_the_first(), 100), Ok(()));
        let mut given_up = held_by_the_first();
        given_up.ended(ballot(1, 1));
        assert_eq!(second_takes(&mut given_up, 60), Ok(()));
    }
}
