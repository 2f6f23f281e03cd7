//! The cluster at a glance, put together from what its nodes say of themselves.

use std::collections::BTreeMap;

use paxos_core::{Ballot, MemberRole, NodeId, RoleKind};
use paxos_net::client::{Client, ClientError};
use paxos_net::protocol::NodeReport;
use serde::Serialize;
use tokio::task::JoinSet;

/// What a node said, or why it did not.
pub type Report = Result<NodeReport, ClientError>;

/// The cluster at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Who leads: the node of the highest ballot that a node hears, if that node itself answered.
    pub leader: Option<u64>,
    /// Each node, by its number.
    pub nodes: Vec<NodeLine>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeLine {
    /// Its number.
    pub node: u64,
    /// Where it can be reached.
    pub addr: String,
    /// What it is: `voter`, `witness`, `front-end`, `read-replica`, or `none`, no member.
    pub role: Option<&'static str>,
    /// Whether it answered.
    pub up: bool,
    /// The last slot below which it knows everything to be chosen; of a witness, which keeps no
    /// state, neither this nor what follows.
    pub chosen: Option<u64>,
    /// The last slot that it has applied.
    pub applied: Option<u64>,
    /// The last slot that its newest snapshot covers; 0: there is none.
    pub saved: Option<u64>,
    /// Why it did not answer.
    #[serde(skip)]
    pub why: Option<String>,
}

impl Overview {
    /// Asks some nodes only, so that nothing waits for those known to be down; each has the
    /// client's timeout.
    pub async fn of(
        client: &Client,
        asked: &[NodeId],
        addresses: &BTreeMap<NodeId, String>,
    ) -> Overview {
        let mut asking = JoinSet::new();
        for node in asked.iter().copied() {
            let client = client.clone();
            asking.spawn(async move { (node, client.status(node).await) });
        }
        Overview::new(&asking.join_all().await.into_iter().collect(), addresses)
    }

    /// Puts reports together. Nodes without one are down.
    pub fn new(
        reports: &BTreeMap<NodeId, Report>,
        addresses: &BTreeMap<NodeId, String>,
    ) -> Overview {
        let lines = addresses.iter().map(|(node, address)| match reports.get(node) {
            Some(Ok(report)) => {
                let known = |slot: u64| keeps_state(report).then_some(slot);
                NodeLine {
                    node: node.0,
                    addr: address.clone(),
                    role: Some(role(report)),
                    up: true,
                    chosen: known(report.status.chosen.0),
                    applied: known(report.applied.0),
                    saved: known(report.status.saved.0),
                    why: None,
                }
            }
            other => NodeLine {
                node: node.0,
                addr: address.clone(),
                role: None,
                up: false,
                chosen: None,
                applied: None,
                saved: None,
                why: other.and_then(|report| report.as_ref().err()).map(reason),
            },
        });
        Overview { leader: leader(reports), nodes: lines.collect() }
    }

    /// Whether any node answered.
    pub fn any_up(&self) -> bool {
        self.nodes.iter().any(|line| line.up)
    }

    /// Whether every node answered, and all that keep the state have applied equally much.
    pub fn is_level(&self) -> bool {
        let applied = self.nodes.iter().find_map(|line| line.applied);
        let level = |line: &NodeLine| line.applied == applied && line.chosen == applied;
        applied.is_some()
            && self.nodes.iter().all(|line| line.up && (line.applied.is_none() || level(line)))
    }

    /// As a small table.
    pub fn table(&self) -> String {
        let width = self.nodes.iter().map(|line| line.addr.len()).max().unwrap_or(0).max(7);
        let mut text = match self.leader {
            Some(leader) => format!("leader: node {leader}\n"),
            None => "leader: none\n".to_owned(),
        };
        text.push_str(&format!(
            "node  {:width$}  role          up       chosen    applied   snapshot",
            "address"
        ));
        for line in &self.nodes {
            let number = |slot: Option<u64>| slot.map_or("-".to_owned(), |slot| slot.to_string());
            text.push_str(&format!(
                "\n{:>4}  {:width$}  {:12}  {:3}  {:>10} {:>10} {:>10}",
                line.node,
                line.addr,
                line.role.unwrap_or("-"),
                if line.up { "yes" } else { "no" },
                number(line.chosen),
                number(line.applied),
                number(line.saved),
            ));
        }
        text
    }
}

fn keeps_state(report: &NodeReport) -> bool {
    report.hosts.contains(&RoleKind::Learner)
}

