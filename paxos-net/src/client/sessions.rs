//! Sessions that wait for the next command.

use std::sync::{Arc, Mutex};

use paxos_core::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;

/// The sessions of a client. Each has one command outstanding at a time, so their number is that of
/// commands in flight.
pub(crate) struct Sessions {
    free: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

/// A session and the sequence of its next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) next: u64,
}

/// A place in the pool: one command may be in flight.
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    _permit: OwnedSemaphorePermit,
}

impl Sessions {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Sessions { free: Mutex::default(), places })
    }

    /// Waits for a place. `None`: not until the deadline.
    pub(crate) async fn place(self: &Arc<Self>, deadline: Instant) -> Option<Place> {
        let permit = timeout_at(deadline, self.places.clone().acquire_owned()).await.ok()?.ok()?;
        Some(Place { sessions: self.clone(), _permit: permit })
    }

    /// Takes all free sessions, to close them.
    pub(crate) fn drain(&self) -> Vec<Session> {
        std::mem::take(&mut *lock(&self.free))
    }
}

impl Place {
    /// Takes a free session out of the pool; a command under way whose future is dropped leaves it
    /// out, since nobody knows what its next sequence would be.
    pub(crate) fn take(&self) -> Option<Session> {
        lock(&self.sessions.free).pop()
    }

    /// Puts a session back whose last command is settled.
    pub(crate) fn give_back(&self, session: Session) {
        lock(&self.sessions.free).push(session);
    }
}
