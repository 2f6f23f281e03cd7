//! Planted bugs: each breaks one rule of the protocol, and a checker must see it. A checker that no
//! canary has ever stopped proves nothing.
//!
//! All of them are planted from outside, between the roles and the simulated world; the product
//! knows nothing of them. `tests/CANARIES.md` says how to run them and what was measured.

mod acceptors;
mod disks;
mod leaderships;
mod learners;
mod leases;
mod locks;
mod memberships;
pub(crate) mod plants;
mod proposers;
mod reads;
mod services;
mod snapshots;
mod watches;

use std::panic;

use crate::checkers::blamed;
use crate::simulation::{Plan, Plant, run_planted};

/// One planted bug.
#[derive(Debug)]
pub struct Canary {
    /// Its name.
    pub id: &'static str,
    /// What the bug endangers.
    pub against: Against,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// Where the rule, or the mistake, is described: ids are those of `tests/FAULTS.md`.
    pub source: &'static str,
    /// How it is caught.
    pub how: How,
    /// Makes the bug.
    pub plant: fn() -> Box<dyn Plant>,
}

/// How a bug is caught.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// By seeds, their plans changed so that what the bug needs is not rare.
    Seeds(fn(Plan) -> Plan),
    /// By a story of its own, which says what is broken: seeds seldom tell it.
    Script(fn(&mut dyn Plant) -> Result<(), String>),
}

/// What a bug endangers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Something wrong happens.
    Safety,
    /// Something right does not happen, or costs too much.
    Progress,
}

/// A seed that a checker stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The checker.
    pub checker: &'static str,
    /// What it said.
    pub words: String,
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Canary> {
    [
        acceptors::CANARIES,
        proposers::CANARIES,
        learners::CANARIES,
        reads::CANARIES,
        leases::CANARIES,
        disks::CANARIES,
        services::CANARIES,
        locks::CANARIES,
        snapshots::CANARIES,
        memberships::CANARIES,
        leaderships::CANARIES,
        watches::CANARIES,
    ]
    .into_iter()
    .flatten()
}

impl Canary {
    /// The canary of this name.
    pub fn named(id: &str) -> Option<&'static Canary> {
        all().find(|canary| canary.id == id)
    }

    /// Runs a seed, or its story, with the bug; what stopped it, if a checker did. An assertion of
    /// the product ends the process where panics do.
    pub fn run(&self, seed: u64) -> Option<Catch> {
        let mut plant = (self.plant)();
        let done = panic::catch_unwind(panic::AssertUnwindSafe(|| match self.how {
            How::Seeds(plan) => run_planted(seed, plan, plant.as_mut()).map(|_| ()),
            How::Script(script) => script(plant.as_mut()),
        }));
        let words = match done {
            Ok(ran) => ran.err()?,
            Err(_) => return Some(Catch { checker: ASSERTION, words: String::new() }),
        };
        let checker = match self.how {
            How::Seeds(_) => blamed(&words)?,
            How::Script(_) => SCRIPT,
        };
        Some(Catch { checker, words })
    }
}

/// Stands for a checker where a story of the canary's own found the bug.
pub const SCRIPT: &str = "script";

/// Stands for a checker where an assertion of the product itself stopped the run.
pub const ASSERTION: &str = "assertion";
