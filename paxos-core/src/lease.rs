//! Leader leases: for a while no other node is promised anything, so that a leader may answer reads
//! without asking. Acceptors lend, a leader holds; both count on their own clocks (Gray & Cheriton,
//! *Leases*, 1989).
//!
//! Why a lease read is fresh. A lease is lent by a phase 2 quorum, and whoever leads next needs a
//! phase 1 quorum: one acceptor is in both. It lent before it promised the new ballot, since it
//! lends nothing below what it has promised, and it promised only when its lease was over. The
//! leader counts from before it asked, the acceptor from when it was asked, and the leader by so
//! much less as the acceptor's clock may run faster: the leader's end comes first. A clock beyond
//! that bound can make a lease read stale; it can never split the log.
//!
//! Whoever leads by a membership of the past, since it lags, was promised by a quorum that need not
//! meet that of the lease. It may hold a lease by that membership, too, and cannot read by it: it
//! reads only once it knows what governs now, and then needs promises and a lease of that. Nobody
//! who has lent to the leader of the present promises or lends it anything before that is over.
//!
//! The moment of a lease read is that at which the clock was read: it lies behind the stamp, and
//! what a pause delays after it is the answer alone.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Membership;
use crate::quorums::Quorums;
use crate::types::{Ballot, NodeId, Time};

/// What an acceptor has lent. It is not written down: who restarts is silent for one lease length
/// instead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Lent {
    /// Zero: nothing is ever lent.
    length: Duration,
    /// Nobody is promised anything up to this moment: what was lent before is forgotten.
    silent_until: Time,
    lent: Option<(Ballot, Time)>,
}

impl Lent {
    /// Of an acceptor that starts now.
    pub(crate) fn at_start(length: Duration, now: Time) -> Self {
        let silent_until = if length.is_zero() { Time(0) } else { now.after(length) };
        Lent { length, silent_until, lent: None }
    }

    /// Lends to the leader of a ballot, if nothing higher is promised; whether it did.
    ///
    /// What is lent to another node stays. Under a higher ballot: a late question of an older
    /// leader must not end it. Under a lower one, too: who asks may have been elected by a quorum
    /// of a membership of the past, in which nobody had lent, and would pass as the holder when it
    /// campaigns among those of the present.
    pub(crate) fn lend(&mut self, now: Time, ballot: Ballot) -> bool {
        let stays = |(holder, until): (Ballot, Time)| {
            now <= until && (holder > ballot || holder.node != ballot.node)
        };
        if self.length.is_zero() || self.lent.is_some_and(stays) {
            return false;
        }
        self.lent = Some((ballot, now.after(self.length)));
        true
    }

    /// A ballot is promised that was not barred: what another node was lent is over, or was handed
    /// over.
    pub(crate) fn promised(&mut self, ballot: Ballot) {
        self.lent = self.lent.filter(|(holder, _)| holder.node == ballot.node);
    }

    /// Whether a campaign must wait. A node's own lease does not bar it, nor one whose leader has
    /// handed over. The last moment counts: clocks are read in whole microseconds, rounded down.
    pub(crate) fn bars(&self, now: Time, campaign: Ballot, after: Option<Ballot>) -> bool {
        let silent = !self.length.is_zero() && now <= self.silent_until;
        let other = |(holder, until): (Ballot, Time)| {
            now <= until && holder.node != campaign.node && after != Some(holder)
        };
        silent || self.lent.is_some_and(other)
    }
}

/// What acceptors have lent to a leader with their answers to one question. It belongs to a ballot
/// and ends with it: it is never given up and taken again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Held {
    /// When the question was sent.
    pub(crate) asked: Time,
    /// Who lent.
    pub(crate) by: BTreeSet<NodeId>,
}

impl Held {
    /// Whether it is worth something to a quorum system at all.
    pub(crate) fn is_whole(&self, quorums: &Quorums) -> bool {
        quorums.is_phase2(&self.by)
    }

    /// Whether the leader holds a lease of this membership now.
    pub(crate) fn is_valid(&self, now: Time, membership: &Membership) -> bool {
        self.is_whole(&membership.quorums) && now < self.asked.after(holds(membership))
    }
}

