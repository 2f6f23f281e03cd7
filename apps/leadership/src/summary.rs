//! What the runs of a cell come to.

use std::time::Duration;

use crate::contender::{Contender, Policy};
use crate::experiment::Cell;
use crate::scenario::Scenario;
use crate::statistics::{Estimate, bootstrap, bursts, mean, quantile, rate};
use crate::trial::Outcome;

/// A cell in figures. Times are in milliseconds, rates an hour unless it says otherwise.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Who.
    pub contender: Contender,
    /// In what.
    pub scenario: Scenario,
    /// How many runs.
    pub runs: usize,
    /// Runs whose longest gap went on when the watch ended: it counts up to then.
    pub censored: usize,
    /// Time out of service: the median,
    pub median: Estimate,
    /// the 95th percentile,
    pub p95: Estimate,
    /// and the median of the differences to the policy heartbeat with the same seed.
    pub paired: Option<Estimate>,
    /// The median time from the fault to the first suspicion, of runs with one,
    pub detected: Option<Estimate>,
    /// how many these are,
    pub detected_runs: usize,
    /// the same of the election of another,
    pub replaced: Option<Estimate>,
    /// and how many these are.
    pub replaced_runs: usize,
    /// Suspicions of a leader that was well.
    pub mistakes: Estimate,
    /// Changes of leaders while the leader before was well.
    pub unjustified: Estimate,
    /// Messages between nodes, a second: the mean.
    pub messages: Estimate,
}

/// Sums all cells up, in their order.
pub fn summaries(cells: &[Cell]) -> Vec<Summary> {
    cells.iter().map(|cell| Summary::of(cell, cells)).collect()
}

impl Summary {
    fn of(cell: &Cell, all: &[Cell]) -> Self {
        let Cell { contender, scenario, runs } = cell;
        let outcomes = || runs.iter().map(|(_, outcome)| outcome);
        let each = |figure: fn(&Outcome) -> f64| outcomes().map(figure).collect::<Vec<_>>();
        let gaps = each(|outcome| millis(outcome.out_of_service));
        let seconds = scenario.lasts().as_secs_f64();
        let hours = runs.len() as f64 * seconds / 3600.0;
        let messages: Vec<_> =
            outcomes().map(|outcome| outcome.messages as f64 / seconds).collect();
        let mistakes: Vec<_> = outcomes().map(|outcome| outcome.mistakes).collect();
        Summary {
            contender: *contender,
            scenario: *scenario,
            runs: runs.len(),
            censored: outcomes().filter(|outcome| outcome.censored).count(),
            median: bootstrap(&gaps, median),
            p95: bootstrap(&gaps, |values| quantile(values, 0.95)),
            paired: paired(cell, all),
            detected: median_of(outcomes().filter_map(|outcome| outcome.detected)),
            detected_runs: outcomes().filter_map(|outcome| outcome.detected).count(),
            replaced: median_of(outcomes().filter_map(|outcome| outcome.replaced)),
            replaced_runs: outcomes().filter_map(|outcome| outcome.replaced).count(),
            mistakes: bursts(&mistakes, hours),
            unjustified: rate(outcomes().map(|outcome| outcome.unjustified).sum(), hours),
            messages: bootstrap(&messages, mean),
        }
    }
}

/// The difference that a policy makes, seed by seed: the network and the faults are the same.
fn paired(cell: &Cell, all: &[Cell]) -> Option<Estimate> {
    let heartbeat = Contender { policy: Policy::Heartbeat, bears: cell.contender.bears };
    let is_other = |other: &&Cell| other.contender == heartbeat && other.scenario == cell.scenario;
    let other = all.iter().find(is_other).filter(|_| cell.contender != heartbeat)?;
    let differences: Vec<_> = cell
        .runs
        .iter()
        .zip(&other.runs)
        .filter(|((seed, _), (other, _))| seed == other)
        .map(|((_, one), (_, other))| millis(one.out_of_service) - millis(other.out_of_service))
        .collect();
    (!differences.is_empty()).then(|| bootstrap(&differences, median))
}

fn median_of(times: impl Iterator<Item = Duration>) -> Option<Estimate> {
    let times: Vec<_> = times.map(millis).collect();
    (!times.is_empty()).then(|| bootstrap(&times, median))
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// In milliseconds.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
