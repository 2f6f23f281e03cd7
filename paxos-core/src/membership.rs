//! Who takes part, and from which slot on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::fnv1a;
use crate::quorums::{Quorums, QuorumsError};
use crate::sessions::SessionLimits;
use crate::types::{NodeId, Slot};
use crate::value::Reconfigure;

/// Everything that two nodes must agree on. It is replicated, and changes only through the log; a
/// node's own file says only what one node may decide alone.
///
/// Invariant: the acceptors of `quorums` are exactly the members that accept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Members by id.
    pub members: BTreeMap<NodeId, Member>,
    /// The id of the next node that is added. Every id below was given once, and is never given
    /// again: who has one and is no member was removed.
    pub next_id: NodeId,
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
    /// machine cuts; and always so many as [`Membership::is_held_by`] says.
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

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemberRole::Voter => "voter",
            MemberRole::Witness => "witness",
            MemberRole::Learner => "learner",
        })
    }
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
    /// No such member.
    #[error("{node} is no member: `members list` names those there are")]
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// The member is that already.
    #[error("{node} is a {role} already")]
    Already {
        /// The node.
        node: NodeId,
        /// What it is.
        role: MemberRole,
    },
    /// Somebody else is there.
    #[error("{address} is the address of {node}: each member needs its own")]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        node: NodeId,
    },
}

/// Why a change of membership that was chosen has no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It was made from a membership that is not the newest, or not in force yet.
    #[error(
        "another change of membership came first, and governs from slot {newest} on: look at \
         `members list`, then try again"
    )]
    InProgress {
        /// From where the newest membership governs.
        newest: Slot,
    },
    /// It changes what is the same for ever.
    #[error("window, lease and clock drift of a cluster never change")]
    Agreements,
    /// It gives an id that was given before, or one out of turn.
    #[error("ids of nodes are counted and never used again: the next is {next}")]
    Ids {
        /// The next id to give.
        next: NodeId,
    },
    /// Its quorums are not those of its acceptors.
    #[error("the quorums must be made of exactly the members that accept")]
    Acceptors,
    /// Nobody could lead.
    #[error("a cluster needs a voter or a learner: nobody else keeps the state, or could lead")]
    NobodyLeads,
    /// It has too many members.
    #[error("a cluster has at most {MEMBERS_MAX} members")]
    TooMany,
    /// A witness would have to keep the state, or who keeps it to forget it.
    #[error(
        "{node} cannot change between witness and keeping the state: add a node with the role that \
         is needed, and remove this one"
    )]
    KeepsState {
        /// The member.
        node: NodeId,
    },
}

