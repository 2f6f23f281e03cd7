//! `leader history`: what every node saw of changes of leadership, in one time line.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_core::{NodeId, Took};
use paxos_net::client::{Client, ClientError};
use paxos_net::protocol::ChangeRecord;
use serde::Serialize;

use crate::exit::{Exit, Fault};
use crate::moment::rfc3339;
use crate::options::Common;
use crate::output::Output;

/// What the nodes remember.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct History {
    changes: Vec<Line>,
    /// Nodes that did not answer: what they saw is missing.
    missing: Vec<u64>,
}

/// A change, as one node saw it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    /// By the clock of the node's host.
    at_ms: u64,
    node: u64,
    leader: Option<u64>,
    ballot: Option<String>,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detect_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    elect_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_ms: Option<u64>,
}

/// Asks every node, and shows it.
pub async fn show(common: &Common, output: &Output) -> anyhow::Result<Exit> {
    let client = Client::new(common.client_config()?)?;
    let history = History::new(client.changes().await);
    client.close().await;
    if history.changes.is_empty() && !history.missing.is_empty() {
        let words = "no node answered that remembers anything: look at status";
        return Err(Fault::new(Exit::NoQuorum, words).into());
    }
    output.result(history.text(), &history)?;
    if !history.missing.is_empty() {
        let nodes: Vec<_> = history.missing.iter().map(u64::to_string).collect();
        output.remark(format_args!(
            "without answer, so that what they saw is missing: node {}",
            nodes.join(", ")
        ));
    }
    Ok(Exit::Done)
}

impl History {
    fn new(answers: BTreeMap<NodeId, Result<Vec<ChangeRecord>, ClientError>>) -> Self {
        let mut history = History::default();
        for (node, answer) in answers {
            match answer {
                Ok(changes) => {
                    let lines = changes.into_iter().map(|change| Line::new(node, change));
                    history.changes.extend(lines);
                }
                Err(_) => history.missing.push(node.0),
            }
        }
        history.changes.sort_by_key(|line| line.at_ms);
        history
    }

    /// One line a change. Times are those of the nodes' own clocks.
    fn text(&self) -> String {
        let lines: Vec<_> = self.changes.iter().map(Line::text).collect();
        match lines.is_empty() {
            true => "no node remembers a change of leadership".to_owned(),
            false => lines.join("\n"),
        }
    }
}

impl Line {
    fn new(NodeId(node): NodeId, ChangeRecord { at_ms, change }: ChangeRecord) -> Self {
        let millis = |took: Duration| Some(took.as_millis() as u64);
        let (detect_ms, elect_ms, ready_ms) = match change.took {
            Some(Took::Detect(took)) => (millis(took), None, None),
            Some(Took::Elect(took)) => (None, millis(took), None),
            Some(Took::Ready(took)) => (None, None, millis(took)),
            None => (None, None, None),
        };
        let leader = change.leader.map(|ballot| ballot.node.0);
        let ballot = change.leader.map(|ballot| ballot.to_string());
        let why = change.why;
        Line { at_ms, node, leader, ballot, why, detect_ms, elect_ms, ready_ms }
    }

    fn text(&self) -> String {
        let who = match (self.leader, &self.ballot) {
            (Some(leader), Some(ballot)) => format!("node {leader} leads with {ballot}"),
            _ => "nobody leads".to_owned(),
        };
        let parts =
            [("T_detect", self.detect_ms), ("T_elect", self.elect_ms), ("T_ready", self.ready_ms)];
        let took = parts.iter().find_map(|(name, took)| Some(format!(", {name} {} ms", (*took)?)));
        let (at, node, why) = (rfc3339(self.at_ms), self.node, &self.why);
        format!("{at}  node {node}: {who}: {why}{}", took.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Ballot, Change};

    fn record(at_ms: u64, leader: Option<u64>, why: &str, took: Option<Took>) -> ChangeRecord {
        let ballot = |node| Ballot { round: 4, node: NodeId(node), incarnation: 1 };
        let change = Change { leader: leader.map(ballot), why: why.to_owned(), took };
        ChangeRecord { at_ms, change }
    }

    #[test]
    fn what_the_nodes_saw_is_one_time_line() {
        let took = |millis| Duration::from_millis(millis);
        let one = vec![
            record(1_700_000_000_000, None, "n2 was silent", Some(Took::Detect(took(251)))),
            record(1_700_000_000_057, Some(1), "won", Some(Took::Elect(took(57)))),
        ];
        let three = vec![record(1_700_000_000_058, Some(1), "n1 leads", None)];
        let unreachable = ClientError::Closed;
        let answers = [(NodeId(1), Ok(one)), (NodeId(2), Err(unreachable)), (NodeId(3), Ok(three))];
        let history = History::new(answers.into());
        assert_eq!(history.missing, [2]);
        let text = history.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "2023-11-14T22:13:20.000Z  node 1: nobody leads: n2 was silent, T_detect 251 ms",
                "2023-11-14T22:13:20.057Z  node 1: node 1 leads with 4.n1.1: won, T_elect 57 ms",
                "2023-11-14T22:13:20.058Z  node 3: node 1 leads with 4.n1.1: n1 leads",
            ]
        );
        let json = crate::output::json(&history).unwrap();
        assert!(json.contains(r#""why":"n2 was silent","detect_ms":251}"#), "{json}");
    }
}
