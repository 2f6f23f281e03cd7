//! The command line of the counter.

mod commands;
mod request;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use paxos_app::exit::Exit;
use paxos_app::operations::Operation;
use paxos_app::output::Output;
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
    Incr(Incr),
    Get(Get),
    Set(Set),
    List(List),
    Watch(Watch),
    #[command(flatten)]
    Operation(Operation),
    Bench(Bench),
    #[command(name = "torture")]
    Torture(TortureCommand),
    Demo(Demo),
}

fn main() -> ExitCode {
    app::run(|line: Line| line.run())
}

impl Line {
    fn run(&self) -> anyhow::Result<Exit> {
        let output = &self.output;
        let log_level = match &self.command {
            Command::Operation(operation) => operation.log_level(),
            _ => "error",
        };
        logging::start(output, log_level);
        match &self.command {
            Command::Incr(incr) => incr.run(output),
            Command::Get(get) => get.run(output),
            Command::Set(set) => set.run(output),
            Command::List(list) => list.run(output),
            Command::Watch(watch) => watch.run(output),
            Command::Operation(operation) => operation.run::<Counters, Line>(output),
            Command::Bench(bench) => bench.run(output),
            Command::Torture(torture) => torture.run(output),
            Command::Demo(demo) => demo.run(output),
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
            "counter torture --cluster D/cluster.toml --until-stdin-closes",
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
