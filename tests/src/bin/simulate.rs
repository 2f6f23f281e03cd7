//! Runs seeds of the simulator: `simulate SEED` tells the whole story of one, `simulate --seeds
//! A..B --jobs N` goes through a range in worker processes, so that a seed that panics fails alone.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use paxos_tests::simulation::{Report, run, run_telling};

const USAGE: &str = "usage: simulate SEED | simulate --seeds A..B [--jobs N]";

/// Seeds that a worker is given at once.
const CHUNK: u64 = 50;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match words[..] {
        ["--seeds", seeds] => range(seeds, cores()),
        ["--seeds", seeds, "--jobs", jobs] => range(seeds, jobs.parse().unwrap_or(0)),
        ["--worker", seeds] => worker(seeds),
        [seed] => seed.parse().map_or_else(|_| usage(), one),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

/// Tells every event of a seed. What it prints depends on seed and build alone.
fn one(seed: u64) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let told = run_telling(seed, |plan| plan, &mut |line| {
        // A reader who has seen enough may close the pipe.
        writeln!(out, "{line}").ok();
    });
    let (hash, verdict) = match told {
        Ok(report) => (report.hash, "passed"),
        Err(broken) => {
            writeln!(out, "broken: {broken}").ok();
            (0, "failed")
        }
    };
    writeln!(out, "trace hash {hash:016x} {verdict}").ok();
    if verdict == "passed" { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(seeds: &str) -> Option<(u64, u64)> {
    let (first, end) = seeds.split_once("..")?;
    let (first, end) = (first.parse().ok()?, end.parse().ok()?);
    (first < end).then_some((first, end))
}

/// Runs seeds and prints a line for each, before it and behind it.
fn worker(seeds: &str) -> ExitCode {
    let Some((first, end)) = parse(seeds) else { return usage() };
    for seed in first..end {
        println!("begin {seed}");
        match run(seed) {
            Ok(report) => println!("passed {}", Sums::of(&report).words()),
            Err(broken) => println!("failed {broken}"),
        }
    }
    ExitCode::SUCCESS
}

/// What many seeds come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    passed: u64,
    failed: u64,
    operations: u64,
    slots: u64,
    faults: u64,
    messages: u64,
    /// Simulated milliseconds, of clusters of three nodes and more.
    millis: u64,
}

impl Sums {
    fn of(report: &Report) -> Sums {
        let faults = &report.faults;
        let large = report.nodes >= 3;
        Sums {
            passed: 1,
            failed: 0,
            operations: report.answered as u64,
            slots: report.slots as u64,
            faults: faults.total(),
            messages: faults.lost + faults.cut + faults.duplicated + faults.reordered,
            millis: if large { report.lasted.as_millis() as u64 } else { 0 },
        }
    }

    fn words(&self) -> String {
        let Sums { operations, slots, faults, messages, millis, .. } = self;
        format!("{operations} {slots} {faults} {messages} {millis}")
    }

    fn read(words: &str) -> Option<Sums> {
        let mut numbers = words.split(' ').map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Sums {
            passed: 1,
            failed: 0,
            operations: next()?,
            slots: next()?,
            faults: next()?,
            messages: next()?,
            millis: next()?,
        })
    }

    fn add(&mut self, other: Sums) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.operations += other.operations;
        self.slots += other.slots;
        self.faults += other.faults;
        self.messages += other.messages;
        self.millis += other.millis;
    }
}

/// Goes through a range of seeds in worker processes.
fn range(seeds: &str, jobs: usize) -> ExitCode {
    let (Some((first, end)), 1..) = (parse(seeds), jobs) else { return usage() };
    let (next, sums, began) = (AtomicU64::new(first), Mutex::new(Sums::default()), Instant::now());
    let tell = |sums: &Sums| {
        let took = began.elapsed().as_secs_f64();
        let done = sums.passed + sums.failed;
        let hours = sums.millis as f64 / 3_600_000.0;
        eprintln!(
            "{done} of {}: {:.0} seeds/s, {:.0} simulated cluster-hours per hour and job, {} \
             operations, {} slots, {} faults, {} messages lost, cut, doubled or held back",
            end - first,
            done as f64 / took,
            hours / (took / 3600.0) / jobs as f64,
            sums.operations,
            sums.slots,
            sums.faults,
            sums.messages
        );
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut told = Instant::now();
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= end {
                        return;
                    }
                    let chunk = chunk(from, end.min(from + CHUNK));
                    let mut sums = sums.lock().unwrap_or_else(|poison| poison.into_inner());
                    sums.add(chunk);
                    if told.elapsed() > Duration::from_secs(5) {
                        told = Instant::now();
                        tell(&sums);
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().unwrap_or_else(|poison| poison.into_inner());
    tell(&sums);
    println!("{} passed, {} failed", sums.passed, sums.failed);
    if sums.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs some seeds in a process, and in another one what is left if it dies.
fn chunk(mut from: u64, end: u64) -> Sums {
    let mut sums = Sums::default();
    while from < end {
        let Ok(mut child) = start(from, end) else {
            eprintln!("no worker process could be started");
            return Sums { failed: sums.failed + end - from, ..sums };
        };
        let mut present = None;
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let Ok(line) = line else { break };
            match line.split_once(' ') {
                Some(("begin", seed)) => present = seed.parse::<u64>().ok(),
                Some(("passed", words)) => {
                    sums.add(Sums::read(words).unwrap_or_default());
                    from = present.take().map_or(end, |seed| seed + 1);
                }
                Some(("failed", broken)) => {
                    from = fail(&mut sums, present.take().unwrap_or(from), broken);
                }
                _ => {}
            }
        }
        if !child.wait().is_ok_and(|status| status.success()) {
            let seed = present.unwrap_or(from);
            from = fail(&mut sums, seed, "it panicked");
        }
    }
    sums
}

fn start(from: u64, end: u64) -> std::io::Result<Child> {
    let program = std::env::current_exe()?;
    Command::new(program)
        .args(["--worker", &format!("{from}..{end}")])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
}

/// Counts a failed seed and says how to see it; answers the seed behind it.
fn fail(sums: &mut Sums, seed: u64, broken: &str) -> u64 {
    sums.failed += 1;
    println!(
        "seed {seed}: {broken}\n  cargo run --release -p paxos-tests --bin simulate -- {seed}"
    );
    seed + 1
}
