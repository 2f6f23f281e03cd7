//! `run`: a command that runs while a lock is held, and never longer.

use std::ffi::OsString;
use std::future::pending;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, ValueEnum};
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tokio::time::{sleep, timeout};

use lock::{AcquireError, Guard, LockClient, Loss};

use crate::commands::child::NOT_RUN;
use crate::commands::group::Group;
use crate::commands::named::{fault, locks};
use crate::commands::wanted::Wanted;

/// A timer stands still while the machine is suspended; so the clock is looked at again after so
/// long.
const LOOK: Duration = Duration::from_millis(100);
/// Who gives up a lock, or a place in the queue, says so for so long at most.
const FAREWELL: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  lock run nightly -- ./backup.sh
  lock run nightly -n -- ./backup.sh          (exit 75 if somebody has it)
  lock run deploy -w 30 --ttl 1m -- sh -c 'store put --token $PAXOS_LOCK_TOKEN state'";

/// Run a command while holding a lock; exit with what the command ends with
///
/// The command finds PAXOS_LOCK_TOKEN, PAXOS_LOCK_NAME and PAXOS_LOCK_SESSION in its environment.
/// If the lock cannot be kept (no renewal was acknowledged for ttl less grace), the command gets
/// SIGTERM, and SIGKILL when the ttl is over; that is before anybody else can get the lock, and the
/// exit code is 76. Whoever stops lock run itself (SIGSTOP, a suspended machine) stops that, too:
/// then only the token protects, and whatever the lock is for must refuse a token lower than the
/// highest it has seen.
///
/// The command and all that it starts are one process group, and are stopped as one; what it leaves
/// behind is killed before the lock is given back. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed
/// on to it. If lock run is killed, the system kills the command (on Linux), but not what the
/// command has started. As it is not in the foreground of a terminal, it cannot read from one. As
/// in a shell, the exit code is 127 if there is no such command, and 126 if it cannot be started.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    #[command(flatten)]
    wanted: Wanted,

    /// What the command gets first when the lock is lost
    #[arg(long, value_enum, default_value_t = OnLost::Term, help_heading = "Session")]
    on_lost: OnLost,

    /// Exit with this code instead of 75 if the lock was not acquired
    #[arg(short = 'E', long, value_name = "CODE", help_heading = "Waiting")]
    conflict_exit_code: Option<u8>,

    #[command(flatten)]
    common: Common,

    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// SIGTERM, and SIGKILL when the ttl is over
    Term,
    /// SIGKILL at once
    Kill,
}

/// The signals that are passed on.
struct Passed([(Signal, Caught); 4]);

