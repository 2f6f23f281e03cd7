//! Searches every configuration of the model, or those named, and prints a line for each; or shows
//! that each planted bug is found. A rule broken is told step by step.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use paxos_tests::model::{Configuration, Faithful, Planted, Rule, Verdict, Violation, check};

const USAGE: &str = "usage: model [NAME...] | model --planted | model --help";

const HELP: &str = "\
Searches every history of a small cluster within stated bounds, with the roles as they ship.

proposers  rivals
rounds     campaigns of each, counted over its runs
acceptors  nodes with an acceptor
quorums    acceptors in a phase 1 quorum + those in one of phase 2
slots      slots of the log, which is also the window
commands   what clients ask each proposer to propose
crashes    of each acceptor's node, and of each node with a proposer
tail       drains that wait for the disk and are lost, kept or torn apart in a crash
also       shared: proposers and acceptors share nodes; nacks: refusals arrive; chase: one refused
           by a few campaigns again at once; learners: votes are counted, and what is chosen is told

Loss, duplication and reordering have no bounds, on the wire and inside a node. tests/MODEL.md says
what is checked and what is left out.

Exit codes: 0 all passed, 1 a rule is broken or a bug is missed, 64 not understood.

Examples:
  model              every configuration
  model nacks        one of them
  model --planted    the planted bugs, and how each shows";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let passed = match words[..] {
        ["--help" | "-h"] => {
            println!("{HELP}\n\n{USAGE}");
            true
        }
        ["--planted"] => planted(),
        _ => match named(&words) {
            Ok(configurations) => search(&configurations),
            Err(name) => {
                eprintln!("there is no configuration {name:?}\n{USAGE}");
                return ExitCode::from(64);
            }
        },
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Those with these names, or all; an error is a name that none has.
fn named<'a>(names: &[&'a str]) -> Result<Vec<Configuration>, &'a str> {
    let every = Configuration::every();
    if names.is_empty() {
        return Ok(every);
    }
    let find = |name: &&'a str| every.iter().find(|one| one.name == *name).copied().ok_or(*name);
    names.iter().map(find).collect()
}

fn search(configurations: &[Configuration]) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (began, mut states, mut failed) = (Instant::now(), 0, 0);
    println!(
        "{:<14} {:>9} {:>6} {:>9} {:>7} {:>5} {:>8}  {:<7} {:>4}  {:<16} {:>9} {:>5} {:>7}  verdict",
        "configuration",
        "proposers",
        "rounds",
        "acceptors",
        "quorums",
        "slots",
        "commands",
        "crashes",
        "tail",
        "also",
        "states",
        "depth",
        "seconds"
    );
    for configuration in configurations {
        let verdict = check(*configuration, Arc::new(Faithful), &Rule::ALL, threads);
        println!(
            "{:<14} {:>9} {:>6} {:>9} {:>7} {:>5} {:>8}  {:<7} {:>4}  {:<16} {:>9} {:>5} {:>7.1}  {}",
            configuration.name,
            2,
            configuration.rounds(),
            configuration.acceptors,
            format!("{} + {}", configuration.phase1, configuration.phase2),
            configuration.slots,
            configuration.commands,
            configuration.crash_bounds(),
            configuration.unsynced,
            configuration.also(),
            verdict.states,
            verdict.depth,
            verdict.took.as_secs_f64(),
            if verdict.passed() { "passed" } else { "FAILED" }
        );
        states += verdict.states;
        if !verdict.passed() {
            failed += 1;
            explain(configuration, &verdict);
        }
    }
    println!("{states} states in {:.1} s", began.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", configurations.len() - failed);
    failed == 0
}

fn explain(configuration: &Configuration, verdict: &Verdict) {
    for goal in &verdict.unreached {
        println!("  never reached: {goal}");
    }
    if verdict.violation.is_some() {
        // One thread takes longer and finds a shortest trace.
        let again = check(*configuration, Arc::new(Faithful), &Rule::ALL, 1);
        tell(again.violation.as_ref().or(verdict.violation.as_ref()));
    }
}

fn tell(violation: Option<&Violation>) {
    let Some(violation) = violation else { return };
    println!("  \"{}\" is broken by", violation.rule);
    for (place, step) in violation.trace.iter().enumerate() {
        println!("  {:>3}. {step}", place + 1);
    }
}

fn planted() -> bool {
    let bugs = Planted::every();
    let mut failed = 0;
    for bug in &bugs {
        let verdict = bug.search();
        let found = if verdict.violation.is_some() { "found" } else { "MISSED" };
        let took = verdict.took.as_secs_f64();
        println!("{}: {found} after {} states in {took:.1} s", bug.name, verdict.states);
        tell(verdict.violation.as_ref());
        failed += usize::from(verdict.violation.is_none());
    }
    println!("{} passed, {failed} failed", bugs.len() - failed);
    failed == 0
}