/// For how long the leader of a membership holds a lease, by its own clock.
pub(crate) fn holds(membership: &Membership) -> Duration {
    let whole = 1_000_000 + u128::from(membership.drift_ppm);
    let micros = membership.lease.as_micros() * 1_000_000 / whole;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_micros(210);

    fn ballot(round: u64, node: u64) -> Ballot {
        Ballot { round, node: NodeId(node), incarnation: 1 }
    }

    #[test]
    fn who_has_lent_lets_the_holder_and_its_heir_pass_and_nobody_else() {
        let mut lent = Lent::at_start(LENGTH, Time(0));
        assert!(lent.lend(Time(1000), ballot(5, 1)));
        let bars = |campaign, after| lent.bars(Time(1100), campaign, after);
        assert!(bars(ballot(6, 2), None) && bars(ballot(6, 2), Some(ballot(4, 1))));
        assert!(!bars(ballot(6, 1), None) && !bars(ballot(6, 2), Some(ballot(5, 1))));
        assert!(lent.bars(Time(1210), ballot(6, 2), None));
        assert!(!lent.bars(Time(1211), ballot(6, 2), None));
    }

    #[test]
    fn a_late_question_of_an_older_leader_ends_no_lease() {
        let mut lent = Lent::at_start(LENGTH, Time(0));
        assert!(lent.lend(Time(1000), ballot(5, 2)));
        assert!(!lent.lend(Time(1100), ballot(4, 1)));
        assert!(lent.bars(Time(1150), ballot(6, 1), None));
        assert!(lent.lend(Time(1211), ballot(4, 1)), "once it is over");
    }

    /// Seed 1306577757 of the simulator: 6.n3 was elected by nodes of the past.
    #[test]
    fn a_newer_leader_that_was_not_promised_anything_here_ends_no_lease() {
        let mut lent = Lent::at_start(LENGTH, Time(0));
        assert!(lent.lend(Time(1000), ballot(5, 2)));
        assert!(!lent.lend(Time(1100), ballot(6, 3)));
        assert!(lent.bars(Time(1210), ballot(6, 3), None));
        assert!(lent.lend(Time(1100), ballot(6, 2)), "the same node in a newer ballot");
        assert!(lent.lend(Time(1311), ballot(7, 3)), "once it is over");
    }

    #[test]
    fn what_is_promised_to_an_heir_may_be_lent_to_it_at_once() {
        let mut lent = Lent::at_start(LENGTH, Time(0));
        assert!(lent.lend(Time(1000), ballot(5, 2)));
        assert!(!lent.bars(Time(1100), ballot(6, 3), Some(ballot(5, 2))));
        lent.promised(ballot(6, 3));
        assert!(lent.lend(Time(1100), ballot(6, 3)));
        lent.promised(ballot(7, 3));
        assert!(lent.bars(Time(1150), ballot(8, 2), None), "its own promise ends it not");
    }

    #[test]
    fn a_restart_is_followed_by_silence_which_no_lease_shortens() {
        let mut lent = Lent::at_start(LENGTH, Time(1000));
        assert!(lent.lend(Time(1001), ballot(5, 1)));
        assert!(lent.bars(Time(1210), ballot(6, 1), None), "its own neither");
        assert!(lent.bars(Time(1210), ballot(6, 2), Some(ballot(5, 1))));
        assert!(!lent.bars(Time(1211), ballot(6, 1), None));
    }

    #[test]
    fn without_a_length_nothing_is_lent_and_nobody_barred() {
        let mut lent = Lent::at_start(Duration::ZERO, Time(1000));
        assert!(!lent.lend(Time(1000), ballot(5, 1)));
        assert!(!lent.bars(Time(1000), ballot(6, 2), None));
    }

    #[test]
    fn a_lease_is_held_by_so_much_less_as_clocks_may_differ_and_not_at_its_end() {
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        let mut membership = Membership::of_voters(voters).unwrap();
        (membership.lease, membership.drift_ppm) = (LENGTH, 50_000);
        let mut held = Held { asked: Time(1000), by: [NodeId(1)].into() };
        assert!(!held.is_valid(Time(1000), &membership), "one of three lent");
        held.by.insert(NodeId(3));
        assert!(held.is_valid(Time(1199), &membership));
        assert!(!held.is_valid(Time(1200), &membership));
        membership.lease = Duration::ZERO;
        assert!(!held.is_valid(Time(1000), &membership));
    }
}
