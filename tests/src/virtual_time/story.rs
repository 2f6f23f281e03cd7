//! The story of a seed: a cluster comes together, is troubled, heals, and must then do its work.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_rt::System;
use paxos_core::{NodeId, Random, Slot};
use paxos_net::protocol::Consistency;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Crowd;
use super::cluster::Cluster;
use super::plan::{Fault, Plan};
use super::switch::Traffic;
use super::trace::{Printed, Trace};
use super::vault::CLIENTS_MAX;
use crate::checkers::counter_history;
use crate::simulation::Sum;

/// Virtual time that a healed cluster may take to answer everything and to agree.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// How often the checkers are asked.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// The harness's own client.
const ASKER: u64 = CLIENTS_MAX - 1;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The same for the same seed and build.
    pub hash: u64,
    /// Events that the hash covers.
    pub events: u64,
    /// Client operations answered.
    pub answered: usize,
    /// Slots chosen.
    pub slots: usize,
    /// Ballots that led.
    pub leaders: usize,
    /// Nodes crashed.
    pub crashes: u64,
    /// Faults of the network, cuts of all kinds.
    pub cuts: u64,
    /// What became of datagrams.
    pub traffic: Traffic,
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
    let mut cluster = Cluster::new(plan.nodes, random.draw(), plan.sync, trace.clone())?;
    for node in cluster.nodes() {
        cluster.start(node)?;
        sleep(random.duration_below(Duration::from_millis(200))).await;
    }
    let mut crowd = Crowd::new(trace.clone());
    for number in 0..plan.clients {
        let client = cluster.client(number, None)?;
        crowd.join(client, plan.operations, plan.pause, random.draw());
    }
    cluster.switch.blow(plan.weather.clone());
    trouble(&plan, &mut cluster, &mut random, report).await?;
    cluster.heal();
    let healed = async {
        while timeout(CHECK_EVERY, crowd.done()).await.is_err() {
            cluster.check().await?;
        }
        agree(&mut cluster).await
    };
    let progress = timeout(PROGRESS_WITHIN, healed).await;
    progress.map_err(|_| format!("no progress within {PROGRESS_WITHIN:?} of healing"))??;
    crowd.leave().await;
    for node in cluster.nodes() {
        cluster.stop(node).await;
    }
    cluster.check_disks()?;
    let history = crowd.history();
    report.answered = history.iter().filter(|call| call.answered.is_some()).count();
    report.slots = cluster.watch().chosen();
    report.leaders = cluster.watch().leaders();
    report.traffic = cluster.switch.traffic();
    counter_history::check(&history)
}

/// Faults, each undone after a while, until their time is over; then everybody runs again.
async fn trouble(
    plan: &Plan,
    cluster: &mut Cluster,
    random: &mut Random,
    report: &mut Report,
) -> Result<(), String> {
    let end = Instant::now() + plan.faults_for;
    let mut undo: BTreeMap<(Instant, u64), Fault> = BTreeMap::new();
    let mut next = Instant::now() + random.duration_below(plan.calm);
    loop {
        let first = undo.keys().next().map_or(next, |(at, _)| next.min(*at)).min(end);
        sleep_until(first).await;
        cluster.check().await?;
        if first == end {
            break;
        }
        if let Some(entry) = undo.first_entry().filter(|entry| entry.key().0 <= first) {
            mend(cluster, entry.remove())?;
            continue;
        }
        let fault = plan.fault(random);
        befall(cluster, fault, report);
        let number = report.crashes + report.cuts;
        undo.insert((first + random.duration_below(plan.trouble), number), fault);
        next = first + random.duration_below(plan.calm);
    }
    for node in cluster.nodes() {
        if !cluster.runs(node) {
            cluster.start(node)?;
        }
    }
    Ok(())
}

fn befall(cluster: &mut Cluster, fault: Fault, report: &mut Report) {
    if let Fault::Crash(node) = fault {
        report.crashes += 1;
        return cluster.crash(node);
    }
    report.cuts += 1;
    for (from, to) in cuts(fault, &cluster.nodes()) {
        cluster.cut(from, to);
    }
}

fn mend(cluster: &mut Cluster, fault: Fault) -> Result<(), String> {
    match fault {
        Fault::Crash(node) if cluster.runs(node) => return Ok(()),
        Fault::Crash(node) => return cluster.start(node),
        _ => {}
    }
    for (from, to) in cuts(fault, &cluster.nodes()) {
        cluster.mend(from, to);
    }
    Ok(())
}

/// Who does not reach whom.
fn cuts(fault: Fault, nodes: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let severed = |from: NodeId, to: NodeId| match fault {
        Fault::Crash(_) => false,
        Fault::OneWay(one, other) => (from, to) == (one, other),
        Fault::Alone(node) => from == node || to == node,
        Fault::Split(last) => (from <= last) != (to <= last),
    };
    let pairs = nodes.iter().flat_map(|from| nodes.iter().map(|to| (*from, *to)));
    pairs.filter(|(from, to)| from != to && severed(*from, *to)).collect()
}

/// All nodes answer the same once they have caught up.
async fn agree(cluster: &mut Cluster) -> Result<(), String> {
    let asker = cluster.client(ASKER, None)?;
    let (slot, value) = loop {
        cluster.check().await?;
        if let Ok(answer) = asker.query_as::<Sum>(&(), Consistency::Linearizable).await {
            break answer;
        }
    };
    asker.close().await;
    let local = Consistency::Local { after: Slot(slot.0.saturating_sub(1)) };
    for node in cluster.nodes() {
        let asker = cluster.client(ASKER, Some(node))?;
        let answer = loop {
            cluster.check().await?;
            if let Ok((_, answer)) = asker.query_as::<Sum>(&(), local).await {
                break answer;
            }
        };
        asker.close().await;
        if answer != value {
            return Err(format!("{node} answers {answer}, and the cluster {value}"));
        }
    }
    Ok(())
}
