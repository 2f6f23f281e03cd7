//! What a node hears of the others: the ground of every quorum-connected policy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::{Configurations, Membership};
use crate::message::Heartbeat;
use crate::status::Status;
use crate::types::{NodeId, Slot, Time};

/// Who is further behind leads only if nobody else does. What others know is heard up to an
/// interval late, so this is more than any cluster chooses meanwhile.
pub const LAG_MAX: u64 = 10_000;

/// Who was heard, when, and whether they hear a leader.
///
/// Under every policy a node campaigns only if it and those that tell it "I hear no leader" form a
/// phase 1 quorum: one node behind a bad link cannot depose a leader that a quorum hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    me: NodeId,
    configurations: Configurations,
    next: Slot,
    /// The newest membership that has settled governs from here.
    settled: Slot,
    fresh_for: Duration,
    peers: BTreeMap<NodeId, Heard>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Heard {
    at: Time,
    mark: (u64, u64),
    hears_leader: bool,
    campaigns: bool,
    next: Slot,
}

impl View {
    /// The view of node `me`, in which what was heard counts for `fresh_for`.
    pub fn new(me: NodeId, configurations: Configurations, fresh_for: Duration) -> Self {
        let (next, settled, peers) = (Slot::FIRST, Slot::FIRST, BTreeMap::new());
        View { me, configurations, next, settled, fresh_for, peers }
    }

    /// Takes a heartbeat in; `false` if it is no newer than what was heard before, since heartbeats
    /// overtake each other and come twice.
    pub fn hear(&mut self, now: Time, from: NodeId, heartbeat: &Heartbeat) -> bool {
        let mark = (heartbeat.incarnation, heartbeat.sequence);
        if self.peers.get(&from).is_some_and(|heard| heard.mark >= mark) {
            return false;
        }
        let (hears_leader, campaigns) = (heartbeat.hears.is_some(), heartbeat.campaigns);
        let next = heartbeat.next;
        self.peers.insert(from, Heard { at: now, mark, hears_leader, campaigns, next });
        true
    }

    /// Whether a node could lead as far as its process goes: it has not said otherwise.
    pub fn campaigns(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_none_or(|heard| heard.campaigns)
    }

    /// When the last heartbeat of a node came.
    pub fn heard_at(&self, node: NodeId) -> Option<Time> {
        self.peers.get(&node).map(|heard| heard.at)
    }

    /// The log has advanced.
    pub fn advance(&mut self, next: Slot, configurations: Configurations) {
        if next > self.next {
            self.next = next;
            self.configurations = configurations;
        }
    }

    /// The first slot not known to be chosen.
    pub fn next(&self) -> Slot {
        self.next
    }

    /// The membership that governs from this slot on has settled.
    pub fn settle(&mut self, from: Slot) {
        self.settled = self.settled.max(from);
    }

    /// The other nodes that must hear of this one: the members, those of the membership before
    /// until the newest has settled, and whoever is heard: it may know of a newer membership than
    /// this node, which learns of none if it has no learner.
    pub fn others(&self, now: Time) -> Vec<NodeId> {
        let (from, newest) = self.configurations.newest();
        let settled = *from <= self.settled;
        let needed = |node: &NodeId| !settled || newest.members.contains_key(node);
        let mut nodes = self.configurations.nodes();
        nodes.retain(needed);
        nodes.extend(self.fresh(now, |_| true));
        nodes.remove(&self.me);
        nodes.into_iter().collect()
    }

    /// Whether this node may lead from the first slot not known to be chosen on.
    pub fn may_lead(&self) -> bool {
        self.membership().lets_lead(self.me)
    }

    /// Whether this node and those that say so lately, and hear no leader, form a phase 1 quorum.
    pub fn quorum_hears_no_leader(&self, now: Time) -> bool {
        let agreeing = self.fresh(now, |heard| !heard.hears_leader);
        self.membership().quorums.is_phase1(&agreeing)
    }

    /// How many of the nodes that count, and may lead next, come before this one. Who knows the log
    /// comes before those that lag far behind, who accepts before those that only learn, and
    /// a lower id before a higher one; so most views of a cluster agree.
    pub fn rank(&self, counts: impl Fn(NodeId) -> bool) -> u32 {
        let members = &self.membership().members;
        let known = |node| match self.peers.get(&node) {
            Some(heard) if node != self.me => heard.next,
            _ => self.next,
        };
        let counted = |node| node == self.me || (self.campaigns(node) && counts(node));
        let may_lead = members.iter().filter(|(node, it)| it.role.learns() && counted(**node));
        let may_lead: Vec<_> = may_lead.map(|(node, it)| (*node, it.role.accepts())).collect();
        let newest = may_lead.iter().map(|(node, _)| known(*node)).max().unwrap_or(self.next);
        let place =
            |(node, accepts): (NodeId, bool)| (known(node).plus(LAG_MAX) < newest, !accepts, node);
        let accepts = members.get(&self.me).is_some_and(|it| it.role.accepts());
        let mine = place((self.me, accepts));
        may_lead.into_iter().filter(|other| place(*other) < mine).count() as u32
    }

    /// Writes who is reached into a status.
    pub fn describe(&self, now: Time, status: &mut Status) {
        let reached = self.fresh(now, |_| true);
        let quorums = &self.membership().quorums;
        let all: Vec<_> = quorums.acceptors().collect();
        status.reached_weight = quorums.weight(&reached);
        status.total_weight = quorums.weight(&all);
        status.needed_weight = quorums.phase1().max(quorums.phase2());
        status.reached = reached.into_iter().collect();
    }

    /// The membership that governs the first slot not known to be chosen.
    pub fn membership(&self) -> &Membership {
        self.configurations.at(self.next)
    }

    fn fresh(&self, now: Time, counts: impl Fn(&Heard) -> bool) -> Vec<NodeId> {
        let lately = |heard: &Heard| now.since(heard.at) < self.fresh_for;
        let heard = self.peers.iter().filter(|(_, heard)| lately(heard) && counts(heard));
        heard.map(|(node, _)| *node).chain([self.me]).collect()
    }
}
