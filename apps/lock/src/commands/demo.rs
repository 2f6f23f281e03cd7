//! `demo`: a cluster that loses its leader, and a lock that nobody holds twice.

use std::fmt;
use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::Layout;
use paxos_app::exit::Exit;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_app::stage::{Show, Stage};
use serde::Serialize;

use lock::{AcquireOptions, Terms, Wait};

use crate::commands::contenders::{Contenders, Tally};
use crate::preset;

const CLIENTS: usize = 8;
const LOCK: &str = "demo";
/// What is counted.
const DONE: &str = "grants";

/// Fewer grants show nothing,
const GRANTS_MIN: u64 = 100;
/// nor do fewer after the change of leader.
const AFTER_MIN: u64 = 30;
/// One call of a client.
const CALL: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  lock demo
  lock demo -o json    (the verdict alone)
  TMPDIR=/var/tmp lock demo";

/// Show a lock that is never held twice while the leader of its cluster is killed
///
/// Starts three processes in a temporary folder, lets clients contend for one lock, kills the
/// leader with SIGKILL and brings it back. Exit 1 if two held the lock at once, if tokens did not
/// rise, or if a holder lost it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Demo {}

/// The last line.
#[derive(Serialize)]
struct Verdict {
    grants: u64,
    overlaps: u64,
    tokens_rising: bool,
    lost: u64,
}

impl Demo {
    /// Shows it.
    ///
    /// # Errors
    /// Whatever kept it from its end; or what is wrong with it.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(show(output)))
    }
}

async fn show(output: &Output) -> anyhow::Result<Exit> {
    let mut stage = Stage::set(output, Layout::THREE_VOTERS, preset()).await?;
    let mut config = stage.children.client_config()?;
    config.timeout = CALL;
    let options = AcquireOptions { terms: Terms::default(), wait: Wait::Forever };
    let contenders = Contenders::start(CLIENTS, &config, LOCK, options)?;
    stage.timeline.tell(format_args!("{CLIENTS} clients contend for one lock"))?;
    let count = || contenders.grants();
    stage.work(count, GRANTS_MIN / 2, DONE).await?;
    let fallen = stage.fell_leader().await?;
    let leader = stage.await_leader(fallen).await?;
    let before = count();
    stage.await_progress(fallen, count, before, DONE).await?;
    stage.work(count, before + GRANTS_MIN / 2, DONE).await?;
    let after = count() - before;
    stage.bring_back(fallen).await?;
    let tally = contenders.stop().await?;
    stage.timeline.tell("the clients stop")?;
    stage.await_level().await?;
    let verdict = Verdict::of(tally);
    output.result(&verdict, &verdict)?;
    let show = Show {
        broken: verdict.is_bad().then_some("the lock did not keep what it promises"),
        done: DONE,
        count: (tally.grants, GRANTS_MIN),
        after: (after, AFTER_MIN),
        changed: leader != fallen.node,
    };
    Ok(show.end()?)
}

impl Verdict {
    fn of(tally: Tally) -> Verdict {
        let Tally { grants, overlaps, fallen, lost } = tally;
        Verdict { grants, overlaps, tokens_rising: fallen == 0, lost }
    }

    /// Whether the lock broke a promise.
    fn is_bad(&self) -> bool {
        self.overlaps > 0 || !self.tokens_rising || self.lost > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { grants, overlaps, tokens_rising, lost } = self;
        let tokens = if *tokens_rising { "rising" } else { "NOT RISING" };
        write!(f, "grants {grants}, overlaps {overlaps}, tokens {tokens}, lost {lost}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_broke_a_promise_is_said_to_have() {
        let good = Tally { grants: 100, ..Tally::default() };
        let verdict = Verdict::of(good);
        assert_eq!(verdict.to_string(), "grants 100, overlaps 0, tokens rising, lost 0");
        assert!(!verdict.is_bad());
        for bad in [Tally { overlaps: 1, ..good }, Tally { fallen: 1, ..good }] {
            assert!(Verdict::of(bad).is_bad());
        }
        assert!(Verdict::of(Tally { lost: 1, ..good }).is_bad());
    }
}
