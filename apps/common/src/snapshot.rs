//! `snapshot`: has snapshots made, and shows and checks those of a node.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use paxos_actors::NodeConfig;
use paxos_actors::log::SnapshotReport;
use paxos_core::{NodeId, Slot};
use paxos_net::client::{Client, ClientError};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::app::block_on;
use crate::exit::{Exit, Fault};
use crate::options::{ClusterOption, Common};
use crate::output::Output;

/// How often a node is asked whether its snapshot is there.
const ASK_EVERY: Duration = Duration::from_millis(100);

const NOW_EXAMPLES: &str = "\
Examples:
  {app} snapshot now --identity admin
  {app} snapshot now --node 2 --cluster D/cluster.toml --identity D/admin
  {app} snapshot now --identity admin --timeout 1m";

const LIST_EXAMPLES: &str = "\
Examples:
  {app} snapshot list --node 1
  {app} snapshot list --node 2 --cluster D/cluster.toml
  {app} snapshot list --node 3 -o json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  {app} snapshot verify --node 1
  {app} snapshot verify --node 2 --cluster D/cluster.toml
  {app} snapshot verify --node 3 --identity /etc/node-3 -o json";

/// The arguments of `snapshot`.
#[derive(Args, Debug)]
pub struct Snapshot {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have every node with a replica, or one of them, make a snapshot, and wait until it is stored
    #[command(after_help = NOW_EXAMPLES)]
    Now(Now),
    /// Show the snapshots in a node's folder, be the node running or not
    #[command(after_help = LIST_EXAMPLES)]
    List(Place),
    /// Read the snapshots in a node's folder, and say whether each is what was written
    ///
    /// Damage is named with its file, and ends with 74.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Place),
}

#[derive(Args, Debug)]
struct Now {
    /// This node only
    #[arg(long, value_name = "N")]
    node: Option<u64>,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Debug)]
struct Place {
    /// The number of the node, as in the cluster file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,

    #[command(flatten)]
    at: ClusterOption,

    /// The node's folder [default: node-N/ beside the cluster file]
    #[arg(long, value_name = "DIR")]
    identity: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Made {
    nodes: Vec<MadeLine>,
}

#[derive(Debug, Serialize)]
struct MadeLine {
    node: u64,
    /// The last slot that the snapshot covers.
    saved: u64,
}

#[derive(Debug, Serialize)]
struct Listed {
    snapshots: Vec<ListedLine>,
}

#[derive(Debug, Serialize)]
struct ListedLine {
    file: PathBuf,
    /// The last slot that it covers.
    saved: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'static str>,
}

impl Snapshot {
    /// Asks nodes, or reads a folder.
    ///
    /// # Errors
    /// See [`ClientError`]; a damaged snapshot, when it is looked for.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        match &self.what {
            What::Now(now) => block_on(now.run(output)),
            What::List(place) => place.run(output, false),
            What::Verify(place) => place.run(output, true),
        }
    }
}

impl Now {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let client = self.common.client()?;
        let made = self.make(&client).await;
        client.close().await;
        let made = made?;
        let lines = made.nodes.iter();
        let lines: Vec<_> =
            lines.map(|it| format!("node {}: saved up to slot {}", it.node, it.saved)).collect();
        output.result(lines.join("\n"), &made)?;
        Ok(Exit::Done)
    }

    async fn make(&self, client: &Client) -> anyhow::Result<Made> {
        let known = client.members().await?;
        let nodes: Vec<_> = match self.node {
            Some(node) => vec![NodeId(node)],
            None => known.membership.learners().collect(),
        };
        let patience = self.common.timeout;
        let mut made = Vec::new();
        for node in nodes {
            let saved = save(client, node, known.next, patience).await?.0;
            made.push(MadeLine { node: node.0, saved });
        }
        Ok(Made { nodes: made })
    }
}

/// Has a node make a snapshot of every slot below, once it has applied them, and waits until it is
/// stored. Says which slot its newest covers last.
///
/// # Errors
/// See [`ClientError`], and that it was not done in time.
pub async fn save(
    client: &Client,
    node: NodeId,
    upto: Slot,
    patience: Duration,
) -> anyhow::Result<Slot> {
    let deadline = Instant::now() + patience;
    let mut asked = false;
    loop {
        let report: Result<_, ClientError> = client.status(node).await;
        let report = report?;
        let saved = report.status.saved;
        // Whoever may not have one made is told so, though it be there already.
        if !asked && report.applied.next() >= upto {
            client.save(node).await?;
            asked = true;
        }
        if asked && saved.next() >= upto {
            return Ok(saved);
        }
        if Instant::now() >= deadline {
            let words = format!("node {} has not made its snapshot in time: allow more", node.0);
            return Err(Fault::new(Exit::TryAgain, words).into());
        }
        sleep(ASK_EVERY).await;
    }
}

impl Place {
    fn run(&self, output: &Output, whole: bool) -> anyhow::Result<Exit> {
        let config = NodeConfig::load(&self.at.path(), NodeId(self.node), self.identity.clone())?;
        let listed = Listed::of(&config.snapshots(whole)?);
        output.result(listed.table(), &listed)?;
        let Some(bad) = listed.snapshots.iter().find(|line| line.trouble.is_some()) else {
            return Ok(Exit::Done);
        };
        let words = format!("{} is damaged: {}", bad.file.display(), bad.trouble.unwrap_or("?"));
        Err(Fault::new(Exit::Disk, words).into())
    }
}

impl Listed {
    fn of(reports: &[SnapshotReport]) -> Self {
        let line = |report: &SnapshotReport| ListedLine {
            file: report.path.clone(),
            saved: report.upto.0.saturating_sub(1),
            bytes: report.bytes,
            trouble: report.trouble,
        };
        Listed { snapshots: reports.iter().map(line).collect() }
    }

    fn table(&self) -> String {
        if self.snapshots.is_empty() {
            return "there is none yet".to_owned();
        }
        let line = |line: &ListedLine| {
            let state = line.trouble.map(|trouble| format!("  DAMAGED: {trouble}"));
            let (file, state) = (line.file.display(), state.unwrap_or_default());
            format!("{file}  up to slot {}, {} bytes{state}", line.saved, line.bytes)
        };
        self.snapshots.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
