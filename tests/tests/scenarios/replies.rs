//! Scenario NET13, with the actors as they ship, over QUIC in virtual time: a client that the
//! leader alone cannot hear, or that cannot hear the leader.

use std::future::Future;
use std::time::Duration;

use paxos_core::NodeId;
use paxos_net::Client;
use paxos_net::protocol::Consistency;
use paxos_tests::simulation::Sum;
use paxos_tests::virtual_time::{Cluster, Printed, Trace, in_virtual_time};

/// Three nodes that run, and client 0, which may ask all of them.
fn three_nodes<F: Future<Output = ()>>(story: impl FnOnce(Cluster, Client) -> F) {
    in_virtual_time(async {
        let trace = Trace::new(Printed::Nothing);
        let mut cluster = Cluster::new(3, 1, Duration::from_millis(2), trace).unwrap();
        for node in cluster.nodes() {
            cluster.start(node).unwrap();
        }
        let client = cluster.client(0, None).unwrap();
        story(cluster, client).await;
    });
}

async fn leader(client: &Client) -> NodeId {
    loop {
        for report in client.statuses().await.into_values().flatten() {
            if let Some(ballot) = report.status.leader {
                return ballot.node;
            }
        }
    }
}

#[test]
fn net13_a_client_that_does_not_reach_the_leader_is_served_through_another_node() {
    three_nodes(async |mut cluster, client| {
        assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1));
        let leading = leader(&client).await;
        let led = cluster.watch().leaders();
        cluster.cut_client(leading, 0);
        for sum in 2..=4 {
            assert_eq!(client.execute_as::<Sum>(&1).await, Ok(sum));
        }
        let read = client.query_as::<Sum>(&(), Consistency::Linearizable).await;
        assert_eq!(read.map(|(_, sum)| sum), Ok(4));
        assert_eq!(cluster.watch().leaders(), led, "the leader never knew");
        // A client that begins only now does not reach it either.
        cluster.cut_client(leading, 1);
        let late = cluster.client(1, None).unwrap();
        assert_eq!(late.execute_as::<Sum>(&1).await, Ok(5));
        cluster.check().await.unwrap();
    });
}

#[test]
fn net13_a_command_whose_reply_was_lost_is_asked_for_elsewhere_and_runs_once() {
    three_nodes(async |mut cluster, client| {
        let mut sum = 0;
        for _ in 0..4 {
            sum += 1;
            assert_eq!(client.execute_as::<Sum>(&1).await, Ok(sum));
            let leading = leader(&client).await;
            // It runs there, and the client hears nothing of it.
            cluster.lose_replies(leading, 0);
            sum += 5;
            assert_eq!(client.execute_as::<Sum>(&5).await, Ok(sum), "once, and not twice");
            cluster.heal();
        }
        let other = cluster.client(1, None).unwrap();
        let read = other.query_as::<Sum>(&(), Consistency::Linearizable).await;
        assert_eq!(read.map(|(_, read)| read), Ok(sum));
        cluster.check().await.unwrap();
    });
}
