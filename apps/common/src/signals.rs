//! The signals that end a process in an orderly way.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// SIGINT and SIGTERM, caught from the moment this is made.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to catch them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// That of the system.
    pub fn catch() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one of them; says how a process ends that obeys it.
    pub async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Does `work` until it is done or a signal comes. Then it is dropped where it stands, so that what
/// it holds is put away: child processes, temporary folders.
///
/// # Errors
/// Those of the work.
pub async fn unless_stopped(
    work: impl Future<Output = anyhow::Result<Exit>>,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::catch()?;
    tokio::select! {
        exit = work => exit,
        exit = signals.next() => Ok(exit),
    }
}
