//! The leadership laboratory: policies of leadership side by side.
//!
//! Every run is the actor graph as it ships, over real QUIC, in virtual time, and all that the
//! tests check of it is checked here too. The same seed is the same network and the same faults, at
//! the same moments and of the same nodes, for every policy.
//!
//! It is no benchmark: handlers take no time, disks and networks are those of the tests, and the
//! cluster is three voters with three clients.
//!
//! ```text
//! compare --> experiment: cells x seeds --> trial --> Cluster in virtual time <-- scenario
//!                |                            |             |
//!                |                         Outcome <---- witness
//!                v
//!             summary (statistics) --> report: table, CSV
//!                                  --> figures: SVG
//! ```

mod commands;
mod contender;
mod experiment;
mod figures;
mod report;
mod scenario;
mod statistics;
mod summary;
mod trial;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use paxos_app::app;
use paxos_app::exit::Exit;

use crate::commands::{Compare, Run};

const EXAMPLES: &str = "\
Examples:
  leadership compare --seeds 50 --out comparison
  leadership compare --seeds 5 --out quick --jobs 1
  leadership run l1 phi 7";

/// The leadership laboratory: heartbeats, failure detectors and an oracle, over the same network
/// and the same faults
#[derive(Parser)]
#[command(name = "leadership", version, after_help = format!("{EXAMPLES}\n\n{}", Exit::table()))]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compare(Compare),
    Run(Run),
}

fn main() -> ExitCode {
    app::run(|line: Line| match line.command {
        Command::Compare(compare) => compare.run(),
        Command::Run(run) => run.run(),
    })
}
