//! Which cells there are, and how their runs are gone through.

use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use paxos_tests::virtual_time::Printed;

use crate::contender::{Contender, POLICIES, Policy, SWEPT};
use crate::scenario::{SCENARIOS, Scenario};
use crate::trial::{Outcome, Trial};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_secs(2);

/// One policy, with one parameter, in one scenario: a line of the table, or a point of a curve.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Who.
    pub contender: Contender,
    /// In what.
    pub scenario: Scenario,
    /// What came of each seed, in their order.
    pub runs: Vec<(u64, Outcome)>,
}

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub trial: Trial,
    /// How, in words.
    pub how: String,
}

/// The cells of the comparison, without runs: every policy in every scenario, all of them set to
/// bear the same silence; and those with a parameter with others too, where a leader dies and where
/// nothing befalls it.
pub fn cells() -> Vec<Cell> {
    let matched = POLICIES.into_iter().flat_map(|policy| {
        SCENARIOS.into_iter().map(move |scenario| (Contender::matched(policy), scenario))
    });
    let tuned = POLICIES.into_iter().filter(|policy| *policy != Policy::Oracle);
    let swept = tuned.flat_map(|policy| {
        SWEPT.into_iter().flat_map(move |bears| {
            let contender = Contender { policy, bears };
            [Scenario::L1, Scenario::L3].into_iter().map(move |scenario| (contender, scenario))
        })
    });
    let cell = |(contender, scenario)| Cell { contender, scenario, runs: Vec::new() };
    matched.chain(swept).map(cell).collect()
}

/// Runs all cells with the seeds below `seeds`, `jobs` runs at once, and tells how far it is on
/// standard error.
///
/// # Errors
/// The runs that broke a promise.
pub fn go_through(seeds: u64, jobs: NonZero<usize>) -> Result<Vec<Cell>, Vec<Broken>> {
    let mut cells = cells();
    // Seed by seed: all cells get on alike, so that what is left can be told.
    let trials: Vec<_> = (0..seeds)
        .flat_map(|seed| cells.iter().enumerate().map(move |(place, cell)| (place, cell, seed)))
        .map(|(place, Cell { contender, scenario, .. }, seed)| {
            (place, Trial { contender: *contender, scenario: *scenario, seed })
        })
        .collect();
    let outcomes: Vec<Mutex<Option<Result<Outcome, String>>>> =
        trials.iter().map(|_| Mutex::default()).collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some((_, trial)), Some(outcome)) =
                        (trials.get(number), outcomes.get(number))
                    else {
                        return;
                    };
                    let came = trial.run(Printed::Nothing);
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tell_progress(&done, trials.len());
    });
    let mut broken = Vec::new();
    for ((place, trial), outcome) in trials.into_iter().zip(outcomes) {
        match outcome.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(outcome)) => cells[place].runs.push((trial.seed, outcome)),
            Some(Err(how)) => broken.push(Broken { trial, how }),
            None => {}
        }
    }
    if broken.is_empty() { Ok(cells) } else { Err(broken) }
}

/// Shows how many of the runs are done, until all are: on a terminal in one line, else in several.
fn tell_progress(done: &AtomicUsize, count: usize) {
    let (began, mut shown) = (Instant::now(), Instant::now());
    let mut err = std::io::stderr().lock();
    let end = if err.is_terminal() { "\r" } else { "\n" };
    loop {
        let done = done.load(Ordering::Relaxed);
        if done > 0 && (done == count || shown.elapsed() >= PROGRESS) {
            shown = Instant::now();
            let left = began.elapsed().mul_f64((count - done) as f64 / done as f64).as_secs();
            write!(err, "{done} of {count} runs, about {left} s left    {end}").ok();
        }
        if done == count {
            writeln!(err).ok();
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
