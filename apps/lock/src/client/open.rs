//! A session of this program.

use tokio::runtime::Handle;

use crate::client::{AcquireError, LockClient};
use crate::terms::{LockSession, Terms};

/// An open session. Dropped, it is closed as far as that goes; who cannot say so any more holds
/// what it has until the session expires.
pub struct Open {
    client: LockClient,
    session: LockSession,
    terms: Terms,
    is_left: bool,
}

impl Open {
    pub(crate) fn new(client: LockClient, session: LockSession, terms: Terms) -> Self {
        Open { client, session, terms, is_left: false }
    }

    /// Its number.
    pub fn session(&self) -> LockSession {
        self.session
    }

    /// What it was opened with.
    pub fn terms(&self) -> Terms {
        self.terms
    }

    pub(crate) fn client(&self) -> &LockClient {
        &self.client
    }

    /// Ends it, and with it whatever it holds.
    ///
    /// # Errors
    /// [`AcquireError`].
    pub async fn close(mut self) -> Result<(), AcquireError> {
        let closed = self.client.close(self.session).await;
        self.is_left = true;
        closed
    }

    /// Leaves it to somebody else, by its number.
    pub fn leave(mut self) -> LockSession {
        self.is_left = true;
        self.session
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.is_left, Handle::try_current()) {
            let (client, session) = (self.client.clone(), self.session);
            runtime.spawn(async move { client.close(session).await.ok() });
        }
    }
}
