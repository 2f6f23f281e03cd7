//! Programs that go through seeds: `PROGRAM SEED` tells the whole story of one, `PROGRAM --seeds
//! A..B --jobs N` goes through a range in worker processes, so that a seed that panics, or never
//! ends, fails alone.
//!
//! What goes to standard output depends on seeds and build alone; progress goes to standard error.

use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::ops::Range;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Seeds that a worker process takes at a time.
const CHUNK: u64 = 50;

/// A worker that says nothing for so long in real time is stuck in one moment of virtual time.
const STUCK: Duration = Duration::from_secs(180);

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(5);

/// What every such program can be asked.
#[derive(Args, Clone, Debug)]
pub struct Seeds {
    /// Tell the whole story of this seed
    #[arg(required_unless_present_any = ["seeds", "worker"], conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Go through these seeds, the last one left out
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// How many seeds run at once [default: the cores of this machine]
    #[arg(long, value_name = "N", requires = "seeds")]
    jobs: Option<NonZero<usize>>,
    /// What a worker process is asked
    #[arg(long, value_name = "A..B", value_parser = range, hide = true)]
    worker: Option<Range<u64>>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("write it as A..B, for example 0..1000")?;
    let number = |text: &str| text.parse().map_err(|_| format!("{text} is no seed (u64)"));
    let (first, end) = (number(first)?, number(end)?);
    if first < end { Ok(first..end) } else { Err(format!("there is no seed in {text}")) }
}

/// What such a program does.
pub trait Program: Serialize + DeserializeOwned + Default + Send {
    /// Its name.
    const NAME: &str;

    /// What has to stand before a seed, or a range, on the line that runs it.
    const ARGUMENTS: &[&str] = &[];

    /// Runs a seed; answers what it came to.
    ///
    /// # Errors
    /// The first promise that was broken, in words.
    fn run(seed: u64) -> Result<Self, String>;

    /// Adds what another seed came to.
    fn add(&mut self, other: Self);

    /// What many seeds have come to, in words.
    fn words(&self, rate: Rate) -> String;
}

/// How fast a range goes.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Seeds a second, of all jobs.
    pub seeds: f64,
    /// Hours of processor time that were used.
    pub hours: f64,
}

/// Goes through a range, or does a worker's part of one.
pub fn go_through<P: Program>(asked: Seeds) -> ExitCode {
    if let Some(seeds) = asked.worker {
        return worker::<P>(seeds);
    }
    let Some(seeds) = asked.seeds else { return ExitCode::from(64) };
    let cores = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let jobs = asked.jobs.unwrap_or_else(cores).get();
    let (count, end) = (seeds.end - seeds.start, seeds.end);
    let (tell, told) = channel();
    let next = AtomicU64::new(seeds.start);
    let failed = std::thread::scope(|scope| {
        for _ in 0..jobs {
            let (tell, next) = (tell.clone(), &next);
            scope.spawn(move || {
                loop {
                    let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if first >= end {
                        return;
                    }
                    supervise::<P>(first..end.min(first + CHUNK), &tell);
                }
            });
        }
        drop(tell);
        gather(&told, count)
    });
    println!("{} passed, {failed} failed", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is said of a seed.
#[derive(Serialize, Deserialize)]
struct Line<P> {
    seed: u64,
    /// Seconds of processor time.
    seconds: f64,
    came_to: Result<P, String>,
}

/// Runs seeds and prints a line for each.
fn worker<P: Program>(seeds: Range<u64>) -> ExitCode {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    for seed in seeds {
        let before = used();
        let came_to = P::run(seed);
        let line = Line { seed, seconds: used() - before, came_to };
        println!("{}", serde_json::to_string(&line).unwrap_or_default());
    }
    ExitCode::SUCCESS
}

/// Listens to the supervisors, shows how far they are, and counts the seeds that failed.
fn gather<P: Program>(told: &Receiver<Line<P>>, count: u64) -> u64 {
    let (began, mut shown) = (Instant::now(), Instant::now());
    let (mut sums, mut done, mut failed, mut used) = (P::default(), 0, 0, 0.0);
    for Line { seed, seconds, came_to } in told {
        done += 1;
        used += seconds;
        match came_to {
            Ok(came_to) => sums.add(came_to),
            Err(broken) => {
                failed += 1;
                println!("seed {seed}: {broken}");
                let arguments: String = P::ARGUMENTS.iter().map(|it| format!("{it} ")).collect();
                let name = P::NAME;
                println!("  cargo run --release -p paxos-tests --bin {name} -- {arguments}{seed}");
            }
        }
        if shown.elapsed() > PROGRESS || done == count {
            shown = Instant::now();
            let seeds = done as f64 / began.elapsed().as_secs_f64();
            let rate = Rate { seeds, hours: used / 3600.0 };
            eprintln!(
                "{done} of {count} seeds, {failed} failed, {:.0} seeds/s, {}",
                rate.seeds,
                sums.words(rate)
            );
        }
    }
    failed
}

/// Has a worker run some seeds; the one at which it ends early has failed.
fn supervise<P: Program>(mut seeds: Range<u64>, tell: &Sender<Line<P>>) {
    while !seeds.is_empty() {
        let broken = match attempt(&mut seeds, tell) {
            Ok(_) if seeds.is_empty() => return,
            Ok(status) => format!("its process ended with {status}; standard error may say why"),
            Err(error) => error,
        };
        let seed = seeds.start;
        seeds.start += 1;
        // Nobody listens only when everything is over.
        tell.send(Line { seed, seconds: 0.0, came_to: Err(broken) }).ok();
    }
}

fn attempt<P: Program>(
    seeds: &mut Range<u64>,
    tell: &Sender<Line<P>>,
) -> Result<ExitStatus, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(P::ARGUMENTS)
        .args(["--worker", &format!("{}..{}", seeds.start, seeds.end)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (said, heard) = channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.try_for_each(|line| said.send(line))
        });
    }
    let stuck = loop {
        match heard.recv_timeout(STUCK) {
            Ok(line) => {
                let Ok(line) = serde_json::from_str::<Line<P>>(&line) else { continue };
                seeds.start = line.seed + 1;
                tell.send(line).ok();
            }
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().ok();
                break Some(format!("no end within {STUCK:?} of real time"));
            }
        }
    };
    let ended = child.wait().map_err(|error| error.to_string());
    stuck.map_or(ended, Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open_and_never_empty() {
        assert_eq!(range("3..7"), Ok(3..7));
        assert_eq!(range("0..18446744073709551615"), Ok(0..u64::MAX));
        for bad in ["7..7", "7..3", "3", "3..", "a..b", "-1..3", "3..=7"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
