//! What befalls a cluster while its leadership is watched.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use paxos_core::{NodeId, Random};
use paxos_tests::virtual_time::{Cluster, Weather};
use tokio::time::Instant;

use crate::witness::Witness;

/// A scenario. Its name is that of the catalogue in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Scenario {
    /// Nothing befalls anybody: what is measured then is the clients' own rhythm
    L0,
    /// The leader is killed, and stays down
    L1,
    /// The leader stands still for 0.2 to 5 s
    L2,
    /// One datagram in ten is lost
    L3,
    /// Nothing gets from the leader to the other nodes for 3 s; it hears them
    L5,
    /// A follower runs for some milliseconds at a time, and stands still for up to 600 ms between
    L7,
}

/// Every scenario, in the order of the tables.
pub const SCENARIOS: [Scenario; 6] =
    [Scenario::L0, Scenario::L1, Scenario::L2, Scenario::L3, Scenario::L5, Scenario::L7];

/// Before and after, and unless a scenario says otherwise, a datagram takes 1 to 5 ms.
pub const FAIR: Weather = Weather {
    delay: Duration::from_millis(1),
    jitter: Duration::from_millis(4),
    loss: 0,
    duplication: 0,
    reordering: 0,
};

const SECOND: Duration = Duration::from_secs(1);

/// How long the leader of [`Scenario::L5`] is not heard.
const CUT: Duration = Duration::from_secs(3);

impl Scenario {
    /// Its name on the command line and in files.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// What it is, in two words.
    pub fn title(self) -> &'static str {
        match self {
            Scenario::L0 => "L0 quiet",
            Scenario::L1 => "L1 kill",
            Scenario::L2 => "L2 pause",
            Scenario::L3 => "L3 loss 10 %",
            Scenario::L5 => "L5 one-way cut",
            Scenario::L7 => "L7 starved follower",
        }
    }

    /// For how long it is watched.
    pub fn lasts(self) -> Duration {
        match self {
            Scenario::L1 => SECOND * 5,
            Scenario::L2 => SECOND * 8,
            Scenario::L0 | Scenario::L3 | Scenario::L7 => SECOND * 15,
            Scenario::L5 => SECOND * 6,
        }
    }

    /// Plays it on a cluster that is led by `leader`; `fate` decides what is left to chance.
    ///
    /// # Errors
    /// The first promise that was broken, in words.
    pub async fn play(self, stage: &mut Stage<'_>, leader: NodeId) -> Result<(), String> {
        let end = Instant::now() + self.lasts();
        match self {
            Scenario::L0 => {}
            Scenario::L1 => {
                stage.cluster.crash(leader);
                stage.suspect(leader, "it was killed");
                stage.pass(end).await?;
                // It is started when all is healed, and is like any other then.
                stage.trust(leader);
            }
            Scenario::L2 => {
                let lasts = SECOND / 5 + stage.fate.duration_below(SECOND * 24 / 5);
                stage.cluster.pause(leader, lasts);
                stage.suspect(leader, "it stands still");
                stage.pass(Instant::now() + lasts).await?;
                stage.trust(leader);
            }
            Scenario::L3 => stage.cluster.switch.blow(Weather { loss: 100, ..FAIR }),
            Scenario::L5 => {
                let others = stage.others(leader);
                others.iter().for_each(|other| stage.cluster.cut(leader, *other));
                stage.suspect(leader, "nobody hears it");
                stage.pass(Instant::now() + CUT).await?;
                others.iter().for_each(|other| stage.cluster.mend(leader, *other));
                stage.trust(leader);
            }
            Scenario::L7 => {
                let others = stage.others(leader);
                let starved = others[stage.fate.below(others.len() as u64) as usize];
                while Instant::now() < end {
                    let runs = stage.fate.duration_below(Duration::from_millis(50));
                    stage.pass(end.min(Instant::now() + runs)).await?;
                    let stands = stage.fate.duration_below(Duration::from_millis(600));
                    stage.cluster.pause(starved, stands);
                    // What it says of others meanwhile is no policy's mistake.
                    stage.witness.at_fault(starved, true);
                    stage.pass(end.min(Instant::now() + stands)).await?;
                    stage.witness.at_fault(starved, false);
                }
            }
        }
        stage.pass(end).await
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}

/// Where a scenario is played.
pub struct Stage<'a> {
    /// The cluster.
    pub cluster: &'a mut Cluster,
    /// Who watches, and has to know which node is at fault.
    pub witness: &'a Witness,
    /// What is left to chance. It is the same for every policy.
    pub fate: Random,
}

impl Stage<'_> {
    /// Lets time pass.
    ///
    /// # Errors
    /// The first promise that was broken, or a node that stopped by itself, in words.
    pub async fn pass(&mut self, until: Instant) -> Result<(), String> {
        match self.cluster.pass(until).await? {
            None => Ok(()),
            Some((node, trouble)) => Err(format!("{node} stopped by itself: {trouble:?}")),
        }
    }

    /// A node is at fault from now on; an oracle says so to all that run.
    fn suspect(&mut self, node: NodeId, why: &str) {
        self.witness.at_fault(node, true);
        self.cluster.judge(node, Some(why));
    }

    /// A node is well again.
    fn trust(&mut self, node: NodeId) {
        self.witness.at_fault(node, false);
        self.cluster.judge(node, None);
    }

    fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.cluster.nodes().into_iter().filter(|other| *other != node).collect()
    }
}
