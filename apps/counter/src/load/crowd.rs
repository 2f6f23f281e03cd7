//! Processes that work until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use paxos_net::client::ClientConfig;
use tokio::task::JoinSet;

use crate::load::ledger::{Ledger, Tally};
use crate::load::process::Process;

/// Processes at work on one counter. Dropping it ends them where they stand.
pub struct Crowd {
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    working: JoinSet<anyhow::Result<()>>,
}

impl Crowd {
    /// Sets `count` processes to work. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the clients cannot be made.
    pub fn start(count: u64, config: &ClientConfig, counter: &str) -> anyhow::Result<Crowd> {
        let (ledger, over) = (Arc::new(Ledger::new(None)?), Arc::new(AtomicBool::new(false)));
        let mut working = JoinSet::new();
        for number in 0..count {
            let process = Process::new(number, config.clone(), counter, ledger.clone())?;
            working.spawn(work(process, over.clone()));
        }
        Ok(Crowd { ledger, over, working })
    }

    /// How many increments were answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.ledger.acknowledged()
    }

    /// Lets every process finish what it is at, and says what all of them were told.
    ///
    /// # Errors
    /// The first that a process met.
    pub async fn stop(mut self) -> anyhow::Result<Tally> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.working.join_next().await {
            done??;
        }
        Ok(self.ledger.close()?)
    }
}

async fn work(mut process: Process, over: Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut index = 0;
    while !over.load(Ordering::Relaxed) {
        process.operate(index).await?;
        index += 1;
    }
    process.close().await;
    Ok(())
}
