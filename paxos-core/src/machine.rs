//! The one trait that a replicated service implements.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::batch::SessionId;
use crate::types::{Slot, Time};

/// A replicated service: a deterministic state machine.
///
/// `apply` runs the same commands in the same order on every node, so it must depend on nothing but
/// the state, the context and the command: no clock, no randomness, no iteration over a `HashMap`.
/// It must not panic either: a command that panics stops every replica in turn.
///
/// ```
/// use paxos_core::{Context, StateMachine};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Tally(u64);
///
/// impl StateMachine for Tally {
///     type Command = u64;
///     type Reply = u64;
///     type Query = ();
///     type Answer = u64;
///
///     fn apply(&mut self, _: &Context<'_>, by: u64) -> u64 {
///         self.0 = self.0.saturating_add(by);
///         self.0
///     }
///
///     fn query(&self, _: ()) -> u64 {
///         self.0
///     }
/// }
/// ```
pub trait StateMachine: Default + Serialize + DeserializeOwned + Send + 'static {
    /// What changes the state.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What a command is answered with; it is kept with the session until the next command.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
    /// What asks about the state.
    type Query: Serialize + DeserializeOwned + Send + 'static;
    /// What a query is answered with.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Runs a command.
    fn apply(&mut self, context: &Context<'_>, command: Self::Command) -> Self::Reply;

    /// Answers a query.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// The whole state as bytes, equal for equal states.
    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a state machine's own data encodes")
    }

    /// A state machine in the state of a snapshot.
    ///
    /// # Errors
    /// [`RestoreError`] if the bytes are not a snapshot of this state machine.
    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        postcard::from_bytes(snapshot).map_err(|error| RestoreError(error.to_string()))
    }
}

/// What a command may know beside the state and itself; the same on every node.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The slot that it was chosen in.
    pub slot: Slot,
    /// Its place in the slot's batch, from 0.
    pub index: u32,
    /// Replicated time: the greatest clock of a leader in the log so far.
    pub time: Time,
    /// The session that it came by.
    pub session: SessionId,
    /// The client, as its certificate names it.
    pub identity: &'a str,
}

/// A snapshot that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a snapshot of this state machine: {0}")]
pub struct RestoreError(pub String);
