//! A room followed through the loss of nodes: every message once, in order.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use paxos_core::{Position, Slot, TopicFilter};
use paxos_net::client::{Client, ClientConfig, ClientError, Read, Watched, Watcher};
use paxos_net::protocol::{Consistency, Served};
use tokio::time::sleep;

use crate::client::history;
use crate::cursor::{Cursor, News, OutOfOrder};
use crate::machine::{Happening, topic};
use crate::room::{Page, Span};

/// A node that has told nothing for so long is asked for the state,
const QUIET: Duration = Duration::from_millis(500);

/// and one that does not answer for so long is left.
const PATIENCE: Duration = Duration::from_secs(1);

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
    /// The node has forgotten some of what it told behind what was heard: it keeps only so much for
    /// those who are slow. What was missed is read from its state.
    Lagged,
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

/// Follows a room from one message on: reads its state first, and watches what is said behind that.
/// It holds one page of messages at most, and asks for more when they are taken. Every message is
/// heard once, in order, as [`Cursor`] has it.
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
    /// What is told behind the cursor, once that is caught up.
    watcher: Watcher,
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
        let watcher = watch(&client, room, Slot(0));
        Ok(Follower {
            config,
            room: room.to_owned(),
            start,
            places,
            place: 0,
            client,
            watcher,
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
                Ok(None) => self.failures = 0,
                Ok(Some(why)) => self.move_on(why).await?,
                Err(error) if !error.may_pass() => return Err(error),
                Err(error) => self.move_on(error.to_string()).await?,
            }
        }
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.client.close().await;
    }

    /// Asks for more, and waits until there is some; or answers why the node is of no use.
    async fn listen(&mut self) -> Result<Option<String>, ClientError> {
        let Some(cursor) = &mut self.cursor else { return self.begin().await.map(|()| None) };
        if !cursor.is_caught_up() {
            let read = read(&self.client, &self.room, cursor).await?;
            return self.take_in(read).map(|()| None);
        }
        match wait(&mut self.watcher, &self.client, &self.room, cursor).await? {
            Waited::Told(Watched::Event { position, event: Happening::Said(message), .. }) => {
                cursor.told(position.slot, message, &mut self.news);
            }
            Waited::Told(Watched::Lagged { .. }) => {
                cursor.lag();
                self.remarks.push_back(Heard::Lagged);
            }
            Waited::Told(Watched::Level { .. }) => {}
            Waited::Found(read) => self.take_in(read)?,
            Waited::CutOff(served) => {
                return Ok(Some(format!("it hears nothing of the others ({served})")));
            }
        }
        Ok(None)
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

    /// Takes in one page; when it was the last, what is said behind it is watched.
    fn take_in(&mut self, read: Read<Page>) -> Result<(), ClientError> {
        let (Read { slot, answer: page, served }, Some(cursor)) = (read, &mut self.cursor) else {
            return Ok(());
        };
        let last = page.last;
        let disorder = |error: OutOfOrder| ClientError::Undecodable(error.to_string());
        cursor.read(slot, page, &mut self.news).map_err(disorder)?;
        if cursor.is_caught_up() {
            self.watcher = watch(&self.client, &self.room, slot);
            if !self.marked {
                self.marked = true;
                self.remarks.push_back(Heard::CaughtUp(Mark { last, slot, served }));
            }
        }
        Ok(())
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

/// What came of waiting for a node to tell something.
enum Waited {
    /// It did.
    Told(Watched<Happening>),
    /// It did not, and has something new.
    Found(Read<Page>),
    /// It was up to date too long ago.
    CutOff(Served),
}

/// Waits until a node tells something, and looks now and then whether it is still of use.
async fn wait(
    watcher: &mut Watcher,
    client: &Client,
    room: &str,
    cursor: &Cursor,
) -> Result<Waited, ClientError> {
    let mut told = pin!(watcher.next_as());
    loop {
        tokio::select! {
            told = &mut told => return Ok(Waited::Told(told?)),
            () = sleep(QUIET) => {}
        }
        let read = read(client, room, cursor).await?;
        match read.served {
            Served::Stale { behind_ms } if is_cut_off(behind_ms) => {
                return Ok(Waited::CutOff(read.served));
            }
            // It may be too busy for one more who watches.
            _ if read.answer.last >= cursor.next() => return Ok(Waited::Found(read)),
            _ => {}
        }
    }
}

/// Reads the next page from the state of a node.
async fn read(client: &Client, room: &str, cursor: &Cursor) -> Result<Read<Page>, ClientError> {
    history(client, room, cursor.wants(), Consistency::Stale { at_least: cursor.seen() }).await
}

/// Watches what is said in a room behind the state of a slot.
fn watch(client: &Client, room: &str, slot: Slot) -> Watcher {
    client.watch(vec![TopicFilter::Exact(topic(room))], Position::behind(slot))
}

fn is_cut_off(behind_ms: Option<u64>) -> bool {
    behind_ms.is_none_or(|behind| behind > CUT_OFF.as_millis() as u64)
}
