//! Who takes part, and from which slot on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::fnv1a;
use crate::quorums::{Quorums, QuorumsError};
use crate::sessions::SessionLimits;
use crate::types::{NodeId, Slot};

/// Everything that two nodes must agree on. It is replicated, and changes only through the log; a
/// node's own file says only what one node may decide alone.
///
/// Invariant: the acceptors of `quorums` are exactly the members that accept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Members by id.
    pub members: BTreeMap<NodeId, Member>,
    /// The quorums of the acceptors among them.
    pub quorums: Quorums,
    /// Window of the log: a slot is governed by what was chosen `alpha` slots before it, and
    /// nothing is proposed `alpha` slots or more beyond the first slot not known to be chosen.
    /// The same for ever (Lamport, *Reconfiguring a State Machine*, 2010).
    pub alpha: u64,
    /// Length of a leader lease. The same for ever.
    pub lease: Duration,
    /// How much faster than another a clock may run, in parts per million. The same for ever.
    pub drift_ppm: u64,
    /// How long clients' sessions are kept.
    pub sessions: SessionLimits,
    /// Replicas that must hold a synced snapshot, at least, before an acceptor without a state
    /// machine cuts; and always so many that each phase 1 quorum has one of them.
    pub snapshot_replicas: u64,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member {
    /// What it does.
    pub role: MemberRole,
    /// Where its peers reach it: `host:port`.
    pub address: String,
}

/// What a member does for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Accepts and learns.
    Voter,
    /// Accepts only.
    Witness,
    /// Learns only.
    Learner,
}

impl MemberRole {
    /// Whether its votes count.
    pub fn accepts(self) -> bool {
        matches!(self, MemberRole::Voter | MemberRole::Witness)
    }

    /// Whether it keeps the chosen values.
    pub fn learns(self) -> bool {
        matches!(self, MemberRole::Voter | MemberRole::Learner)
    }
}

/// Why a membership was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Its quorums were.
    #[error(transparent)]
    Quorums(#[from] QuorumsError),
    /// A window of nothing.
    #[error("alpha must be at least 1: with 0 no slot could ever be proposed")]
    NoWindow,
}

impl Membership {
    /// Default of [`Membership::alpha`], in slots.
    pub const ALPHA: u64 = 256;

    /// A membership of voters with majority quorums and the default agreements.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn of_voters(
        addresses: impl IntoIterator<Item = (NodeId, String)>,
    ) -> Result<Self, MembershipError> {
        let members: BTreeMap<_, _> = addresses
            .into_iter()
            .map(|(node, address)| (node, Member { role: MemberRole::Voter, address }))
            .collect();
        let quorums = Quorums::majority(members.keys().copied())?;
        Ok(Membership {
            members,
            quorums,
            alpha: Self::ALPHA,
            lease: Duration::from_millis(200),
            drift_ppm: 50_000,
            sessions: SessionLimits::default(),
            snapshot_replicas: 1,
        })
    }

    /// The same with another window.
    ///
    /// # Errors
    /// [`MembershipError::NoWindow`] for 0.
    pub fn with_alpha(mut self, alpha: u64) -> Result<Self, MembershipError> {
        if alpha == 0 {
            return Err(MembershipError::NoWindow);
        }
        self.alpha = alpha;
        Ok(self)
    }

    /// Tells memberships apart: nodes of another genesis refuse each other by it.
    pub fn fingerprint(&self) -> u64 {
        fnv1a(&postcard::to_stdvec(self).expect("a membership is plain data and always encodes"))
    }

    /// Members that accept and have no replica, in order.
    pub fn witnesses(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.members.iter();
        members.filter(|(_, member)| member.role == MemberRole::Witness).map(|(node, _)| *node)
    }

    /// Members that keep the chosen values, in order.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, member)| member.role.learns()).map(|(node, _)| *node)
    }
}

/// The memberships that a node may still need: each with the first slot it governs, in order, the
/// oldest governing the first slot not known to be chosen. Shared, since messages inside a node
/// carry it; cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configurations(Arc<Vec<(Slot, Membership)>>);

impl Configurations {
    /// The membership that a cluster is bootstrapped with.
    pub fn genesis(membership: Membership) -> Self {
        Configurations(Arc::new(vec![(Slot::FIRST, membership)]))
    }

    /// The membership that governs `slot`.
    pub fn at(&self, slot: Slot) -> &Membership {
        let found = self.0.iter().rev().find(|(from, _)| *from <= slot);
        &found.unwrap_or_else(|| self.oldest()).1
    }

    /// The window, the same in every membership.
    pub fn alpha(&self) -> u64 {
        self.oldest().1.alpha
    }

    /// The newest membership, in force or not, and the slot from which it governs.
    pub fn newest(&self) -> &(Slot, Membership) {
        self.0.last().expect("a node has at least one membership, by construction")
    }

    fn oldest(&self) -> &(Slot, Membership) {
        self.0.first().expect("a node has at least one membership, by construction")
    }

    /// The memberships that govern some slot at or above `slot`, oldest first.
    pub fn from(&self, slot: Slot) -> impl Iterator<Item = &Membership> {
        let first = self.0.iter().rposition(|(from, _)| *from <= slot).unwrap_or(0);
        self.0[first..].iter().map(|(_, membership)| membership)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genesis_governs_every_slot() {
        let membership = Membership::of_voters([(NodeId(1), "127.0.0.1:1".to_owned())]).unwrap();
        let configurations = Configurations::genesis(membership.clone());
        assert_eq!(configurations.at(Slot::FIRST), &membership);
        assert_eq!(configurations.at(Slot(u64::MAX)), &membership);
        assert_eq!(configurations.from(Slot(7)).count(), 1);
    }

    #[test]
    fn each_slot_has_the_membership_that_governs_it() {
        let of = |id: u64| Membership::of_voters([(NodeId(id), format!("n{id}:1"))]).unwrap();
        let history = vec![(Slot(1), of(1)), (Slot(5), of(2)), (Slot(9), of(3))];
        let configurations = Configurations(Arc::new(history));
        for (slot, id, later) in [(1, 1, 3), (4, 1, 3), (5, 2, 2), (8, 2, 2), (9, 3, 1), (99, 3, 1)]
        {
            assert_eq!(configurations.at(Slot(slot)), &of(id), "{slot}");
            assert_eq!(configurations.from(Slot(slot)).next(), Some(&of(id)), "{slot}");
            assert_eq!(configurations.from(Slot(slot)).count(), later, "{slot}");
        }
        assert_eq!(configurations.newest(), &(Slot(9), of(3)));
    }

    #[test]
    fn fingerprints_tell_memberships_apart() {
        let of = |id: u64| Membership::of_voters([(NodeId(id), String::new())]).unwrap();
        assert_eq!(of(1).fingerprint(), of(1).fingerprint());
        assert_ne!(of(1).fingerprint(), of(2).fingerprint());
    }

    #[test]
    fn voters_do_both_and_the_others_one_thing_each() {
        let does = |role: MemberRole| (role.accepts(), role.learns());
        assert_eq!(does(MemberRole::Voter), (true, true));
        assert_eq!(does(MemberRole::Witness), (true, false));
        assert_eq!(does(MemberRole::Learner), (false, true));
    }

    #[test]
    fn a_window_of_nothing_is_refused() {
        let membership = Membership::of_voters([(NodeId(1), String::new())]).unwrap();
        assert_eq!(membership.with_alpha(0), Err(MembershipError::NoWindow));
    }
}
