//! `log verify` and `log dump`: the log of a node that does not run, shown and checked.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use paxos_tests::processes::Cluster;
use serde_json::Value;

const FIRST: &str = "log-0000000001.seg";

/// A cluster with something in its logs, whose nodes do not run.
fn stopped() -> Cluster {
    let mut cluster = Cluster::started();
    for round in 1..=3 {
        assert_eq!(cluster.incr("hits", 1), round);
    }
    cluster.await_level();
    cluster.kill_all();
    cluster
}

/// The files of a node's data directory, and what is in them.
fn contents(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap());
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let named = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    });
    named.collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_log_of_a_stopped_node_is_verified_and_dumped_and_nothing_is_written() {
    let mut cluster = stopped();
    let data = cluster.node_folder(1).join("data");
    let before = contents(&data);

    let told = cluster.told(&["log", "verify", "--node", "1"]);
    let text = told.ok();
    assert!(text.starts_with(FIRST) && text.ends_with("\nsound"), "{text}");
    let told = cluster.told(&["log", "verify", "--node", "1", "-o", "json"]);
    let verdicts = lines(told.ok());
    let (last, segments) = verdicts.split_last().unwrap();
    assert_eq!((&last["v"], &last["sound"]), (&1.into(), &true.into()));
    assert_eq!(last["segments"], segments.len());
    assert!(segments.iter().all(|segment| segment["frames"].as_u64() > Some(0)), "{segments:?}");

    let told = cluster.told(&["log", "dump", "--node", "1", "-o", "json"]);
    let records = lines(told.ok());
    assert_eq!(last["records"], records.len());
    assert_eq!((&records[0]["segment"], &records[0]["offset"]), (&1.into(), &512.into()));
    let told = cluster.told(&["log", "dump", "--node", "1"]);
    assert_eq!(told.ok().lines().count(), records.len());
    assert!(told.ok().starts_with("1:512 1 head "), "{told:?}");
    let from = cluster.told(&["log", "dump", "--node", "1", "--from", "2"]);
    let from: Vec<_> = from.ok().lines().collect();
    assert!(!from.is_empty() && from.len() < records.len(), "{from:?}");
    assert!(from.iter().all(|line| !line.contains(" head ") && !line.ends_with(" #1")), "{from:?}");

    assert_eq!(contents(&data), before, "nothing is written");
    cluster.start(1);
    for command in ["verify", "dump"] {
        let told = cluster.told(&["log", command, "--node", "1"]);
        told.failed_with(78, &["another process is using this data directory"]);
        assert_eq!(told.stdout, "");
    }
}

#[test]
fn damage_ends_with_74_and_a_torn_tail_with_0() {
    let cluster = stopped();
    let data = cluster.node_folder(2).join("data");
    let told = cluster.told(&["log", "verify", "--node", "2", "-o", "json"]);
    let all = lines(told.ok());
    let last = &all[all.len() - 2];
    let file = Path::new(last["file"].as_str().unwrap()).file_name().unwrap().to_owned();
    let path = data.join(file);
    let whole = fs::read(&path).unwrap();

    let end = last["end"].as_u64().unwrap() as usize;
    let mut torn = whole.clone();
    torn[end + 3] = 0x77;
    fs::write(&path, &torn).unwrap();
    let told = cluster.told(&["log", "verify", "--node", "2"]);
    assert!(told.ok().contains("torn tail"), "{told:?}");
    assert!(told.stderr.contains(&format!("a torn tail at offset {end}: no damage")), "{told:?}");
    assert_eq!(fs::read(&path).unwrap(), torn, "it is left as it is");

    let mut damaged = whole;
    damaged[512 + 33] ^= 1;
    fs::write(&path, damaged).unwrap();
    for command in ["verify", "dump"] {
        let told = cluster.told(&["log", command, "--node", "2"]);
        told.failed_with(74, &[path.to_str().unwrap(), "is damaged", "at offset 512"]);
    }
    let foreign = cluster.node_folder(3);
    let foreign = ["log", "verify", "--node", "1", "--identity", foreign.to_str().unwrap()];
    cluster.told(&foreign).failed_with(78, &["belongs to node n3, not to n1"]);
    cluster.told(&["log", "verify", "--node", "9"]).failed_with(78, &["names no node 9"]);
}
