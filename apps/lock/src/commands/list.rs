//! `list`: the locks that somebody holds.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::client::Read;
use paxos_net::protocol::{Consistency, Served};
use serde::Serialize;

use lock::machine::LockView;
use lock::{Answer, LockClient, Query};

use crate::commands::named::{locks, unexpected};
use crate::commands::show::Shown;

const EXAMPLES: &str = "\
Examples:
  lock list
  lock list backups/ -o json
  lock list --read lease --cluster D/cluster.toml";

/// List the locks that somebody holds
///
/// Many locks are read in several steps; what changes between the steps may show or not.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Only locks whose names begin so
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct All<'a> {
    locks: Vec<Shown<'a>>,
    #[serde(flatten)]
    how: ReadLabel,
}

impl List {
    /// Reads page by page, and prints all.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        let (found, slot, served) = block_on(async {
            let locks = locks(&self.common)?;
            let found = all(&locks, &self.prefix, consistency).await?;
            locks.client().close().await;
            Ok(found)
        })?;
        let how = ReadLabel::of(slot, served);
        how.tell(output, served);
        if output.is_text() && found.is_empty() {
            return Ok(Exit::Done);
        }
        let all = All { locks: found.iter().map(Shown::of).collect(), how };
        output.result(text(&found), &all)?;
        Ok(Exit::Done)
    }
}

async fn all(
    locks: &LockClient,
    prefix: &str,
    consistency: Consistency,
) -> anyhow::Result<(Vec<LockView>, Slot, Served)> {
    let mut found: Vec<LockView> = Vec::new();
    loop {
        let after = found.last().map(|lock| lock.name.clone()).unwrap_or_default();
        let query = Query::List { prefix: prefix.to_owned(), after };
        let Read { slot, answer, served } = locks.ask(&query, consistency).await?;
        let Answer::Locks(page) = answer else { return Err(unexpected()) };
        if page.is_empty() {
            return Ok((found, slot, served));
        }
        found.extend(page);
    }
}

fn text(locks: &[LockView]) -> String {
    let width = locks.iter().map(|lock| lock.name.chars().count()).max().unwrap_or(0);
    let lines = locks.iter().map(|lock| {
        let holder = lock.holder.as_ref();
        let identity = holder.map(|holder| holder.identity.as_str()).unwrap_or_default();
        let (name, last, waiting) = (&lock.name, lock.last, lock.waiting);
        format!("{name:width$}  token {last}  {identity}  {waiting} wait")
    });
    lines.collect::<Vec<_>>().join("\n")
}
