//! A room followed through the loss of nodes: every message once, in order.

use std::collections::VecDeque;
use std::time::Duration;

use paxos_core::Slot;
use paxos_net::client::{Client, ClientConfig, ClientError, Read};
use paxos_net::protocol::{Consistency, Served};
use tokio::time::sleep;

use crate::client::history;
use crate::cursor::{Cursor, News, OutOfOrder};
use crate::room::Span;

/// For one question to a node. One that is silent for longer is left; a room in which nothing is
/// said is looked after so often.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node that was up to date so long ago is cut off from the others, and left.
const CUT_OFF: Duration = Duration::from_secs(3);

/// When no node was of any use, before they are tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With so many of the newest messages that are there, then all that follow.
    Newest(u64),
    /// With the message of this id.
    At(u64),
}

/// What a follower hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What was said, or that it is gone.
    News(News),
    /// Everything that the node has was heard. Told once for each node that is followed.
    CaughtUp(Mark),
    /// The node is of no use any more, and another is asked from here on.
    Moved {
        /// Where it was.
        from: String,
        /// Where the other is.
        to: String,
        /// What is wrong with the first, in words.
        why: String,
    },
}

/// How far a room was read, and how new that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The id of the newest message; 0: there is none yet.
    pub last: u64,
    /// The last slot applied in the state that was read.
    pub slot: Slot,
    /// How new that state was.
    pub served: Served,
}

/// Follows a room from one message on. It holds one page of messages at most, and asks for more
/// when they are taken. Every message is heard once, in order, as [`Cursor`] has it.
pub struct Follower {
    config: ClientConfig,
    room: String,
    start: Start,
    /// The nodes that can be followed, and which of them is.
    places: Vec<String>,
    place: usize,
    client: Client,
    /// Nodes in a row that were of no use.
    failures: usize,
    /// Where in the room, once it is known where to begin.
    cursor: Option<Cursor>,
    /// Whether it was said of this node that all it has was heard.
    marked: bool,
    news: VecDeque<News>,
    remarks: VecDeque<Heard>,
}

impl Follower {
    /// Follows a room. Where the configuration names a node, that is followed first; another if it
    /// is lost. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: ClientConfig, room: &str, start: Start) -> Result<Self, ClientError> {
        let mut places: Vec<_> = config.cluster.nodes.values().cloned().collect();
        let first = match &config.via {
            Some(via) => places.iter().position(|place| place == via),
            // Without randomness all followers would begin with the same node, and no worse.
            None => Some(getrandom::u32().unwrap_or(0) as usize % places.len().max(1)),
        };
        places.rotate_left(first.unwrap_or(0));
        let mut config = config;
        config.timeout = PATIENCE;
        if config.via.is_none() {
            config.via = places.first().cloned();
        }
        let client = Client::new(config.clone())?;
        Ok(Follower {
            config,
            room: room.to_owned(),
            start,
            places,
            place: 0,
            client,
            failures: 0,
            cursor: match start {
                Start::At(id) => Some(Cursor::before(id)),
                Start::Newest(_) => None,
            },
            marked: false,
            news: VecDeque::new(),
            remarks: VecDeque::new(),
        })
    }

    /// The address of the node that is followed.
    pub fn node(&self) -> &str {
        &self.places[self.place]
    }

    /// Waits for what is heard next. Dropped before it is done, nothing is lost.
    ///
    /// # Errors
    /// Only those that neither time nor another node can mend.
    pub async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(Heard::News(news));
            }
            if let Some(remark) = self.remarks.pop_front() {
                return Ok(remark);
            }
            match self.listen().await {
                Ok(()) => self.failures = 0,
                Err(error) if is_hopeless(&error) => return Err(error),
                Err(error) => self.move_on(error.to_string()).await?,
            }
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.client.close().await;
    }

    /// Asks for more, and waits until there is some.
    async fn listen(&mut self) -> Result<(), ClientError> {
        let Some(cursor) = self.cursor else { return self.begin().await };
        let stale = Consistency::Stale { at_least: cursor.seen() };
        if !cursor.is_caught_up() {
            return self.read(cursor, stale).await.map(drop);
        }
        match self.read(cursor, Consistency::Local { after: cursor.seen() }).await {
            Ok(_) => Ok(()),
            // Nothing at all was applied for so long: is the node still one of the cluster?
            Err(ClientError::Unavailable(_)) => match self.read(cursor, stale).await? {
                served @ Served::Stale { behind_ms } if is_cut_off(behind_ms) => {
                    self.move_on(format!("it hears nothing of the others ({served})")).await
                }
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    }

    /// Finds out where to begin.
    async fn begin(&mut self) -> Result<(), ClientError> {
        let Start::Newest(count) = self.start else { return Ok(()) };
        let newest = (Span::Before(u64::MAX), 0);
        let stale = Consistency::Stale { at_least: Slot(0) };
        let page = history(&self.client, &self.room, newest, stale).await?.answer;
        let first = (page.last + 1).saturating_sub(count).max(page.first);
        self.cursor = Some(Cursor::before(first));
        Ok(())
    }

    /// Takes in one page, and answers how new it was.
    async fn read(
        &mut self,
        mut cursor: Cursor,
        consistency: Consistency,
    ) -> Result<Served, ClientError> {
        let Read { slot, answer: page, served } =
            history(&self.client, &self.room, cursor.wants(), consistency).await?;
        let last = page.last;
        let disorder = |error: OutOfOrder| ClientError::Undecodable(error.to_string());
        cursor.read(slot, page, &mut self.news).map_err(disorder)?;
        self.cursor = Some(cursor);
        if cursor.is_caught_up() && !self.marked {
            self.marked = true;
            self.remarks.push_back(Heard::CaughtUp(Mark { last, slot, served }));
        }
        Ok(served)
    }

    /// Goes on at the next node; when none was of any use, after a pause.
    async fn move_on(&mut self, why: String) -> Result<(), ClientError> {
        self.failures += 1;
        if self.failures.is_multiple_of(self.places.len()) {
            sleep(PAUSE).await;
        }
        let from = self.node().to_owned();
        self.place = (self.place + 1) % self.places.len();
        let to = self.node().to_owned();
        self.config.via = Some(to.clone());
        self.client = Client::new(self.config.clone())?;
        self.cursor.iter_mut().for_each(Cursor::lag);
        self.marked = false;
        if self.places.len() > 1 {
            self.remarks.push_back(Heard::Moved { from, to, why });
        }
        Ok(())
    }
}

fn is_cut_off(behind_ms: Option<u64>) -> bool {
    behind_ms.is_none_or(|behind| behind > CUT_OFF.as_millis() as u64)
}

/// Whether neither time nor another node can mend it.
fn is_hopeless(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Certificate(_)
            | ClientError::Configuration(_)
            | ClientError::Undecodable(_)
            | ClientError::TooLarge { .. }
            | ClientError::Closed
    )
}
