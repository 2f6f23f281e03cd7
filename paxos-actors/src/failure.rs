//! Why a node had to stop by itself.

use paxos_core::{NodeId, RestoreError, Slot};
use paxos_net::protocol::PeerRefusal;
use thiserror::Error;

use crate::log::{LogError, SnapshotError};

/// Why a running node stopped by itself. It never goes on half dead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The log could not be written. What was not acknowledged may be lost; nothing else is.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// A snapshot could not be written or read.
    #[error("a snapshot failed: {0}")]
    Snapshot(#[from] SnapshotError),
    /// A snapshot is not one of this service.
    #[error("a snapshot cannot be used: {0}; are all nodes of one version?")]
    Restore(#[from] RestoreError),
    /// Other nodes know that this node must not take part.
    #[error("{by} refuses this node: {refusal}")]
    Refused {
        /// Who.
        by: NodeId,
        /// Why.
        refusal: PeerRefusal,
    },
    /// The cluster goes on without this node.
    #[error(
        "node {} was removed from the cluster by the membership that governs from slot {from} on; \
         its id is never used again, and its folder can be deleted", node.0
    )]
    Removed {
        /// This node.
        node: NodeId,
        /// The first slot of the membership without it.
        from: Slot,
    },
    /// The node is to accept, and its process has no acceptor.
    #[error(
        "node {} is a voter by the membership that governs from slot {from} on, and this process \
         hosts no acceptor: start it again", node.0
    )]
    Promoted {
        /// This node.
        node: NodeId,
        /// The first slot of the membership in which it accepts.
        from: Slot,
    },
    /// An actor ended unasked; its state is gone, and going on would be amnesia.
    #[error("the {0} stopped unasked: the log of the process should say why; restart the node")]
    Actor(&'static str),
}

impl Failure {
    /// The exit code that fits, after sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Log(_) | Failure::Snapshot(_) | Failure::Restore(_) => 74,
            Failure::Refused { .. } | Failure::Removed { .. } => 78,
            Failure::Promoted { .. } => 75,
            Failure::Actor(_) => 70,
        }
    }

    /// Whether nothing is wrong: the node only has to be stopped and started again.
    pub fn is_a_new_role(&self) -> bool {
        matches!(self, Failure::Promoted { .. })
    }
}
