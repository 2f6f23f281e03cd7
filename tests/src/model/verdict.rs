//! Runs a search and says what came of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use super::bug::Bug;
use super::configuration::Configuration;
use super::properties::Rule;
use super::system::{Action, State, System};

/// What a search found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Distinct states.
    pub states: usize,
    /// Steps, also to states that were known.
    pub transitions: usize,
    /// States on the longest of the shortest ways to a state.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// The first violation.
    pub violation: Option<Violation>,
    /// What should have been reached and was not.
    pub unreached: Vec<&'static str>,
}

/// A rule broken, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The name of the rule.
    pub rule: &'static str,
    /// The steps that lead there, one line each.
    pub trace: Vec<String>,
}

impl Verdict {
    /// Whether every rule held and everything was reached that should be.
    pub fn passed(&self) -> bool {
        self.violation.is_none() && self.unreached.is_empty()
    }
}

/// Searches everything within the bounds, or up to the first violation, which a search with one
/// thread reaches by a shortest trace.
pub fn check(
    configuration: Configuration,
    bug: Arc<dyn Bug>,
    rules: &[Rule],
    threads: usize,
) -> Verdict {
    let began = Instant::now();
    let system = System::new(configuration, bug, rules.to_vec());
    let checker = system.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let system = checker.model();
    // To find the way there again, the checker has to get past the first violation.
    system.broken.store(false, Ordering::Relaxed);
    let mut discoveries = checker.discoveries();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        transitions: checker.state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        violation: None,
        unreached: Vec::new(),
    };
    for property in system.properties() {
        match (discoveries.remove(property.name), property.expectation) {
            (Some(path), Expectation::Always) if verdict.violation.is_none() => {
                let trace = trace(system, path);
                verdict.violation = Some(Violation { rule: property.name, trace });
            }
            (None, Expectation::Sometimes) => verdict.unreached.push(property.name),
            _ => {}
        }
    }
    verdict
}

fn trace(system: &System, path: Path<State, Action>) -> Vec<String> {
    let steps = path.into_vec().into_iter();
    let steps = steps.filter_map(|(state, action)| Some((state, action?)));
    steps.map(|(state, action)| system.describe(&state, action)).collect()
}
