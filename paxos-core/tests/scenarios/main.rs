//! Regression scenarios: mistakes that implementations of this protocol have made, told as
//! stories. The name of each begins with its id in `tests/FAULTS.md`.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod agreement;
mod ballots;
mod clients;
#[path = "../support/cluster.rs"]
mod cluster;
mod elections;
mod reads;
mod storage;
#[path = "../support/sum.rs"]
mod sum;

use std::time::Duration;

use cluster::Cluster;
use paxos_core::ProposerOptions;

const SECONDS: Duration = Duration::from_secs(5);

fn retransmit() -> Duration {
    ProposerOptions::default().retransmit
}

/// n1 leads by the promises of n1 and n2, and its proposal of 'x' for #1 is on its way to all.
fn with_x_on_its_way(n: u64) -> Cluster {
    x_on_its_way(Cluster::of(n), n)
}

fn x_on_its_way(mut cluster: Cluster, n: u64) -> Cluster {
    cluster.campaign(1);
    cluster.propose(1, "x");
    for node in 1..=n / 2 + 1 {
        cluster.deliver(&format!("n1 -> n{node} prepare"));
        cluster.deliver(&format!("n{node} -> n1 promise"));
    }
    assert!(cluster.leads(1));
    cluster
}

/// Has the node win an election by the promises of these acceptors and no others.
fn elect(cluster: &mut Cluster, leader: u64, acceptors: &[u64]) {
    cluster.campaign(leader);
    for acceptor in acceptors {
        cluster.deliver(&format!("n{leader} -> n{acceptor} prepare"));
        cluster.deliver(&format!("n{acceptor} -> n{leader} promise"));
    }
    assert!(cluster.leads(leader), "{:?}", cluster.in_flight(""));
}
