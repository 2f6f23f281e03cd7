//! Runs seeds of the actor graph in virtual time; see [`paxos_tests::virtual_time`].

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use paxos_tests::seeds::{Program, Rate, Seeds, go_through};
use paxos_tests::virtual_time::{Printed, Report, run};
use serde::{Deserialize, Serialize};

/// Whole nodes, actors and QUIC included, in one thread and in virtual time: every event of one
/// seed, or the verdict on a range of them
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    seeds: Seeds,
    /// Tell of every datagram too
    #[arg(long, requires = "seed")]
    datagrams: bool,
}

fn main() -> ExitCode {
    let Arguments { seeds, datagrams } = Arguments::parse();
    let printed = if datagrams { Printed::Datagrams } else { Printed::Events };
    seeds.seed.map_or_else(|| go_through::<Sums>(seeds), |seed| one(seed, printed))
}

/// Tells the whole story of a seed.
fn one(seed: u64, printed: Printed) -> ExitCode {
    let report = run(seed, printed);
    let Report { answered, slots, leaders, events, lasted, hash, .. } = &report;
    println!(
        "{answered} operations answered, {slots} slots, {leaders} leaders, {events} events in \
         {lasted:?} of virtual time; {}",
        words(report.faults.by_kind())
    );
    match &report.broken {
        None => {
            println!("trace hash {hash:016x} passed");
            ExitCode::SUCCESS
        }
        Some(broken) => {
            println!("{broken}");
            println!("trace hash {hash:016x} failed");
            ExitCode::FAILURE
        }
    }
}

/// Faults by kind.
fn words(faults: impl IntoIterator<Item = (String, u64)>) -> String {
    let faults = faults.into_iter().map(|(kind, count)| format!("{kind} {count}"));
    faults.collect::<Vec<_>>().join(", ")
}

/// What seeds come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums {
    operations: u64,
    slots: u64,
    /// Faults that happened, by kind.
    faults: BTreeMap<String, u64>,
    millis: u64,
}

impl Program for Sums {
    const NAME: &str = "virtual";

    fn run(seed: u64) -> Result<Self, String> {
        let Report { answered, slots, faults, lasted, broken, .. } = run(seed, Printed::Nothing);
        broken.map_or(Ok(()), Err)?;
        Ok(Sums {
            operations: answered as u64,
            slots: slots as u64,
            faults: faults.by_kind().collect(),
            millis: lasted.as_millis() as u64,
        })
    }

    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.slots += other.slots;
        self.millis += other.millis;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    fn words(&self, _: Rate) -> String {
        let Sums { operations, slots, faults, millis } = self;
        let hours = *millis as f64 / 3_600_000.0;
        let faults = words(faults.clone());
        format!("{hours:.2} virtual hours, {operations} client operations, {slots} slots; {faults}")
    }
}
