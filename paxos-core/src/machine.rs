//! The one trait that a replicated service implements.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::batch::SessionId;
use crate::event::{Event, Position};
use crate::types::{Slot, Time};

/// A replicated service: a deterministic state machine.
///
/// What changes it runs in the same order on every node, so it must depend on nothing but the
/// state, the context and the command: no clock, no randomness, no iteration over a `HashMap`. It
/// must not panic either: a command that panics stops every replica in turn.
///
/// A batch of the log is applied in this order. Its stamp raises replicated time. If another leader
/// than before has stamped it, [`led`](Self::led) is called. Sessions that are unused for too long
/// by that time end, and [`ended`](Self::ended) is called for each. [`wake`](Self::wake) is called
/// while what it was due for has passed. Then come the commands.
///
/// ```
/// use paxos_core::{Context, StateMachine, Time};
/// use serde::{Deserialize, Serialize};
///
/// /// A tally that is told and begins anew a minute after its first vote.
/// #[derive(Default, Serialize, Deserialize)]
/// struct Tally {
///     votes: u64,
///     closes: Option<Time>,
/// }
///
/// impl StateMachine for Tally {
///     type Command = u64;
///     type Reply = u64;
///     type Query = ();
///     type Answer = u64;
///
///     fn apply(&mut self, context: &mut Context<'_>, by: u64) -> u64 {
///         self.votes = self.votes.saturating_add(by);
///         let minute = std::time::Duration::from_secs(60);
///         self.closes.get_or_insert(context.time.after(minute));
///         self.votes
///     }
///
///     fn query(&self, _: ()) -> u64 {
///         self.votes
///     }
///
///     fn due(&self) -> Option<Time> {
///         self.closes
///     }
///
///     fn wake(&mut self, context: &mut Context<'_>) {
///         context.tell("tally", &self.votes);
///         *self = Tally::default();
///     }
/// }
///
/// use paxos_core::{SessionId, Slot};
/// let (mut tally, mut events) = (Tally::default(), Vec::new());
/// let mut context = Context::new(Slot(1), Time(0), SessionId(1), "client/ada", &mut events);
/// assert_eq!(tally.apply(&mut context, 3), 3);
/// assert_eq!(tally.due(), Some(Time(60_000_000)));
/// tally.wake(&mut context);
/// assert_eq!((tally.due(), events[0].topic.as_str()), (None, "tally"));
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
    fn apply(&mut self, context: &mut Context<'_>, command: Self::Command) -> Self::Reply;

    /// Answers a query.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// The earliest replicated time at which it wants to be woken. Default: never.
    fn due(&self) -> Option<Time> {
        None
    }

    /// Replicated time has reached what [`due`](Self::due) says; it runs before the commands of the
    /// batch that brought the time. It is called again while `due` has passed and moves on, and
    /// with the next batch otherwise. Default: nothing.
    fn wake(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// A client's session has ended: it was closed, has expired, or made room for another. What it
    /// held ends with it. Default: nothing.
    fn ended(&mut self, context: &mut Context<'_>, session: SessionId) {
        let _ = (context, session);
    }

    /// Another leader than that of the batch before has stamped this one. Their clocks differ by as
    /// long as nobody led, so deadlines may deserve an extension (Burrows, *The Chubby lock
    /// service*, OSDI 2006, section 2.9). Between two such calls time goes by one clock. Mostly it
    /// is a newer leader; an older one's batch may come late, and then it is called twice. Default:
    /// nothing.
    fn led(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

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

/// What a state machine may know beside its state and a command, the same on every node, and where
/// it tells what happens.
#[derive(Debug)]
pub struct Context<'a> {
    /// The slot that is applied.
    pub slot: Slot,
    /// The command's place in the slot's batch, from 0; 0 before the commands.
    pub index: u32,
    /// Replicated time: the greatest clock of a leader in the log so far.
    pub time: Time,
    /// The session that the command came by; 0 where there is no command.
    pub session: SessionId,
    /// The client, as its certificate names it; empty where there is no command.
    pub identity: &'a str,
    events: &'a mut Vec<Event>,
}

impl<'a> Context<'a> {
    /// The context of the first command of a slot, as in a test of a state machine; what is told
    /// comes behind these events.
    pub fn new(
        slot: Slot,
        time: Time,
        session: SessionId,
        identity: &'a str,
        events: &'a mut Vec<Event>,
    ) -> Self {
        Context { slot, index: 0, time, session, identity, events }
    }

    /// Tells those who watch a topic.
    pub fn tell<E: Serialize>(&mut self, topic: &str, event: &E) {
        let position = Position { slot: self.slot, index: self.events.len() as u32 };
        let bytes = postcard::to_stdvec(event).expect("plain data always encodes");
        let (topic, bytes) = (topic.to_owned(), Bytes::from(bytes));
        self.events.push(Event { position, topic, bytes });
    }
}

/// A snapshot that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a snapshot of this state machine: {0}")]
pub struct RestoreError(pub String);
