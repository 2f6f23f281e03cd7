//! What actors of one node send each other. Batches travel, never single commands.

use std::sync::Arc;

use actix::{Message as ActixMessage, MessageResponse};
use bytes::Bytes;
use paxos_core::{
    Change, Manifest, Message, NodeId, Origin, Outcome, PeerRun, Persist, ReadLevel, Refusal,
    Rejection, Slot, Status, Time, Value,
};
use paxos_net::Caller;
use paxos_net::protocol::{ClientRequest, Relay};
use tokio::sync::oneshot;

/// To a role: messages, each with the node that it came from.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Deliver(pub Vec<(NodeId, Message)>);

/// To a role: add what you know.
#[derive(Debug, ActixMessage)]
#[rtype(result = "Described")]
pub struct Describe(pub Status);

/// The answer to [`Describe`].
#[derive(Debug, MessageResponse)]
pub struct Described(pub Status);

/// To every actor: the node is being stopped.
#[derive(Clone, Copy, Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Halt;

/// To the log.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub enum Write {
    /// Write, sync, then send.
    Persist(Vec<Persist>),
    /// Remember the run of a peer, then say so.
    Remember {
        /// The peer.
        node: NodeId,
        /// Its run; `None`: nothing new, but all before it must be synced.
        run: Option<PeerRun>,
        /// To whom.
        done: oneshot::Sender<()>,
    },
}

/// To the state machine: what it has to do, in order.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Decided(pub Vec<Decision>);

/// One thing that the state machine has to do.
#[derive(Debug)]
pub enum Decision {
    /// Apply what is chosen in a slot.
    Apply(Slot, Value),
    /// Go on from the snapshot of every slot below.
    Restore(Slot),
    /// Nothing: the snapshot that was being made is saved, of so many bytes; another may be due.
    Saved(u64),
    /// Have a snapshot made of what is applied.
    Save,
}

/// To the shelf.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub enum Shelve {
    /// Make a snapshot of the one before and these values.
    Make(Vec<(Slot, Value)>),
    /// Send a piece of a snapshot to a peer.
    Read {
        /// The peer.
        to: NodeId,
        /// The snapshot.
        snapshot: Manifest,
        /// Where the piece begins.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// Tell a client a piece of a snapshot.
    Tell {
        /// The client.
        caller: Arc<Caller>,
        /// That of its request.
        id: u64,
        /// The first slot that the snapshot does not cover; `None`: of the newest.
        upto: Option<Slot>,
        /// Where the piece begins.
        offset: u64,
    },
    /// Keep a piece of a peer's snapshot.
    Keep {
        /// The snapshot.
        snapshot: Manifest,
        /// Where the piece begins.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
}

/// To the state machine: answer these once so much is applied.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Ask {
    /// The gateway's name for them.
    pub ticket: u64,
    /// The last slot that must be applied at least.
    pub applied: Slot,
    /// Nobody waits any more after this.
    pub until: Time,
    /// The encoded queries.
    pub queries: Vec<Bytes>,
}

/// To the gateway.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub enum GatewayInput {
    /// Requests of a client.
    Requests(Caller, Vec<ClientRequest>),
    /// What another gateway relays.
    Relayed(NodeId, Relay),
    /// Our link to a node came up or went down.
    LinkChanged(NodeId, bool),
    /// What the proposer and the leadership say.
    Notices(Vec<Notice>),
    /// What has been applied.
    Applied(Vec<AppliedBatch>, Slot),
    /// The state is now that of a snapshot which covers everything up to this slot: what became of
    /// batches in these slots is not known here.
    Restored(Slot),
    /// Queries that were answered.
    Answered {
        /// The gateway's name for them.
        ticket: u64,
        /// The last slot applied in the state that was read.
        slot: Slot,
        /// The answers, in order.
        answers: Vec<Result<Bytes, Rejection>>,
    },
}

/// What roles tell the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A batch has a slot.
    Proposed(u64, Slot),
    /// A batch or a read was not taken.
    Refused(u64, Refusal),
    /// A read may be answered once everything below the slot is applied; and what made it certain.
    ReadReady(u64, Slot, ReadLevel),
    /// The leader changed.
    Led(Change),
}

/// What became of a batch that this node's gateway made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBatch {
    /// Its name.
    pub origin: Origin,
    /// The outcome of each of its operations.
    pub outcomes: Vec<Outcome>,
}
