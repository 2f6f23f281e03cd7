//! `list`: all counters.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::client::{Client, ClientError};
use paxos_net::protocol::{Consistency, Served};
use serde::Serialize;

use counter::{Answer, Counters, Query};

use crate::commands::named::Named;

const EXAMPLES: &str = "\
Examples:
  counter list
  counter list --read lease -o json
  counter list --cluster D/cluster.toml --via 127.0.0.1:7401";

/// Print all counters and their values
///
/// Many counters are read in several steps; what changes between the steps may show or not.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct All<'a> {
    counters: Vec<Named<'a>>,
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
            let client = self.common.client()?;
            let found = all(&client, consistency).await?;
            client.close().await;
            Ok(found)
        })?;
        let named = found.iter().map(|(name, value)| Named { name, value: *value });
        let how = ReadLabel::of(slot, served);
        let all = All { counters: named.collect(), how };
        how.tell(output, served);
        if output.is_text() && all.counters.is_empty() {
            return Ok(Exit::Done);
        }
        output.result(all.text(), &all)?;
        Ok(Exit::Done)
    }
}

impl All<'_> {
    fn text(&self) -> String {
        let widths = self.counters.iter().map(|named| named.name.chars().count());
        let width = widths.max().unwrap_or(0);
        let lines =
            self.counters.iter().map(|named| format!("{:width$}  {}", named.name, named.value));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// All counters, and how new the page is that was read first: the others are no older.
async fn all(
    client: &Client,
    consistency: Consistency,
) -> Result<(Vec<(String, u64)>, Slot, Served), ClientError> {
    let mut found: Vec<(String, u64)> = Vec::new();
    let mut first = None;
    loop {
        let query = Query::List { after: found.last().map(|(name, _)| name.clone()) };
        let read = client.read_as::<Counters>(&query, consistency).await?;
        let (slot, served) = *first.get_or_insert((read.slot, read.served));
        match read.answer {
            Answer::Page(page) if page.is_empty() => return Ok((found, slot, served)),
            Answer::Page(page) => found.extend(page),
            Answer::Value(_) => {
                return Err(ClientError::Undecodable("a value instead of a list".to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_line_up() {
        let named = |name, value| Named { name, value };
        let how = ReadLabel::of(Slot(9), Served::Lease);
        let all = All { counters: vec![named("a", 1), named("größe", 22)], how };
        assert_eq!(all.text(), "a      1\ngröße  22");
        let json = paxos_app::output::json(&all).unwrap();
        let start = r#"{"v":1,"counters":[{"name":"a","value":1},"#;
        assert!(json.starts_with(start), "{json}");
    }
}
