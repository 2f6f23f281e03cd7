//! Why the lock service did not do what it was asked for.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::locks::{LOCKS_MAX, NAME_MAX, QUEUE_MAX};
use crate::sessions::{NAMES_MAX, SESSIONS_MAX};
use crate::terms::{LockSession, Terms, Token};

/// Why a command was refused. It had no effect, except that a session whose `Acquire` was refused
/// for a limit has shown that it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The session has expired, was closed, or never was.
    #[error("session {session} has expired: whatever it held may be held by others; acquire anew")]
    SessionExpired {
        /// The session.
        session: LockSession,
    },
    /// The session belongs to another client.
    #[error("session {session} is not yours: use the certificate that opened it")]
    NotYours {
        /// The session.
        session: LockSession,
    },
    /// The lock is not held under this session and token.
    #[error("{name} is not held with token {token}: nothing was released")]
    NotHolder {
        /// The lock.
        name: String,
        /// The token that was shown.
        token: Token,
    },
    /// Not the name of a lock.
    #[error("a lock's name has 1 to {NAME_MAX} bytes, and no spaces or control characters")]
    BadName,
    /// Not the terms of a session.
    #[error(
        "the ttl must be from {:?} to {} h, and the grace shorter than the ttl",
        Terms::TTL_MIN, Terms::TTL_MAX.as_secs() / 3600
    )]
    BadTerms,
    /// There are too many sessions.
    #[error("{SESSIONS_MAX} sessions are open, which is the limit: release some, or try later")]
    TooManySessions,
    /// There are too many locks that are held.
    #[error("{LOCKS_MAX} locks are held, which is the limit: release some, or try later")]
    TooManyLocks,
    /// Too many wait for the lock.
    #[error("{QUEUE_MAX} wait for this lock, which is the limit: try later")]
    QueueFull,
    /// The session holds or awaits too many locks.
    #[error("a session holds and awaits {NAMES_MAX} locks at most: open another")]
    TooManyNames,
}
