//! Snapshots on demand, backups of running clusters, and clusters that begin with one.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;

use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::{Cluster, Load, told};

#[test]
fn clus10_a_backup_of_a_running_cluster_begins_another_one() {
    let old = Cluster::started();
    old.incr("before", 7);
    let load = Load::start(old.client_config(), 4, "hits");
    load.await_more(50);
    let backup = old.folder().join("backup");
    let acknowledged = load.acknowledged();
    old.told_admin(&["backup", path_text(&backup)]).ok();
    load.await_more(50);
    let end = load.stop();
    old.told_admin(&["backup", path_text(&backup)]).failed_with(64, &["is there already"]);

    let mut new = Cluster::restored(&backup);
    let id = |cluster: &Cluster| {
        let text = fs::read_to_string(cluster.file()).unwrap();
        text.lines().find(|line| line.starts_with("cluster = ")).unwrap().to_owned()
    };
    assert_ne!(id(&old), id(&new), "it is another cluster");
    new.start_all();
    assert_eq!(new.get_via("before", 1), 7);
    let restored = new.get_via("hits", 2);
    assert!((acknowledged..=end).contains(&restored), "{acknowledged} <= {restored} <= {end}");
    assert_eq!(new.incr("hits", 1), restored + 1);
    // A node that lost the snapshot must not begin at the first slot; another one may still join.
    new.kill(3);
    fs::remove_dir_all(new.node_folder(3).join("data/snapshots")).unwrap();
    let refused = new.told(&["serve", "--node", "3"]);
    refused.failed_with(74, &["a snapshot that covers every slot below"]);
    let node = new.admit(&["members", "replace", "3", "ADDRESS"]);
    new.start(node);
    assert_eq!(new.get_via("hits", node), restored + 1);
    // The old one knows nothing of all this, and its certificates are of no use here.
    assert_eq!(old.incr("hits", 1), end + 1);
    let stranger = old.folder().join("client");
    let told = new.told(&["get", "hits", "--identity", path_text(&stranger)]);
    told.failed_with(77, &["certificate"]);
}

#[test]
fn a_restore_takes_the_place_of_nobody_who_runs() {
    let cluster = Cluster::started();
    cluster.incr("hits", 1);
    let backup = cluster.folder().join("backup");
    cluster.told_admin(&["backup", path_text(&backup)]).ok();
    let (backup, elsewhere) = (path_text(&backup), cluster.folder().join("new"));
    let restore =
        |nodes: &str, dir: &str| told(["restore", backup, "--nodes", nodes, "--dir", dir]);
    let live = restore(cluster.address(2), path_text(&elsewhere));
    live.failed_with(78, &["something answers at", cluster.address(2)]);
    assert!(!elsewhere.exists());
    let there = restore("127.0.0.1:9", path_text(cluster.folder()));
    there.failed_with(78, &["is there already"]);
    let state = cluster.folder().join("backup/state.snap");
    let mut bytes = fs::read(&state).unwrap();
    bytes[40] ^= 1;
    fs::write(&state, bytes).unwrap();
    let damaged = restore("127.0.0.1:9", path_text(&elsewhere));
    damaged.failed_with(74, &["state.snap is damaged: its checksum is wrong"]);
    assert!(!elsewhere.exists());
}

#[test]
fn snapshots_are_made_on_demand_by_an_admin_and_listed_and_verified() {
    let cluster = Cluster::started();
    cluster.incr("hits", 3);
    cluster.told(&["snapshot", "list", "--node", "1"]).ok();
    cluster.told(&["snapshot", "now"]).failed_with(77, &["client/client is no admin's"]);
    let denied = cluster.folder().join("denied");
    cluster.told(&["backup", path_text(&denied)]).failed_with(77, &["is no admin's"]);
    assert!(!denied.exists());
    let made = cluster.told_admin(&["snapshot", "now", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(made.ok()).unwrap();
    assert_eq!(made["nodes"].as_array().unwrap().len(), 3);
    for node in ["1", "2", "3"] {
        let listed = cluster.told(&["snapshot", "verify", "--node", node, "-o", "json"]);
        let listed: serde_json::Value = serde_json::from_str(listed.ok()).unwrap();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1, "{listed}");
    }
    cluster.told_admin(&["snapshot", "now", "--node", "9"]).failed_with(78, &["names no node 9"]);
    // Again without anything new is done at once.
    cluster.told_admin(&["snapshot", "now", "--node", "2"]).ok();
    let folder = cluster.node_folder(2).join("data/snapshots");
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let verified = cluster.told(&["snapshot", "verify", "--node", "2"]);
    verified.failed_with(74, &[path_text(&file), "its checksum is wrong"]);
}
