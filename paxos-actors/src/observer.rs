//! What happens in a node, shown to whoever checks it from outside.

use std::sync::Arc;

use paxos_core::{Change, Envelope, Message, NodeId, Record, Slot, Value};

/// Is shown what happens, as it happens. It must return at once, and cannot change anything.
pub type Observer = Arc<dyn Fn(&Shown<'_>) + Send + Sync>;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shown<'a> {
    /// A message of another node arrived.
    Received {
        /// From whom.
        from: NodeId,
        /// What.
        message: &'a Message,
    },
    /// A message leaves a role or the log, for another node or a role of this one.
    Sent(&'a Envelope),
    /// One drain is on the disk, synced if a record of it needs that.
    Written(&'a [Record]),
    /// A value goes to the state machine.
    Applied {
        /// Its slot.
        slot: Slot,
        /// The value.
        value: &'a Value,
    },
    /// The state machine goes on from a snapshot of every slot below.
    Restored {
        /// The slot.
        next: Slot,
    },
    /// The leadership's view changed.
    Led(&'a Change),
}
