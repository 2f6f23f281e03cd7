//! Following what a state machine tells, across the loss of nodes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use paxos_core::{Event, Page, Position, Slot, TopicFilter};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::calls::Failure;
use super::{Client, ClientError, decode, unexpected};
use crate::protocol::{Call, Response};

/// A node is asked for so long before it says that there is nothing.
const POLL: Duration = Duration::from_secs(20);

/// Events that are fetched at once at most.
const FETCH: u64 = 1024;

/// Between two attempts while no node can be reached, or all are busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Follows topics, from a position on: [`Client::watch`].
#[derive(Clone)]
pub struct Watcher {
    client: Client,
    topics: Vec<TopicFilter>,
    after: Position,
    fetched: VecDeque<Event>,
    /// Where to go on behind what is fetched.
    upto: Position,
}

/// What there is for who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched<E = Bytes> {
    /// The next event.
    Event {
        /// Where.
        position: Position,
        /// About what.
        topic: String,
        /// What.
        event: E,
    },
    /// Events of slots below this one are missing: the node does not have them any more. The
    /// watcher goes on with this slot; who needs to know what was missed reads the state first, and
    /// watches anew behind the slot of that read.
    Lagged {
        /// The slot.
        next: Slot,
    },
    /// Nothing new was told for some seconds, up to this slot.
    Level {
        /// The slot.
        slot: Slot,
    },
}

impl Client {
    /// Follows what the state machine tells about topics, behind a position. With
    /// [`Position::behind`] the slot of a read, nothing is missed that is not in what was read, and
    /// nothing comes that is. Any node answers; if it is lost, or hears of no leader, the watcher
    /// goes on at another.
    pub fn watch(&self, topics: Vec<TopicFilter>, after: Position) -> Watcher {
        let client = self.clone();
        Watcher { client, topics, after, fetched: VecDeque::new(), upto: after }
    }
}

impl Watcher {
    /// The position behind which it goes on: that of the last event, or further, where nothing else
    /// was told.
    pub fn after(&self) -> Position {
        self.after
    }

    /// The next event, or what there is instead. It may be dropped while it waits, and loses
    /// nothing.
    ///
    /// # Errors
    /// Only what time cannot mend; while no node answers it goes on asking.
    pub async fn next(&mut self) -> Result<Watched, ClientError> {
        loop {
            if let Some(Event { position, topic, bytes }) = self.fetched.pop_front() {
                self.after = if self.fetched.is_empty() { self.upto } else { position };
                return Ok(Watched::Event { position, topic, event: bytes });
            }
            match self.page().await? {
                Some(Page::Events { events, upto }) if events.is_empty() => {
                    (self.after, self.upto) = (upto, upto);
                    return Ok(Watched::Level { slot: upto.slot });
                }
                Some(Page::Events { events, upto }) => {
                    (self.fetched, self.upto) = (events.into(), upto);
                }
                Some(Page::Lagged { next }) => {
                    self.after = Position::behind(Slot(next.0.saturating_sub(1)));
                    return Ok(Watched::Lagged { next });
                }
                None => sleep(PAUSE).await,
            }
        }
    }

    /// [`Watcher::next`], each event decoded.
    ///
    /// # Errors
    /// Those of `next`, and [`ClientError::Undecodable`].
    pub async fn next_as<E: DeserializeOwned>(&mut self) -> Result<Watched<E>, ClientError> {
        Ok(match self.next().await? {
            Watched::Event { position, topic, event } => {
                Watched::Event { position, topic, event: decode(&event)? }
            }
            Watched::Lagged { next } => Watched::Lagged { next },
            Watched::Level { slot } => Watched::Level { slot },
        })
    }

    /// One answer of one node; nothing, if none could be had.
    async fn page(&self) -> Result<Option<Page>, ClientError> {
        let (topics, after) = (self.topics.clone(), self.after);
        let call = Call::Watch { topics, after, max: FETCH };
        match self.client.ask(&call, Instant::now() + POLL).await {
            Ok((Response::Watched(page), _)) => Ok(Some(page)),
            Ok(_) => Err(unexpected()),
            Err(Failure { error, .. }) => match error {
                ClientError::Busy
                | ClientError::Unavailable(_)
                | ClientError::Unreachable { .. } => Ok(None),
                error => Err(error),
            },
        }
    }
}
