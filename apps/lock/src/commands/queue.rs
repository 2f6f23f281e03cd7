//! `queue`: who waits for a lock.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::client::Read;
use paxos_net::protocol::{Consistency, Served};
use serde::Serialize;

use lock::machine::Standby;
use lock::{Answer, LockClient, LockSession, Query};

use crate::commands::named::{locks, parse_name, rough, unexpected};

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
        let (found, slot, served) = block_on(async {
            let locks = locks(&self.common)?;
            let found = all(&locks, &self.name, consistency).await?;
            locks.client().close().await;
            Ok(found)
        })?;
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

async fn all(
    locks: &LockClient,
    name: &str,
    consistency: Consistency,
) -> anyhow::Result<(Vec<Standby>, Slot, Served)> {
    let mut found = Vec::new();
    loop {
        let query = Query::Queue { name: name.to_owned(), skip: found.len() as u64 };
        let Read { slot, answer, served } = locks.ask(&query, consistency).await?;
        let Answer::Queue(page) = answer else { return Err(unexpected()) };
        if page.is_empty() {
            return Ok((found, slot, served));
        }
        found.extend(page);
    }
}

fn text(waiters: &[Standby]) -> String {
    let lines = waiters.iter().enumerate().map(|(index, Standby { session, identity, waited })| {
        format!("{}  session {session}  {identity}  for {}", index + 1, rough(*waited))
    });
    lines.collect::<Vec<_>>().join("\n")
}
