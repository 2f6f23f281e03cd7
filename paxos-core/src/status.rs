//! What a node knows of itself and its cluster, filled in by its roles.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::types::{Ballot, NodeId, Slot};

/// A node's view at one moment. Each role fills in what it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// From the leadership: the ballot of the leader that is heard.
    pub leader: Option<Ballot>,
    /// From the leadership: nodes heard of lately, this one included.
    pub reached: BTreeSet<NodeId>,
    /// From the leadership: acceptors among them, by weight.
    pub reached_weight: u64,
    /// From the leadership: the weight of all acceptors.
    pub total_weight: u64,
    /// From the leadership: the weight that both phases need at least.
    pub needed_weight: u64,
    /// From the acceptor: the highest promise.
    pub promised: Ballot,
    /// From the learner: the last slot below which everything is known to be chosen, itself
    /// included; 0 at first.
    pub chosen: Slot,
    /// From the archive: the last slot that its newest snapshot covers; 0: there is none.
    pub saved: Slot,
    /// From the proposer: slots in flight.
    pub in_flight: u64,
    /// From the roles: messages dropped as nonsense.
    pub dropped: u64,
    /// From the roles: proposals of one ballot for one slot that differed. Never without two nodes
    /// of one id.
    pub alarms: u64,
}
