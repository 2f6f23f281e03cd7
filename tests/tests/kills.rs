//! `kill -9` of real nodes under load: service goes on while a quorum is left, comes back when
//! there is one again, and every increment that was acknowledged is there, once.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_tests::processes::{Cluster, Form, Load, until};
use serde_json::Value;

const CLIENTS: u64 = 8;
/// Increments that show that service goes on.
const SOME: u64 = 200;

/// What the load has counted is what every node reads.
#[track_caller]
fn counted_once(cluster: &Cluster, load: Load) {
    let acknowledged = load.stop();
    cluster.await_level();
    for node in cluster.form().nodes() {
        assert_eq!(cluster.get_via("hits", node), acknowledged, "through node {node}");
    }
}

/// Waits until the nodes remember that the last leader was missed, that this one took over, and how
/// long each part of that took.
fn await_history(cluster: &Cluster, next: u64) {
    let parts = [(None, "detect_ms"), (Some(next), "elect_ms"), (Some(next), "ready_ms")];
    until("the change of leadership is remembered", || {
        let told = cluster.told(&["leader", "history", "-o", "json"]);
        let history: Value = serde_json::from_str(told.ok()).unwrap();
        let changes = history["changes"].as_array().unwrap();
        assert!(
            changes.iter().all(|change| change["why"].as_str().is_some_and(|it| !it.is_empty()))
        );
        let saw = |(leader, part): (Option<u64>, &str)| {
            let is = |change: &Value| change["leader"].as_u64() == leader && change[part].is_u64();
            changes.iter().any(is)
        };
        parts.into_iter().all(saw).then_some(())
    });
}

fn leader_dies_under_load(cluster: &mut Cluster) {
    let load = Load::start(cluster.client_config(), CLIENTS, "hits");
    load.await_more(SOME);
    let fallen = cluster.leader();
    cluster.kill(fallen);
    load.await_more(SOME);
    let next = until("another node leads", || {
        cluster.status()["leader"].as_u64().filter(|leader| *leader != fallen)
    });
    assert_ne!(next, fallen);
    await_history(cluster, next);
    let missed = cluster.status()["nodes"][next as usize - 1]["applied"].as_u64().unwrap();
    cluster.start(fallen);
    until("the restarted node has caught up", || {
        let applied = cluster.status()["nodes"][fallen as usize - 1]["applied"].as_u64()?;
        (applied >= missed).then_some(())
    });
    load.await_more(SOME);
    counted_once(cluster, load);
}

#[test]
fn service_survives_the_kill_of_its_leader_and_the_restarted_node_catches_up() {
    leader_dies_under_load(&mut Cluster::started());
}

#[test]
fn service_of_roles_apart_survives_the_kill_of_its_leader_and_of_a_witness() {
    let mut cluster = Cluster::started_as(Form::Apart);
    cluster.kill(2);
    assert_eq!(cluster.incr("others", 1), 1, "two of three witnesses are a quorum");
    cluster.start(2);
    leader_dies_under_load(&mut cluster);
}

#[test]
fn a_cluster_that_speaks_json_works_and_survives_the_kill_of_its_leader() {
    let mut cluster = Cluster::made();
    cluster.edit("codec = \"binary\"", "codec = \"json\"");
    cluster.start_all();
    assert_eq!(cluster.incr("größe", 3), 3);
    assert_eq!(cluster.told(&["list"]).ok(), "größe  3");
    leader_dies_under_load(&mut cluster);
}

#[test]
fn without_a_quorum_commands_end_in_time_and_say_so_until_a_node_is_back() {
    let mut cluster = Cluster::started();
    assert_eq!(cluster.incr("hits", 1), 1);
    cluster.kill(1);
    cluster.kill(2);
    let third = cluster.address(3).to_owned();
    for line in [&["get", "hits"][..], &["incr", "hits"], &["get", "hits", "--via", &third]] {
        let line = [line, &["--timeout", "2s"]].concat();
        cluster.told(&line).failed_with(69, &["reached 1 of 3, need 2"]);
    }
    cluster.start(1);
    assert_eq!(cluster.get_via("hits", 3), 1, "nothing of what was refused was counted");
    assert_eq!(cluster.incr("hits", 1), 2);
}

#[test]
fn proc1_all_nodes_killed_at_once_come_back_with_everything_acknowledged() {
    for form in Form::ALL {
        let mut cluster = Cluster::started_as(form);
        let load = Load::start(cluster.client_config(), CLIENTS, "hits");
        for _ in 0..3 {
            load.await_more(SOME);
            cluster.kill_all();
            cluster.start_all();
        }
        load.await_more(SOME);
        counted_once(&cluster, load);
    }
}

#[test]
fn a_watch_survives_the_loss_of_its_node() {
    let mut cluster = Cluster::started();
    let mut watch = cluster.begin(&["watch", "hits", "--count", "4"]);
    assert_eq!(watch.line().as_deref(), Some("0"));
    // Each node in turn: one of them is the one that it follows.
    for node in 1..=3u64 {
        cluster.kill(node);
        assert_eq!(cluster.incr("hits", 1), node);
        assert_eq!(watch.line(), Some(node.to_string()), "without node {node}");
        cluster.start(node);
    }
    let told = watch.told();
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "0\n1\n2\n3\n"));
}

#[test]
fn a_node_told_to_stop_ends_in_order_and_the_others_go_on() {
    let mut cluster = Cluster::started();
    let load = Load::start(cluster.client_config(), 2, "hits");
    load.await_more(SOME);
    let leader = cluster.leader();
    let node = cluster.take(leader);
    node.signal(rustix::process::Signal::INT);
    assert_eq!(node.told().code, Some(0));
    load.await_more(SOME);
    cluster.start(leader);
    counted_once(&cluster, load);
}
