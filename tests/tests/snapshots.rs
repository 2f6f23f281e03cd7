//! Snapshots of real nodes: the log stays short, who was away takes one, and a damaged one is
//! refused by name.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::path::PathBuf;

use paxos_tests::processes::{Cluster, Form, Load, until};

const CLIENTS: u64 = 8;

/// Snapshots of a few hundred commands, and the log in small files.
fn saving(form: Form) -> Cluster {
    let mut cluster = Cluster::made_as(form);
    cluster.edit("every_bytes = 33554432", "every_bytes = 20000");
    cluster.edit("segment_bytes = 16777216", "segment_bytes = 65536");
    cluster.start_all();
    cluster
}

/// The files in a node's data directory, or in one inside it.
fn files(cluster: &Cluster, node: u64, inside: &str, ending: &str) -> Vec<PathBuf> {
    let folder = cluster.node_folder(node).join("data").join(inside);
    // There is no directory before the first snapshot.
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let listed = listed.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        listed.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    found.sort();
    found
}

fn snapshots(cluster: &Cluster, node: u64) -> Vec<PathBuf> {
    files(cluster, node, "snapshots", ".snap")
}

fn saved(cluster: &Cluster, node: u64) -> u64 {
    cluster.status()["nodes"][node as usize - 1]["saved"].as_u64().unwrap_or_default()
}

/// Has so many snapshots made by a node, while clients count.
fn await_snapshots(cluster: &Cluster, node: u64, count: u64) {
    for _ in 0..count {
        let before = saved(cluster, node);
        until("a snapshot", || (saved(cluster, node) > before).then_some(()));
    }
}

#[test]
fn clus5_d8_d9_a_node_that_was_away_for_longer_than_the_log_comes_back_by_a_snapshot() {
    for form in Form::ALL {
        comes_back_by_a_snapshot(saving(form));
    }
}

fn comes_back_by_a_snapshot(mut cluster: Cluster) {
    let [first, second, away] = cluster.form().replicas().collect::<Vec<_>>()[..] else { panic!() };
    let load = Load::start(cluster.client_config(), CLIENTS, "hits");
    load.await_more(100);
    cluster.kill(away);
    let missed = cluster.status()["nodes"][first as usize - 1]["applied"].as_u64().unwrap();
    await_snapshots(&cluster, first, 4);
    await_snapshots(&cluster, second, 2);
    assert!(snapshots(&cluster, away).len() <= 2);
    cluster.start(away);
    until("it has taken a snapshot", || (saved(&cluster, away) > missed).then_some(()));
    load.await_more(100);
    let acknowledged = load.stop();
    cluster.await_level();
    for node in cluster.form().nodes() {
        assert_eq!(cluster.get_via("hits", node), acknowledged, "through node {node}");
        let stored = snapshots(&cluster, node).len();
        let keeps = if cluster.form().replicas().contains(&node) { 1..=2 } else { 0..=0 };
        assert!(keeps.contains(&stored), "node {node} has {stored} snapshots");
        // Of a witness too, which is told by the leader what it may cut.
        let log = || files(&cluster, node, "", ".seg").len();
        until("the log is short", || (log() <= 16).then_some(()));
    }
}

/// So much of a snapshot that comes from a peer is marked as written in a node's directory.
fn marked(cluster: &Cluster, node: u64) -> Option<u64> {
    let marks = fs::read(files(cluster, node, "snapshots", "coming.marks").pop()?).ok()?;
    Some(u64::from_le_bytes(*marks.get(512..)?.first_chunk()?))
}

#[test]
fn clus4_a_node_that_is_killed_while_it_fetches_goes_on_where_it_was() {
    let mut cluster = Cluster::made();
    cluster.edit("every_bytes = 33554432", "every_bytes = 20000");
    cluster.edit("segment_bytes = 16777216", "segment_bytes = 65536");
    cluster.edit("fetch_bytes_per_second = 67108864", "fetch_bytes_per_second = 8000");
    cluster.start_all();
    cluster.incr("hits", 1);
    cluster.kill(3);
    let fill = ["bench", "--counters", "200", "--name-bytes", "250", "--duration", "2s"];
    cluster.told(&fill).ok();
    for node in [1, 2] {
        assert_eq!(snapshots(&cluster, node).len(), 2, "node {node} has not cut its log");
    }
    cluster.start(3);
    until("some pieces are here", || marked(&cluster, 3).filter(|bytes| *bytes >= 4000));
    cluster.kill(3);
    assert!(snapshots(&cluster, 3).is_empty(), "the fetch was over before the node was killed");
    let begun = marked(&cluster, 3).unwrap();
    cluster.start(3);
    let words = until("the snapshot is fetched", || {
        let words = cluster.node(3).stderr();
        words.contains("snapshot fetched").then_some(words)
    });
    let line = words.lines().find(|line| line.contains("fetching a snapshot")).unwrap();
    assert!(line.contains(&format!("offset={begun}")), "{line}");
    cluster.await_level();
    assert_eq!(cluster.get_via("hits", 3), 1);
}

#[test]
fn proc1_all_nodes_killed_while_they_save_come_back_with_everything_acknowledged() {
    let mut cluster = saving(Form::Together);
    let load = Load::start(cluster.client_config(), CLIENTS, "hits");
    for _ in 0..5 {
        load.await_more(150);
        cluster.kill_all();
        cluster.start_all();
    }
    await_snapshots(&cluster, 1, 2);
    let acknowledged = load.stop();
    cluster.await_level();
    for node in 1..=3 {
        assert_eq!(cluster.get_via("hits", node), acknowledged, "through node {node}");
    }
}

#[test]
fn disk4_a_damaged_or_missing_snapshot_is_refused_by_name_and_left_as_it_is() {
    let mut cluster = saving(Form::Together);
    let load = Load::start(cluster.client_config(), CLIENTS, "hits");
    await_snapshots(&cluster, 3, 3);
    let acknowledged = load.stop();
    cluster.kill(3);
    let newest = snapshots(&cluster, 3).pop().unwrap();
    let mut damaged = fs::read(&newest).unwrap();
    *damaged.last_mut().unwrap() ^= 4;
    fs::write(&newest, &damaged).unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap();
    cluster.serve(3, &[]).told().failed_with(74, &[name, "checksum is wrong"]);
    assert_eq!(fs::read(&newest).unwrap(), damaged, "it is left as it is");
    let away: Vec<_> = snapshots(&cluster, 3)
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            (path, bytes)
        })
        .collect();
    cluster.serve(3, &[]).told().failed_with(74, &["a snapshot that covers every slot below"]);
    // The older one will do.
    for (path, bytes) in away.iter().filter(|(path, _)| *path != newest) {
        fs::write(path, bytes).unwrap();
    }
    cluster.start(3);
    cluster.await_level();
    assert_eq!(cluster.get_via("hits", 3), acknowledged);
}
