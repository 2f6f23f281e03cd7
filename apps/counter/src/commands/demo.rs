//! `demo`: a cluster that loses its leader, and a counter that does not notice.

use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::children::Layout;
use paxos_app::exit::Exit;
use paxos_app::output::Output;
use paxos_app::policy::PolicyOptions;
use paxos_app::signals::unless_stopped;
use paxos_app::stage::{CATCH_UP, Show, Stage};
use paxos_app::timeline::grouped;
use paxos_net::client::{Client, ClientConfig};
use paxos_net::protocol::Consistency;

use counter::load::crowd::Crowd;
use counter::load::ledger::Tally;
use counter::load::verdict::Verdict;

use crate::commands::get::read;

const CLIENTS: u64 = 16;
const COUNTER: &str = "demo";

/// Fewer acknowledged increments show nothing,
const ACKNOWLEDGED_MIN: u64 = 2_000;
/// nor do fewer after the change of leader.
const ACKNOWLEDGED_AFTER_MIN: u64 = 500;

/// One attempt of a client: the next follows under the same request id.
const ATTEMPT: Duration = Duration::from_secs(1);
/// What the clients count.
const DONE: &str = "acknowledged";

const EXAMPLES: &str = "\
Examples:
  counter demo
  counter demo --policy failure-detector
  counter demo -o json    (the verdict alone)";

/// Show three nodes that go on counting while their leader is killed
///
/// Starts three processes in a temporary folder, lets clients increment one counter, kills the
/// leader with SIGKILL, brings it back, and compares what the clients were told with what each node
/// says in the end. Exit 1 if that differs.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Demo {
    #[command(flatten)]
    policy: PolicyOptions,
}

impl Demo {
    /// Shows it.
    ///
    /// # Errors
    /// Whatever kept it from its end; or what is wrong with it.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(show(output, &self.policy)))
    }
}

async fn show(output: &Output, policy: &PolicyOptions) -> anyhow::Result<Exit> {
    let mut stage = Stage::set(output, Layout::THREE_VOTERS, policy.preset()?).await?;
    let mut config = stage.children.client_config()?;
    config.timeout = ATTEMPT;
    let crowd = Crowd::start(CLIENTS, &config, COUNTER)?;
    stage.timeline.tell(format_args!("{CLIENTS} clients increment one counter"))?;
    let count = || crowd.acknowledged();
    stage.work(count, ACKNOWLEDGED_MIN / 2, DONE).await?;
    let fallen = stage.fell_leader().await?;
    let leader = stage.await_leader(fallen).await?;
    let before = count();
    stage.await_progress(fallen, count, before, "increments").await?;
    stage.work(count, before + ACKNOWLEDGED_MIN / 2, DONE).await?;
    let after = count() - before;
    stage.bring_back(fallen).await?;
    let verdict = judge(&stage, crowd, &config).await?;
    output.result(verdict, &verdict)?;
    let show = Show {
        broken: (!verdict.is_good() || verdict.unknown > 0)
            .then_some("the nodes did not count what was acknowledged"),
        done: DONE,
        count: (verdict.acknowledged, ACKNOWLEDGED_MIN),
        after: (after, ACKNOWLEDGED_AFTER_MIN),
        changed: leader != fallen.node,
    };
    Ok(show.end()?)
}

/// Ends the load and asks every node.
async fn judge(stage: &Stage, crowd: Crowd, config: &ClientConfig) -> anyhow::Result<Verdict> {
    let timeline = &stage.timeline;
    let tally: Tally = crowd.stop().await?;
    let gap = tally.longest_gap.as_millis();
    timeline.tell(format_args!("the clients stop; they never waited longer than {gap} ms"))?;
    stage.await_level().await?;
    let mut reads = Vec::new();
    for (node, address) in &stage.children.cluster().nodes {
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
