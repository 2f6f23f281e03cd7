//! `tail`: the newest messages of a room, and those that follow.

use chat::cursor::News;
use chat::follower::{Follower, Heard, Mark, Start};
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::{Common, ReadLabel};
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_net::client::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::commands::history::{CaughtUp, no_room};
use crate::commands::spoken::{parse_room, print, print_gone};

const EXAMPLES: &str = "\
Examples:
  chat tail tea
  chat tail tea -f --via 3    (begin at node 3; go on elsewhere if it is lost)
  chat tail tea -f --from 88211 -o json";

/// Print the newest messages of a room, and with -f whatever follows, each once and in order
///
/// Any node serves it, one without a vote too. When the node is lost, another is asked for what
/// comes behind the last message that was printed. Times are UTC, by the clock of whoever said it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(mut_arg("via", |via| {
    via.value_name("ADDR|NODE").help("Begin at this node; another is asked when it is lost")
}))]
pub struct Tail {
    /// The room; with -f it need not be there yet
    #[arg(value_parser = parse_room)]
    room: String,

    /// Go on with what follows
    #[arg(short, long)]
    follow: bool,

    /// Begin with so many of the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, conflicts_with = "from")]
    lines: u64,

    /// Begin with the message of this number, or with the oldest that there is
    #[arg(long, value_name = "ID|start", value_parser = parse_from)]
    from: Option<u64>,

    #[command(flatten)]
    common: Common,
}

impl Tail {
    /// Prints messages until all are printed or, with -f, a signal comes.
    ///
    /// # Errors
    /// That there is no such room, or no node answers; with -f, only those that time cannot mend.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(self.follow(output)))
    }

    async fn follow(&self, output: &Output) -> anyhow::Result<Exit> {
        let start = self.from.map_or(Start::Newest(self.lines), Start::At);
        let mut follower = Follower::new(self.config()?, &self.room, start)?;
        let mut trouble = None;
        let mut deadline = Instant::now() + self.common.timeout;
        loop {
            let heard = match self.follow {
                true => follower.next().await?,
                false => match timeout_at(deadline, follower.next()).await {
                    Ok(heard) => heard?,
                    Err(_) => return Err(silence(trouble).into()),
                },
            };
            // To go to another node is not to get on.
            if !matches!(heard, Heard::Moved { .. }) {
                deadline = Instant::now() + self.common.timeout;
            }
            match heard {
                Heard::News(News::Said(message)) => print(output, &self.room, &message)?,
                Heard::News(News::Gone { first, last }) => {
                    print_gone(output, &self.room, first, last)?;
                }
                Heard::CaughtUp(mark) => {
                    self.tell_mark(output, mark)?;
                    if !self.follow {
                        follower.close().await;
                        return match mark.last {
                            0 => Err(no_room(&self.room).into()),
                            _ => Ok(Exit::Done),
                        };
                    }
                }
                Heard::Lagged => {
                    output.remark("too slow for what the node tells: reading what was missed");
                }
                Heard::Moved { from, to, why } => {
                    output.remark(format_args!("left {from}: {why}; asking {to}"));
                    trouble = Some(why);
                }
            }
        }
    }

    fn tell_mark(&self, output: &Output, mark: Mark) -> std::io::Result<()> {
        let Mark { last, slot, served } = mark;
        let how = ReadLabel::of(slot, served);
        CaughtUp { room: &self.room, caught_up_to: last, how }.tell(output, served)
    }

    /// A node may be named by its number here.
    fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = self.common.client_config()?;
        let named = config.via.as_deref().and_then(|via| via.parse::<u64>().ok());
        if let Some(node) = named {
            let address = config.cluster.address(paxos_core::NodeId(node));
            let known = address.ok_or_else(|| {
                Fault::new(Exit::Configuration, format!("the cluster file names no node {node}"))
            })?;
            config.via = Some(known.to_owned());
        }
        Ok(config)
    }
}

fn silence(trouble: Option<String>) -> Fault {
    let why = trouble.unwrap_or_else(|| "no answer in time".to_owned());
    Fault::new(Exit::NoQuorum, format!("no node could be read from: {why}"))
}

/// Reads where to begin.
fn parse_from(text: &str) -> Result<u64, String> {
    if text == "start" {
        return Ok(1);
    }
    let id = text.strip_prefix('#').unwrap_or(text).parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| format!("{text:?} is neither a message's number, from 1, nor `start`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_a_number_or_the_start() {
        assert_eq!(parse_from("start"), Ok(1));
        assert_eq!(parse_from("88211"), Ok(88_211));
        assert_eq!(parse_from("#7"), Ok(7));
        for wrong in ["", "0", "-1", "end", "7x", "#"] {
            assert!(parse_from(wrong).unwrap_err().contains("start"), "{wrong}");
        }
    }
}
