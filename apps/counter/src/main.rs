//! The command line of the counter.

mod commands;
mod request;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use paxos_app::backup::{Backup, Restore};
use paxos_app::completions::Completions;
use paxos_app::exit::Exit;
use paxos_app::init::Init;
use paxos_app::leader::Leader;
use paxos_app::log::Log;
use paxos_app::members::Members;
use paxos_app::output::Output;
use paxos_app::serve::Serve;
use paxos_app::snapshot::Snapshot;
use paxos_app::status::Status;
use paxos_app::{app, logging};

use counter::Counters;

use crate::commands::bench::Bench;
use crate::commands::demo::Demo;
use crate::commands::get::Get;
use crate::commands::incr::Incr;
use crate::commands::list::List;
use crate::commands::set::Set;
use crate::commands::torture::TortureCommand;
use crate::commands::watch::Watch;

const EXAMPLES: &str = "\
Examples:
  counter demo
  counter init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D
  counter incr hits --by 2 --cluster D/cluster.toml";

const INIT_EXAMPLES: &str = "\
Examples:
  counter init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D
  counter init --nodes h1:7400,h2:7400,h3:7400
  counter init --nodes h1:7400,h2:7400,h3:7400,h4:7400,h5:7400 --dir five";

const SERVE_EXAMPLES: &str = "\
Examples:
  counter serve --cluster D/cluster.toml --node 1
  counter serve --node 2 --identity /etc/counter/node-2
  counter serve --node 3 --bind 0.0.0.0:7400";

const STATUS_EXAMPLES: &str = "\
Examples:
  counter status
  counter status --cluster D/cluster.toml
  counter status -o json";

const MEMBERS_EXAMPLES: &str = "\
Examples:
  counter members list
  counter members add h4:7400 --identity admin
  counter members remove 3 --identity admin";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  counter snapshot now --identity admin
  counter snapshot list --node 1
  counter snapshot verify --node 1";

const BACKUP_EXAMPLES: &str = "\
Examples:
  counter backup /var/backups/counter-1 --identity admin
  counter backup B --cluster D/cluster.toml --identity D/admin
  counter backup B --node 3 --identity admin --timeout 1m";

const RESTORE_EXAMPLES: &str = "\
Examples:
  counter restore B --nodes h1:7400,h2:7400,h3:7400 --dir new
  counter restore /var/backups/counter-1 --nodes 127.0.0.1:7501,127.0.0.1:7502,127.0.0.1:7503
  counter restore B --nodes h1:7400 --dir alone";

const LEADER_EXAMPLES: &str = "\
Examples:
  counter leader show
  counter leader transfer --identity D/admin --cluster D/cluster.toml
  counter leader transfer 2 --identity admin";

const LOG_EXAMPLES: &str = "\
Examples:
  counter log verify --node 1 --cluster D/cluster.toml
  counter log dump --node 1 --from 1000
  counter log dump --node 2 -o json";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  counter completions bash > /etc/bash_completion.d/counter
  counter completions zsh > _counter
  counter completions fish > ~/.config/fish/completions/counter.fish";

/// A replicated counter: every increment counts once, whoever fails
#[derive(Parser)]
#[command(name = "counter", version, after_help = format!("{EXAMPLES}\n\n{}", Exit::table()))]
struct Line {
    #[command(flatten)]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new cluster: its file, certificates and data directories
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Run a node
    ///
    /// The same line is for the first start and for every other. It never makes a data directory:
    /// a node without one has lost its memory, and must come back under a new number.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    Incr(Incr),
    Get(Get),
    Set(Set),
    List(List),
    Watch(Watch),
    /// Show who leads, and how far each node is
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Show who takes part, and change it
    #[command(after_help = MEMBERS_EXAMPLES)]
    Members(Members),
    /// Show who leads, or have another node lead
    #[command(after_help = LEADER_EXAMPLES)]
    Leader(Leader),
    /// Have snapshots made, and show and check those of a node
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(Snapshot),
    /// Copy the state of the running cluster into a folder
    ///
    /// It has everything in it that was acknowledged before, and no secrets but the state itself.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Make a new cluster that begins with what a backup has
    ///
    /// It has a new id, new certificates and nodes numbered from 1: nothing of the old cluster can
    /// be taken for part of it. Nobody may answer at its addresses.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Show and check the log of a node that does not run
    #[command(after_help = LOG_EXAMPLES)]
    Log(Log),
    Bench(Bench),
    #[command(name = "torture")]
    Torture(TortureCommand),
    Demo(Demo),
    /// Print what a shell needs to complete this command line
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
}

