//! A cluster of child processes on loopback: real nodes, to be shown, measured, killed and brought
//! back.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use paxos_actors::{InitOptions, Preset};
use paxos_core::NodeId;
use paxos_net::client::{Client, ClientConfig};
use paxos_net::cluster_file::ClusterFile;
use paxos_net::credentials::Credentials;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::folder::TemporaryFolder;
use crate::options::{CLIENT_FOLDER, CLUSTER_FILE};
use crate::overview::Overview;
use crate::ports::free_addresses;

/// For a node to say that it is ready.
const READY: Duration = Duration::from_secs(15);
/// For a node to say how it is.
const STATUS: Duration = Duration::from_secs(1);
/// Between two questions of that kind.
const POLL: Duration = Duration::from_millis(25);
/// For a killed process to be gone, when nobody can wait for it any more.
const REAP: Duration = Duration::from_secs(5);
/// Lines of a node's log that are shown when it fails.
const LOG_LINES: usize = 8;

/// How many nodes there are of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Nodes that do everything, with the lowest numbers.
    pub voters: usize,
    /// Nodes that keep the state, to read from, and neither accept nor lead.
    pub read_replicas: usize,
}

impl Layout {
    /// What examples are shown with.
    pub const THREE_VOTERS: Layout = Layout { voters: 3, read_replicas: 0 };
}

/// Nodes as child processes, in a temporary folder.
///
/// Dropping it kills them and removes the folder. If this process dies without dropping it, the
/// children end by themselves, since their stdin closes.
pub struct Children {
    program: PathBuf,
    cluster: ClusterFile,
    client: Client,
    running: BTreeMap<NodeId, Running>,
    // Dropped last: the children write to it.
    folder: TemporaryFolder,
}

