//! `watch`: follows a counter.

use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_core::{Position, TopicFilter};
use paxos_net::client::{Client, ClientError, Read, Watched};
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
/// Each change is printed once. Goes on at another node when it loses the one it follows; if nobody
/// has the next changes any more, says so and goes on from the value of now.
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
        let topics = vec![TopicFilter::Exact(self.name.clone())];
        let mut left = self.count.unwrap_or(u64::MAX);
        let first = read(&client, &self.name, Consistency::Linearizable).await?;
        let (mut shown, mut watcher) = (first.answer, client.watch(topics.clone(), behind(&first)));
        self.show(output, shown)?;
        left -= 1;
        while left > 0 {
            let value = match watcher.next_as::<u64>().await? {
                Watched::Event { event, .. } => event,
                Watched::Level { .. } => continue,
                Watched::Lagged { .. } => {
                    let now = self.read_again(&client).await?;
                    watcher = client.watch(topics.clone(), behind(&now));
                    if now.answer == shown {
                        continue;
                    }
                    output.remark("changes were missed: the node does not have them any more");
                    now.answer
                }
            };
            shown = value;
            self.show(output, shown)?;
            left -= 1;
        }
        client.close().await;
        Ok(Exit::Done)
    }

    async fn read_again(&self, client: &Client) -> Result<Read<u64>, ClientError> {
        loop {
            match read(client, &self.name, Consistency::Linearizable).await {
                Err(
                    ClientError::Unavailable(_)
                    | ClientError::Unreachable { .. }
                    | ClientError::Busy,
                ) => sleep(PAUSE).await,
                done => return done,
            }
        }
    }

    fn show(&self, output: &Output, value: u64) -> anyhow::Result<()> {
        Ok(output.result(value, &Named { name: &self.name, value })?)
    }
}

/// Where to go on after a read.
fn behind(read: &Read<u64>) -> Position {
    Position::behind(read.slot)
}
