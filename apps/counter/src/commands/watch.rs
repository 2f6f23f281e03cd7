//! `watch`: follows a counter.

use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_net::client::{ClientError, Read};
use paxos_net::protocol::Consistency;
use tokio::time::sleep;

use crate::commands::get::read;
use crate::commands::named::{DEFAULT, Named, parse_name};

/// After a loss, before the next attempt.
const PAUSE: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  counter watch hits
  counter watch hits --count 1    (the value, and no more)
  counter watch hits -o json --via 127.0.0.1:7402";

/// Print a counter's value now and whenever it changes
///
/// Goes on at another node when it loses the one it follows. Changes that follow each other faster
/// than they can be told appear as one.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Watch {
    /// The counter
    #[arg(default_value = DEFAULT, value_parser = parse_name)]
    name: String,

    /// Stop after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    #[command(flatten)]
    common: Common,
}

impl Watch {
    /// Prints values until there were enough of them, or a signal comes.
    ///
    /// # Errors
    /// Those of the client before the first value; later only those that time cannot mend.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(self.follow(output)))
    }

    async fn follow(&self, output: &Output) -> anyhow::Result<Exit> {
        let client = self.common.client()?;
        let name = self.name.as_str();
        let mut left = self.count.unwrap_or(u64::MAX);
        let first = read(&client, name, Consistency::Linearizable).await?;
        let (mut slot, mut shown) = (first.slot, first.answer);
        self.show(output, shown)?;
        left -= 1;
        let mut lost = false;
        while left > 0 {
            match read(&client, name, Consistency::Local { after: slot }).await {
                Ok(Read { slot: newer, answer: value, .. }) => {
                    lost = false;
                    // A node that is behind waits until it is not, so this only grows.
                    slot = slot.max(newer);
                    if value != shown {
                        shown = value;
                        self.show(output, shown)?;
                        left -= 1;
                    }
                }
                // Nothing was applied for as long as we waited; or nobody is there.
                Err(ClientError::Unavailable(_)) => {}
                Err(ClientError::Unreachable { .. } | ClientError::Busy) => {
                    if !std::mem::replace(&mut lost, true) {
                        output.remark("no node can be reached; still trying");
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        client.close().await;
        Ok(Exit::Done)
    }

    fn show(&self, output: &Output, value: u64) -> anyhow::Result<()> {
        Ok(output.result(value, &Named { name: &self.name, value })?)
    }
}
