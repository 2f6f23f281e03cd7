//! Locks as a program takes them.
//!
//! ```no_run
//! # async fn example(client: paxos_net::client::Client) -> anyhow::Result<()> {
//! use lock::{AcquireOptions, LockClient};
//!
//! let locks = LockClient::new(client);
//! let guard = locks.acquire("nightly", AcquireOptions::default()).await?;
//! tokio::select! {
//!     () = work(guard.token()) => guard.release().await?,
//!     loss = guard.lost() => anyhow::bail!("{loss}"),
//! }
//! # Ok(()) }
//! # async fn work(_: lock::Token) {}
//! ```
//!
//! A guard that is lost says so before anybody else can get the lock, as long as this program runs.
//! One that was stopped, or whose machine was, finds out late: whatever the lock protects must
//! refuse the token then.

mod guard;
mod open;
mod schedule;

use std::time::Duration;

use paxos_actors::clock::Clock;
use paxos_core::{Position, Time, TopicFilter};
use paxos_net::client::{Client, ClientError, Read, Watched, Watcher};
use paxos_net::protocol::Consistency;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::client::schedule::{Due, Schedule};
use crate::event::session_topic;
use crate::machine::{Answer, Command, Done, LockService, Query, Standing};
use crate::refusal::Refusal;
use crate::terms::{LockSession, Terms, Token};

pub use self::guard::{Guard, Loss};
pub use self::open::Open;

/// After a failure that time may mend, before the next attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// When a wait is over, the answer to the last question is awaited for so long.
const LAST_ANSWER: Duration = Duration::from_secs(3);

/// A session gives so many signs of life in the time that one of them is good for.
const RENEWALS: u32 = 3;

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcquireOptions {
    /// How long the session lives without a sign of life.
    pub terms: Terms,
    /// What to do if somebody has it.
    pub wait: Wait,
}

/// What to do if somebody has the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Queue until it is this one's turn.
    #[default]
    Forever,
    /// Queue for so long; not at all if that is no time.
    For(Duration),
    /// Nothing.
    No,
}

/// Why there is no lock.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AcquireError {
    /// Somebody has it, and the wait is over or was not wanted.
    #[error("{0} is held by another: not acquired")]
    NotAcquired(String),
    /// The session expired while it waited, or the answer came when nothing was left of its time.
    #[error("{0} is not acquired: the session's time was over before the answer came; try again")]
    Late(String),
    /// The wait is over, and no node says how it stands with the lock.
    #[error("{0} is not acquired: no node answered before the wait was over")]
    Unanswered(String),
    /// The service refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The service did not answer, or not in time.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A client of the lock service. Clones share its connections.
#[derive(Clone)]
pub struct LockClient {
    client: Client,
    clock: Clock,
}

impl LockClient {
    /// A client on top of one of the cluster.
    pub fn new(client: Client) -> Self {
        LockClient { client, clock: Clock::Machine }
    }

    /// Acquires a lock and keeps it alive until the guard is released, dropped or lost.
    ///
    /// # Errors
    /// [`AcquireError`]. If the future is dropped, whoever waits leaves the queue, if that can
    /// still be said; otherwise when the session expires.
    pub async fn acquire(
        &self,
        name: &str,
        options: AcquireOptions,
    ) -> Result<Guard, AcquireError> {
        let (open, token, sent) = self.take(name, options).await?;
        Ok(Guard::keep(open, name, token, sent))
    }

