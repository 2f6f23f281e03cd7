//! The actor graph as it ships, in virtual time: a handful of seeds, and what can only be told of a
//! harness by using it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use paxos_core::{NodeId, Position, TopicFilter};
use paxos_net::Client;
use paxos_net::client::Watched;
use paxos_net::protocol::Consistency;
use paxos_tests::simulation::Sum;
use paxos_tests::virtual_time::{Cluster, Printed, Trace, in_virtual_time, run};
use tokio::time::{Instant, timeout};

/// The seeds that every run of the tests goes through.
const SEEDS: std::ops::Range<u64> = 0..12;

#[test]
fn seeds_keep_every_promise_and_repeat_exactly() {
    let mut faults = BTreeMap::<String, u64>::new();
    let (mut stale, mut by_lease) = (0, 0);
    for seed in SEEDS {
        let report = run(seed, Printed::Nothing);
        assert_eq!(report.broken, None, "seed {seed}");
        assert!(report.answered > 10, "seed {seed}: only {} answers", report.answered);
        stale += report.stale;
        by_lease += report.by_lease;
        assert!(report.told > 10, "seed {seed}: only {} events", report.told);
        for (kind, count) in report.faults.by_kind() {
            *faults.entry(kind).or_default() += count;
        }
        if seed < 3 {
            assert_eq!(run(seed, Printed::Nothing), report, "seed {seed} a second time");
        }
    }
    assert!(stale > 100 && by_lease > 50, "{stale} stale reads, {by_lease} by lease");
    for kind in ["Crash", "Cut", "Jump", "Transfer", "SyncFails", "DiskFull", "Rot", "DiskLost"] {
        assert!(faults.contains_key(kind), "no {kind}: {faults:?}");
    }
    assert!(faults["datagrams lost"] > 100 && faults["syncs slowed"] > 10, "{faults:?}");
}

#[test]
fn another_process_tells_the_same_story() {
    let tell = || {
        let output = assert_cmd::Command::cargo_bin("virtual").unwrap().arg("7").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (one, other) = (tell(), tell());
    assert_eq!(one, other);
    let hash = format!("trace hash {:016x} passed", run(7, Printed::Nothing).hash);
    assert_eq!(one.lines().last(), Some(hash.as_str()));
}

#[test]
fn a_range_ends_with_its_verdict() {
    let mut command = assert_cmd::Command::cargo_bin("virtual").unwrap();
    let output = command.args(["--seeds", "20..22", "--jobs", "2"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2 passed, 0 failed\n");
}

/// Three nodes that run and a client of all of them.
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

async fn add(client: &Client, by: u64) -> u64 {
    loop {
        match client.execute_as::<Sum>(&by).await {
            Ok(sum) => return sum,
            Err(error) => assert!(error.certainly_not_applied(), "{error}"),
        }
    }
}

async fn read(client: &Client) -> u64 {
    client.query_as::<Sum>(&(), Consistency::Linearizable).await.unwrap().1
}

#[test]
fn what_was_answered_outlives_a_crash_of_all() {
    three_nodes(async |mut cluster, client| {
        assert_eq!(add(&client, 5).await, 5);
        for node in cluster.nodes() {
            cluster.crash(node);
        }
        for node in cluster.nodes() {
            cluster.start(node).unwrap();
        }
        assert_eq!(add(&client, 2).await, 7);
        cluster.check().await.unwrap();
    });
}

#[test]
fn a_node_that_was_cut_off_catches_up() {
    three_nodes(async |mut cluster, client| {
        assert_eq!(add(&client, 1).await, 1);
        let (one, two, three) = (NodeId(1), NodeId(2), NodeId(3));
        for other in [one, two] {
            cluster.cut(three, other);
            cluster.cut(other, three);
        }
        assert_eq!(add(&client, 1).await, 2);
        cluster.heal();
        cluster.crash(one);
        assert_eq!(add(&client, 1).await, 3);
        let through_three = cluster.client(1, Some(three)).unwrap();
        assert_eq!(read(&through_three).await, 3);
        cluster.check().await.unwrap();
    });
}

#[test]
fn a_node_stopped_by_its_operator_leaves_at_once_and_comes_back() {
    three_nodes(async |mut cluster, client| {
        assert_eq!(add(&client, 1).await, 1);
        for node in cluster.nodes() {
            cluster.stop(node).await;
            assert!(!cluster.runs(node));
            assert!(add(&client, 1).await > 1);
            cluster.start(node).unwrap();
        }
        assert_eq!(read(&client).await, 4);
        cluster.check().await.unwrap();
    });
}

/// From now on the node is alone; or it hears the others, and they hear nothing of it.
fn cut_off(cluster: &Cluster, node: NodeId, hears: bool) {
    for other in cluster.nodes().into_iter().filter(|other| *other != node) {
        cluster.cut(node, other);
        if !hears {
            cluster.cut(other, node);
        }
    }
}

#[test]
fn clients_of_a_leader_that_is_cut_off_are_soon_served_by_the_next() {
    for hears in [false, true] {
        three_nodes(async |cluster, client| {
            // With the first answer it learns who leads, and goes there with the next command.
            assert_eq!((add(&client, 1).await, add(&client, 1).await), (1, 2));
            let leader = cluster.watch().leader().unwrap().node;
            cut_off(&cluster, leader, hears);
            let since = Instant::now();
            assert_eq!(add(&client, 1).await, 3);
            assert_ne!(cluster.watch().leader().unwrap().node, leader);
            let took = since.elapsed();
            assert!(took < Duration::from_secs(1), "{took:?}");
        });
    }
}

#[test]
fn who_follows_a_node_that_is_cut_off_goes_on_at_another() {
    three_nodes(async |mut cluster, client| {
        let mut watchers: Vec<_> = (1..=4)
            .map(|number| {
                let topics = vec![TopicFilter::Exact("sum".to_owned())];
                cluster.client(number, None).unwrap().watch(topics, Position::default())
            })
            .collect();
        for (node, sum) in cluster.nodes().into_iter().zip(1..) {
            cut_off(&cluster, node, false);
            assert_eq!(add(&client, 1).await, sum);
            for watcher in &mut watchers {
                let told = async {
                    loop {
                        let watched: Watched<u64> = watcher.next_as().await.unwrap();
                        if matches!(watched, Watched::Event { event, .. } if event == sum) {
                            break;
                        }
                    }
                };
                timeout(Duration::from_secs(60), told).await.unwrap();
            }
            cluster.heal();
        }
        cluster.check().await.unwrap();
    });
}