impl Run {
    /// Waits for the lock, runs the command, and gives the lock back.
    ///
    /// # Errors
    /// Those of the client before the command runs; that somebody else has the lock.
    pub fn run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        block_on(self.hold(output))
    }

    async fn hold(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let options = self.wanted.options()?;
        let mut signals = Passed::catch()?;
        let locks = locks(&self.common)?;
        let name = self.wanted.name.as_str();
        let open = locks.open(options.terms).await.map_err(fault)?;
        let turn = tokio::select! {
            turn = locks.turn(&open, name, options.wait) => turn,
            signal = signals.next() => {
                timeout(FAREWELL, open.close()).await.ok();
                return Ok(ExitCode::from(128 + signal.as_raw() as u8));
            }
        };
        let (token, sent) = match turn {
            Ok(turn) => turn,
            Err(error) => {
                timeout(FAREWELL, open.close()).await.ok();
                return self.not_acquired(error);
            }
        };
        let guard = Guard::keep(open, name, token, sent);
        let exit = match self.child(&guard).and_then(Group::start) {
            Ok(group) => match self.attend(&guard, group, &mut signals).await {
                Ok((code, None)) => self.give_back(guard, &locks, output, code).await,
                Ok((_, Some(loss))) => {
                    // If the service still counts it as held, others need not wait.
                    farewell(guard).await;
                    output.remark(format_args!("{loss}; the command was stopped"));
                    Ok(Exit::LeaseLost.into())
                }
                Err(error) => {
                    farewell(guard).await;
                    let words = format!("how the command ended is not known: {error}");
                    Err(Fault::new(Exit::Internal, words).into())
                }
            },
            Err(error) => {
                farewell(guard).await;
                writeln!(io::stderr(), "lock: the command cannot be started: {error}").ok();
                Ok(ExitCode::from(NOT_RUN))
            }
        };
        if output.verbose > 0 {
            output.remark(format_args!("{name} was held with token {token}"));
        }
        exit
    }

    fn not_acquired(&self, error: AcquireError) -> anyhow::Result<ExitCode> {
        match (&error, self.conflict_exit_code) {
            (AcquireError::NotAcquired(_) | AcquireError::Late(_), Some(code)) => {
                Ok(ExitCode::from(code))
            }
            _ => Err(fault(error)),
        }
    }

    /// The command, by way of a step that ties its life to that of this process.
    fn child(&self, guard: &Guard) -> io::Result<Command> {
        let mut command = Command::new(this_program()?);
        command
            .arg0("lock")
            .args(["child", "--parent", &std::process::id().to_string(), "--"])
            .args(&self.command)
            .env("PAXOS_LOCK_NAME", &self.wanted.name)
            .env("PAXOS_LOCK_TOKEN", guard.token().to_string())
            .env("PAXOS_LOCK_SESSION", guard.session().to_string());
        Ok(command)
    }

    /// Waits for the end of the command, and brings it about when the lock is lost.
    ///
    /// Invariant: when the ttl is over since the last acknowledged sign of life was sent, nothing
    /// of the command's group runs any more, unless this process could not run itself.
    /// Invariant: it makes no remark, for whoever reads stderr may have stopped reading.
    async fn attend(
        &self,
        guard: &Guard,
        mut group: Group,
        signals: &mut Passed,
    ) -> io::Result<(u8, Option<Loss>)> {
        let mut lost = None;
        loop {
            tokio::select! {
                biased;
                loss = guard.lost(), if lost.is_none() => {
                    lost = Some(loss);
                    let kills = self.on_lost == OnLost::Kill || loss == Loss::Gone;
                    group.signal(if kills { Signal::KILL } else { Signal::TERM });
                }
                // The clock says so first after a suspension, before any timer of a renewal rings.
                () = over(guard) => {
                    lost = lost.or(Some(Loss::Silence));
                    group.signal(Signal::KILL);
                    break;
                }
                signal = signals.next() => group.signal(signal),
                () = group.ended() => break,
            }
        }
        Ok((group.reap()?, lost))
    }

    async fn give_back(
        &self,
        guard: Guard,
        locks: &LockClient,
        output: &Output,
        code: u8,
    ) -> anyhow::Result<ExitCode> {
        match guard.release().await {
            Ok(()) => {}
            Err(AcquireError::Refused(refusal)) => {
                output
                    .remark(format_args!("the lock was lost before it was given back: {refusal}"));
                return Ok(Exit::LeaseLost.into());
            }
            Err(error) => {
                let words = "the lock could not be given back, and is free when its ttl is over";
                output.remark(format_args!("{words}: {error}"));
            }
        }
        locks.client().close().await;
        Ok(ExitCode::from(code))
    }
}

/// The program that runs, also where its file was replaced or is gone.
fn this_program() -> io::Result<PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok(PathBuf::from("/proc/self/exe")),
        false => std::env::current_exe(),
    }
}

/// Gives back a lock under which nothing runs any more; if nobody hears it, it is free in time.
async fn farewell(guard: Guard) {
    timeout(FAREWELL, guard.release()).await.ok();
}

/// Resolves when the ttl is over.
async fn over(guard: &Guard) {
    loop {
        let left = guard.left();
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

impl Passed {
    fn catch() -> io::Result<Passed> {
        Ok(Passed([
            (Signal::INT, signal(SignalKind::interrupt())?),
            (Signal::TERM, signal(SignalKind::terminate())?),
            (Signal::HUP, signal(SignalKind::hangup())?),
            (Signal::QUIT, signal(SignalKind::quit())?),
        ]))
    }

    async fn next(&mut self) -> Signal {
        let [a, b, c, d] = &mut self.0;
        let caught = tokio::select! {
            Some(()) = a.1.recv() => a.0,
            Some(()) = b.1.recv() => b.0,
            Some(()) = c.1.recv() => c.0,
            Some(()) = d.1.recv() => d.0,
            else => return pending().await,
        };
        caught
    }
}
