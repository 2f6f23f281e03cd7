//! `leader`: who leads, and how another node comes to lead.

use clap::{Args, Subcommand};
use paxos_core::NodeId;
use paxos_net::client::Client;
use serde::Serialize;

use crate::app::block_on;
use crate::exit::{Exit, Fault};
use crate::history;
use crate::options::Common;
use crate::output::Output;
use crate::overview::Overview;

const SHOW_EXAMPLES: &str = "\
Examples:
  {app} leader show
  {app} leader show --cluster D/cluster.toml
  {app} leader show -o json";

const HISTORY_EXAMPLES: &str = "\
Examples:
  {app} leader history
  {app} leader history --cluster D/cluster.toml
  {app} leader history -o json";

const TRANSFER_EXAMPLES: &str = "\
Examples:
  {app} leader transfer --identity admin
  {app} leader transfer 2 --cluster D/cluster.toml --identity D/admin
  {app} leader transfer 2 --identity admin -o json";

/// The arguments of `leader`.
#[derive(Args, Debug)]
pub struct Leader {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Show who leads
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[command(flatten)]
        common: Common,
    },
    /// Show what the nodes remember of changes of leadership: who, when and why
    ///
    /// Each node remembers the latest 256 changes since it started. Times are those of the nodes'
    /// own clocks. T_detect is the silence after which a leader was suspected, T_elect the time
    /// until another was elected, T_ready the time from then until it knew that the first slot of
    /// its own was chosen, be it applied or not.
    #[command(after_help = HISTORY_EXAMPLES)]
    History {
        #[command(flatten)]
        common: Common,
    },
    /// Have another node lead; needs the certificate of an admin
    ///
    /// The leader lets what is in flight be decided and waits, for about a second, until the other
    /// node knows all of it; commands wait meanwhile, and none fails. If that node does not get so
    /// far, the leader leads on, and the exit code is 75.
    #[command(after_help = TRANSFER_EXAMPLES)]
    Transfer {
        /// The number of the node that shall lead [default: the voter that is level first]
        #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        to: Option<u64>,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Serialize)]
struct Leads {
    leader: u64,
}

#[derive(Serialize)]
struct Transferred {
    from: u64,
    leader: u64,
}

impl Leader {
    /// Shows who leads, or has it changed.
    ///
    /// # Errors
    /// Those of the client; that nobody leads.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        match &self.action {
            Action::Show { common } => block_on(async {
                let (client, leader) = find(common).await?;
                client.close().await;
                let leader = leader.0;
                output.result(format_args!("node {leader}"), &Leads { leader })?;
                Ok(Exit::Done)
            }),
            Action::History { common } => block_on(history::show(common, output)),
            Action::Transfer { to, common } => block_on(transfer(common, to.map(NodeId), output)),
        }
    }
}

async fn find(common: &Common) -> anyhow::Result<(Client, NodeId)> {
    let config = common.client_config()?;
    let addresses = config.cluster.nodes.clone();
    let client = Client::new(config)?;
    let overview = Overview::new(&client.statuses().await, &addresses);
    match overview.leader {
        Some(leader) => Ok((client, NodeId(leader))),
        None => {
            client.close().await;
            let words = "nobody leads, as far as the nodes that answer know: look at status";
            Err(Fault::new(Exit::NoQuorum, words).into())
        }
    }
}

async fn transfer(common: &Common, to: Option<NodeId>, output: &Output) -> anyhow::Result<Exit> {
    let nodes = common.client_config()?.cluster.nodes;
    if let Some(to) = to.filter(|to| !nodes.contains_key(to)) {
        return Err(Fault::usage(format!("the cluster file names no node {}", to.0)).into());
    }
    let (client, from) = find(common).await?;
    let leader = client.transfer(from, to).await?;
    client.close().await;
    let transferred = Transferred { from: from.0, leader: leader.0 };
    output.result(format_args!("node {} leads", leader.0), &transferred)?;
    match to.is_none_or(|to| to == leader) {
        true => Ok(Exit::Done),
        // Another one was faster: a fault, or another operator.
        false => Ok(Exit::TryAgain),
    }
}
