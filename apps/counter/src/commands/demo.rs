//! `demo`: a cluster that loses its leader, and a counter that does not notice.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::Children;
use paxos_app::exit::{Exit, Fault};
use paxos_app::output::Output;
use paxos_app::overview::Overview;
use paxos_app::signals::unless_stopped;
use paxos_app::timeline::{Timeline, grouped};
use paxos_core::NodeId;
use paxos_net::client::{Client, ClientConfig};
use paxos_net::protocol::Consistency;
use tokio::time::sleep;

use counter::load::crowd::Crowd;
use counter::load::ledger::Tally;
use counter::load::verdict::Verdict;

use crate::commands::get::read;

const NODES: usize = 3;
const CLIENTS: u64 = 16;
const COUNTER: &str = "demo";

/// Fewer acknowledged increments show nothing,
const ACKNOWLEDGED_MIN: u64 = 2_000;
/// nor do fewer after the change of leader.
const ACKNOWLEDGED_AFTER_MIN: u64 = 500;

/// One attempt of a client: the next follows under the same request id.
const ATTEMPT: Duration = Duration::from_secs(1);
/// For a leader to be found.
const ELECTION: Duration = Duration::from_secs(5);
/// For nodes to catch up.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Each part with load lasts at least so long, so that there is something to see,
const PART_MIN: Duration = Duration::from_millis(1500);
/// and at most so long, so that a slow machine gets to the end.
const PART_MAX: Duration = Duration::from_secs(4);
/// Between two words on how far the clients are.
const PROGRESS: Duration = Duration::from_millis(500);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "\
Examples:
  counter demo
  counter demo -o json    (the verdict alone)
  TMPDIR=/var/tmp counter demo";

/// Show three nodes that go on counting while their leader is killed
///
/// Starts three processes in a temporary folder, lets clients increment one counter, kills the
/// leader with SIGKILL, brings it back, and compares what the clients were told with what each node
/// says in the end. Exit 1 if that differs.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Demo {}

/// The demo under way.
struct Stage<'a> {
    timeline: &'a Timeline,
    children: Children,
    crowd: Crowd,
    config: ClientConfig,
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
    let timeline = Timeline::start(output);
    let mut stage = Stage::set(&timeline).await?;
    stage.work(0, ACKNOWLEDGED_MIN / 2).await?;
    let fallen = stage.fell_leader().await?;
    let (leader, before) = stage.await_leader(fallen).await?;
    stage.work(before, ACKNOWLEDGED_MIN / 2).await?;
    let after = stage.crowd.acknowledged() - before;
    stage.bring_back(fallen).await?;
    let verdict = stage.judge().await?;
    output.result(verdict, &verdict)?;
    let complaints = complaints(&verdict, after, leader != fallen);
    if complaints.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Fault::new(Exit::No, complaints.join("; ")).into())
}

