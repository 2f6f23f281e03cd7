//! `verify`: whether nodes have the same messages.

use chat::client::{digest, history};
use chat::comparison::{Comparison, Difference};
use chat::message::Message;
use chat::room::{Digest, PAGE_MESSAGES_MAX, Span};
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::moment::time_of_day;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::client::Client;
use paxos_net::protocol::Consistency;
use serde::Serialize;

use crate::commands::history::no_room;
use crate::commands::spoken::{harmless, parse_room};

const EXAMPLES: &str = "\
Examples:
  chat verify --all-nodes tea
  chat verify --all-nodes tea -o json
  chat verify tea --via 127.0.0.1:7402    (one node's messages, hashed anew)";

/// Check that the nodes have the same messages, or find the first difference
///
/// Every message carries a hash of all that was said in its room before. With --all-nodes, each
/// node that keeps the messages is asked for that of the newest; where they differ, the first
/// message is found at which they do, and the exit is 1. Without, the messages that one node keeps
/// are read and hashed anew.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// The room
    #[arg(value_parser = parse_room)]
    room: String,

    /// Compare all nodes
    #[arg(long, conflicts_with = "via")]
    all_nodes: bool,

    #[command(flatten)]
    common: Common,
}

/// What came of a comparison.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    room: &'a str,
    /// The oldest message that is kept.
    from: u64,
    /// The newest that was compared.
    upto: u64,
    /// The nodes that were.
    compared: Vec<u64>,
    /// How many there are.
    nodes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Difference>,
}

/// What came of a check of one node.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    room: &'a str,
    from: u64,
    upto: u64,
}

impl Verify {
    /// Compares, and prints the verdict.
    ///
    /// # Errors
    /// Those of the client; that nothing was said there; that some nodes do not answer.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            let client = self.common.client()?;
            let done = match self.all_nodes {
                true => self.compare(&client, output).await,
                false => self.check(&client, output).await,
            };
            client.close().await;
            done
        })
    }

    async fn compare(&self, client: &Client, output: &Output) -> anyhow::Result<Exit> {
        let newest = digest(client, &self.room, u64::MAX, Consistency::Linearizable).await?;
        let Digest { first, last, .. } = newest.answer;
        if last == 0 {
            return Err(no_room(&self.room).into());
        }
        let config = self.common.client_config()?;
        let members = client.members().await?.membership.members;
        let comparison = Comparison::of(&config, &members, (&self.room, newest.slot)).await?;
        let nodes = comparison.nodes().count() + comparison.silent().len();
        let difference = comparison.first_difference(first, last).await?;
        let compared = comparison.nodes().map(|node| node.0).collect();
        let room = &self.room;
        let verdict = Verdict { room, from: first, upto: last, compared, nodes, difference };
        output.result(verdict.text(), &verdict)?;
        for (node, why) in comparison.silent() {
            output.remark(format_args!("node {}: {why}", node.0));
        }
        let silent = comparison.silent().len();
        comparison.close().await;
        if verdict.difference.is_some() {
            return Ok(Exit::No);
        }
        if silent > 0 {
            let words = format!("{silent} of {nodes} nodes did not answer: try again");
            return Err(Fault::new(Exit::TryAgain, words).into());
        }
        Ok(Exit::Done)
    }

    /// Reads everything that a node keeps, page by page.
    async fn check(&self, client: &Client, output: &Output) -> anyhow::Result<Exit> {
        let stale = |at_least| Consistency::Stale { at_least };
        let begins = digest(client, &self.room, 0, stale(Slot(0))).await?;
        let Digest { first: mut from, last: upto, .. } = begins.answer;
        if upto == 0 {
            return Err(no_room(&self.room).into());
        }
        let mut before = digest(client, &self.room, from - 1, stale(Slot(0))).await?.answer.chain;
        let mut next = from;
        while next <= upto {
            let span = (Span::After(next - 1), PAGE_MESSAGES_MAX as u64);
            let page = history(client, &self.room, span, stale(begins.slot)).await?.answer;
            if page.first > next {
                // The oldest went meanwhile: what is left is hashed from its own beginning.
                (from, next, before) = (page.first, page.first, None);
            }
            for message in page.messages.iter().take_while(|message| message.id <= upto) {
                let follows = before.is_none_or(|before| message.continues(before));
                if message.id != next || !follows {
                    let words = format!("#{next} does not follow from what was said before it");
                    return Err(Fault::new(Exit::No, words).into());
                }
                (next, before) = (next + 1, Some(message.chain));
            }
        }
        let checked = Checked { room: &self.room, from, upto };
        output.result(format_args!("sound from #{from} to #{upto}"), &checked)?;
        Ok(Exit::Done)
    }
}

impl Verdict<'_> {
    fn text(&self) -> String {
        let Verdict { from, upto, compared, nodes, difference, .. } = self;
        let Some(Difference { seq, have }) = difference else {
            return format!("identical to #{upto} on {} of {nodes}", compared.len());
        };
        if seq < from {
            return format!("the nodes differ in what was said before #{from}, which is gone");
        }
        let mut text = format!("the first difference is #{seq}");
        for (node, message) in have {
            let has = message.as_ref().map_or("nothing".to_owned(), |message| {
                let Message { said_at, author, text, .. } = message;
                format!("{} {}  {}", time_of_day(*said_at), harmless(author), harmless(text))
            });
            text.push_str(&format!("\n  node {node}: {has}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(difference: Option<Difference>) -> Verdict<'static> {
        let (compared, nodes) = (vec![1, 2, 3], 3);
        Verdict { room: "tea", from: 5, upto: 88_210, compared, nodes, difference }
    }

    #[test]
    fn the_verdict_is_the_one_documented() {
        assert_eq!(verdict(None).text(), "identical to #88210 on 3 of 3");
        let (author, text) = ("ada".to_owned(), "hi\n".to_owned());
        let message = Message { id: 7, author, said_at: 0, text, chain: 1 };
        let have = [(1, Some(message)), (2, None)].into();
        let words = verdict(Some(Difference { seq: 7, have })).text();
        let lines: Vec<_> = words.lines().collect();
        assert_eq!(lines[0], "the first difference is #7");
        assert_eq!(lines[1], r"  node 1: 00:00:00 ada  hi\n");
        assert_eq!(lines[2], "  node 2: nothing");
        let gone = Difference { seq: 4, have: Default::default() };
        assert!(verdict(Some(gone)).text().contains("before #5"));
        let json = paxos_app::output::json(&verdict(None)).unwrap();
        let whole = r#"{"v":1,"room":"tea","from":5,"upto":88210,"compared":[1,2,3],"nodes":3}"#;
        assert_eq!(json, whole);
    }
}
