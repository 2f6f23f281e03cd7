//! The command line of the lock service.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use paxos_actors::Preset;
use paxos_app::exit::Exit;
use paxos_app::operations::Operation;
use paxos_app::output::Output;
use paxos_app::{app, logging};

use paxos_net::settings::{Batching, LeadershipSettings, Policy, SnapshotSettings};

use lock::LockService;

use crate::commands::acquire::Acquire;
use crate::commands::child::Child;
use crate::commands::demo::Demo;
use crate::commands::fence::Fence;
use crate::commands::list::List;
use crate::commands::queue::Queue;
use crate::commands::release::Release;
use crate::commands::renew::Renew;
use crate::commands::run::Run;
use crate::commands::show::Show;
use crate::commands::watch::Watch;

const EXAMPLES: &str = "\
Examples:
  lock demo
  lock init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D
  lock run nightly --cluster D/cluster.toml -- ./backup.sh";

/// Replicated locks: one holder, a fair queue, and a token that tells holders apart
#[derive(Parser)]
#[command(name = "lock", version, after_help = format!("{EXAMPLES}\n\n{}", Exit::table()))]
struct Line {
    #[command(flatten)]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Run),
    Acquire(Acquire),
    Renew(Renew),
    Release(Release),
    Show(Show),
    List(List),
    Queue(Queue),
    Watch(Watch),
    Fence(Fence),
    #[command(flatten)]
    Operation(Operation),
    Demo(Demo),
    #[command(hide = true)]
    Child(Child),
}

fn main() -> ExitCode {
    app::run(|line: Line| line.run())
}

impl Line {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &self.output;
        let log_level = match &self.command {
            Command::Operation(operation) => operation.log_level(),
            _ => "error",
        };
        logging::start(output, log_level);
        let exit = match &self.command {
            Command::Run(run) => return run.run(output),
            Command::Child(child) => return Ok(ExitCode::from(child.run()?)),
            Command::Acquire(acquire) => acquire.run(output),
            Command::Renew(renew) => renew.run(output),
            Command::Release(release) => release.run(output),
            Command::Show(show) => show.run(output),
            Command::List(list) => list.run(output),
            Command::Queue(queue) => queue.run(output),
            Command::Watch(watch) => watch.run(output),
            Command::Fence(fence) => fence.run(output),
            Command::Operation(Operation::Init(init)) => init.run_as(preset(), output),
            Command::Operation(operation) => operation.run::<LockService, Line>(output),
            Command::Demo(demo) => demo.run(output),
        };
        exit.map(ExitCode::from)
    }
}

/// Commands are small and few, and somebody waits for each: none is kept back to be sent with
/// others, and the state is small enough to be saved often. Who leads is followed by a failure
/// detector, whose successor needs no random pause.
fn preset() -> Preset {
    Preset {
        leadership: LeadershipSettings {
            policy: Policy::FailureDetector,
            ..LeadershipSettings::default()
        },
        batching: Batching { batches_in_flight: 64, ..Batching::default() },
        snapshots: SnapshotSettings { every_bytes: 4 << 20, ..SnapshotSettings::default() },
        window: Some(256),
        ..Preset::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn the_lines_of_the_manual_are_understood() {
        for line in [
            "lock run nightly -w 30s --ttl 10s --on-lost kill --grace 3s -- true",
            "lock run nightly -n -E 1 --cluster D/cluster.toml -- sh -c exit",
            "lock acquire nightly -w 0.5 -o json",
            "lock renew --session 7",
            "lock release --session 7",
            "lock show nightly --read lease -o json",
            "lock list backups/",
            "lock queue nightly",
            "lock watch nightly --from 33 --count 2",
            "lock fence check nightly 33",
            "lock status -o json",
            "lock demo",
        ] {
            let read = Line::try_parse_from(line.split(' '));
            assert!(read.is_ok(), "{line}: {}", read.err().unwrap());
        }
        for line in ["lock run x", "lock run x -n -w 1 -- true", "lock run a\tb -- true"] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
