//! `list`: the locks that somebody holds.

use clap::Args;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_net::client::Read;
use serde::Serialize;

use lock::machine::LockView;
use lock::{Answer, Query};

use crate::commands::named::all;
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
        let prefix = &self.prefix;
        let query = |found: &[LockView]| {
            let after = found.last().map(|lock| lock.name.clone()).unwrap_or_default();
            Query::List { prefix: prefix.clone(), after }
        };
        let page = |answer| match answer {
            Answer::Locks(page) => Some(page),
            _ => None,
        };
        let Read { slot, answer: found, served } = all(&self.common, consistency, query, page)?;
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