fn main() -> ExitCode {
    app::run(|line: Line| line.run())
}

impl Line {
    fn run(&self) -> anyhow::Result<Exit> {
        let output = &self.output;
        let usual = if matches!(self.command, Command::Serve(_)) { "info" } else { "error" };
        logging::start(output, usual);
        match &self.command {
            Command::Init(init) => init.run(output),
            Command::Serve(serve) => serve.run::<Counters>(),
            Command::Incr(incr) => incr.run(output),
            Command::Get(get) => get.run(output),
            Command::Set(set) => set.run(output),
            Command::List(list) => list.run(output),
            Command::Watch(watch) => watch.run(output),
            Command::Status(status) => status.run(output),
            Command::Members(members) => members.run(output),
            Command::Leader(leader) => leader.run(output),
            Command::Snapshot(snapshot) => snapshot.run(output),
            Command::Backup(backup) => backup.run(output),
            Command::Restore(restore) => restore.run(output),
            Command::Log(log) => log.run(output),
            Command::Bench(bench) => bench.run(output),
            Command::Torture(torture) => torture.run(output),
            Command::Demo(demo) => demo.run(output),
            Command::Completions(completions) => completions.run::<Line>(),
        }
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
    fn the_help_of_every_command_has_three_examples() {
        for command in Line::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
            let count = examples.lines().filter(|line| line.contains("counter ")).count();
            assert_eq!(count, 3, "{name}: {help}");
        }
    }

    #[test]
    fn the_lines_of_the_manual_are_understood() {
        for line in [
            "counter init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D",
            "counter serve --cluster D/cluster.toml --node 1",
            "counter serve --node 1 --until-stdin-closes",
            "counter incr hits --by 2 --cluster D/cluster.toml --via 127.0.0.1:7403",
            "counter incr --request-id 7:1",
            "counter get hits -o json",
            "counter set hits 5 --if-value 4 --timeout 250ms",
            "counter watch --count 3 -q",
            "counter torture --clients 8 --ops 10000 --kill-leader-every 2s --history h.jsonl",
            "counter bench --clients 64 --connections 2 --duration 10s --payload 100 -o json",
            "counter status -o json",
            "counter members list --cluster D/cluster.toml -o json",
            "counter members add h4:7400 --role voter --identity D/admin",
            "counter members promote 4 --identity D/admin",
            "counter members demote 2 --identity D/admin",
            "counter members remove 3 --identity D/admin --timeout 1m",
            "counter members replace 3 h4:7400 --identity D/admin",
            "counter get hits --read stale --at-least 7",
            "counter list --read lease",
            "counter leader show -o json",
            "counter leader transfer 2 --identity D/admin --cluster D/cluster.toml",
            "counter snapshot now --node 2 --identity D/admin",
            "counter snapshot list --node 1 -o json",
            "counter snapshot verify --node 1 --identity D/node-1",
            "counter backup B --node 3 --cluster D/cluster.toml --identity D/admin",
            "counter restore B --nodes h1:1,h2:1 --dir new",
            "counter log verify --node 1 --cluster D/cluster.toml",
            "counter log dump --node 1 --identity D/node-1 --from 7 -o json",
            "counter demo",
        ] {
            let read = Line::try_parse_from(line.split(' '));
            assert!(read.is_ok(), "{line}: {}", read.err().unwrap());
        }
    }
}
