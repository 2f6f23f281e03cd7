//! `queue`: who waits for a lock.

use clap::Args;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_net::client::Read;
use serde::Serialize;

use lock::machine::Standby;
use lock::{Answer, LockSession, Query};

use crate::commands::named::{all, parse_name, rough};

const EXAMPLES: &str = "\
Examples:
  lock queue nightly
  lock queue nightly -o json
  lock queue nightly --cluster D/cluster.toml --via 127.0.0.1:7401";

/// Show who waits for a lock, the next first
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Queue {
    /// The lock
    #[arg(value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    queue: Vec<Waiter<'a>>,
    #[serde(flatten)]
    how: ReadLabel,
}

#[derive(Serialize)]
struct Waiter<'a> {
    place: usize,
    session: LockSession,
    identity: &'a str,
    waited_ms: u64,
}

impl Queue {
    /// Reads page by page, and prints all.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        let name = &self.name;
        let query =
            |found: &[Standby]| Query::Queue { name: name.clone(), skip: found.len() as u64 };
        let page = |answer| match answer {
            Answer::Queue(page) => Some(page),
            _ => None,
        };
        let Read { slot, answer: found, served } = all(&self.common, consistency, query, page)?;
        let how = ReadLabel::of(slot, served);
        how.tell(output, served);
        if output.is_text() && found.is_empty() {
            return Ok(Exit::Done);
        }
        let waiters = found.iter().enumerate().map(|(index, waiter)| Waiter {
            place: index + 1,
            session: waiter.session,
            identity: &waiter.identity,
            waited_ms: waiter.waited.as_millis() as u64,
        });
        let line = Line { name: &self.name, queue: waiters.collect(), how };
        output.result(text(&found), &line)?;
        Ok(Exit::Done)
    }
}

fn text(waiters: &[Standby]) -> String {
    let lines = waiters.iter().enumerate().map(|(index, Standby { session, identity, waited })| {
        format!("{}  session {session}  {identity}  for {}", index + 1, rough(*waited))
    });
    lines.collect::<Vec<_>>().join("\n")
}
