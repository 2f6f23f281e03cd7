//! What a leader waits for before it hands over. Every policy can use it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Membership;
use crate::message::Heartbeat;
use crate::types::{Ballot, NodeId, Slot, Time};

/// A hand-over that is going on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandOver {
    /// The ballot that is handed over.
    pub ballot: Ballot,
    /// To whom; `None`: to whoever is level first.
    pub to: Option<NodeId>,
    /// When it is given up.
    pub until: Time,
    drained: Option<Slot>,
}

impl HandOver {
    /// Begins one that is given up after `patience`.
    pub fn new(ballot: Ballot, to: Option<NodeId>, now: Time, patience: Duration) -> Self {
        HandOver { ballot, to, until: now.after(patience), drained: None }
    }

    /// Nothing of this leadership is in flight any more: the successor must know all below `next`.
    pub fn drained(&mut self, next: Slot) {
        self.drained = Some(next);
    }

    /// Whether the sender of a heartbeat may lead next, and knows everything that this leadership
    /// has had chosen.
    pub fn suits(&self, from: NodeId, heartbeat: &Heartbeat, membership: &Membership) -> bool {
        heartbeat.campaigns
            && may_lead(from, self.ballot.node, self.to, membership)
            && self.drained.is_some_and(|next| heartbeat.next >= next)
    }

    /// Why nothing came of it.
    pub fn failure(&self) -> String {
        let who = self.to.map_or("no other node".to_owned(), |to| to.to_string());
        match self.drained {
            None => "what was in flight was not chosen in time".to_owned(),
            Some(next) if self.to.is_some() => format!("{who} was not level with {next} in time"),
            Some(next) => format!("{who} was level with {next} in time"),
        }
    }
}

/// Who may lead after a node if nobody is named: the other voters, or, where there are none, the
/// other learners.
pub fn heirs(membership: &Membership, leader: NodeId) -> Vec<NodeId> {
    let others: Vec<_> = membership.learners().filter(|node| *node != leader).collect();
    let voters: Vec<_> =
        others.iter().copied().filter(|node| membership.quorums.contains(*node)).collect();
    if voters.is_empty() { others } else { voters }
}

/// Whether a node may lead next: it is the one that was named, or an heir if none was.
pub(crate) fn may_lead(
    node: NodeId,
    leader: NodeId,
    to: Option<NodeId>,
    membership: &Membership,
) -> bool {
    match to {
        Some(to) => to == node && membership.lets_lead(node),
        None => heirs(membership, leader).contains(&node),
    }
}