/// A child process, and both ends that keep it content.
struct Running {
    process: Child,
    _stdin: Option<ChildStdin>,
    _stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Children {
    /// Makes a cluster of these nodes with these settings, starts them with `program serve` and
    /// waits until all are ready. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Whatever stood in the way, with the end of a node's log if it was the node.
    pub async fn start(program: PathBuf, layout: Layout, preset: Preset) -> anyhow::Result<Self> {
        let folder = TemporaryFolder::create("paxos").context("making a temporary folder")?;
        let mut addresses = free_addresses(layout.voters + layout.read_replicas)?;
        let read_replicas = addresses.split_off(layout.voters);
        let voters = InitOptions::new(folder.path(), addresses);
        let options = InitOptions { preset, read_replicas, ..voters };
        let cluster = paxos_actors::init(&options)?;
        let mut config = client_config(&cluster, folder.path())?;
        config.timeout = STATUS;
        let client = Client::new(config)?;
        let mut children = Children { program, cluster, client, running: BTreeMap::new(), folder };
        for node in children.nodes() {
            children.start_node(node).await?;
        }
        Ok(children)
    }

    /// Every node, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.cluster.nodes.keys().copied().collect()
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<NodeId> {
        self.running.keys().copied().collect()
    }

    /// The process of a node that runs.
    pub fn process_id(&self, node: NodeId) -> Option<u32> {
        self.running.get(&node)?.process.id()
    }

    /// The cluster file's contents.
    pub fn cluster(&self) -> &ClusterFile {
        &self.cluster
    }

    /// Where the cluster file is.
    pub fn cluster_path(&self) -> PathBuf {
        self.folder.path().join(CLUSTER_FILE)
    }

    /// What a client of this cluster needs.
    ///
    /// # Errors
    /// If the client's certificate cannot be read.
    pub fn client_config(&self) -> anyhow::Result<ClientConfig> {
        client_config(&self.cluster, self.folder.path())
    }

    /// Starts a node and waits until it is ready. One that runs already is left alone.
    ///
    /// # Errors
    /// That it did not become ready, and the end of its log.
    pub async fn start_node(&mut self, node: NodeId) -> anyhow::Result<()> {
        if self.running.contains_key(&node) {
            return Ok(());
        }
        let mut process = self.spawn(node)?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().ok_or_else(|| anyhow!("the child has no stdout"))?;
        // It is ours from here on, also if nobody waits for the end of this function.
        self.running.insert(node, Running { process, _stdin: stdin, _stdout: None });
        let mut stdout = BufReader::new(stdout).lines();
        if matches!(timeout(READY, until_ready(&mut stdout, node)).await, Ok(Ok(true))) {
            if let Some(running) = self.running.get_mut(&node) {
                running._stdout = Some(stdout);
            }
            return Ok(());
        }
        self.kill(node).await.ok();
        let log = self.end_of_log(node);
        bail!("node {} did not become ready; the end of its log:\n{log}", node.0)
    }

    /// Kills a node with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// If it does not run.
    pub async fn kill(&mut self, node: NodeId) -> anyhow::Result<()> {
        let mut running = self
            .running
            .remove(&node)
            .ok_or_else(|| anyhow!("node {} does not run, so it cannot be killed", node.0))?;
        running.process.kill().await.context("killing a node")
    }

    /// A node that ended although nobody killed it, and how.
    pub fn ended(&mut self) -> Option<(NodeId, ExitStatus)> {
        self.running
            .iter_mut()
            .find_map(|(node, running)| Some((*node, running.process.try_wait().ok()??)))
    }

    /// The last lines of what a node logged.
    pub fn end_of_log(&self, node: NodeId) -> String {
        let text = fs::read(self.log_path(node)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// The nodes that run, as they say they are.
    pub async fn overview(&self) -> Overview {
        Overview::of(&self.client, &self.running(), &self.cluster.nodes).await
    }

    /// Who leads, if somebody does.
    pub async fn leader(&self) -> Option<NodeId> {
        self.overview().await.leader.map(NodeId)
    }

    /// Waits until somebody leads, and says who.
    ///
    /// # Errors
    /// If nobody does within `limit`.
    pub async fn leader_within(&self, limit: Duration) -> anyhow::Result<NodeId> {
        let found = async {
            loop {
                match self.leader().await {
                    Some(leader) => return leader,
                    None => sleep(POLL).await,
                }
            }
        };
        timeout(limit, found).await.map_err(|_| anyhow!("no node led within {limit:?}"))
    }

    /// Waits until every node runs and has applied as much as the others. Under load that is a
    /// matter of luck.
    ///
    /// # Errors
    /// If that does not come about within `limit`.
    pub async fn level_within(&self, limit: Duration) -> anyhow::Result<Overview> {
        let level = async {
            loop {
                let overview = self.overview().await;
                if overview.is_level() {
                    return overview;
                }
                sleep(POLL).await;
            }
        };
        timeout(limit, level).await.map_err(|_| anyhow!("the nodes were not level in {limit:?}"))
    }

    fn spawn(&self, node: NodeId) -> anyhow::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(node))?;
        Command::new(&self.program)
            .arg("serve")
            .arg("--cluster")
            .arg(self.cluster_path())
            .args(["--node", &node.0.to_string(), "--until-stdin-closes"])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for this process alone, which then ends the children in its own way.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }

    fn log_path(&self, node: NodeId) -> PathBuf {
        self.folder.path().join(format!("node-{}.log", node.0))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            running.process.start_kill().ok();
        }
        let begun = Instant::now();
        for running in self.running.values_mut() {
            while matches!(running.process.try_wait(), Ok(None)) && begun.elapsed() < REAP {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn client_config(cluster: &ClusterFile, folder: &Path) -> anyhow::Result<ClientConfig> {
    let credentials = Credentials::load(&folder.join(CLIENT_FOLDER))?;
    Ok(ClientConfig::new(cluster.clone(), credentials))
}

/// Reads until the line that says so; `false` if there is none.
async fn until_ready(
    lines: &mut Lines<BufReader<ChildStdout>>,
    node: NodeId,
) -> std::io::Result<bool> {
    let wanted = format!("node {} ready ", node.0);
    while let Some(line) = lines.next_line().await? {
        if line.starts_with(&wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}
