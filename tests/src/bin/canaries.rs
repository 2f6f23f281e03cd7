//! Runs the canaries: each is a planted bug that a checker must catch. `canaries` stops each at its
//! first catch; `canaries --ranges` tells how many seeds each needs in three disjoint ranges.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use paxos_tests::canaries::{ASSERTION, Against, Canary, SCRIPT, all};

const USAGE: &str = "usage: canaries [--ranges] [--jobs N] [ID...]";

/// Seeds that a canary may need.
const SEEDS: u64 = 2000;

/// Where the ranges begin. The first is that of the short form.
const STARTS: [u64; 3] = [0, 1_000_000, 2_000_000];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["--worker", id, first] = words[..] {
        return match (Canary::named(id), first.parse()) {
            (Some(canary), Ok(first)) => worker(canary, first..first + SEEDS),
            _ => usage(),
        };
    }
    let (mut starts, mut jobs, mut chosen) = (&STARTS[..1], cores(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word {
            "--ranges" => starts = &STARTS,
            "--jobs" => match words.next().and_then(|number| number.parse().ok()) {
                Some(number @ 1..) => jobs = number,
                _ => return usage(),
            },
            id => match Canary::named(id) {
                Some(canary) => chosen.push(canary),
                None => return usage(),
            },
        }
    }
    if chosen.is_empty() {
        chosen = all().collect();
    }
    report(&chosen, starts, jobs)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

/// Runs seeds until one is caught, and prints what it does before it does it, so that the one who
/// reads knows the seed of a panic.
fn worker(canary: &Canary, seeds: Range<u64>) -> ExitCode {
    for seed in seeds {
        println!("seed {seed}");
        if let Some(catch) = canary.run(seed) {
            println!("caught {} {}", catch.checker, catch.words);
            return ExitCode::SUCCESS;
        }
    }
    ExitCode::SUCCESS
}

/// How a canary fared in one range.
#[derive(Clone, Debug)]
struct Outcome {
    /// The checker and the seeds that it took; `None`: it got away.
    caught: Option<(String, u64)>,
    words: String,
    took: Duration,
}

/// Watches a worker.
fn watch(canary: &Canary, first: u64) -> std::io::Result<Outcome> {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--worker", canary.id, &first.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut last, mut caught, mut said) = (first, None, String::new());
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("seed"), Some(seed), _) => last = seed.parse().unwrap_or(last),
            (Some("caught"), Some(checker), words) => {
                caught = Some(checker.to_owned());
                said = words.unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    if !child.wait()?.success() {
        caught = Some(ASSERTION.to_owned());
    }
    let caught = caught.map(|checker| (checker, last - first + 1));
    Ok(Outcome { caught, words: said, took: began.elapsed() })
}

/// Runs canaries in ranges and prints a row for each, in order.
fn report(canaries: &[&Canary], starts: &[u64], jobs: usize) -> ExitCode {
    let tasks: Vec<(usize, u64)> = (0..canaries.len())
        .flat_map(|place| starts.iter().map(move |start| (place, *start)))
        .collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((place, start)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let canary = canaries[*place];
                    let outcome = watch(canary, *start).unwrap_or_else(|error| Outcome {
                        caught: None,
                        words: format!("no worker: {error}"),
                        took: Duration::ZERO,
                    });
                    let took = outcome.took.as_secs_f64();
                    eprintln!(
                        "{} from {start}: {:?} in {took:.1} s: {}",
                        canary.id, outcome.caught, outcome.words
                    );
                    let mut done = done.lock().unwrap_or_else(|poison| poison.into_inner());
                    done.insert((*place, *start), outcome);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(|poison| poison.into_inner());
    let mut out = std::io::stdout().lock();
    let mut missed = 0;
    for (place, canary) in canaries.iter().enumerate() {
        let outcomes: Vec<&Outcome> =
            starts.iter().filter_map(|start| done.get(&(place, *start))).collect();
        missed += usize::from(outcomes.iter().any(|outcome| outcome.caught.is_none()));
        writeln!(out, "{}", row(canary, &outcomes)).ok();
    }
    writeln!(out, "{} caught, {missed} missed", canaries.len() - missed).ok();
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A row of the table of `tests/CANARIES.md`.
fn row(canary: &Canary, outcomes: &[&Outcome]) -> String {
    let mut checkers: Vec<&str> = Vec::new();
    let mut seeds = Vec::new();
    for outcome in outcomes {
        match &outcome.caught {
            Some((checker, needed)) => {
                if !checkers.contains(&checker.as_str()) {
                    checkers.push(checker);
                }
                let seeds_needed = if checker == SCRIPT { "-".into() } else { needed.to_string() };
                seeds.push(seeds_needed);
            }
            None => seeds.push(format!("> {SEEDS}")),
        }
    }
    let against = match canary.against {
        Against::Safety => "safety",
        Against::Progress => "progress",
    };
    let (id, rule, source) = (canary.id, canary.rule, canary.source);
    let (checkers, seeds) = (checkers.join(", "), seeds.join(", "));
    format!("| `{id}` | {against} | {rule} | {source} | {checkers} | {seeds} |")
}
