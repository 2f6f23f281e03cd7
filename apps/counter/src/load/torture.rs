//! Many processes on one counter while leaders are killed.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use paxos_app::children::Children;
use paxos_app::timeline::{Timeline, grouped};
use paxos_net::client::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::faults::{Faults, Toll};
use crate::load::ledger::{Ledger, Tally};
use crate::load::pace::{KILLS_MIN, Pace};
use crate::load::process::Process;
use crate::load::verdict::Verdict;

/// Between two words on how far the processes are.
const PROGRESS: Duration = Duration::from_secs(2);
/// How often is looked whether they are done.
const LOOK: Duration = Duration::from_millis(50);
/// For the first leader to be found.
const ELECTION: Duration = Duration::from_secs(10);
/// For all nodes to have caught up, once they are back and nobody works any more.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Debug)]
pub struct Torture {
    /// Processes.
    pub clients: u64,
    /// Operations of each at most, without the read that it ends with.
    pub ops: u64,
    /// How often the leader is killed, if at all.
    pub kill_leader_every: Option<Duration>,
    /// Where a history goes.
    pub history: Option<PathBuf>,
    /// The counter, which must be untouched.
    pub counter: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether the counter counted.
    pub verdict: Verdict,
    /// What was done to the nodes.
    pub toll: Toll,
    /// What the processes were told before their last reads.
    pub tally: Tally,
    /// What each process read in the end.
    pub reads: Vec<u64>,
    /// What is wrong with the run, in words.
    pub complaints: Vec<String>,
}

impl Torture {
    /// Tortures a cluster of children.
    ///
    /// # Errors
    /// Whatever kept the run from its end.
    pub async fn run(
        &self,
        children: &mut Children,
        config: ClientConfig,
        timeline: &Timeline,
    ) -> anyhow::Result<Outcome> {
        children.leader_within(ELECTION).await?;
        let ledger = self.ledger()?;
        let (over, never) = (AtomicBool::new(false), Arc::default());
        let (kills, killed) = watch::channel(0);
        let load = async {
            let processes = self.load(config, &ledger, &killed, &never).await?;
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(processes)
        };
        let faults = Faults::new(children, timeline, kills).run(self.kill_leader_every, &over);
        let progress = progress(&ledger, timeline, &over);
        let (processes, toll, ()) = tokio::try_join!(load, faults, progress)?;
        timeline.tell("all operations are done and all nodes back")?;
        children.level_within(CATCH_UP).await?;
        timeline.tell("all nodes have caught up")?;
        self.finish(processes, &ledger, toll).await
    }

    /// Works on a cluster that somebody else runs, and leaves its nodes alone. Once `told` resolves
    /// no process begins another operation.
    ///
    /// # Errors
    /// Whatever kept the run from its end.
    pub async fn run_elsewhere(
        &self,
        config: ClientConfig,
        timeline: &Timeline,
        told: impl Future<Output = ()>,
    ) -> anyhow::Result<Outcome> {
        let ledger = self.ledger()?;
        let (over, enough) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
        let (_, killed) = watch::channel(0);
        let load = async {
            let mut load = pin!(self.load(config, &ledger, &killed, &enough));
            let processes = tokio::select! {
                done = &mut load => done?,
                () = told => {
                    enough.store(true, Ordering::Relaxed);
                    load.await?
                }
            };
            over.store(true, Ordering::Relaxed);
            anyhow::Ok(processes)
        };
        let (processes, ()) = tokio::try_join!(load, progress(&ledger, timeline, &over))?;
        self.finish(processes, &ledger, Toll::default()).await
    }

    fn ledger(&self) -> anyhow::Result<Arc<Ledger>> {
        let made = Ledger::new(self.history.as_deref());
        let path = self.history.as_deref().unwrap_or(Path::new("")).display();
        Ok(Arc::new(made.with_context(|| format!("the history {path}"))?))
    }

    /// All operations of all processes, which are handed back for their last reads.
    async fn load(
        &self,
        config: ClientConfig,
        ledger: &Arc<Ledger>,
        killed: &watch::Receiver<u64>,
        enough: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<Process>> {
        let pace = match self.kill_leader_every {
            Some(period) => Pace::over_periods(self.ops, period),
            None => Pace::unlimited(self.ops),
        };
        let start = Instant::now();
        let mut working = JoinSet::new();
        for number in 0..self.clients {
            let mut process = Process::new(number, config.clone(), &self.counter, ledger.clone())?;
            let (killed, enough) = (killed.clone(), enough.clone());
            working.spawn(async move {
                process.work(pace, start, killed, &enough).await.map(|()| process)
            });
        }
        let mut processes = Vec::new();
        while let Some(done) = working.join_next().await {
            processes.push(done??);
        }
        Ok(processes)
    }

    async fn finish(
        &self,
        processes: Vec<Process>,
        ledger: &Ledger,
        toll: Toll,
    ) -> anyhow::Result<Outcome> {
        let tally = ledger.close()?;
        let mut reads = Vec::new();
        for mut process in processes {
            reads.extend(process.read().await?);
            process.close().await;
        }
        ledger.close()?;
        let verdict = Verdict::new(&tally.answers, &reads, tally.unknown);
        let complaints = self.complaints(&verdict, toll, &tally, &reads);
        Ok(Outcome { verdict, toll, tally, reads, complaints })
    }

    fn complaints(
        &self,
        verdict: &Verdict,
        toll: Toll,
        tally: &Tally,
        reads: &[u64],
    ) -> Vec<String> {
        let mut complaints = Vec::new();
        if !verdict.is_good() {
            complaints.push(format!("the counter did not count what was answered: read {reads:?}"));
        }
        if tally.failed > 0 {
            complaints.push(format!("{} operations were given up", tally.failed));
        }
        if (reads.len() as u64) < self.clients {
            complaints.push(format!("only {} of {} last reads", reads.len(), self.clients));
        }
        if self.kill_leader_every.is_some() && toll.kills < KILLS_MIN {
            complaints.push(format!("{} kills: need {KILLS_MIN}", toll.kills));
        }
        if self.kill_leader_every.is_some() && toll.leader_changes == 0 {
            complaints.push("the leader never changed".to_owned());
        }
        complaints
    }
}

/// Tells how far the processes are, so that nobody waits in the dark.
async fn progress(ledger: &Ledger, timeline: &Timeline, over: &AtomicBool) -> anyhow::Result<()> {
    let mut next = Instant::now() + PROGRESS;
    while !over.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next += PROGRESS;
            let count = grouped(ledger.acknowledged());
            timeline.tell(format_args!("{count} increments acknowledged"))?;
        }
        sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(kill: bool, kills: u64, leader_changes: u64, failed: u64) -> usize {
        let torture = Torture {
            clients: 1,
            ops: 4,
            kill_leader_every: kill.then_some(Duration::from_secs(2)),
            history: None,
            counter: "x".to_owned(),
        };
        let tally = Tally { answers: vec![1, 2, 3], failed, ..Tally::default() };
        let verdict = Verdict::new(&tally.answers, &[3], 0);
        torture.complaints(&verdict, Toll { kills, leader_changes }, &tally, &[3]).len()
    }

    #[test]
    fn a_run_without_enough_kills_or_any_change_of_leader_is_no_torture() {
        assert_eq!(complaints(true, 3, 1, 0), 0);
        assert_eq!(complaints(true, 2, 1, 0), 1);
        assert_eq!(complaints(true, 3, 0, 0), 1);
        assert_eq!(complaints(false, 0, 0, 0), 0);
        assert_eq!(complaints(false, 0, 0, 1), 1);
    }
}
