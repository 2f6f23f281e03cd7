//! `init`: makes the files of a new cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use paxos_actors::{InitOptions, Preset};
use paxos_core::Membership;
use paxos_net::ClusterFile;
use serde::Serialize;

use crate::exit::Exit;
use crate::options::CLUSTER_FILE;
use crate::output::Output;

/// The arguments of `init`.
#[derive(Args, Debug)]
pub struct Init {
    /// The addresses of the nodes, which are numbered from 1 in this order; each does everything
    #[arg(
        long,
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        required_unless_present = "witnesses"
    )]
    pub nodes: Vec<String>,

    /// The addresses of nodes that only accept, and keep no state; numbered on from there
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub witnesses: Vec<String>,

    /// The addresses of nodes that keep the state and may lead, and do not accept
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub front_ends: Vec<String>,

    /// The addresses of nodes that keep the state, to read from, and neither accept nor lead
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub read_replicas: Vec<String>,

    /// Where to write
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// The files of a new cluster.
#[derive(Serialize)]
pub struct Made {
    cluster: String,
    file: PathBuf,
    nodes: Vec<MadeNode>,
}

#[derive(Serialize)]
struct MadeNode {
    node: u64,
    addr: String,
    folder: PathBuf,
}

impl Init {
    /// Makes the cluster and says what to do with it.
    ///
    /// # Errors
    /// See [`paxos_actors::InitError`]: above all, a cluster that is there already is left alone.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        self.run_as(Preset::default(), output)
    }

    /// The same for a service that wants something else than the defaults.
    ///
    /// # Errors
    /// Those of [`Init::run`].
    pub fn run_as(&self, preset: Preset, output: &Output) -> anyhow::Result<Exit> {
        let options = InitOptions {
            preset,
            witnesses: self.witnesses.clone(),
            front_ends: self.front_ends.clone(),
            read_replicas: self.read_replicas.clone(),
            ..InitOptions::new(&self.dir, self.nodes.clone())
        };
        let cluster = paxos_actors::init(&options)?;
        let made = Made::of(&self.dir, &cluster);
        output.result(made.text(), &made)?;
        if let Some(words) = warning(&options.membership()?) {
            output.remark(words);
        }
        Ok(Exit::Done)
    }
}

/// What a cluster cannot do that has too few replicas beside its witnesses.
fn warning(membership: &Membership) -> Option<String> {
    let needed = membership.replicas_needed().filter(|_| !membership.can_be_held())?;
    let there = membership.learners().count();
    Some(format!(
        "warning: {there} of the nodes keep the state, and {needed} would have to: with fewer, \
         witnesses never cut their logs, and no removal of a member is ever done"
    ))
}

impl Made {
    /// Those of a cluster in a folder.
    pub fn of(dir: &Path, cluster: &ClusterFile) -> Made {
        let nodes = cluster.nodes.iter().map(|(node, address)| MadeNode {
            node: node.0,
            addr: address.clone(),
            folder: dir.join(format!("node-{}", node.0)),
        });
        Made {
            cluster: cluster.cluster.to_string(),
            file: dir.join(CLUSTER_FILE),
            nodes: nodes.collect(),
        }
    }

    /// For people: what there is, and where it goes.
    pub fn text(&self) -> String {
        let mut text = format!("{}  cluster {}", self.file.display(), self.cluster);
        for MadeNode { node, addr, folder } in &self.nodes {
            text.push_str(&format!("\n{}  node {node} at {addr}", folder.display()));
        }
        text.push_str("\nA node's host needs the cluster file and the node's own folder; a client");
        text.push_str("\nthe cluster file and client/. Keep ca/ where no node is.");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_named() {
        let node = MadeNode { node: 1, addr: "h1:7400".into(), folder: "d/node-1".into() };
        let made =
            Made { cluster: "feed".into(), file: "d/cluster.toml".into(), nodes: vec![node] };
        assert!(
            made.text().starts_with("d/cluster.toml  cluster feed\nd/node-1  node 1 at h1:7400")
        );
    }
}
