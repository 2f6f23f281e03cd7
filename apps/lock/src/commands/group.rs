//! A command in a process group of its own, so that what it starts is stopped with it.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::thread;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// A command that runs, and all that it started and that did not leave its group.
pub struct Group {
    child: Child,
    id: Pid,
    ended: oneshot::Receiver<()>,
}

impl Group {
    /// Starts a command.
    ///
    /// # Errors
    /// That of the system.
    pub fn start(mut command: Command) -> io::Result<Group> {
        // Where SIGCHLD is ignored, as a parent may have had it, nobody hears how a child ended.
        drop(signal(SignalKind::child())?);
        let child = command.process_group(0).spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("the child has no process id"))?;
        let (told, ended) = oneshot::channel();
        thread::spawn(move || {
            // It is not reaped here: until it is, its number, which is the group's, is no other's.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(id), options) {}
            // Who waited may be gone.
            told.send(()).ok();
        });
        Ok(Group { child, id, ended })
    }

    /// Sends a signal to all of it.
    pub fn signal(&self, signal: Signal) {
        // A group that is gone needs none.
        kill_process_group(self.id, signal).ok();
    }

    /// Resolves when the command itself has ended.
    pub async fn ended(&mut self) {
        // Without the thread that would tell, what is left is to wait in reap.
        (&mut self.ended).await.ok();
    }

    /// Kills what the command left behind, and says how the command ended as a shell does: its own
    /// code, or 128 and the number of the signal.
    ///
    /// # Errors
    /// That of the system.
    pub fn reap(mut self) -> io::Result<u8> {
        self.signal(Signal::KILL);
        let status = self.child.wait()?;
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // After reap there is nothing left to wait for, and the number may be another's.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            self.child.wait().ok();
        }
    }
}
