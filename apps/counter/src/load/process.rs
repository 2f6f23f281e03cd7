//! One client at work on a counter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use paxos_core::SessionId;
use paxos_net::client::{Client, ClientConfig, ClientError};
use paxos_net::protocol::Consistency;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::load::history::Action;
use crate::load::ledger::Ledger;
use crate::load::pace::Pace;
use crate::machine::{Answer, Command, Counters, Query, Refusal};

/// An operation is repeated for so long, under its session and sequence, before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two repetitions.
const PAUSE: Duration = Duration::from_millis(10);
/// One operation in so many is a read.
const READS: u64 = 4;
/// What an increment adds.
const AMOUNT: u64 = 1;

/// A client that works on a counter, one operation at a time, and notes all it is told.
pub struct Process {
    number: u64,
    client: Client,
    counter: String,
    ledger: Arc<Ledger>,
    session: Option<Session>,
}

#[derive(Clone, Copy)]
struct Session {
    id: SessionId,
    next: u64,
}

/// How an increment ended.
enum End {
    Answered(u64),
    Failed,
    Unknown,
}

impl Process {
    /// A process with a client of its own. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// That of the client.
    pub fn new(
        number: u64,
        config: ClientConfig,
        counter: &str,
        ledger: Arc<Ledger>,
    ) -> Result<Process, ClientError> {
        let (client, counter) = (Client::new(config)?, counter.to_owned());
        Ok(Process { number, client, counter, ledger, session: None })
    }

    /// Does the operations of `pace`, counted from `start`, or as many as there is time for until
    /// `enough` is set; `killed` tells how many kills are over.
    ///
    /// # Errors
    /// Those that no repetition can mend.
    pub async fn work(
        &mut self,
        pace: Pace,
        start: Instant,
        mut killed: watch::Receiver<u64>,
        enough: &AtomicBool,
    ) -> anyhow::Result<()> {
        for index in 0..pace.ops() {
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let due = start + pace.due(index);
            sleep_until(due.into()).await;
            let kills = killed.wait_for(|kills| *kills >= pace.kills(index));
            // If there are too few all the same, that is said in the end.
            timeout_at((due + PATIENCE).into(), kills).await.ok();
            self.operate(index).await?;
        }
        Ok(())
    }

    /// Does the operation with this number, from 0: an increment, or now and then a read.
    ///
    /// # Errors
    /// Those that no repetition can mend.
    pub async fn operate(&mut self, index: u64) -> anyhow::Result<()> {
        if index % READS == READS - 1 {
            self.read().await?;
        } else {
            self.increment().await?;
        }
        Ok(())
    }

    /// Reads, linearizably. `None`: no node could answer.
    ///
    /// # Errors
    /// Those that no repetition can mend.
    pub async fn read(&mut self) -> anyhow::Result<Option<u64>> {
        self.ledger.invoked(self.number, Action::Get, None)?;
        let begun = Instant::now();
        let query = Query::Get { name: self.counter.clone() };
        while begun.elapsed() < PATIENCE {
            match self.client.query_as::<Counters>(&query, Consistency::Linearizable).await {
                Ok((_, Answer::Value(value))) => {
                    self.ledger.answered(self.number, Action::Get, value, begun.elapsed())?;
                    return Ok(Some(value));
                }
                Ok((_, Answer::Page(_))) => anyhow::bail!("a read was answered with a list"),
                Err(error) if is_hopeless(&error) => return Err(error).context("reading"),
                Err(_) => sleep(PAUSE).await,
            }
        }
        self.ledger.failed(self.number, Action::Get, None)?;
        Ok(None)
    }

    /// Adds 1.
    ///
    /// # Errors
    /// Those that no repetition can mend.
    pub async fn increment(&mut self) -> anyhow::Result<()> {
        self.ledger.invoked(self.number, Action::Incr, Some(AMOUNT))?;
        let begun = Instant::now();
        match self.settle(begun).await? {
            End::Answered(value) => {
                self.ledger.answered(self.number, Action::Incr, value, begun.elapsed())?;
            }
            End::Failed => self.ledger.failed(self.number, Action::Incr, Some(AMOUNT))?,
            End::Unknown => self.ledger.unknown(self.number, AMOUNT)?,
        }
        Ok(())
    }

    /// Closes the client's connections.
    pub async fn close(self) {
        self.client.close().await;
    }

    /// Repeats an increment under one session and sequence until it is answered.
    ///
    /// Invariant: it is given a new session only while it certainly was never applied under the
    /// old one, and never will be.
    async fn settle(&mut self, begun: Instant) -> anyhow::Result<End> {
        let command = Command::Incr { name: self.counter.clone(), by: AMOUNT };
        let command = Bytes::from(postcard::to_stdvec(&command)?);
        let mut doubt = false;
        while begun.elapsed() < PATIENCE {
            match self.attempt(command.clone()).await {
                Ok(reply) => return Ok(self.answered(&reply)?),
                Err(ClientError::Unknown { .. }) => doubt = true,
                // Of a session that ended nobody can tell any more what ran under it.
                Err(ClientError::Rejected(_)) => {
                    self.session = None;
                    if doubt {
                        return Ok(End::Unknown);
                    }
                }
                Err(error) if is_hopeless(&error) => return Err(error).context("incrementing"),
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
        // Its sequence is used up, or may be.
        self.session = None;
        Ok(if doubt { End::Unknown } else { End::Failed })
    }

    async fn attempt(&mut self, command: Bytes) -> Result<Bytes, ClientError> {
        let session = match self.session {
            Some(session) => session,
            None => *self.session.insert(Session { id: self.client.open().await?, next: 1 }),
        };
        self.client.execute_in(session.id, session.next, command).await
    }

    fn answered(&mut self, reply: &[u8]) -> postcard::Result<End> {
        if let Some(session) = &mut self.session {
            session.next += 1;
        }
        let reply: Result<u64, Refusal> = postcard::from_bytes(reply)?;
        Ok(reply.map_or(End::Failed, End::Answered))
    }
}

/// Whether repeating is of no use.
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

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_net::protocol::Unavailable;

    #[test]
    fn only_what_time_cannot_mend_is_hopeless() {
        assert!(is_hopeless(&ClientError::Certificate("foreign".into())));
        assert!(!is_hopeless(&ClientError::Busy));
        assert!(!is_hopeless(&ClientError::Unavailable(Unavailable::default())));
    }
}
