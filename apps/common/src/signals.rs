//! The signals that end a process in an orderly way, and the end of its stdin.

use std::future::Future;
use std::io::{self, Read};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

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

/// Resolves when stdin has ended. A thread reads it: stdin cannot be waited for otherwise in every
/// case.
pub async fn stdin_closed() {
    let (closed, told) = oneshot::channel();
    thread::spawn(move || {
        let mut bytes = [0; 256];
        while io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
        // Nobody waits any more if the process is stopping for another reason.
        closed.send(()).ok();
    });
    told.await.ok();
}
