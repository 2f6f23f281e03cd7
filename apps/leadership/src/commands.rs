//! What the laboratory can be asked.

use std::io::Write;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use paxos_app::exit::Exit;
use paxos_tests::virtual_time::Printed;

use crate::contender::{BEARABLE_MS, Contender, MATCHED, Policy};
use crate::experiment::{self, Broken};
use crate::scenario::Scenario;
use crate::trial::Trial;
use crate::{figures, report, summary};

/// What a comparison writes.
const FILES: [&str; 5] =
    ["table.txt", "runs.csv", "cells.csv", "out-of-service.svg", "false-changes.svg"];

const COMPARE_EXAMPLES: &str = "\
Examples:
  leadership compare --seeds 50 --out comparison
  leadership compare --seeds 5 --out quick
  leadership compare --seeds 200 --out long --jobs 8";

/// Compare all policies in all scenarios
///
/// Prints a table, and writes it and more to a folder: table.txt, runs.csv (every run), cells.csv
/// (every policy, parameter and scenario), out-of-service.svg and false-changes.svg. The same call
/// writes the same files. Progress goes to standard error. Agreement, durability, leases and the
/// clients' history are checked in every run; a run that breaks a promise ends it with 1.
#[derive(Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct Compare {
    /// How many seeds every policy runs in every scenario
    #[arg(long, value_name = "N", default_value = "50")]
    seeds: NonZero<u32>,
    /// The folder for the results; made if there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many runs go on at once [default: the cores of this machine]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

impl Compare {
    /// Compares.
    ///
    /// # Errors
    /// What could not be written.
    pub fn run(&self) -> anyhow::Result<Exit> {
        // What cannot be written is known before minutes are spent; and results of another call
        // must not be taken for those of this one, should it be broken.
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make the folder {}", self.out.display()))?;
        for name in FILES {
            let path = self.out.join(name);
            let emptied = std::fs::write(&path, "").and_then(|()| std::fs::remove_file(&path));
            emptied.with_context(|| format!("cannot write {}", path.display()))?;
        }
        let [table_file, runs, cells_file, gaps, changes] = FILES.map(|name| self.out.join(name));
        let seeds = u64::from(self.seeds.get());
        let cores = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let cells = match experiment::go_through(seeds, self.jobs.unwrap_or_else(cores)) {
            Ok(cells) => cells,
            Err(broken) => return tell(&broken),
        };
        let summaries = summary::summaries(&cells);
        let table = report::table(&summaries, seeds);
        report::write_runs(&runs, &cells)?;
        report::write_cells(&cells_file, &summaries)?;
        figures::out_of_service(&gaps, &summaries)?;
        figures::false_changes(&changes, &summaries)?;
        std::fs::write(&table_file, &table)
            .with_context(|| format!("cannot write {}", table_file.display()))?;
        std::io::stdout().write_all(table.as_bytes())?;
        Ok(Exit::Done)
    }
}

/// Names the runs that broke a promise, and how to see each.
fn tell(broken: &[Broken]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    for Broken { trial, how } in broken {
        writeln!(out, "broken: {how}\n  {trial}")?;
    }
    Ok(Exit::No)
}

const RUN_EXAMPLES: &str = "\
Examples:
  leadership run l1 heartbeat 7
  leadership run l3 phi 0 --bears-ms 100
  leadership run l5 oracle 3";

/// Tell every event of one run
///
/// Each line is the time in milliseconds, who, and what. The last lines say what came of it.
#[derive(Args)]
#[command(after_help = RUN_EXAMPLES)]
pub struct Run {
    /// What befalls the cluster
    #[arg(value_enum)]
    scenario: Scenario,
    /// Who is leader, and how it is judged
    #[arg(value_enum)]
    policy: Policy,
    /// The seed of network, faults and work
    seed: u64,
    /// The silence after which a punctual leader is suspected, in milliseconds: 63 to 450
    #[arg(long, value_name = "MS", default_value_t = MATCHED.as_millis() as u64,
        value_parser = clap::value_parser!(u64).range(BEARABLE_MS))]
    bears_ms: u64,
}

impl Run {
    /// Runs.
    ///
    /// # Errors
    /// That of stdout.
    pub fn run(&self) -> anyhow::Result<Exit> {
        let bears = Duration::from_millis(self.bears_ms);
        let contender = Contender { policy: self.policy, bears };
        let trial = Trial { contender, scenario: self.scenario, seed: self.seed };
        match trial.run(Printed::Events) {
            Ok(outcome) => {
                writeln!(std::io::stdout(), "{outcome:#?}")?;
                Ok(Exit::Done)
            }
            Err(how) => {
                writeln!(std::io::stdout(), "broken: {how}")?;
                Ok(Exit::No)
            }
        }
    }
}
