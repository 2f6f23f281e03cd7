//! What watchers are told.

use serde::{Deserialize, Serialize};

use crate::terms::{LockSession, Token};

/// What happened to a lock, or to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The lock is held from here on.
    Granted {
        /// By whom.
        session: LockSession,
        /// The token of the grant.
        token: Token,
        /// The session's client.
        identity: String,
    },
    /// Its holder gave it back.
    Released {
        /// Who that was.
        session: LockSession,
        /// The token of the grant that is over.
        token: Token,
    },
    /// The session of its holder expired.
    Expired {
        /// The session.
        session: LockSession,
        /// The token of the grant that is over.
        token: Token,
    },
    /// The session that is watched expired.
    Gone {
        /// The session.
        session: LockSession,
    },
    /// One more waits for it.
    Queued {
        /// Who.
        session: LockSession,
    },
    /// One waits no longer, without having got it.
    Left {
        /// Who.
        session: LockSession,
    },
}

/// Where everything is told that happens to a lock.
pub fn lock_topic(name: &str) -> String {
    format!("lock/{name}")
}

/// Where a session that waits is told what it waits for, and nobody else.
pub fn session_topic(session: LockSession) -> String {
    format!("session/{session}")
}
