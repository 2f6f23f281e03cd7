//! Three nodes in one process, over real QUIC: the whole graph from a client to the log and back.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../../paxos-core/tests/support/sum.rs"]
mod sum;

use std::path::Path;

use paxos_actors::{InitOptions, Node, NodeConfig, NodeId, Preset, StartError, init};
use paxos_core::{Position, TopicFilter};
use paxos_net::{Watched, Watcher};
use sum::Sum;

/// Ports that were free a moment ago.
fn addresses(count: usize) -> Vec<String> {
    let sockets: Vec<_> =
        (0..count).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect()
}

async fn start(folder: &Path, node: u64) -> Node<Sum> {
    let file = folder.join("cluster.toml");
    let config = NodeConfig::load(&file, NodeId(node), None).unwrap();
    Node::start(config).await.unwrap()
}

/// Asks until the cluster has come together.
async fn add(node: &Node<Sum>, by: u64) -> u64 {
    loop {
        match node.propose(&by).await {
            Ok(sum) => return sum,
            Err(error) if error.certainly_not_applied() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[actix_rt::test]
async fn every_node_serves_and_all_agree() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    init(&InitOptions::new(folder.clone(), addresses(3))).unwrap();
    let nodes = [start(&folder, 1).await, start(&folder, 2).await, start(&folder, 3).await];
    for (sum, node) in (1..).zip(nodes.iter().cycle().take(12)) {
        assert_eq!(add(node, 1).await, sum);
    }
    for node in &nodes {
        assert_eq!(node.query(&()).await.unwrap(), 12);
    }
    for node in nodes {
        node.stop().await;
    }
}

/// The next sums that a watcher is told, with where it goes on.
async fn sums(watcher: &mut Watcher, many: usize) -> Vec<u64> {
    let mut sums = Vec::new();
    while sums.len() < many {
        match watcher.next_as::<u64>().await.unwrap() {
            Watched::Event { topic, event, .. } if topic == "sum" => sums.push(event),
            Watched::Level { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    sums
}

#[actix_rt::test]
async fn cli7_every_node_tells_every_event_once_also_those_from_before_its_restart() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    init(&InitOptions::new(folder.clone(), addresses(3))).unwrap();
    let mut nodes = vec![start(&folder, 1).await, start(&folder, 2).await, start(&folder, 3).await];
    let topics = || vec![TopicFilter::Exact("sum".to_owned())];
    let mut watchers: Vec<_> =
        nodes.iter().map(|node| node.watch(topics(), Position::default())).collect();
    for sum in 1..=5 {
        assert_eq!(add(&nodes[sum as usize % 3], 1).await, sum);
    }
    for watcher in &mut watchers {
        assert_eq!(sums(watcher, 5).await, [1, 2, 3, 4, 5]);
    }
    // Another run of a node knows what its log says.
    nodes.remove(0).stop().await;
    nodes.insert(0, start(&folder, 1).await);
    let mut anew = nodes[0].watch(topics(), Position::default());
    assert_eq!(sums(&mut anew, 5).await, [1, 2, 3, 4, 5]);
    let mut further = nodes[0].watch(topics(), watchers[1].after());
    add(&nodes[2], 4).await;
    for watcher in watchers[1..].iter_mut().chain([&mut anew, &mut further]) {
        assert_eq!(sums(watcher, 1).await, [9]);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[actix_rt::test]
async fn a_stopped_cluster_comes_back_with_everything() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    init(&InitOptions::new(folder.clone(), addresses(3))).unwrap();
    for round in 1..=3 {
        let nodes = [start(&folder, 1).await, start(&folder, 2).await, start(&folder, 3).await];
        for step in 1..=5 {
            assert_eq!(add(&nodes[0], 1).await, (round - 1) * 5 + step);
        }
        for node in nodes {
            node.stop().await;
        }
    }
}

#[actix_rt::test]
async fn services_differ_in_what_the_same_graph_is_configured_with() {
    let mut other = Preset { window: Some(8), ..Preset::default() };
    other.batching.batches_in_flight = 2;
    other.snapshots.every_bytes = 1 << 20;
    other.sessions.max = 100;
    let mut graphs = Vec::new();
    for preset in [Preset::default(), other] {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cluster");
        init(&InitOptions { preset, ..InitOptions::new(&folder, addresses(1)) }).unwrap();
        let node = start(&folder, 1).await;
        graphs.push(node.graph().to_owned());
        node.stop().await;
    }
    // The name of a line of configuration; every other line as a whole.
    let name = |line: &str| match line.strip_prefix("  ") {
        Some(rest) if !line.starts_with("   ") => rest.split(' ').next().unwrap().to_owned(),
        _ => line.to_owned(),
    };
    let names = |graph: &str| graph.lines().map(name).collect::<Vec<_>>();
    assert_eq!(names(&graphs[0]), names(&graphs[1]));
    let configured = ["8 slots", "2 in flight", "every 1048576 bytes", "100 at most"];
    for words in configured {
        assert!(graphs[1].contains(words) && !graphs[0].contains(words), "{}", graphs[1]);
    }
}

#[actix_rt::test]
async fn a_cluster_of_one_needs_nobody() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    init(&InitOptions::new(folder.clone(), addresses(1))).unwrap();
    let node = start(&folder, 1).await;
    assert_eq!(add(&node, 7).await, 7);
    assert!(node.graph().contains("1 in phase 1, 1 in phase 2, of 1"), "{}", node.graph());
    node.stop().await;
}

#[actix_rt::test]
async fn a_dropped_node_keeps_its_directory_until_it_has_written_its_last() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cluster");
    init(&InitOptions::new(folder.clone(), addresses(1))).unwrap();
    let mut sum = 0;
    for _ in 0..5 {
        let node = loop {
            let file = folder.join("cluster.toml");
            let config = NodeConfig::load(&file, NodeId(1), None).unwrap();
            match Node::<Sum>::start(config).await {
                Ok(node) => break node,
                // The run before is still at it: its lock, or its port, is not free yet.
                Err(StartError::Lock(_) | StartError::Bind(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        for _ in 0..3 {
            sum += 1;
            assert_eq!(add(&node, 1).await, sum);
        }
        drop(node);
    }
}
