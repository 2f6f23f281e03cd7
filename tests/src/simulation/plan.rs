//! What a seed decides: the cluster, its faults and its work.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_core::{NodeId, Random};

/// One run, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes, 3 or 5.
    pub nodes: u64,
    /// Clients, each with one operation outstanding.
    pub clients: u64,
    /// Operations of each client.
    pub operations: u64,
    /// Parts per thousand of the messages between nodes that are lost while faults are on.
    pub loss: u64,
    /// The same for what is sent to a node, where it differs.
    pub loss_to: BTreeMap<NodeId, u64>,
    /// Parts per thousand that come twice.
    pub duplication: u64,
    /// Parts per thousand that are held back long enough to be overtaken.
    pub reordering: u64,
    /// Time from one crash of some node to the next, on average.
    pub crash_every: Duration,
    /// A node that crashed stays away for up to this.
    pub down_for: Duration,
    /// A sync takes up to this.
    pub sync: Duration,
    /// Faults are on for this long; then the world is healed.
    pub faults_for: Duration,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &mut Random) -> Self {
        let mut between = |low: u64, high: u64| low + random.below(high - low + 1);
        Plan {
            nodes: if between(0, 2) == 0 { 5 } else { 3 },
            clients: between(3, 6),
            operations: between(40, 60),
            loss: between(5, 150),
            loss_to: BTreeMap::new(),
            duplication: between(5, 100),
            reordering: between(5, 100),
            crash_every: Duration::from_millis(between(400, 2000)),
            down_for: Duration::from_millis(between(50, 1500)),
            sync: Duration::from_micros(between(100, 20_000)),
            faults_for: Duration::from_millis(between(4000, 8000)),
        }
    }

    /// The same plan on a network that delays and reorders, and does nothing worse.
    pub fn only_reordering(self) -> Self {
        let crash_every = Duration::from_secs(1 << 30);
        Plan { loss: 0, duplication: 0, reordering: 700, crash_every, ..self }
    }

    /// The same plan on a network that loses messages on their way to this node, and to no other.
    pub fn losing_to(self, node: NodeId, per_mille: u64) -> Self {
        let loss_to = BTreeMap::from([(node, per_mille)]);
        Plan { loss: 0, loss_to, ..self }
    }
}

/// What happened, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages lost.
    pub lost: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Messages held back.
    pub reordered: u64,
    /// Nodes crashed.
    pub crashed: u64,
    /// Crashes that lost records which were not synced.
    pub torn: u64,
}

impl Faults {
    /// The kinds that did not happen.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = [
            ("loss", self.lost),
            ("duplication", self.duplicated),
            ("reordering", self.reordered),
            ("crash", self.crashed),
        ];
        kinds.iter().filter(|(_, count)| *count == 0).map(|(kind, _)| *kind).collect()
    }
}
