//! `demo`: what it shows, and that nothing is left of it, however it ends.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;
use std::path::Path;

use paxos_tests::processes::process::{command, runs};
use paxos_tests::processes::{Process, until};
use rustix::process::Signal;

/// The demo with its folder in `folder`.
fn demo(folder: &Path) -> Process {
    let mut command = command(["demo"]);
    command.env("TMPDIR", folder);
    Process::start(command)
}

/// The processes of the nodes, which the demo names.
fn nodes(demo: &mut Process) -> Vec<u32> {
    let lines = (1..=3).map(|node| demo.line_with(&format!("node {node} is ready at ")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[track_caller]
fn nothing_remains(folder: &Path, nodes: &[u32]) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    for node in nodes {
        until("a node has ended", || (!runs(*node)).then_some(()));
    }
}

#[test]
fn the_demo_ends_with_its_verdict_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path());
    let nodes = nodes(&mut demo);
    assert!(nodes.iter().all(|node| runs(*node)), "{nodes:?}");
    let told = demo.told();
    let last = told.ok().lines().last().unwrap();
    let number = last.split([' ', ',']).nth(1).unwrap();
    assert_eq!(last, format!("acknowledged {number}, counter {number}, lost 0, doubled 0"));
    assert!(number.parse::<u64>().unwrap() >= 2000, "{last}");
    for part in ["kill -9 ", "increments go on", "has caught up", "read through node 3"] {
        assert!(told.stdout.contains(part), "no {part:?} in {}", told.stdout);
    }
    nothing_remains(folder.path(), &nodes);
}

#[test]
fn a_demo_ended_by_a_signal_leaves_nothing() {
    for (signal, words, code) in
        [(Signal::INT, "clients increment", 130), (Signal::TERM, "kill -9", 143)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = demo(folder.path());
        let nodes = nodes(&mut demo);
        demo.line_with(words);
        demo.signal(signal);
        assert_eq!(demo.told().code, Some(code));
        nothing_remains(folder.path(), &nodes);
    }
}

#[test]
fn a_demo_that_is_killed_takes_its_nodes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path());
    let nodes = nodes(&mut demo);
    demo.kill();
    for node in nodes {
        until("a node has noticed", || (!runs(node)).then_some(()));
    }
}