impl<'a> Stage<'a> {
    async fn set(timeline: &'a Timeline) -> anyhow::Result<Stage<'a>> {
        timeline.tell("starting three nodes: own processes, QUIC between them, mutual TLS")?;
        let children = Children::start(std::env::current_exe()?, NODES).await?;
        for (node, address) in &children.cluster().nodes {
            let process = children.process_id(*node).unwrap_or_default();
            timeline
                .tell(format_args!("node {} is ready at {address}, process {process}", node.0))?;
        }
        let leader = children.leader_within(ELECTION).await?;
        timeline.tell(format_args!("node {} leads", leader.0))?;
        let mut config = children.client_config()?;
        config.timeout = ATTEMPT;
        let crowd = Crowd::start(CLIENTS, &config, COUNTER)?;
        timeline.tell(format_args!("{CLIENTS} clients increment one counter"))?;
        Ok(Stage { timeline, children, crowd, config })
    }

    /// Lets the clients work until they were acknowledged so much more than `from`.
    async fn work(&self, from: u64, enough: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut told = Instant::now();
        while begun.elapsed() < PART_MAX {
            let count = self.crowd.acknowledged();
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                self.timeline.tell(format_args!("    {:>7} acknowledged", grouped(count)))?;
            }
            if count - from >= enough && begun.elapsed() >= PART_MIN {
                break;
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn fell_leader(&mut self) -> anyhow::Result<NodeId> {
        let leader = self.children.leader_within(ELECTION).await?;
        let process = self.children.process_id(leader).unwrap_or_default();
        self.children.kill(leader).await?;
        self.timeline.tell(format_args!("kill -9 {process}: node {}, the leader", leader.0))?;
        Ok(leader)
    }

    /// Waits for another leader; says who it is and how much was acknowledged when it was seen.
    async fn await_leader(&self, fallen: NodeId) -> anyhow::Result<(NodeId, u64)> {
        let begun = Instant::now();
        let leader = self.children.leader_within(ELECTION).await?;
        let before = self.crowd.acknowledged();
        let millis = begun.elapsed().as_millis();
        self.timeline.tell(format_args!("node {} leads, {millis} ms later", leader.0))?;
        while self.crowd.acknowledged() == before && begun.elapsed() < PART_MAX {
            sleep(LOOK).await;
        }
        let millis = begun.elapsed().as_millis();
        self.timeline.tell(format_args!(
            "increments go on, {millis} ms after the kill; node {} is still down",
            fallen.0
        ))?;
        Ok((leader, before))
    }

    async fn bring_back(&mut self, fallen: NodeId) -> anyhow::Result<()> {
        let missed = highest(&self.children.overview().await);
        self.timeline.tell(format_args!("starting node {} again, as it was", fallen.0))?;
        self.children.start_node(fallen).await?;
        let begun = Instant::now();
        loop {
            let overview = self.children.overview().await;
            let line = overview.nodes.iter().find(|line| line.node == fallen.0);
            if line.and_then(|line| line.applied).is_some_and(|applied| applied >= missed) {
                break;
            }
            if begun.elapsed() > CATCH_UP {
                return Err(anyhow!("node {} did not catch up in {CATCH_UP:?}", fallen.0));
            }
            sleep(LOOK).await;
        }
        let slots = grouped(missed);
        self.timeline.tell(format_args!("node {} has caught up: {slots} slots", fallen.0))?;
        Ok(())
    }

    /// Ends the load and asks every node.
    async fn judge(self) -> anyhow::Result<Verdict> {
        let Stage { timeline, children, crowd, config } = self;
        let tally: Tally = crowd.stop().await?;
        let gap = tally.longest_gap.as_millis();
        timeline.tell(format_args!("the clients stop; they never waited longer than {gap} ms"))?;
        let overview = children.level_within(CATCH_UP).await?;
        timeline.tell(format_args!("status:\n{}", indented(&overview.table())))?;
        let mut reads = Vec::new();
        for (node, address) in &children.cluster().nodes {
            let via = ClientConfig { via: Some(address.clone()), ..config.clone() };
            let client = Client::new(ClientConfig { timeout: CATCH_UP, ..via })?;
            let value = read(&client, COUNTER, Consistency::Linearizable).await?.answer;
            let text = grouped(value);
            timeline.tell(format_args!("the counter, read through node {}: {text}", node.0))?;
            reads.push(value);
            client.close().await;
        }
        Ok(Verdict::new(&tally.answers, &reads, tally.unknown))
    }
}

fn highest(overview: &Overview) -> u64 {
    overview.nodes.iter().filter_map(|line| line.applied).max().unwrap_or(0)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("            {line}")).collect::<Vec<_>>().join("\n")
}

/// What is wrong, in words.
fn complaints(verdict: &Verdict, after: u64, changed: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    if !verdict.is_good() || verdict.unknown > 0 {
        complaints.push("the nodes did not count what was acknowledged".to_owned());
    }
    if verdict.acknowledged < ACKNOWLEDGED_MIN {
        complaints.push(format!("fewer than {ACKNOWLEDGED_MIN} were acknowledged"));
    }
    if after < ACKNOWLEDGED_AFTER_MIN {
        complaints.push(format!("only {after} were acknowledged after the change of leader"));
    }
    if !changed {
        complaints.push("the leader did not change".to_owned());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(acknowledged: u64, counter: u64) -> Verdict {
        let answers: Vec<_> = (1..=acknowledged).collect();
        Verdict::new(&answers, &[counter; 3], 0)
    }

    #[test]
    fn a_demo_that_shows_too_little_is_a_bad_one() {
        assert!(complaints(&verdict(2_000, 2_000), 500, true).is_empty());
        assert_eq!(complaints(&verdict(1_999, 1_999), 500, true).len(), 1);
        assert_eq!(complaints(&verdict(2_000, 2_000), 499, true).len(), 1);
        assert_eq!(complaints(&verdict(2_000, 2_000), 500, false).len(), 1);
        assert_eq!(complaints(&verdict(2_000, 2_001), 500, true).len(), 1);
        assert_eq!(complaints(&verdict(2_001, 2_000), 500, true).len(), 1);
    }
}
