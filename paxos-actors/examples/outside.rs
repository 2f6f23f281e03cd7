//! A detector of one's own: three nodes whose leadership goes by an operator's health check, and by
//! nothing else. The check here is a file in the folder of a node, `sick`, with the reason in it.
use std::path::Path;
use std::time::Duration;

use paxos_actors::{Context, InitOptions, Node, NodeConfig, NodeId, StateMachine, init};
use paxos_net::settings::{DetectorKind, Policy};
use paxos_net::{Client, ClientConfig, ClusterFile, Credentials};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Count(u64);

impl StateMachine for Count {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: &mut Context<'_>, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

/// Three nodes, and a client that asks how they are.
struct Cluster<'a> {
    folder: &'a Path,
    nodes: Vec<Node<Count>>,
    client: Client,
}

impl<'a> Cluster<'a> {
    async fn start(folder: &'a Path) -> anyhow::Result<Self> {
        let sockets: Vec<_> =
            (0..3).map(|_| std::net::UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let addresses = sockets.iter().map(|socket| Ok(socket.local_addr()?.to_string()));
        let addresses = addresses.collect::<std::io::Result<_>>()?;
        drop(sockets);
        let mut file = init(&InitOptions::new(folder, addresses))?;
        file.leadership.policy = Policy::FailureDetector;
        file.leadership.detector = Some(DetectorKind::Outside);
        let path = folder.join("cluster.toml");
        std::fs::write(&path, file.to_toml())?;
        let mut nodes = Vec::new();
        for node in file.nodes.keys() {
            nodes.push(Node::start(NodeConfig::load(&path, *node, None)?).await?);
        }
        let credentials = Credentials::load(&folder.join("client"))?;
        let client = Client::new(ClientConfig::new(ClusterFile::load(&path)?, credentials))?;
        Ok(Cluster { folder, nodes, client })
    }

    /// What the health check says of a node.
    fn check(&self, node: NodeId) -> Option<String> {
        std::fs::read_to_string(self.folder.join(format!("node-{}/sick", node.0))).ok()
    }

    /// Tells every node what the check says of each, itself included.
    fn tell(&self) -> anyhow::Result<()> {
        for (verdicts, node) in self.nodes.iter().flat_map(|node| {
            (1..=self.nodes.len() as u64).map(|other| (node.verdicts(), NodeId(other)))
        }) {
            match self.check(node) {
                Some(why) => verdicts.suspect(node, &why)?,
                None => verdicts.trust(node)?,
            }
        }
        Ok(())
    }

    /// Checks and tells until a node leads that is not `sick`.
    async fn leader_but(&self, sick: Option<NodeId>) -> anyhow::Result<NodeId> {
        loop {
            self.tell()?;
            let reports = self.client.statuses().await;
            let heard = reports.values().flatten().filter_map(|report| report.status.leader);
            let leader = heard.max().map(|ballot| ballot.node);
            if let Some(leader) = leader.filter(|leader| Some(*leader) != sick) {
                return Ok(leader);
            }
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Starts three nodes, calls the leader sick, and sees another lead.
pub async fn run(folder: &Path) -> anyhow::Result<()> {
    let cluster = Cluster::start(folder).await?;
    let first = cluster.leader_but(None).await?;
    println!("node {} leads; the count is {}", first.0, cluster.nodes[0].propose(&1).await?);
    let sick = folder.join(format!("node-{}/sick", first.0));
    std::fs::write(&sick, "its fan is broken")?;
    let second = cluster.leader_but(Some(first)).await?;
    println!("node {} leads; the count is {}", second.0, cluster.nodes[0].propose(&1).await?);
    std::fs::remove_file(&sick)?;
    cluster.tell()?;
    println!("node {} is well again, and does not take over", first.0);
    cluster.client.close().await;
    for node in cluster.nodes {
        node.stop().await;
    }
    Ok(())
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("name a new folder"))?;
    run(folder.as_ref()).await
}
