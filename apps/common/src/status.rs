//! `status`: the cluster at a glance.

use clap::Args;

use crate::app::block_on;
use crate::exit::{Exit, Fault};
use crate::options::Common;
use crate::output::Output;
use crate::overview::Overview;

/// The arguments of `status`.
#[derive(Args, Debug)]
pub struct Status {
    #[command(flatten)]
    common: Common,
}

impl Status {
    /// Asks every node, and shows what those say that answer.
    ///
    /// # Errors
    /// What is wrong with the configuration; or that no node answered.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            let config = self.common.client_config()?;
            let addresses = config.cluster.nodes.clone();
            let client = paxos_net::client::Client::new(config)?;
            let reports = client.statuses().await;
            client.close().await;
            let overview = Overview::new(&reports, &addresses);
            output.result(overview.table(), &overview)?;
            for line in overview.nodes.iter().filter(|line| !line.up) {
                let why = line.why.as_deref().unwrap_or("no answer");
                output.remark(format_args!("node {}: {why}", line.node));
            }
            if overview.any_up() {
                return Ok(Exit::Done);
            }
            // A certificate that every node refuses is not a cluster that is down.
            if let Some(Err(error)) = reports.into_values().next() {
                let exit = Exit::of(&error.into());
                if exit == Exit::Certificate {
                    return Err(Fault::new(exit, "every node refused the certificate").into());
                }
            }
            let count = addresses.len();
            let words = format!("no node answered: reached 0 of {count}; are they running?");
            Err(Fault::new(Exit::NoQuorum, words).into())
        })
    }
}
