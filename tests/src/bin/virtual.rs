//! Runs the actor graph in virtual time: one seed with every event, or a range with its verdict.
//!
//! What goes to standard output depends on seeds and build alone; progress goes to standard error.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use paxos_tests::virtual_time::{Printed, Report, run};

const USAGE: &str = "usage: virtual SEED [--datagrams] | virtual --seeds A..B [--jobs N]";

/// Seeds that a worker process takes at a time.
const CHUNK: u64 = 25;

/// A worker that says nothing for so long in real time is stuck in one moment of virtual time.
const STUCK: Duration = Duration::from_secs(120);

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(2);

enum Task {
    One(u64, Printed),
    Worker(Range<u64>),
    Range(Range<u64>, usize),
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let Some(task) = parse(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let passed = match task {
        Task::One(seed, printed) => one(seed, printed),
        Task::Worker(seeds) => worker(seeds),
        Task::Range(seeds, jobs) => range(seeds, jobs),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(words: &[String]) -> Option<Task> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match words[..] {
        ["--worker", seeds] => Some(Task::Worker(seeds_of(seeds)?)),
        ["--seeds", seeds] => Some(Task::Range(seeds_of(seeds)?, cores())),
        ["--seeds", seeds, "--jobs", jobs] => {
            let jobs = jobs.parse().ok().filter(|jobs| *jobs > 0)?;
            Some(Task::Range(seeds_of(seeds)?, jobs))
        }
        [seed] => Some(Task::One(seed.parse().ok()?, Printed::Events)),
        [seed, "--datagrams"] => Some(Task::One(seed.parse().ok()?, Printed::Datagrams)),
        _ => None,
    }
}

fn seeds_of(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Tells the whole story of a seed.
fn one(seed: u64, printed: Printed) -> bool {
    let report = run(seed, printed);
    let Report { answered, slots, leaders, crashes, cuts, lasted, events, .. } = &report;
    println!(
        "{answered} operations answered, {slots} slots, {leaders} leaders, {crashes} crashes, \
         {cuts} cuts, {events} events in {lasted:?} of virtual time"
    );
    if let Some(broken) = &report.broken {
        println!("{broken}");
    }
    println!("trace hash {:016x} {}", report.hash, verdict(&report));
    report.broken.is_none()
}

fn verdict(report: &Report) -> &'static str {
    if report.broken.is_none() { "passed" } else { "failed" }
}

/// One line for each seed, for the process that started this one.
fn worker(seeds: Range<u64>) -> bool {
    for seed in seeds {
        let report = run(seed, Printed::Nothing);
        let broken = report.broken.as_deref().unwrap_or_default().replace('\n', " ");
        println!("{seed} {:016x} {} {broken}", report.hash, report.lasted.as_millis());
    }
    true
}

/// What a worker says of a seed.
struct Line {
    seed: u64,
    millis: u64,
    broken: Option<String>,
}

/// Runs a range in worker processes, since a panic may end a process.
fn range(seeds: Range<u64>, jobs: usize) -> bool {
    let count = seeds.end.saturating_sub(seeds.start);
    let next = Arc::new(AtomicU64::new(seeds.start));
    let (tell, told) = channel();
    for _ in 0..jobs {
        let (next, tell, end) = (next.clone(), tell.clone(), seeds.end);
        std::thread::spawn(move || {
            loop {
                let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                if start >= end {
                    return;
                }
                supervise(start..end.min(start + CHUNK), &tell);
            }
        });
    }
    drop(tell);
    let failed = gather(&told, count);
    for (seed, broken) in &failed {
        println!("seed {seed}: {broken}");
        println!("  cargo run --release -p paxos-tests --bin virtual -- {seed}");
    }
    println!("{} passed, {} failed", count - failed.len() as u64, failed.len());
    failed.is_empty()
}

/// Listens to the workers, and shows how far they are.
fn gather(told: &Receiver<Line>, count: u64) -> BTreeMap<u64, String> {
    let (began, mut shown) = (Instant::now(), Instant::now());
    let (mut failed, mut done, mut millis) = (BTreeMap::new(), 0u64, 0);
    for line in told {
        done += 1;
        millis += line.millis;
        if let Some(broken) = line.broken {
            failed.insert(line.seed, broken);
        }
        if shown.elapsed() > PROGRESS || done == count {
            shown = Instant::now();
            let seconds = began.elapsed().as_secs_f64();
            eprintln!(
                "{done} of {count} seeds, {} failed, {:.1} seeds/s, {:.2} virtual hours",
                failed.len(),
                done as f64 / seconds,
                millis as f64 / 3_600_000.0
            );
        }
    }
    failed
}

/// Has a worker run some seeds; the one at which it ends early has failed.
fn supervise(mut seeds: Range<u64>, tell: &Sender<Line>) {
    while !seeds.is_empty() {
        let broken = match attempt(&mut seeds, tell) {
            Ok(_) if seeds.is_empty() => return,
            Ok(status) => format!("its process ended with {status}; standard error may say why"),
            Err(error) => error,
        };
        let seed = seeds.start;
        seeds.start += 1;
        // Nobody listens only when everything is over.
        tell.send(Line { seed, millis: 0, broken: Some(broken) }).ok();
    }
}

fn attempt(seeds: &mut Range<u64>, tell: &Sender<Line>) -> Result<ExitStatus, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(["--worker", &format!("{}..{}", seeds.start, seeds.end)])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (said, heard) = channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
    }
    let stuck = loop {
        match heard.recv_timeout(STUCK) {
            Ok(line) => {
                let Some(line) = line_of(&line) else { continue };
                seeds.start = line.seed + 1;
                tell.send(line).ok();
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                child.kill().ok();
                break Some(format!("no end within {STUCK:?} of real time"));
            }
        }
    };
    let ended = child.wait().map_err(|error| error.to_string());
    stuck.map_or(ended, Err)
}

fn line_of(text: &str) -> Option<Line> {
    let mut words = text.splitn(4, ' ');
    let seed = words.next()?.parse().ok()?;
    words.next()?;
    let millis = words.next()?.parse().ok()?;
    let broken = words.next().filter(|words| !words.is_empty()).map(str::to_owned);
    Some(Line { seed, millis, broken })
}
