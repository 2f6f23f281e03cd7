//! The service: locks and the sessions that hold them, as a deterministic state machine.
//!
//! Nothing here looks at a clock. A session expires when replicated time has passed its deadline,
//! and what it held is free then, in the same step on every node.

use std::collections::BTreeSet;
use std::time::Duration;

use paxos_core::{Context, StateMachine, Time};
use serde::{Deserialize, Serialize};

use crate::event::{Event, lock_topic, session_topic};
use crate::locks::{Attempt, Lock, Locks, is_name};
use crate::refusal::Refusal;
use crate::sessions::{NAMES_MAX, Session, Sessions};
use crate::terms::{LockSession, Terms, Token};

/// Locks or waiters in one answer, at most.
pub const PAGE_MAX: usize = 256;

/// What changes the locks. Each that names a session is a sign of its life, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Opens a session.
    Open {
        /// How long it lives without a sign of life.
        terms: Terms,
    },
    /// Asks for a lock, or asks again: who holds it is told its token, and who waits keeps its
    /// place.
    Acquire {
        /// Who asks.
        session: LockSession,
        /// The lock.
        name: String,
        /// To queue if somebody has it.
        waits: bool,
    },
    /// Is nothing but a sign of life.
    Renew {
        /// Who lives.
        session: LockSession,
    },
    /// Gives a lock back. With a token that is not that of the grant in force it changes nothing.
    Release {
        /// Who held it.
        session: LockSession,
        /// The lock.
        name: String,
        /// The token of the grant.
        token: Token,
    },
    /// Gives back whatever the session holds, and no longer waits for what it awaits.
    Close {
        /// Who leaves.
        session: LockSession,
    },
}

/// What a command has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The session is open.
    Opened(LockSession),
    /// How the session stands with the lock.
    Standing(Standing),
    /// The session lives on.
    Renewed,
    /// The lock is given back.
    Released,
    /// The session has ended.
    Closed,
}

/// How a session stands with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It holds it, with this token.
    Held(Token),
    /// It waits, and so many are before it, the holder included.
    Waiting(u64),
    /// Somebody has it, and the session does not wait.
    Taken,
}

/// What asks about the locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One lock; the answer is [`Answer::Lock`].
    Show {
        /// Its name.
        name: String,
    },
    /// Locks that somebody holds, in the order of their names, at most [`PAGE_MAX`]; the answer is
    /// [`Answer::Locks`], and it is empty behind the last.
    List {
        /// Only those whose names begin so.
        prefix: String,
        /// Only those behind this name.
        after: String,
    },
    /// Those who wait for a lock, the next first, at most [`PAGE_MAX`]; the answer is
    /// [`Answer::Queue`].
    Queue {
        /// The lock.
        name: String,
        /// Without so many of the first.
        skip: u64,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A lock. One that nobody ever asked for is free.
    Lock(LockView),
    /// Locks.
    Locks(Vec<LockView>),
    /// Waiters.
    Queue(Vec<Standby>),
}

/// A lock, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// Its name.
    pub name: String,
    /// The token of its last grant; 0 if it is not known to have one.
    pub last: Token,
    /// Who holds it.
    pub holder: Option<Holding>,
    /// How many wait for it.
    pub waiting: u64,
}

/// Who holds a lock, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The token.
    pub token: Token,
    /// The session.
    pub session: LockSession,
    /// Its client.
    pub identity: String,
    /// How long it has been held, in replicated time as of the last batch.
    pub held: Duration,
    /// The session expires if so much replicated time passes without a sign of life.
    pub left: Duration,
}

/// Who waits for a lock, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// The session.
    pub session: LockSession,
    /// Its client.
    pub identity: String,
    /// How long it has waited, in replicated time as of the last batch.
    pub waited: Duration,
}

/// The lock service.
///
/// Invariant: a lock is held by one session at most, one that lives, with a token above all that
/// the lock was ever granted with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockService {
    sessions: Sessions,
    locks: Locks,
    /// Replicated time of the last change, for what is shown.
    now: Time,
}

impl StateMachine for LockService {
    type Command = Command;
    type Reply = Result<Done, Refusal>;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, context: &mut Context<'_>, command: Command) -> Result<Done, Refusal> {
        self.now = context.time;
        match command {
            Command::Open { terms } => {
                self.sessions.open(context.time, context.identity, terms).map(Done::Opened)
            }
            Command::Acquire { session, name, waits } => {
                self.acquire(context, session, name, waits).map(Done::Standing)
            }
            Command::Renew { session } => {
                self.sessions.renew(context.time, session, context.identity)?;
                Ok(Done::Renewed)
            }
            Command::Release { session, name, token } => {
                self.release(context, session, name, token)
            }
            Command::Close { session } => {
                let ended = self.sessions.close(session, context.identity)?;
                self.bury(context, vec![(session, ended)], false);
                Ok(Done::Closed)
            }
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Show { name } => {
                let lock = self.locks.get(&name);
                Answer::Lock(match lock {
                    Some(lock) => self.view(&name, lock),
                    None => LockView { name, last: Token(0), holder: None, waiting: 0 },
                })
            }
            Query::List { prefix, after } => {
                let held = self.locks.behind(&prefix, &after);
                let held = held.filter(|(_, lock)| lock.holder.is_some()).take(PAGE_MAX);
                Answer::Locks(held.map(|(name, lock)| self.view(name, lock)).collect())
            }
            Query::Queue { name, skip } => {
                let queue = self.locks.get(&name).into_iter().flat_map(|lock| &lock.queue);
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let waiters = queue.skip(skip).take(PAGE_MAX).map(|waiter| Standby {
                    session: waiter.session,
                    identity: self.identity(waiter.session),
                    waited: self.now.since(waiter.since),
                });
                Answer::Queue(waiters.collect())
            }
        }
    }

    fn due(&self) -> Option<Time> {
        self.sessions.due()
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        self.now = context.time;
        let ended = self.sessions.expire(context.time);
        self.bury(context, ended, true);
    }

    /// What a holder last heard it heard from another leader, whose clock may have been behind by
    /// as long as nobody led: every session has its whole time again.
    fn led(&mut self, context: &mut Context<'_>) {
        self.sessions.renew_all(context.time);
    }
}

