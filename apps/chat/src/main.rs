//! The command line of the chat.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use paxos_actors::Preset;
use paxos_app::exit::Exit;
use paxos_app::operations::Operation;
use paxos_app::output::Output;
use paxos_app::{app, logging};
use paxos_core::batch::COMMAND_MAX;
use paxos_net::settings::Batching;

use chat::Chat;

use crate::commands::demo::Demo;
use crate::commands::history::History;
use crate::commands::rooms::Rooms;
use crate::commands::say::Say;
use crate::commands::tail::Tail;
use crate::commands::verify::Verify;

const EXAMPLES: &str = "\
Examples:
  chat demo
  chat say tea \"who wants some?\" --cluster D/cluster.toml
  chat tail tea -f --cluster D/cluster.toml";

/// A replicated chat log: everybody sees every message once and in one order, whoever fails
#[derive(Parser)]
#[command(name = "chat", version, after_help = format!("{EXAMPLES}\n\n{}", Exit::table()))]
struct Line {
    #[command(flatten)]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Say(Say),
    Tail(Tail),
    History(History),
    Rooms(Rooms),
    Verify(Verify),
    #[command(flatten)]
    Operation(Operation),
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
            Command::Say(say) => say.run(output),
            Command::Tail(tail) => tail.run(output),
            Command::History(history) => history.run(output),
            Command::Rooms(rooms) => rooms.run(output),
            Command::Verify(verify) => verify.run(output),
            Command::Operation(Operation::Init(init)) => init.run_as(preset(), output),
            Command::Operation(operation) => operation.run::<Chat, Line>(output),
            Command::Demo(demo) => demo.run(output),
        }
    }
}

/// Throughput first: few batches on their way, and so many messages in each.
fn preset() -> Preset {
    let batching = Batching { batches_in_flight: 4, batch_bytes: COMMAND_MAX as u64 };
    Preset { batching, ..Preset::default() }
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
            "chat init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D",
            "chat serve --cluster D/cluster.toml --node 1",
            "chat say tea hello --cluster D/cluster.toml --via 127.0.0.1:7403",
            "chat say tea -",
            "chat say tea -- --help",
            "chat tail tea -f -n 5 --via 127.0.0.1:7403 --cluster D/cluster.toml",
            "chat tail tea --from start -o json",
            "chat tail tea -f --from 88211 --via 3",
            "chat history tea --before 88210 --limit 50 --read linearizable",
            "chat history tea --at-least 7",
            "chat rooms --read lease -o json",
            "chat verify --all-nodes tea",
            "chat verify tea --via 127.0.0.1:7402",
            "chat members add h4:7400 --role learner --identity D/admin",
            "chat demo",
        ] {
            let read = Line::try_parse_from(line.split(' '));
            assert!(read.is_ok(), "{line}: {}", read.err().unwrap());
        }
    }

    #[test]
    fn what_makes_no_sense_is_wrong_usage() {
        for line in [
            "chat say",
            "chat say tea",
            "chat say two words text here",
            "chat tail tea --from nowhere",
            "chat tail tea -n 5 --from 7",
            "chat history tea --limit 0",
            "chat history tea --before 0",
            "chat history tea --read newest",
            "chat verify --all-nodes tea --via 127.0.0.1:7402",
            "chat verify",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
