//! What a role asks of its driver, and what the driver hands to a role.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::membership::Configurations;
use crate::message::{Envelope, Manifest, Message, ReadLevel};
use crate::record::Record;
use crate::status::Status;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::Value;

/// A role as its driver sees it: input in, effects out, one deadline.
///
/// **The driver's whole contract.** Send a [`Effect::Send`] at once, to this node too, where it
/// comes back as input of the roles that [`crate::receivers`] names. Apply [`Effect::Apply`]s in
/// order. Hand each [`Persist`], in order, to a writer that appends, syncs and only then sends
/// `then`; one without records waits its turn like the others. Call `handle` with
/// [`Input::Timeout`] when `next_deadline` has come, and ask for it anew after every `handle`.
pub trait Role {
    /// Takes one input and appends what follows from it to `out`. `now` is read after the input was
    /// taken from the mailbox and never runs backwards.
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>);

    /// When `handle` wants to be called with [`Input::Timeout`]; `None`: not by time.
    fn next_deadline(&self) -> Option<Time>;

    /// Writes what this role knows into a status.
    fn describe(&self, status: &mut Status);
}

/// What a role is handed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A message, and the node that it came from (this one, for messages inside the node).
    Message(NodeId, Message),
    /// The deadline has come, or may have: early calls do no harm.
    Timeout,
}

/// What a role asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Send at once.
    Send(Envelope),
    /// Write, sync, only then send.
    Persist(Persist),
    /// The slot is chosen and every slot below it has been handed out: apply.
    Apply {
        /// The slot, one more than that of the `Apply` before.
        slot: Slot,
        /// Its value.
        value: Value,
    },
    /// The state that was applied so far gives way to that of the newest snapshot stored here.
    Restore {
        /// The first slot that the snapshot does not cover; the next `Apply` is of this one.
        next: Slot,
    },
    /// Send a piece of a snapshot that is stored here, as [`crate::ArchiveMessage::Piece`].
    ReadPiece {
        /// To whom.
        to: NodeId,
        /// The snapshot.
        snapshot: Manifest,
        /// Where the piece begins.
        offset: u64,
        /// Its length.
        bytes: u64,
    },
    /// Write a piece of a snapshot, behind those written before, and answer
    /// [`crate::message::Inside::Kept`]. When all of it is written: check it, store it under its
    /// name, synced, and say so, with [`crate::message::Inside::Restored`] to the learner.
    KeepPiece {
        /// The snapshot.
        snapshot: Manifest,
        /// Where the piece begins; 0 begins a new one.
        offset: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// A batch was given a slot. If that slot turns out to hold something else, the batch was
    /// certainly not applied.
    Proposed {
        /// The gateway's name for it.
        ticket: u64,
        /// The only slot in which it can ever be chosen.
        slot: Slot,
    },
    /// A batch or a read was not taken and certainly has no effect.
    Refuse {
        /// The gateway's name for it.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
    /// A read may be answered once every slot below `next` is applied.
    ReadReady {
        /// The gateway's name for it.
        ticket: u64,
        /// The slot.
        next: Slot,
        /// What made it certain.
        level: ReadLevel,
    },
    /// The leadership's view changed.
    Led(Change),
    /// The memberships changed, or the newest has settled.
    Governed(Governance),
}

/// Who takes part, as a learner knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Governance {
    /// The memberships.
    pub configurations: Configurations,
    /// Whether the newest governs and holds everything from before it in snapshots: whoever it
    /// leaves out is needed no more, and neither let in nor told anything.
    pub settled: bool,
}

/// Records to write and sync, and what may leave only then.
///
/// A promise or an acceptance can leave an acceptor only inside one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "a reply inside it would never leave"]
pub struct Persist {
    /// What to append. Empty: nothing is new, but `then` still waits its turn.
    pub records: Vec<Record>,
    /// What to send once the records, and all before them, are synced.
    pub then: Vec<Envelope>,
}

/// Why a proposer did not take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// A queue is full.
    #[error("too much is waiting: try again")]
    Busy,
}

/// A change of leadership as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The leader's ballot now; `None`: no leader is heard.
    pub leader: Option<Ballot>,
    /// The evidence, in words.
    pub why: String,
    /// What came to its end with it, and how long that took.
    pub took: Option<Took>,
}

/// A part of the time that a change of leadership takes, as the node sees it that goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Took {
    /// From the last sign of life of a leader until it was suspected: T_detect.
    Detect(Duration),
    /// From when no leader was heard any more, or one handed over, until this node was elected:
    /// T_elect.
    Elect(Duration),
    /// From its election until its proposer knew that the first slot of its leadership was chosen:
    /// T_ready. It does not wait for that slot to be applied, which no role can see.
    Ready(Duration),
}
