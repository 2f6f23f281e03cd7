//! `get`: reads a counter.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_net::client::{Client, ClientError, Read};
use paxos_net::protocol::Consistency;

use counter::{Answer, Counters, Query};

use crate::commands::named::{DEFAULT, Found, Named, parse_name};

const EXAMPLES: &str = "\
Examples:
  counter get
  counter get hits --cluster D/cluster.toml
  counter get hits --read stale -o json --via 127.0.0.1:7402";

/// Print a counter's value, which contains everything acknowledged before, unless told otherwise
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// The counter; one that was never touched reads 0
    #[arg(default_value = DEFAULT, value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

impl Get {
    /// Reads, and prints the value.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        let found = block_on(async {
            let client = self.common.client()?;
            let found = read(&client, &self.name, consistency).await?;
            client.close().await;
            Ok(found)
        })?;
        let (value, how) = (found.answer, ReadLabel::of(found.slot, found.served));
        output.result(value, &Found { named: Named { name: &self.name, value }, how })?;
        how.tell(output, found.served);
        Ok(Exit::Done)
    }
}

/// Reads a counter; returns also how new it is.
///
/// # Errors
/// Those of the client.
pub async fn read(
    client: &Client,
    name: &str,
    consistency: Consistency,
) -> Result<Read<u64>, ClientError> {
    let query = Query::Get { name: name.to_owned() };
    let Read { slot, answer, served } = client.read_as::<Counters>(&query, consistency).await?;
    match answer {
        Answer::Value(answer) => Ok(Read { slot, answer, served }),
        Answer::Page(_) => Err(ClientError::Undecodable("a list instead of a value".to_owned())),
    }
}
