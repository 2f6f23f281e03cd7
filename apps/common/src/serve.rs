//! `serve`: runs a node.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use paxos_actors::{Failure, Node, NodeConfig};
use paxos_core::{NodeId, StateMachine};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::exit::Exit;
use crate::options::ClusterOption;
use crate::signals::{Signals, stdin_closed};

/// A node that is told to stop has so long; what it acknowledged is on disk long before.
const STOP: Duration = Duration::from_secs(10);

/// The arguments of `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// The number of the node, as in the cluster file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub node: u64,

    #[command(flatten)]
    at: ClusterOption,

    /// The node's folder [default: node-N/ beside the cluster file]
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,

    /// Listen here instead of at the node's address in the cluster file
    #[arg(long, value_name = "IP:PORT")]
    pub bind: Option<SocketAddr>,

    /// Stop when stdin ends, so that nothing is left behind when the parent process dies.
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

impl Serve {
    /// Runs a node of the service `S` until it is told to stop, or must.
    ///
    /// # Errors
    /// Why the node could not start, or stopped by itself.
    pub fn run<S: StateMachine + Unpin>(&self) -> anyhow::Result<Exit> {
        let mut config =
            NodeConfig::load(&self.at.path(), NodeId(self.node), self.identity.clone())?;
        config.bind = self.bind;
        actix_rt::System::new().block_on(self.serve::<S>(config))
    }

    async fn serve<S: StateMachine + Unpin>(&self, config: NodeConfig) -> anyhow::Result<Exit> {
        let mut signals = Signals::catch()?;
        let mut node = Node::<S>::start(config).await?;
        announce(&ready(node.graph(), self.node, node.address()));
        let mut promoted = None;
        tokio::select! {
            _ = signals.next() => info!("stopping: told to by a signal"),
            () = stdin_closed(), if self.until_stdin_closes => info!("stopping: stdin was closed"),
            failure = node.failed() => match failure.is_a_new_role() {
                true => promoted = Some(failure),
                false => return Err(failure.into()),
            },
        }
        if timeout(STOP, node.stop()).await.is_err() {
            warn!("the node did not stop in time and is abandoned");
        }
        match promoted {
            Some(failure) => Err(begin_anew(failure)),
            None => Ok(Exit::Done),
        }
    }
}

/// Becomes a new process of the same command line, under the same number: whatever the old one held
/// is let go. Returns only if that cannot be.
fn begin_anew(failure: Failure) -> anyhow::Error {
    info!("starting anew: {failure}");
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return anyhow::Error::new(failure).context(error),
    };
    let error = Command::new(program).args(env::args_os().skip(1)).exec();
    anyhow::Error::new(failure).context(error)
}

/// What is said once the node takes requests: its graph, and the line that scripts wait for.
fn ready(graph: &str, node: u64, address: SocketAddr) -> String {
    let graph = graph.trim_end();
    let gap = if graph.is_empty() { "" } else { "\n" };
    format!("{graph}{gap}node {node} ready {address}\n")
}

/// A node goes on where nobody reads.
fn announce(text: &str) {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_one_that_scripts_wait_for() {
        let address = ([127, 0, 0, 1], 7401).into();
        assert_eq!(ready("a -> b\n", 1, address), "a -> b\nnode 1 ready 127.0.0.1:7401\n");
        assert_eq!(ready("", 2, address), "node 2 ready 127.0.0.1:7401\n");
    }
}