/// The most members that a cluster can have.
pub const MEMBERS_MAX: usize = 64;

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
        let voter = |(node, address)| (node, Member { role: MemberRole::Voter, address });
        Self::of(addresses.into_iter().map(voter).collect())
    }

    /// A membership with majority quorums of those that accept, and the default agreements.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn of(members: BTreeMap<NodeId, Member>) -> Result<Self, MembershipError> {
        let accepts = |(node, member): (&NodeId, &Member)| member.role.accepts().then_some(*node);
        let quorums = Quorums::majority(members.iter().filter_map(accepts))?;
        let next_id = NodeId(members.keys().last().map_or(1, |last| last.0.saturating_add(1)));
        Ok(Membership {
            members,
            next_id,
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

    /// The same with one more member, which gets the next id.
    ///
    /// # Errors
    /// [`MembershipError::AddressTaken`], and those of [`Quorums`].
    pub fn added(&self, role: MemberRole, address: String) -> Result<Self, MembershipError> {
        let mut holder = self.members.iter().filter(|(_, member)| member.address == address);
        if let Some((node, _)) = holder.next() {
            return Err(MembershipError::AddressTaken { address, node: *node });
        }
        let mut next = self.clone();
        next.members.insert(self.next_id, Member { role, address });
        next.next_id = NodeId(self.next_id.0.saturating_add(1));
        next.with_quorums_of_its_acceptors()
    }

    /// The same with another role for a member.
    ///
    /// # Errors
    /// [`MembershipError::NotAMember`], [`MembershipError::Already`], and those of [`Quorums`].
    pub fn with_role(&self, node: NodeId, role: MemberRole) -> Result<Self, MembershipError> {
        let mut next = self.clone();
        let member = next.members.get_mut(&node).ok_or(MembershipError::NotAMember { node })?;
        if member.role == role {
            return Err(MembershipError::Already { node, role });
        }
        member.role = role;
        next.with_quorums_of_its_acceptors()
    }

    /// The same without a member.
    ///
    /// # Errors
    /// [`MembershipError::NotAMember`], and those of [`Quorums`].
    pub fn without(&self, node: NodeId) -> Result<Self, MembershipError> {
        let mut next = self.clone();
        next.members.remove(&node).ok_or(MembershipError::NotAMember { node })?;
        next.with_quorums_of_its_acceptors()
    }

    fn with_quorums_of_its_acceptors(mut self) -> Result<Self, MembershipError> {
        let accepts = |(node, member): (&NodeId, &Member)| member.role.accepts().then_some(*node);
        self.quorums = self.quorums.of(self.members.iter().filter_map(accepts))?;
        Ok(self)
    }

    /// Whether the node was a member and is one no more.
    pub fn has_removed(&self, node: NodeId) -> bool {
        node < self.next_id && !self.members.contains_key(&node)
    }

    /// Whether the node can lead under this membership.
    pub fn lets_lead(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.role.learns())
    }

    /// Whether this may come after `base`.
    fn follow(&self, base: &Membership) -> Result<(), ChangeError> {
        let agreements = |it: &Membership| (it.alpha, it.lease, it.drift_ppm);
        if agreements(self) != agreements(base) {
            return Err(ChangeError::Agreements);
        }
        let given = |node: &NodeId| *node < self.next_id;
        let is_new = |node: &&NodeId| !base.members.contains_key(node);
        let mut new = self.members.keys().filter(is_new);
        let counted = self.next_id >= base.next_id && self.members.keys().all(given);
        if !counted || new.any(|node| *node < base.next_id) {
            return Err(ChangeError::Ids { next: base.next_id });
        }
        let accepts = |(_, member): &(&NodeId, &Member)| member.role.accepts();
        let acceptors = self.members.iter().filter(accepts).map(|(node, _)| *node);
        if !acceptors.eq(self.quorums.acceptors()) {
            return Err(ChangeError::Acceptors);
        }
        if self.learners().next().is_none() {
            return Err(ChangeError::NobodyLeads);
        }
        let learned = |node: &NodeId| base.members.get(node).map(|member| member.role.learns());
        let changes = |(node, member): &(&NodeId, &Member)| {
            learned(node).is_some_and(|learned| learned != member.role.learns())
        };
        if let Some((node, _)) = self.members.iter().find(changes) {
            return Err(ChangeError::KeepsState { node: *node });
        }
        if self.members.len() > MEMBERS_MAX {
            return Err(ChangeError::TooMany);
        }
        Ok(())
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

    /// Whether snapshots of these replicas are enough for somebody to forget what they cover: an
    /// acceptor without a replica, or a node that was removed. If then disks are lost, but not so
    /// many that the cluster would stop, one of the snapshots must be left.
    ///
    /// That is so if every phase 1 quorum has one of them. Where the acceptors that are replicas
    /// too are so few that even all of them leave a phase 1 quorum out, as where all acceptors are
    /// witnesses, losses of acceptors and of replicas have nothing to do with each other: as many
    /// replicas may be lost as acceptors, and so many and one more must have a snapshot. A
    /// membership with fewer replicas than that never forgets anything.
    pub fn is_held_by(&self, replicas: &[NodeId]) -> bool {
        let holders: Vec<_> = self.learners().filter(|node| replicas.contains(node)).collect();
        let enough = match self.replicas_meet_quorums() {
            true => self.meet_quorums(&holders),
            false => holders.len() > self.quorums.expendable(),
        };
        enough && holders.len() as u64 >= self.snapshot_replicas
    }

    /// Whether snapshots of all replicas would be enough: see [`Membership::is_held_by`]. Where
    /// they are not, witnesses keep their whole log, and no removal is ever done.
    pub fn can_be_held(&self) -> bool {
        self.is_held_by(&self.learners().collect::<Vec<_>>())
    }

    /// How many replicas must have a snapshot, at least, where acceptors that are replicas too are
    /// not enough; `None`: they are.
    pub fn replicas_needed(&self) -> Option<u64> {
        let needed = (self.quorums.expendable() as u64 + 1).max(self.snapshot_replicas);
        (!self.replicas_meet_quorums()).then_some(needed)
    }

    fn replicas_meet_quorums(&self) -> bool {
        self.meet_quorums(&self.learners().collect::<Vec<_>>())
    }

    /// Whether every phase 1 quorum has one of these nodes.
    fn meet_quorums(&self, nodes: &[NodeId]) -> bool {
        let others: Vec<_> =
            self.quorums.acceptors().filter(|node| !nodes.contains(node)).collect();
        !self.quorums.is_phase1(&others)
    }
}

/// The newest membership and the one before it, each with the first slot it governs. Older ones are
/// never needed: a change is void unless the newest is in force. Shared, since messages inside a
/// node carry it; cloning is cheap.
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

    /// What the change that was chosen in `slot` makes of it: its membership governs from the slot
    /// `alpha` further on (Lamport, *Reconfiguring a State Machine*, 2010).
    ///
    /// # Errors
    /// [`ChangeError`] if the change is void. Every node decides that alike.
    pub fn changed(&self, slot: Slot, change: &Reconfigure) -> Result<Self, ChangeError> {
        let (from, newest) = self.newest();
        if change.base != *from || slot < *from {
            return Err(ChangeError::InProgress { newest: *from });
        }
        change.membership.follow(newest)?;
        let next = (slot.plus(newest.alpha), change.membership.clone());
        Ok(Configurations(Arc::new(vec![(*from, newest.clone()), next])))
    }

    /// Every node that is named in one of them.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.0.iter().flat_map(|(_, membership)| membership.members.keys().copied()).collect()
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
    use crate::batch::Origin;

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

    fn change(base: u64, membership: Result<Membership, MembershipError>) -> Reconfigure {
        let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
        let (base, by) = (Slot(base), "admin/ada".to_owned());
        Reconfigure { base, membership: membership.unwrap(), origin, by }
    }

    fn three() -> Membership {
        Membership::of_voters((1..=3).map(|id| (NodeId(id), format!("n{id}:1")))).unwrap()
    }

    #[test]
    fn r2_a_change_governs_alpha_slots_after_its_own() {
        let genesis = Configurations::genesis(three());
        let learner = three().added(MemberRole::Learner, "n4:1".to_owned());
        let changed = genesis.changed(Slot(7), &change(1, learner.clone())).unwrap();
        assert_eq!(changed.newest(), &(Slot(7 + three().alpha), learner.unwrap()));
        assert_eq!(changed.at(Slot(6 + three().alpha)), &three());
        assert_eq!(changed.nodes(), (1..=4).map(NodeId).collect());
    }

    #[test]
    fn clus7_a_change_of_a_membership_that_is_not_the_newest_or_not_in_force_is_void() {
        let genesis = Configurations::genesis(three());
        let first = genesis.changed(Slot(7), &change(1, three().without(NodeId(3)))).unwrap();
        let newest = Slot(7 + three().alpha);
        let void = Err(ChangeError::InProgress { newest });
        assert_eq!(first.changed(Slot(8), &change(1, three().without(NodeId(2)))), void);
        let early = change(newest.0, first.newest().1.without(NodeId(2)));
        assert_eq!(first.changed(Slot(newest.0 - 1), &early), void);
        assert!(first.changed(newest, &early).is_ok());
    }

    #[test]
    fn r1_ids_are_never_given_again() {
        let two = three().without(NodeId(3)).unwrap();
        assert!(two.has_removed(NodeId(3)) && !two.has_removed(NodeId(4)));
        assert_eq!(two.added(MemberRole::Voter, "n3:1".to_owned()).unwrap().next_id, NodeId(5));
        let genesis = Configurations::genesis(two);
        let void = Err(ChangeError::Ids { next: NodeId(4) });
        assert_eq!(genesis.changed(Slot(1), &change(1, Ok(three()))), void);
        let forgetful = Membership { next_id: NodeId(3), ..genesis.newest().1.clone() };
        assert_eq!(genesis.changed(Slot(1), &change(1, Ok(forgetful))), void);
    }

    #[test]
    fn r13_what_no_cluster_can_live_with_is_void() {
        let genesis = Configurations::genesis(three());
        let void = |membership| genesis.changed(Slot(1), &change(1, Ok(membership))).unwrap_err();
        assert_eq!(void(Membership { alpha: 9, ..three() }), ChangeError::Agreements);
        let two = Quorums::majority([NodeId(1), NodeId(2)]).unwrap();
        assert_eq!(void(Membership { quorums: two, ..three() }), ChangeError::Acceptors);
        let mut idle = three().added(MemberRole::Witness, "n4:1".to_owned()).unwrap();
        for node in 1..=3 {
            idle = idle.without(NodeId(node)).unwrap();
        }
        assert_eq!(void(idle), ChangeError::NobodyLeads);
        let forgets = three().with_role(NodeId(2), MemberRole::Witness).unwrap();
        assert_eq!(void(forgets), ChangeError::KeepsState { node: NodeId(2) });
        let mut crowd = three();
        for node in 4..=MEMBERS_MAX + 1 {
            crowd = crowd.added(MemberRole::Learner, format!("n{node}:1")).unwrap();
        }
        assert_eq!(void(crowd), ChangeError::TooMany);
    }

    /// Members with these roles, by majorities.
    fn of_roles(roles: &[MemberRole]) -> Membership {
        let members: BTreeMap<_, _> = (1..)
            .map(NodeId)
            .zip(roles.iter().map(|role| Member { role: *role, address: String::new() }))
            .collect();
        let accepts = |(node, member): (&NodeId, &Member)| member.role.accepts().then_some(*node);
        let quorums = Quorums::majority(members.iter().filter_map(accepts)).unwrap();
        Membership { members, quorums, ..three() }
    }

    #[test]
    fn a_cluster_without_a_voter_lives_if_somebody_accepts_and_somebody_learns() {
        use MemberRole::{Learner, Witness};
        let genesis = Configurations::genesis(of_roles(&[Witness, Witness, Witness, Learner]));
        let next = genesis.newest().1.clone();
        let next = Membership { next_id: NodeId(5), ..next };
        let next = next.added(Learner, "n5:1".to_owned());
        assert!(genesis.changed(Slot(1), &change(1, next)).is_ok());
    }

    #[test]
    fn so_many_replicas_hold_what_is_forgotten_that_one_is_left_whatever_is_lost() {
        use MemberRole::{Learner, Voter, Witness};
        let held = |membership: &Membership, holders: &[u64]| {
            membership.is_held_by(&holders.iter().copied().map(NodeId).collect::<Vec<_>>())
        };
        let mixed = of_roles(&[Voter, Voter, Witness, Learner]);
        assert!(held(&mixed, &[1, 2]) && !held(&mixed, &[1, 4]), "nodes 2 and 3 are a quorum");
        assert!(mixed.can_be_held() && mixed.replicas_needed().is_none());

        let apart = of_roles(&[Witness, Witness, Witness, Learner, Learner, Learner]);
        assert!(!held(&apart, &[4]) && held(&apart, &[4, 6]) && !held(&apart, &[1, 2, 4]));
        assert_eq!(apart.replicas_needed(), Some(2));
        assert!(!held(&Membership { snapshot_replicas: 3, ..apart }, &[4, 6]));

        let few = of_roles(&[Voter, Voter, Witness, Witness, Witness]);
        assert!(!few.can_be_held(), "three witnesses are a quorum, and two replicas may be lost");
        assert_eq!(few.replicas_needed(), Some(3));
        assert!(of_roles(&[Voter, Voter, Witness, Witness, Witness, Learner]).can_be_held());
    }

    #[test]
    fn a_member_is_refused_what_it_has_or_what_is_anothers() {
        let node = NodeId(9);
        assert_eq!(three().without(node), Err(MembershipError::NotAMember { node }));
        let (node, role) = (NodeId(1), MemberRole::Voter);
        assert_eq!(three().with_role(node, role), Err(MembershipError::Already { node, role }));
        let address = "n1:1".to_owned();
        let taken = Err(MembershipError::AddressTaken { address: address.clone(), node });
        assert_eq!(three().added(role, address), taken);
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