fn role(report: &NodeReport) -> &'static str {
    match report.role {
        _ if !keeps_state(report) => "witness",
        Some(MemberRole::Voter) => "voter",
        Some(MemberRole::Learner) if report.hosts.contains(&RoleKind::Proposer) => "front-end",
        Some(_) => "read-replica",
        None => "none",
    }
}

/// Only one node was asked: what it met is the whole reason.
fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { reasons, .. } if reasons.len() == 1 => {
            reasons.values().cloned().collect()
        }
        error => error.to_string(),
    }
}

/// A ballot that is heard of a node that does not answer is one of the past, as far as we can tell.
fn leader(reports: &BTreeMap<NodeId, Report>) -> Option<u64> {
    let answered = || reports.values().filter_map(|report| report.as_ref().ok());
    let highest: Ballot = answered().filter_map(|report| report.status.leader).max()?;
    answered().any(|report| report.node == highest.node).then_some(highest.node.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Slot, Status};

    fn addresses() -> BTreeMap<NodeId, String> {
        (1..=3).map(|node| (NodeId(node), format!("127.0.0.1:740{node}"))).collect()
    }

    fn report(node: u64, leader: Option<(u64, u64)>) -> (NodeId, Report) {
        let leader =
            leader.map(|(round, node)| Ballot { round, node: NodeId(node), incarnation: 1 });
        let status = Status { leader, chosen: Slot(9), ..Status::default() };
        let address = format!("127.0.0.1:740{node}");
        let (applied, links) = (Slot(9), BTreeMap::new());
        let (role, hosts) = (Some(MemberRole::Voter), vec![RoleKind::Acceptor, RoleKind::Learner]);
        let node = NodeId(node);
        (node, Ok(NodeReport { node, address, role, hosts, status, applied, links }))
    }

    #[test]
    fn the_json_form_is_the_one_documented() {
        let reports = [report(1, Some((1, 2))), report(2, Some((1, 2)))].into();
        let text = crate::output::json(&Overview::new(&reports, &addresses())).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"v":1,"leader":2,"nodes":["#,
                r#"{"node":1,"addr":"127.0.0.1:7401","role":"voter","up":true,"chosen":9,"applied":9,"saved":0},"#,
                r#"{"node":2,"addr":"127.0.0.1:7402","role":"voter","up":true,"chosen":9,"applied":9,"saved":0},"#,
                r#"{"node":3,"addr":"127.0.0.1:7403","role":null,"up":false,"chosen":null,"applied":null,"saved":null}]}"#
            )
        );
    }

    #[test]
    fn the_highest_ballot_leads_if_its_node_answers() {
        let leader = |reports: &[(NodeId, Report)]| {
            Overview::new(&reports.iter().cloned().collect(), &addresses()).leader
        };
        assert_eq!(leader(&[report(1, Some((1, 1))), report(2, Some((2, 2)))]), Some(2));
        assert_eq!(leader(&[report(1, Some((2, 3))), report(2, Some((2, 3)))]), None);
        assert_eq!(leader(&[report(1, None)]), None);
        assert_eq!(leader(&[]), None);
    }

    #[test]
    fn why_a_node_is_down_is_said_once() {
        let reasons = [(NodeId(1), "no answer".to_owned())].into();
        let report = Err(ClientError::Unreachable { total: 1, reasons });
        let overview = Overview::new(&[(NodeId(1), report)].into(), &addresses());
        assert_eq!(overview.nodes[0].why.as_deref(), Some("no answer"));
    }

    #[test]
    fn level_means_all_up_and_equal() {
        let all = [report(1, None), report(2, None), report(3, None)];
        assert!(Overview::new(&all.iter().cloned().collect(), &addresses()).is_level());
        assert!(!Overview::new(&all[..2].iter().cloned().collect(), &addresses()).is_level());
        let mut witness = report(3, None);
        if let Ok(report) = &mut witness.1 {
            report.hosts = vec![RoleKind::Acceptor];
            report.applied = Slot(0);
        }
        let reports = [report(1, None), report(2, None), witness].into();
        let overview = Overview::new(&reports, &addresses());
        assert!(overview.is_level(), "who keeps no state is level with everybody");
        assert_eq!((overview.nodes[2].role, overview.nodes[2].applied), (Some("witness"), None));
    }

    #[test]
    fn the_table_is_aligned() {
        let reports = [report(1, Some((1, 1)))].into();
        let table = Overview::new(&reports, &addresses()).table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "leader: node 1");
        assert!(lines[1..].iter().all(|line| line.len() == lines[1].len()), "{table}");
    }
}