    /// Acquires a lock in a session that nobody renews; answers with it the token, and when its
    /// last sign of life was sent.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn take(
        &self,
        name: &str,
        options: AcquireOptions,
    ) -> Result<(Open, Token, Time), AcquireError> {
        let open = self.open(options.terms).await?;
        match self.turn(&open, name, options.wait).await {
            Ok((token, sent)) => Ok((open, token, sent)),
            Err(error) => {
                // It would end by itself, and nobody can help it.
                open.close().await.ok();
                Err(error)
            }
        }
    }

    /// Waits until a session has a lock; answers its token, and when the last sign of life was
    /// sent. Whoever drops the future leaves the session in the queue.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn turn(
        &self,
        open: &Open,
        name: &str,
        wait: Wait,
    ) -> Result<(Token, Time), AcquireError> {
        let now = self.clock.now();
        let turn = match wait {
            Wait::Forever => self.ask_for(open, name, None).await,
            Wait::For(Duration::ZERO) | Wait::No => self.ask_for(open, name, Some(now)).await,
            Wait::For(time) => {
                let turn = self.ask_for(open, name, Some(now.after(time)));
                let answered = timeout(time.saturating_add(LAST_ANSWER), turn).await;
                answered.unwrap_or_else(|_| Err(AcquireError::Unanswered(name.to_owned())))
            }
        };
        let (token, sent) = turn?;
        match Schedule::new(open.terms(), sent).due(self.clock.now()) {
            Due::End => Err(AcquireError::Late(name.to_owned())),
            Due::Nothing(_) | Due::Renewal(_) => Ok((token, sent)),
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn open(&self, terms: Terms) -> Result<Open, AcquireError> {
        match self.run(&Command::Open { terms }).await? {
            Done::Opened(session) => Ok(Open::new(self.clone(), session, terms)),
            _ => Err(unexpected().into()),
        }
    }

    /// Gives a sign of life of a session.
    ///
    /// # Errors
    /// [`AcquireError`]; above all that the session has expired.
    pub async fn renew(&self, session: LockSession) -> Result<(), AcquireError> {
        self.run(&Command::Renew { session }).await.map(drop)
    }

    /// Ends a session, and with it whatever it holds.
    ///
    /// # Errors
    /// [`AcquireError`]; above all that the session has expired.
    pub async fn close(&self, session: LockSession) -> Result<(), AcquireError> {
        self.run(&Command::Close { session }).await.map(drop)
    }

    /// Runs a command of the service.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn run(&self, command: &Command) -> Result<Done, AcquireError> {
        Ok(self.client.execute_as::<LockService>(command).await??)
    }

    /// Asks the service.
    ///
    /// # Errors
    /// Those of the client.
    pub async fn ask(
        &self,
        query: &Query,
        consistency: Consistency,
    ) -> Result<Read<Answer>, ClientError> {
        self.client.read_as::<LockService>(query, consistency).await
    }

    /// The client below.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for the lock until this session has it, or the wait has come to its end.
    ///
    /// Invariant: at the end one more question is asked, so that its answer is how it stands then.
    async fn ask_for(
        &self,
        open: &Open,
        name: &str,
        end: Option<Time>,
    ) -> Result<(Token, Time), AcquireError> {
        let session = open.session();
        let mut calls = None;
        loop {
            let sent = self.clock.now();
            let waits = end.is_none_or(|end| sent < end);
            let command = Command::Acquire { session, name: name.to_owned(), waits };
            let asked = match self.run(&command).await {
                Ok(Done::Standing(Standing::Held(token))) => return Ok((token, sent)),
                Ok(Done::Standing(Standing::Waiting(_))) if waits => {
                    let rest = end.map_or(Duration::MAX, |end| end.since(self.clock.now()));
                    self.await_call(open, name, rest, &mut calls).await
                }
                Ok(Done::Standing(Standing::Waiting(_) | Standing::Taken)) => {
                    return Err(AcquireError::NotAcquired(name.to_owned()));
                }
                Ok(_) => Err(unexpected()),
                Err(AcquireError::Client(error)) => Err(error),
                Err(AcquireError::Refused(Refusal::SessionExpired { .. })) => {
                    return Err(AcquireError::Late(name.to_owned()));
                }
                Err(error) => return Err(error),
            };
            match asked {
                Ok(()) => {}
                // The next attempt asks for the same again, in the same session.
                Err(error) if waits && error.may_pass() => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until a session that queues is called, or it is time for its next sign of life, or
    /// there is nothing left to wait for.
    async fn await_call(
        &self,
        open: &Open,
        name: &str,
        rest: Duration,
        calls: &mut Option<Watcher>,
    ) -> Result<(), ClientError> {
        let session = open.session();
        let watcher = match calls {
            Some(watcher) => watcher,
            None => {
                let query = Query::Show { name: name.to_owned() };
                let Read { slot, answer, .. } = self.ask(&query, Consistency::Lease).await?;
                let Answer::Lock(lock) = answer else { return Err(unexpected()) };
                if lock.holder.is_some_and(|holder| holder.session == session) {
                    // It was called before it listened.
                    return Ok(());
                }
                let topics = vec![TopicFilter::Exact(session_topic(session))];
                calls.insert(self.client.watch(topics, Position::behind(slot)))
            }
        };
        let called = async {
            loop {
                match watcher.next().await {
                    Ok(Watched::Level { .. }) => {}
                    Ok(Watched::Event { .. }) => return Ok(true),
                    Ok(Watched::Lagged { .. }) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        };
        let time = rest.min(open.terms().ttl / RENEWALS);
        let listens = timeout(time, called).await.unwrap_or(Ok(true))?;
        if !listens {
            // What was missed is in what is read next.
            *calls = None;
        }
        Ok(())
    }
}

fn unexpected() -> ClientError {
    ClientError::Undecodable("an answer to another question".to_owned())
}
