//! The way in for an outside detector: whom it suspects, and whom it trusts.

use paxos_core::{Envelope, Inside, Message, NodeId};
use thiserror::Error;

use crate::wiring::Wires;

/// The leadership of a node, for a detector outside of it. It holds nothing of the node alive that
/// would keep it from ending.
///
/// A verdict is that of one node. It campaigns only if a quorum hears no leader either, and a
/// leader that lives keeps its lease, so whoever judges tells all nodes, the judged one too: a
/// leader that is told that it is suspected hands over, and does not campaign until it is trusted.
#[derive(Clone)]
pub struct Verdicts {
    wires: Wires,
    listened_to: bool,
}

/// The node has a detector of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this node does not listen to a detector outside: set policy = \"failure-detector\" and \
     detector = \"outside\" in its cluster file"
)]
pub struct NotOutside;

impl std::fmt::Debug for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the verdicts of {}", self.wires.me)
    }
}

impl Verdicts {
    /// Verdicts for the leadership of a node, if that is set to listen.
    pub(crate) fn new(wires: Wires, listened_to: bool) -> Self {
        Verdicts { wires, listened_to }
    }

    /// The node is suspected until it is said to be trusted. Of the reason 200 characters are kept.
    ///
    /// # Errors
    /// [`NotOutside`].
    pub fn suspect(&self, node: NodeId, why: &str) -> Result<(), NotOutside> {
        self.tell(Inside::Suspected { node, why: why.to_owned() })
    }

    /// The node is trusted.
    ///
    /// # Errors
    /// [`NotOutside`].
    pub fn trust(&self, node: NodeId) -> Result<(), NotOutside> {
        self.tell(Inside::Trusted { node })
    }

    fn tell(&self, verdict: Inside) -> Result<(), NotOutside> {
        if !self.listened_to {
            return Err(NotOutside);
        }
        let me = self.wires.me;
        self.wires.dispatch([Envelope { from: me, to: me, message: Message::Inside(verdict) }]);
        Ok(())
    }
}
