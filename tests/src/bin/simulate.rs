//! Runs seeds of the simulator; see [`paxos_tests::simulation`].

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use paxos_tests::checkers::locks::Tally;
use paxos_tests::seeds::{Program, Rate, Seeds, go_through};
use paxos_tests::simulation::{Report, Service, run_as, run_telling};
use serde::{Deserialize, Serialize};

/// A cluster in one thread and in virtual time, with faults by seed: every event of one seed, or
/// the verdict on a range of them
#[derive(Parser)]
struct Arguments {
    /// What the clients use
    #[arg(long, value_enum, default_value = "counter")]
    service: Kind,

    #[command(flatten)]
    seeds: Seeds,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A counter, whose history must be linearizable
    Counter,
    /// A chat: its followers must hear everything once, in order
    Chat,
    /// Locks: each must have one holder at a time, and be given to who waits in turn
    Lock,
}

fn main() -> ExitCode {
    let Arguments { seeds, service } = Arguments::parse();
    match (service, seeds.seed) {
        (Kind::Counter, None) => go_through::<Counted>(seeds),
        (Kind::Chat, None) => go_through::<Heard>(seeds),
        (Kind::Lock, None) => go_through::<Held>(seeds),
        (Kind::Counter, Some(seed)) => one(seed, Service::Counter),
        (Kind::Chat, Some(seed)) => one(seed, Service::Chat),
        (Kind::Lock, Some(seed)) => one(seed, Service::Lock),
    }
}

/// Tells every event of a seed.
fn one(seed: u64, service: Service) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let (hash, ran) = run_telling(seed, |plan| plan.serving(service), &mut |line| {
        // A reader who has seen enough may close the pipe.
        writeln!(out, "{line}").ok();
    });
    let verdict = if ran.is_ok() { "passed" } else { "failed" };
    if let Err(broken) = ran {
        writeln!(out, "broken: {broken}").ok();
    }
    writeln!(out, "trace hash {hash:016x} {verdict}").ok();
    if verdict == "passed" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What seeds come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums {
    operations: u64,
    slots: u64,
    snapshots: u64,
    restored: u64,
    resumed: u64,
    heard: u64,
    moved: u64,
    lagged: u64,
    locks: Tally,
    /// Faults that happened, by kind.
    faults: BTreeMap<String, u64>,
    /// Simulated milliseconds, of clusters of three nodes and more.
    millis: u64,
}

impl Sums {
    fn of(seed: u64, service: Service) -> Result<Self, String> {
        let report = run_as(seed, |plan| plan.serving(service))?;
        let Report { nodes, slots, answered, faults, lasted, snapshots, restored, resumed, .. } =
            report;
        Ok(Sums {
            operations: answered as u64,
            slots: slots as u64,
            snapshots,
            restored,
            resumed,
            heard: report.heard as u64,
            moved: report.moved,
            lagged: report.lagged,
            locks: report.locks,
            faults: faults.by_kind().collect(),
            millis: if nodes >= 3 { lasted.as_millis() as u64 } else { 0 },
        })
    }

    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.slots += other.slots;
        self.snapshots += other.snapshots;
        self.restored += other.restored;
        self.resumed += other.resumed;
        self.heard += other.heard;
        self.moved += other.moved;
        self.lagged += other.lagged;
        self.locks.add(other.locks);
        self.millis += other.millis;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    fn words(&self, rate: Rate) -> String {
        let Sums { operations, slots, snapshots, restored, resumed, faults, millis, .. } = self;
        let hours = *millis as f64 / 3_600_000.0;
        let speed = hours / rate.hours;
        let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!(
            "{hours:.1} simulated cluster-hours of three nodes and more ({speed:.0} per \
             CPU-hour), {operations} client operations, {slots} slots, {snapshots} snapshots made, \
             {restored} fetched, {resumed} gone on with after a restart; {}",
            faults.join(", ")
        )
    }
}

/// Runs of the counter.
#[derive(Default, Serialize, Deserialize)]
struct Counted(Sums);

impl Program for Counted {
    const NAME: &str = "simulate";

    fn run(seed: u64) -> Result<Self, String> {
        Sums::of(seed, Service::Counter).map(Counted)
    }

    fn add(&mut self, other: Self) {
        self.0.add(other.0);
    }

    fn words(&self, rate: Rate) -> String {
        self.0.words(rate)
    }
}

/// Runs of the chat.
#[derive(Default, Serialize, Deserialize)]
struct Heard(Sums);

impl Program for Heard {
    const NAME: &str = "simulate";
    const ARGUMENTS: &[&str] = &["--service", "chat"];

    fn run(seed: u64) -> Result<Self, String> {
        Sums::of(seed, Service::Chat).map(Heard)
    }

    fn add(&mut self, other: Self) {
        self.0.add(other.0);
    }

    fn words(&self, rate: Rate) -> String {
        let Sums { heard, moved, lagged, .. } = self.0;
        format!(
            "{heard} messages heard by each follower of their rooms, which went to another node \
             {moved} times and missed some of what it told {lagged} times; {}",
            self.0.words(rate)
        )
    }
}

/// Runs of the lock service.
#[derive(Default, Serialize, Deserialize)]
struct Held(Sums);

impl Program for Held {
    const NAME: &str = "simulate";
    const ARGUMENTS: &[&str] = &["--service", "lock"];

    fn run(seed: u64) -> Result<Self, String> {
        Sums::of(seed, Service::Lock).map(Held)
    }

    fn add(&mut self, other: Self) {
        self.0.add(other.0);
    }

    fn words(&self, rate: Rate) -> String {
        let Tally { grants, handed_over, expired, renewed, left, late, fenced } = self.0.locks;
        format!(
            "{grants} grants, {handed_over} of them to one who had waited, {expired} ended since \
             their session had, {renewed} renewals, {left} waits given up, {late} demands too \
             late, {fenced} tokens refused by what is protected; {}",
            self.0.words(rate)
        )
    }
}
