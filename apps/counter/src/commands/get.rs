//! `get`: reads a counter.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::client::{Client, ClientError};
use paxos_net::protocol::Consistency;

use counter::{Answer, Counters, Query};

use crate::commands::named::{DEFAULT, Named, parse_name};

const EXAMPLES: &str = "\
Examples:
  counter get
  counter get hits --cluster D/cluster.toml
  counter get hits -o json --via 127.0.0.1:7402";

/// Print a counter's value, which contains everything acknowledged before
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// The counter; one that was never touched reads 0
    #[arg(default_value = DEFAULT, value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    common: Common,
}

impl Get {
    /// Reads, and prints the value.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let value = block_on(async {
            let client = self.common.client()?;
            let (_, value) = read(&client, &self.name, Consistency::Linearizable).await?;
            client.close().await;
            Ok(value)
        })?;
        output.result(value, &Named { name: &self.name, value })?;
        Ok(Exit::Done)
    }
}

/// Reads a counter; returns also the last slot applied in the state that was read.
///
/// # Errors
/// Those of the client.
pub async fn read(
    client: &Client,
    name: &str,
    consistency: Consistency,
) -> Result<(Slot, u64), ClientError> {
    let query = Query::Get { name: name.to_owned() };
    match client.query_as::<Counters>(&query, consistency).await? {
        (slot, Answer::Value(value)) => Ok((slot, value)),
        (_, Answer::Page(_)) => {
            Err(ClientError::Undecodable("a list instead of a value".to_owned()))
        }
    }
}
