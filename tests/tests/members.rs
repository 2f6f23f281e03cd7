//! Members come and go while clients work: real nodes, real command lines.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;

use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::{Cluster, Process, Told, until};

/// Waits until a process has ended because its node was removed, and says so.
fn await_removed(cluster: &mut Cluster, node: u64) {
    cluster.take(node).told().failed_with(78, &["was removed from the cluster", "delete"]);
}

/// Waits until a torture tells that more increments were acknowledged than so many, and how many.
fn await_more_than(before: u64, torture: &mut Process) -> u64 {
    loop {
        let line = torture.line_with("increments acknowledged");
        let count = line.split_whitespace().nth(2).unwrap().replace(',', "").parse().unwrap();
        if count > before {
            return count;
        }
    }
}

fn members(cluster: &Cluster) -> Vec<(u64, String)> {
    let told = cluster.told(&["members", "list", "-o", "json"]);
    let said: serde_json::Value = serde_json::from_str(told.ok()).unwrap();
    let member = |member: &serde_json::Value| {
        (member["node"].as_u64().unwrap(), member["role"].as_str().unwrap().to_owned())
    };
    said["members"].as_array().unwrap().iter().map(member).collect()
}

#[test]
fn cli9_clus1_all_machines_are_replaced_while_clients_count_who_know_only_the_old_ones() {
    let mut cluster = Cluster::started();
    let history = cluster.folder().join("history.jsonl");
    let line = ["torture", "--clients", "8", "--until-stdin-closes"];
    let mut torture = cluster.begin(&[&line[..], &["--history", path_text(&history)]].concat());
    let mut acknowledged = await_more_than(0, &mut torture);
    for removed in 1..=3 {
        let node = cluster.admit(&["members", "replace", &removed.to_string(), "ADDRESS"]);
        assert_eq!(node, removed + 3, "ids are counted");
        cluster.start(node);
        await_removed(&mut cluster, removed);
        acknowledged = await_more_than(acknowledged, &mut torture);
    }
    torture.close_stdin();
    let torture = torture.told();
    let verdict = torture.ok().lines().last().unwrap();
    let counted = verdict.strip_prefix("acknowledged ").unwrap().split(',').next().unwrap();
    assert!(counted.parse::<u64>().unwrap() >= acknowledged, "{verdict}");
    assert_eq!(verdict, format!("acknowledged {counted}, counter {counted}, lost 0, doubled 0"));
    let mut judge = assert_cmd::Command::new(env!("CARGO_BIN_EXE_check-history"));
    let judged = Told::from(&judge.arg(&history).output().unwrap());
    assert!(judged.ok().starts_with("linearizable: processes 8, "), "{judged:?}");
    cluster.await_level();
    let voters: Vec<_> = (4..=6).map(|node| (node, "voter".to_owned())).collect();
    assert_eq!(members(&cluster), voters);
}

#[test]
fn r12_a_learner_joins_restarts_as_a_learner_and_becomes_a_voter_when_it_has_caught_up() {
    let mut cluster = Cluster::started();
    cluster.incr("hits", 5);
    let node = cluster.admit(&["members", "add", "ADDRESS"]);
    let promote = ["members", "promote", "4"];
    cluster.told_admin(&promote).failed_with(75, &["does not say whether it has caught up"]);
    cluster.start(node);
    assert_eq!(cluster.get_via("hits", node), 5);
    cluster.kill_all();
    cluster.start_all();
    cluster.start(node);
    assert_eq!(members(&cluster)[3], (4, "learner".to_owned()));
    until("it has caught up", || (cluster.told_admin(&promote).code == Some(0)).then_some(()));
    assert_eq!(members(&cluster)[3], (4, "voter".to_owned()));
    cluster.told_admin(&promote).failed_with(64, &["n4 is a voter already"]);
    cluster.told_admin(&["members", "demote", "1"]).ok();
    assert_eq!(members(&cluster)[0], (1, "learner".to_owned()));
    // Two of the three voters are enough, whoever they are.
    cluster.kill(1);
    cluster.kill(2);
    cluster.incr("hits", 1);
}

#[test]
fn clus6_clus2_r6_removed_nodes_say_so_and_end_and_never_come_back() {
    let mut cluster = Cluster::started();
    cluster.incr("hits", 1);
    let file = fs::read_to_string(cluster.file()).unwrap();
    // The leader, twice: the last one left is alone.
    for left in (1..=2).rev() {
        let leader = cluster.leader();
        cluster.told_admin(&["members", "remove", &leader.to_string()]).ok();
        await_removed(&mut cluster, leader);
        cluster.incr("hits", 1);
        assert_eq!(members(&cluster).len(), left);
    }
    let alone = members(&cluster)[0].0.to_string();
    cluster.told_admin(&["members", "remove", &alone]).failed_with(64, &["no acceptor has a vote"]);
    // With its old files a removed node still finds nobody who takes it.
    let removed = (1..=3).find(|node| node.to_string() != alone).unwrap();
    let forgotten = cluster.told(&["serve", "--node", &removed.to_string()]);
    forgotten.failed_with(78, &["names no node"]);
    fs::write(cluster.file(), file).unwrap();
    let told = cluster.told(&["serve", "--node", &removed.to_string()]);
    told.failed_with(78, &["was removed from the cluster"]);
    let node = cluster.admit(&["members", "add", "ADDRESS", "--role", "voter"]);
    assert_eq!(node, 4, "ids are never given again");
    cluster.start(node);
    assert_eq!(cluster.incr("hits", 1), 4);
}

#[test]
fn what_changes_the_cluster_needs_an_admin_and_makes_sense() {
    let cluster = Cluster::started();
    for line in [
        &["members", "add", "127.0.0.1:9"][..],
        &["members", "promote", "1", "--force"],
        &["members", "demote", "1"],
        &["members", "remove", "1"],
        &["members", "replace", "1", "127.0.0.1:9"],
    ] {
        let words = ["client/client is no admin's certificate", "--identity"];
        match line[1] {
            // There is nothing to ask for.
            "promote" => cluster.told(line).failed_with(64, &["is a voter already"]),
            _ => cluster.told(line).failed_with(77, &words),
        }
    }
    assert!(!cluster.node_folder(4).exists(), "what was refused leaves nothing behind");
    assert!(!fs::read_to_string(cluster.file()).unwrap().contains("127.0.0.1:9\""));
    let first = cluster.address(1).to_owned();
    let admin = |line: &[&str]| cluster.told_admin(line);
    admin(&["members", "add", &first]).failed_with(64, &["is the address of n1"]);
    admin(&["members", "add", "nonsense"]).failed_with(64, &["\"nonsense\" is no address"]);
    admin(&["members", "remove", "9"]).failed_with(64, &["n9 is no member"]);
    fs::rename(cluster.folder().join("ca"), cluster.folder().join("away")).unwrap();
    admin(&["members", "add", "127.0.0.1:9"]).failed_with(78, &["ca/"]);
    assert_eq!(members(&cluster).len(), 3);
    assert_eq!(cluster.incr("hits", 1), 1, "and the cluster goes on");
}
