//! Bounded memory: what a role holds is bounded by its options, by the window and by the slots that
//! the cluster has decided; when all is calm, by what the snapshots leave over.

use paxos_core::{NodeId, RoleKind};

/// One entry of a role's state, encoded: a slot with its ballot and a batch of one command, a
/// waiting batch, a waiting read, or a vote.
const ENTRY: u64 = 64;

/// A role without entries, encoded: its options and the membership.
const BASE: u64 = 1024;

/// Events that may wait to happen in one world: messages, timers, writes and troubles.
const EVENTS_MAX: usize = 10_000;

/// Writes that may wait for one disk: each role repeats itself by timers only.
const WRITES_MAX: usize = 20_000;

/// What a slot counts at least towards the next snapshot, in bytes.
const SLOT_BYTES_MIN: u64 = 16;

/// Slots that may be decided while a snapshot is being written, and word of it is on its way.
const WHILE_SAVING: u64 = 400;

/// What the roles of one world are allowed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Slots that are decided somewhere.
    pub decided: u64,
    /// The window.
    pub alpha: u64,
    /// Batches and reads that may wait in a proposer.
    pub waiting: u64,
    /// The nodes of the cluster.
    pub nodes: u64,
}

impl Limits {
    /// Checks the encoded size of a role's state, in bytes.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn role(&self, node: NodeId, kind: RoleKind, bytes: usize) -> Result<(), String> {
        let Limits { decided, alpha, waiting, nodes } = self;
        let entries = match kind {
            // Whatever an acceptor accepts lies within somebody's window.
            RoleKind::Acceptor => decided + alpha,
            RoleKind::Learner => decided + 2 * alpha + nodes,
            // Every acceptor may report what no learner here knows yet.
            RoleKind::Proposer => decided + 2 * alpha + waiting + nodes * alpha,
            RoleKind::Leadership | RoleKind::Archive => *nodes,
        };
        let limit = BASE + entries * ENTRY;
        if bytes as u64 <= limit {
            return Ok(());
        }
        Err(format!("memory: the {kind:?} of {node} holds {bytes} bytes, {limit} is its limit"))
    }
}

/// Checks how many values a node holds when all is calm: those that its snapshots leave over. One
/// snapshot may be on its way to the disk, and the log goes on meanwhile.
///
/// # Errors
/// What is violated, in words.
pub fn log(node: NodeId, held: usize, every_bytes: u64, keep: usize) -> Result<(), String> {
    let limit = (keep + 2) as u64 * (every_bytes / SLOT_BYTES_MIN + 1) + WHILE_SAVING;
    if held as u64 <= limit {
        return Ok(());
    }
    Err(format!("memory: {node} holds {held} values of the log, {limit} is its limit"))
}

/// Checks how many writes wait for a disk.
///
/// # Errors
/// What is violated, in words.
pub fn writes(node: NodeId, waiting: usize) -> Result<(), String> {
    if waiting <= WRITES_MAX {
        return Ok(());
    }
    Err(format!("memory: {node} has {waiting} writes waiting"))
}

/// Checks how many events of a world wait.
///
/// # Errors
/// What is violated, in words.
pub fn events(waiting: usize) -> Result<(), String> {
    if waiting <= EVENTS_MAX {
        return Ok(());
    }
    Err(format!("memory: {waiting} messages, timers and writes are on their way"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_beyond_its_limit_is_seen() {
        let limits = Limits { decided: 10, alpha: 4, waiting: 8, nodes: 3 };
        for kind in [RoleKind::Acceptor, RoleKind::Proposer, RoleKind::Learner] {
            assert_eq!(limits.role(NodeId(1), kind, 1500), Ok(()));
            assert!(limits.role(NodeId(1), kind, 20_000).is_err());
        }
        assert_eq!(writes(NodeId(1), 100), Ok(()));
        assert!(writes(NodeId(1), 1 << 20).is_err());
        assert!(events(1 << 20).is_err());
        assert_eq!(log(NodeId(1), 400, 64, 1), Ok(()));
        assert!(log(NodeId(1), 500, 64, 1).is_err());
    }
}
