//! The leadership laboratory, as a program: its files, that they repeat, and what must come out
//! whatever the machine.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use paxos_tests::processes::binary;
use paxos_tests::processes::cluster::path_text;

const FILES: [&str; 5] =
    ["cells.csv", "false-changes.svg", "out-of-service.svg", "runs.csv", "table.txt"];

fn told(arguments: &[&str]) -> Output {
    Command::new(binary::app("leadership")).args(arguments).output().unwrap()
}

fn compare(folder: &Path, jobs: &str) -> BTreeMap<String, String> {
    let out = path_text(folder);
    let output = told(&["compare", "--seeds", "1", "--out", out, "--jobs", jobs]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stderr.contains("of 42 runs"), "no progress: {stderr}");
    let files: BTreeMap<_, _> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert_eq!(files["table.txt"], stdout);
    files
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The fields of a CSV by the names of their columns; none of them has a comma in it.
fn lines(csv: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut lines = csv.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    lines.map(|line| names.iter().copied().zip(line.split(',')).collect()).collect()
}

#[test]
fn the_same_comparison_writes_the_same_files() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = compare(one.path(), "2");
    assert_eq!(files.keys().collect::<Vec<_>>(), FILES);
    assert!(files == compare(other.path(), "1"), "another number of jobs, other files");

    // 4 policies in 6 scenarios, and 3 of them with 3 other parameters in 2.
    let cells = lines(&files["cells.csv"]);
    assert_eq!(cells.len(), 4 * 6 + 3 * 3 * 2);
    let runs = lines(&files["runs.csv"]);
    assert_eq!(runs.len(), cells.len());
    for figure in ["out-of-service.svg", "false-changes.svg"] {
        let svg = &files[figure];
        assert!(svg.starts_with("<svg ") && svg.contains("oracle"), "{figure}");
    }

    // What must hold in every run, in some of these runs.
    let of = |scenario: &str, policy: &str| {
        let is_it = |run: &&BTreeMap<&str, &str>| {
            (run["scenario"], run["policy"], run["bears_ms"]) == (scenario, policy, "250")
        };
        runs.iter().filter(is_it).cloned().collect::<Vec<_>>()
    };
    for policy in ["heartbeat", "phi", "fixed", "oracle"] {
        for scenario in ["l0", "l1", "l2", "l3", "l5", "l7"] {
            for run in of(scenario, policy) {
                assert_eq!(run["led_first"], of(scenario, "oracle")[0]["led_first"]);
                let answered: u64 = run["answered"].parse().unwrap();
                assert!(answered > 20 && run["censored"] == "false", "{run:?}");
            }
        }
        for scenario in ["l1", "l5"] {
            for run in of(scenario, policy) {
                let replaced: f64 = run["replaced_ms"].parse().unwrap();
                let detected: f64 = run["detected_ms"].parse().unwrap();
                assert!(run["changes"] != "0" && detected <= replaced, "{run:?}");
                // The oracle knows at once. The others wait for what they are set to bear.
                let at_once = policy == "oracle";
                assert!((detected == 0.0) == at_once && replaced >= 200.0, "{run:?}");
            }
        }
    }
    // Network and faults do not depend on the policy: where a policy makes no difference, and
    // nobody is suspected, as long as they are watched they are the same to the last message.
    for scenario in ["l0", "l7"] {
        let watched = |policy| {
            let seen = ["out_of_service_ms", "changes", "mistakes", "messages", "answered"];
            let run = of(scenario, policy).into_iter().next().unwrap();
            seen.map(|name| run[name].to_owned())
        };
        assert_eq!(watched("phi"), watched("oracle"), "{scenario}");
        assert_eq!(watched("phi"), watched("fixed"), "{scenario}");
    }
}

#[test]
fn a_run_is_told_event_by_event_and_bad_input_is_refused() {
    let output = told(&["run", "l1", "phi", "1", "--bears-ms", "150"]);
    assert!(output.status.success());
    let story = text(&output.stdout);
    for part in ["crashes", "was silent for", "a phase 1 quorum has promised", "out_of_service: "] {
        assert!(story.contains(part), "no {part}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for (arguments, code, words) in [
        (&["compare"][..], 64, "--out"),
        (&["compare", "--seeds", "0", "--out", "x"], 64, "--seeds"),
        (&["run", "l9", "phi", "1"], 64, "l9"),
        (&["run", "l1", "raft", "1"], 64, "raft"),
        (&["run", "l1", "phi", "1", "--bears-ms", "62"], 64, "63"),
        (&["compare", "--out", path_text(&file)], 74, "cannot make the folder"),
    ] {
        let output = told(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}
