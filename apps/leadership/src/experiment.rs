//! Which cells there are, and how their runs are gone through.

use std::cell;
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
    name_who_panics();
    std::thread::scope(|scope| {
        let work = || {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some((_, trial)), Some(outcome)) =
                        (trials.get(number), outcomes.get(number))
                    else {
                        return;
                    };
                    RUNS.set(Some(*trial));
                    let came = trial.run(Printed::Nothing);
                    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let workers: Vec<_> = (0..jobs.get()).map(|_| work()).collect();
        tell_progress(&done, trials.len(), || workers.iter().all(|worker| worker.is_finished()));
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

thread_local! {
    /// What this thread runs.
    static RUNS: cell::Cell<Option<Trial>> = const { cell::Cell::new(None) };
}

/// A run that panics is named, also where the program ends with it.
fn name_who_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(trial) = RUNS.get() {
            writeln!(std::io::stderr(), "while it ran: {trial}").ok();
        }
        usual(panic);
    }));
}

/// Shows how many of the runs are done, until all are or nobody works any more: on a terminal in
/// one line, else in several.
fn tell_progress(done: &AtomicUsize, count: usize, over: impl Fn() -> bool) {
    let (began, mut shown) = (Instant::now(), Instant::now());
    let mut err = std::io::stderr();
    let end = if err.is_terminal() { "\r" } else { "\n" };
    loop {
        let done = done.load(Ordering::Relaxed);
        if done > 0 && (done == count || shown.elapsed() >= PROGRESS) {
            shown = Instant::now();
            let left = began.elapsed().mul_f64((count - done) as f64 / done as f64).as_secs();
            write!(err, "{done} of {count} runs, about {left} s left    {end}").ok();
        }
        if done == count || over() {
            writeln!(err).ok();
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
