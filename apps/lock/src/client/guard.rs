//! A lock that is held, and renewed as long as that goes.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paxos_core::Time;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::schedule::{Due, Schedule};
use crate::client::{AcquireError, LockClient, Open};
use crate::machine::Command;
use crate::terms::{LockSession, Token};

/// A timer of the runtime stands still while the machine is suspended; so the clock is looked at
/// again after so long.
const LOOK: Duration = Duration::from_millis(500);

/// Why a lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No sign of life was acknowledged for ttl less grace: others may get it when the ttl is over.
    Silence,
    /// The service says that the session is gone: others may have it already.
    Gone,
}

/// A lock that is held. Dropped, it is given back as far as that goes: without a wait, and without
/// knowing whether anybody heard; [`Guard::release`] says it for certain.
pub struct Guard {
    hold: Arc<Hold>,
    open: Option<Open>,
    lost: watch::Receiver<Option<Loss>>,
    renewing: JoinHandle<()>,
}

/// What a holder and its renewals share.
struct Hold {
    client: LockClient,
    name: String,
    session: LockSession,
    token: Token,
    schedule: Mutex<Schedule>,
}

impl Guard {
    /// Keeps a lock that a session has, since its last sign of life was `sent`, by the clock of
    /// this machine.
    pub fn keep(open: Open, name: &str, token: Token, sent: Time) -> Guard {
        let hold = Arc::new(Hold {
            client: open.client().clone(),
            name: name.to_owned(),
            session: open.session(),
            token,
            schedule: Mutex::new(Schedule::new(open.terms(), sent)),
        });
        let (told, lost) = watch::channel(None);
        let keeper = hold.clone();
        let renewing = tokio::spawn(async move {
            let loss = keeper.renew().await;
            told.send_replace(Some(loss));
        });
        Guard { hold, open: Some(open), lost, renewing }
    }

    /// The fencing token, to be shown to whatever the lock protects.
    pub fn token(&self) -> Token {
        self.hold.token
    }

    /// The session that holds it.
    pub fn session(&self) -> LockSession {
        self.hold.session
    }

    /// Resolves when the lock is lost: with [`Loss::Silence`] the grace is left to stop what it
    /// protects.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            let loss = lost.wait_for(Option::is_some).await.ok().and_then(|loss| *loss);
            // Without whoever would tell, nobody renews.
            loss.unwrap_or(Loss::Gone)
        }
    }

    /// How long until what the lock protects must have stopped; 0 if it must have already.
    pub fn left(&self) -> Duration {
        self.hold.schedule().left(self.hold.client.clock.now())
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// [`AcquireError`]; that it was not held any more is among them.
    pub async fn release(mut self) -> Result<(), AcquireError> {
        self.renewing.abort();
        let Hold { client, name, session, token, .. } = &*self.hold;
        let (session, name, token) = (*session, name.clone(), *token);
        client.run(&Command::Release { session, name, token }).await?;
        match self.open.take() {
            Some(open) => open.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Hold {
    /// Renews until the lock is lost.
    async fn renew(&self) -> Loss {
        loop {
            match self.due() {
                (_, Due::End) => return Loss::Silence,
                (_, Due::Nothing(rest)) => sleep(rest.min(LOOK)).await,
                (sent, Due::Renewal(_)) => {
                    let renewed = tokio::select! {
                        renewed = self.client.renew(self.session) => renewed,
                        () = self.end() => return Loss::Silence,
                    };
                    match renewed {
                        Ok(()) => self.schedule().heard(sent),
                        Err(AcquireError::Client(error)) if error.may_pass() => {
                            self.schedule().failed(self.client.clock.now());
                        }
                        Err(_) => return Loss::Gone,
                    }
                }
            }
        }
    }

    /// Resolves when no sign of life was acknowledged in time.
    async fn end(&self) {
        while let (_, Due::Nothing(rest) | Due::Renewal(rest)) = self.due() {
            sleep(rest.min(LOOK)).await;
        }
    }

    /// What is due, and the time that it is.
    fn due(&self) -> (Time, Due) {
        let now = self.client.clock.now();
        (now, self.schedule().due(now))
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::Silence => "the lock is lost: no renewal was acknowledged in time",
            Loss::Gone => "the lock is lost: its session is gone",
        })
    }
}
