//! The story of a seed: a cluster comes together, is troubled, heals, and must then do its work.

use std::time::Duration;

use actix_rt::System;
use paxos_core::{Random, Slot};
use paxos_net::protocol::Consistency;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::client::{Crowd, Seen};
use super::cluster::Cluster;
use super::fate::Fate;
use super::followers::Followers;
use super::plan::{Faults, Plan};
use super::trace::{Printed, Trace};
use super::vault::CLIENTS_MAX;
use crate::checkers::{counter_history, stale_reads};
use crate::simulation::Sum;

/// Virtual time that a healed cluster may take to answer everything and to agree.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// How often the checkers are asked.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// The harness's own client.
const ASKER: u64 = CLIENTS_MAX - 1;

/// Those of the clients that follow the counter.
const FOLLOWERS: std::ops::Range<u64> = ASKER - 2..ASKER;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The same for the same seed and build.
    pub hash: u64,
    /// Events that the hash covers.
    pub events: u64,
    /// Client operations answered, stale reads apart.
    pub answered: usize,
    /// Reads answered that need not contain everything.
    pub stale: usize,
    /// Reads that a lease made certain.
    pub by_lease: u64,
    /// Events told to those who follow.
    pub told: usize,
    /// Slots chosen.
    pub slots: usize,
    /// Ballots that led.
    pub leaders: usize,
    /// What happened, by kind.
    pub faults: Faults,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// The first promise that was broken, in words.
    pub broken: Option<String>,
}

/// Runs something on this thread, in a world whose clock moves only when nothing else does.
pub fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = || {
        let built = Builder::new_current_thread().enable_time().start_paused(true).build();
        built.expect("a runtime without I/O needs nothing of the system")
    };
    System::with_tokio_rt(runtime).block_on(story)
}

/// Runs a seed.
pub fn run(seed: u64, printed: Printed) -> Report {
    in_virtual_time(async {
        let trace = Trace::new(printed);
        let mut report = Report::default();
        let told = tell(seed, &trace, &mut report).await;
        (report.hash, report.events) = trace.hash();
        report.lasted = trace.elapsed();
        report.broken = told.err();
        report
    })
}

async fn tell(seed: u64, trace: &Trace, report: &mut Report) -> Result<(), String> {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    trace.event("plan", &seed, || format!("{plan:?}"));
    let mut cluster = Cluster::of(&plan.setup, random.draw(), trace.clone())?;
    for node in cluster.nodes() {
        cluster.start(node)?;
        sleep(random.duration_below(Duration::from_millis(200))).await;
    }
    let mut crowd = Crowd::new(trace.clone(), plan.setup.leases_hold);
    for number in 0..plan.clients {
        let client = cluster.client(number, None)?;
        crowd.join(client, plan.operations, plan.pause, random.draw());
    }
    let mut followers = Followers::default();
    for number in FOLLOWERS {
        followers.join(cluster.client(number, None)?, trace.clone());
    }
    cluster.switch.blow(plan.weather.clone());
    Fate::new(&plan, &mut cluster, &mut random, &mut report.faults).strikes().await?;
    crowd.dismiss();
    let healed = async {
        while timeout(CHECK_EVERY, crowd.done()).await.is_err() {
            cluster.check().await?;
        }
        let (slot, sum) = agree(&mut cluster).await?;
        while !followers.reached(slot, sum) {
            sleep(CHECK_EVERY).await;
        }
        Ok::<_, String>(())
    };
    let progress = timeout(PROGRESS_WITHIN, healed).await;
    progress.map_err(|_| format!("no progress within {PROGRESS_WITHIN:?} of healing"))??;
    crowd.leave().await;
    followers.leave().await;
    for node in cluster.nodes() {
        cluster.stop(node).await;
    }
    cluster.check_disks()?;
    let Seen { calls, mut stale, by_lease } = crowd.seen();
    report.answered = calls.iter().filter(|call| call.answered.is_some()).count();
    (report.stale, report.by_lease) = (stale.len(), by_lease);
    followers.check(&calls)?;
    report.told = followers.told();
    report.slots = cluster.watch().chosen();
    report.leaders = cluster.watch().leaders();
    let missing = report.faults.missing(&plan);
    if !missing.is_empty() {
        return Err(format!("planned, but did not happen: {}", missing.join(", ")));
    }
    counter_history::check(&calls)?;
    if !plan.setup.leases_hold {
        // What a node believes of its age it may have from a leader's lease.
        stale.iter_mut().for_each(|read| read.behind = None);
    }
    stale_reads::check(&stale, &calls, cluster.watch().states(), plan.setup.slowest())
}

/// All nodes that are not lost for good answer the same once they have caught up.
async fn agree(cluster: &mut Cluster) -> Result<(Slot, u64), String> {
    let asker = cluster.client(ASKER, None)?;
    let (slot, value) = loop {
        cluster.check().await?;
        if let Ok(answer) = asker.query_as::<Sum>(&(), Consistency::Linearizable).await {
            break answer;
        }
    };
    asker.close().await;
    let stale = Consistency::Stale { at_least: slot };
    for node in cluster.replicas() {
        let asker = cluster.client(ASKER, Some(node))?;
        let answer = loop {
            cluster.check().await?;
            let answer = asker.query_as::<Sum>(&(), stale).await;
            if let (Ok((_, answer)), Ok(report)) = (answer, asker.status(node).await) {
                if report.status.alarms > 0 {
                    return Err(format!("alarms: {node} has one without reason"));
                }
                break answer;
            }
        };
        asker.close().await;
        if answer != value {
            return Err(format!("{node} answers {answer}, and the cluster {value}"));
        }
    }
    Ok((slot, value))
}
