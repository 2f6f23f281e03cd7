//! What a seed decides: the cluster, its weather, its faults and its work.

use std::time::Duration;

use paxos_core::{NodeId, Random};

use super::switch::Weather;

/// One run, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes: 1, 3 or 5.
    pub nodes: u64,
    /// Clients, each with one operation outstanding.
    pub clients: u64,
    /// Operations of each client.
    pub operations: u64,
    /// Between two operations of a client, at most.
    pub pause: Duration,
    /// A sync takes up to this.
    pub sync: Duration,
    /// How datagrams fare while faults are on.
    pub weather: Weather,
    /// From one fault to the next, at most.
    pub calm: Duration,
    /// A fault is undone after this at most.
    pub trouble: Duration,
    /// Faults are on for this long; then everything is healed.
    pub faults_for: Duration,
}

/// Something that befalls a cluster, until it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A node loses its power, until it is started again.
    Crash(NodeId),
    /// Nothing gets from the one to the other.
    OneWay(NodeId, NodeId),
    /// Nothing gets from or to the node.
    Alone(NodeId),
    /// The nodes up to this one and those above it do not reach each other.
    Split(NodeId),
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &mut Random) -> Self {
        let mut between = |low: u64, high: u64| low + random.below(high - low + 1);
        let millis = Duration::from_millis;
        Plan {
            nodes: [1, 3, 3, 3, 3, 3, 5, 5][between(0, 7) as usize],
            clients: between(2, 4),
            operations: between(15, 30),
            pause: millis(between(100, 600)),
            sync: Duration::from_micros(between(500, 12_000)),
            weather: Weather {
                delay: millis(between(1, 8)),
                jitter: millis(between(0, 12)),
                loss: between(0, 60),
                duplication: between(0, 60),
                reordering: between(0, 60),
            },
            calm: millis(between(500, 2500)),
            trouble: millis(between(500, 4000)),
            faults_for: millis(between(5000, 10_000)),
        }
    }

    /// The next fault.
    pub fn fault(&self, random: &mut Random) -> Fault {
        let mut any = || NodeId(1 + random.below(self.nodes));
        let (one, other) = (any(), any());
        match random.below(10) {
            0..=4 => Fault::Crash(one),
            5 | 6 if one != other => Fault::OneWay(one, other),
            7 | 8 => Fault::Alone(one),
            _ => Fault::Split(one),
        }
    }
}
