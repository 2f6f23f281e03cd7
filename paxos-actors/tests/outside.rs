//! A detector outside of the nodes moves leadership: the example, run.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../examples/outside.rs"]
#[allow(dead_code, reason = "its main is not called here")]
mod outside;

#[path = "../../paxos-core/tests/support/sum.rs"]
mod sum;

use paxos_actors::{InitOptions, Node, NodeConfig, NodeId, NotOutside, init};
use sum::Sum;

#[actix_rt::test]
async fn a_leader_that_is_called_sick_makes_room_for_another() {
    let home = tempfile::tempdir().unwrap();
    outside::run(&home.path().join("cluster")).await.unwrap();
}

#[actix_rt::test]
async fn a_node_with_a_detector_of_its_own_says_that_it_does_not_listen() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = vec![socket.local_addr().unwrap().to_string()];
    drop(socket);
    init(&InitOptions::new(&folder, addresses)).unwrap();
    let config = NodeConfig::load(&folder.join("cluster.toml"), NodeId(1), None).unwrap();
    let node = Node::<Sum>::start(config).await.unwrap();
    assert_eq!(node.verdicts().suspect(NodeId(1), "why"), Err(NotOutside));
    assert_eq!(node.verdicts().trust(NodeId(1)), Err(NotOutside));
    assert!(NotOutside.to_string().contains("detector = \"outside\""));
    node.stop().await;
}
