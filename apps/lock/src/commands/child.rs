//! `child`: the step between `lock run` and its command.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use paxos_app::exit::{Exit, Fault};
use rustix::process::{Pid, Signal, getppid};

/// What a shell says of a command that there is not,
const NOT_FOUND: u8 = 127;
/// and of one that cannot be run.
pub const NOT_RUN: u8 = 126;

/// Has the system end this process when `lock run` dies, and becomes the command
#[derive(Args, Debug)]
pub struct Child {
    /// The process that holds the lock
    #[arg(long)]
    parent: i32,

    /// The command
    #[arg(last = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

impl Child {
    /// Becomes the command; returns only if that goes wrong.
    ///
    /// # Errors
    /// That the parent is gone already.
    pub fn run(&self) -> anyhow::Result<u8> {
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Who died before that was heard is not our parent any more.
        if getppid() != Pid::from_raw(self.parent) {
            return Err(Fault::new(Exit::LeaseLost, "lock run is gone").into());
        }
        let Some((program, arguments)) = self.command.split_first() else { return Ok(NOT_RUN) };
        let error = Command::new(program).args(arguments).exec();
        writeln!(io::stderr(), "lock: {}: {error}", program.to_string_lossy()).ok();
        Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN })
    }
}