impl LockService {
    fn acquire(
        &mut self,
        context: &mut Context<'_>,
        id: LockSession,
        name: String,
        waits: bool,
    ) -> Result<Standing, Refusal> {
        if !is_name(&name) {
            return Err(Refusal::BadName);
        }
        let session = self.sessions.renew(context.time, id, context.identity)?;
        if session.names.len() >= NAMES_MAX && !session.names.contains(&name) {
            return Err(Refusal::TooManyNames);
        }
        let standing = match self.locks.attempt(context.time, &name, id, waits)? {
            Attempt::Taken => return Ok(Standing::Taken),
            Attempt::Held { token, is_new } => {
                if is_new {
                    let identity = context.identity.to_owned();
                    let event = Event::Granted { session: id, token, identity };
                    context.tell(&lock_topic(&name), &event);
                }
                Standing::Held(token)
            }
            Attempt::Waiting { ahead, is_new } => {
                if is_new {
                    context.tell(&lock_topic(&name), &Event::Queued { session: id });
                }
                Standing::Waiting(ahead as u64)
            }
        };
        session.names.insert(name);
        Ok(standing)
    }

    fn release(
        &mut self,
        context: &mut Context<'_>,
        id: LockSession,
        name: String,
        token: Token,
    ) -> Result<Done, Refusal> {
        let holder = self.locks.get(&name).and_then(|lock| lock.holder);
        if holder.is_none_or(|holder| holder.session != id || holder.token != token) {
            return Err(Refusal::NotHolder { name, token });
        }
        let session = self.sessions.renew(context.time, id, context.identity)?;
        session.names.remove(&name);
        self.vacate(context, &name, id, false);
        self.pass_on(context, &name);
        Ok(Done::Released)
    }

    /// Takes from sessions that have ended whatever they held or awaited.
    ///
    /// Invariant: all of them have left all queues before any lock is passed on, so none goes to a
    /// session that ends in the same step.
    fn bury(&mut self, context: &mut Context<'_>, ended: Vec<(LockSession, Session)>, late: bool) {
        let mut vacant = BTreeSet::new();
        for (id, session) in ended {
            if late {
                context.tell(&session_topic(id), &Event::Gone { session: id });
            }
            for name in session.names {
                if self.locks.leave(&name, id) {
                    context.tell(&lock_topic(&name), &Event::Left { session: id });
                } else if self.vacate(context, &name, id, late) {
                    vacant.insert(name);
                }
            }
        }
        for name in vacant {
            self.pass_on(context, &name);
        }
    }

    fn vacate(
        &mut self,
        context: &mut Context<'_>,
        name: &str,
        session: LockSession,
        late: bool,
    ) -> bool {
        let Some(token) = self.locks.vacate(name, session) else { return false };
        let event = match late {
            true => Event::Expired { session, token },
            false => Event::Released { session, token },
        };
        context.tell(&lock_topic(name), &event);
        true
    }

    /// The next in line gets the lock, and it alone is told by its own topic.
    fn pass_on(&mut self, context: &mut Context<'_>, name: &str) {
        let Some((session, token)) = self.locks.pass_on(context.time, name) else { return };
        let event = Event::Granted { session, token, identity: self.identity(session) };
        context.tell(&session_topic(session), &event);
        context.tell(&lock_topic(name), &event);
    }

    fn identity(&self, session: LockSession) -> String {
        self.sessions.get(session).map(|session| session.identity.clone()).unwrap_or_default()
    }

    fn view(&self, name: &str, lock: &Lock) -> LockView {
        let holder = lock.holder.map(|holder| {
            let session = self.sessions.get(holder.session);
            Holding {
                token: holder.token,
                session: holder.session,
                identity: self.identity(holder.session),
                held: self.now.since(holder.since),
                left: session.map(|s| s.expires.since(self.now)).unwrap_or_default(),
            }
        });
        let waiting = lock.queue.len() as u64;
        LockView { name: name.to_owned(), last: lock.last, holder, waiting }
    }
}

#[cfg(test)]
impl LockService {
    pub(crate) fn check(&self) {
        self.sessions.len();
        self.locks.check(|name, session| {
            self.sessions.get(session).is_some_and(|session| session.names.contains(name))
        });
    }
}
