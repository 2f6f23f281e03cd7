//! `torture`: its last two lines, its history, and the checker's verdict on that and on worse ones.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::path::Path;

use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::{Cluster, Told, told};
use serde_json::{Value, json};

fn check_history(arguments: &[&Path]) -> Told {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_check-history"));
    Told::from(&command.args(arguments).output().unwrap())
}

/// The numbers in a line, and the line without them.
fn taken_apart(line: &str) -> (String, Vec<u64>) {
    let is_digit = |c: char| c.is_ascii_digit();
    let numbers = line.split(|c| !is_digit(c)).filter(|part| !part.is_empty());
    let numbers = numbers.map(|part| part.parse().unwrap()).collect();
    let words = line.split(is_digit).filter(|part| !part.is_empty()).collect::<Vec<_>>();
    (words.join("#"), numbers)
}

#[test]
fn torture_kills_leaders_loses_nothing_and_its_history_is_that_of_one_counter() {
    let folder = tempfile::tempdir().unwrap();
    // A cluster file that lies about is not meant.
    fs::write(folder.path().join("cluster.toml"), "nonsense").unwrap();
    let history = folder.path().join("history.jsonl");
    let line = ["torture", "--clients", "4", "--ops", "200", "--kill-leader-every", "1s"];
    let mut command = assert_cmd::Command::new(paxos_tests::processes::counter());
    let output = command.args(line).arg("--history").arg(&history).current_dir(folder.path());
    let torture = Told::from(&output.output().unwrap());

    let lines: Vec<_> = torture.ok().lines().collect();
    let (kills, verdict) = (lines[lines.len() - 2], lines[lines.len() - 1]);
    let (words, numbers) = taken_apart(kills);
    assert_eq!(words, "kills #, leader changes #, longest gap # ms", "{kills}");
    assert!(numbers[0] >= 3 && numbers[1] >= 1, "{kills}");
    assert_eq!(verdict, "acknowledged 600, counter 600, lost 0, doubled 0");

    let accepted = check_history(&[&history]);
    assert_eq!(
        accepted.ok(),
        "linearizable: processes 4, increments 600, unknown 0, reads 204, failed 0, counter 600"
    );
    let text = fs::read_to_string(&history).unwrap();
    let first = text.lines().next().unwrap();
    let (words, _) = taken_apart(first);
    assert_eq!(
        words, r##"{"process":#,"type":"invoke","f":"incr","value":#,"time":#}"##,
        "{first}"
    );
    spoilt_histories_are_rejected(folder.path(), &text);
}

#[test]
fn under_every_detector_leaders_are_killed_and_nothing_is_lost() {
    for detector in ["phi", "fixed"] {
        let line = ["torture", "--clients", "2", "--ops", "100", "--kill-leader-every", "1s"];
        let policy = ["--policy", "failure-detector", "--detector", detector];
        let torture = told([&line[..], &policy].concat());
        let lines: Vec<_> = torture.ok().lines().collect();
        let (_, numbers) = taken_apart(lines[lines.len() - 2]);
        assert!(numbers[0] >= 1 && numbers[1] >= 1, "{torture:?}");
        assert_eq!(lines[lines.len() - 1], "acknowledged 150, counter 150, lost 0, doubled 0");
    }
}

/// A history that was good, each time with one lie in it.
fn spoilt_histories_are_rejected(folder: &Path, good: &str) {
    let events: Vec<Value> = good.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let find = |kind: &str, f: &str, from: usize| {
        let is = |event: &Value| event["type"] == kind && event["f"] == f;
        from + events[from..].iter().position(is).unwrap()
    };
    let middle = events.len() / 2;
    let spoil = |index: usize, value: u64| {
        let mut events = events.clone();
        events[index]["value"] = json!(value);
        let path = folder.join("spoilt.jsonl");
        let lines = events.iter().map(|event| format!("{event}\n"));
        fs::write(&path, lines.collect::<String>()).unwrap();
        check_history(&[&path])
    };
    let stale = spoil(find("ok", "get", middle), 1);
    stale.failed_with(1, &["not linearizable", "stale"]);
    let value = events[find("ok", "incr", 0)]["value"].as_u64().unwrap();
    let doubled = spoil(find("ok", "incr", middle), value);
    doubled.failed_with(1, &["not linearizable", "doubled"]);
    let invented = spoil(events.len() - 1, 601);
    invented.failed_with(1, &["not linearizable", "ever added"]);
    let lost = spoil(events.len() - 1, 599);
    lost.failed_with(1, &["not linearizable", "stale"]);
}

#[test]
fn what_is_no_history_is_wrong_usage() {
    check_history(&[]).failed_with(64, &["usage: check-history FILE"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    check_history(&[&path]).failed_with(64, &["history.jsonl"]);
    fs::write(&path, "{\"process\":1}\n").unwrap();
    check_history(&[&path]).failed_with(64, &["line 1: missing field"]);
}

#[test]
fn torture_works_on_a_cluster_of_others_and_kills_none_of_its_nodes() {
    let cluster = Cluster::started();
    let torture = cluster.told(&["torture", "--clients", "2", "--ops", "40"]);
    let lines: Vec<_> = torture.ok().lines().rev().take(2).collect();
    assert_eq!(lines[0], "acknowledged 60, counter 60, lost 0, doubled 0");
    assert!(lines[1].starts_with("kills 0, leader changes 0, longest gap "), "{}", lines[1]);

    let file = cluster.file();
    let line = ["torture", "--kill-leader-every", "2s", "--cluster", path_text(&file)];
    told(line).failed_with(64, &["--kill-leader-every", "leave --cluster away"]);
    cluster.await_level();
}
