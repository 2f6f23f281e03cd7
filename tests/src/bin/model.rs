//! Searches every configuration of the model, or those named, and prints a line for each; or shows
//! that each planted bug is found. A rule broken is told step by step.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use paxos_tests::model::{Configuration, Faithful, Planted, Rule, Verdict, Violation, check};

const USAGE: &str = "usage: model [NAME...] | model --large | model --planted | model --help";

enum Width {
    Left(usize),
    Right(usize),
}

const COLUMNS: [(&str, Width); 14] = [
    ("configuration", Width::Left(17)),
    ("proposers", Width::Right(9)),
    ("rounds", Width::Right(6)),
    ("acceptors", Width::Right(9)),
    ("quorums", Width::Right(7)),
    ("slots", Width::Right(5)),
    ("commands", Width::Right(8)),
    ("crashes", Width::Left(7)),
    ("tail", Width::Right(4)),
    ("also", Width::Left(16)),
    ("states", Width::Right(9)),
    ("depth", Width::Right(5)),
    ("seconds", Width::Right(7)),
    ("verdict", Width::Left(7)),
];

const HELP: &str = "\
Searches every history of a small cluster within stated bounds, with the roles as they ship.

proposers  rivals
rounds     campaigns of each, counted over its runs
acceptors  nodes with an acceptor, now or after a change
quorums    acceptors in a phase 1 quorum + those in one of phase 2, before a change
slots      slots of the log, which is also the window if there is no change
commands   what clients ask each proposer to propose
crashes    of each acceptor's node, and of each node with a proposer
tail       drains that wait for the disk and are lost, kept or torn apart in a crash
also       change: the membership changes through the log; shared: proposers and acceptors share
           nodes; nacks: refusals arrive; learners: votes are counted, and what is chosen is told

Loss, duplication and reordering have no bounds, on the wire and inside a node. tests/MODEL.md says
what is checked and what is left out.

Exit codes: 0 all passed, 1 a rule is broken or a bug is missed, 64 not understood.

Examples:
  model              every configuration
  model nacks        one of them
  model --large      more states, many minutes
  model --planted    the planted bugs, and how each shows";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let passed = match words[..] {
        ["--help" | "-h"] => {
            say(format_args!("{HELP}\n\n{USAGE}"));
            true
        }
        ["--planted"] => planted(),
        ["--large"] => search(&Configuration::large()),
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

/// Those with these names, or all that CI searches; an error is a name that none has.
fn named<'a>(names: &[&'a str]) -> Result<Vec<Configuration>, &'a str> {
    let every = Configuration::every();
    if names.is_empty() {
        return Ok(every);
    }
    let known: Vec<_> = every.into_iter().chain(Configuration::large()).collect();
    let find = |name: &&'a str| known.iter().find(|one| one.name == *name).copied().ok_or(*name);
    names.iter().map(find).collect()
}

fn search(configurations: &[Configuration]) -> bool {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (began, mut states, mut failed) = (Instant::now(), 0, 0);
    row(&COLUMNS.map(|(name, _)| name.to_owned()));
    for configuration in configurations {
        let verdict = check(*configuration, Arc::new(Faithful), &Rule::ALL, threads);
        row(&cells(configuration, &verdict));
        states += verdict.states;
        if !verdict.passed() {
            failed += 1;
            explain(configuration, &verdict);
        }
    }
    say(format_args!("{states} states in {:.1} s", began.elapsed().as_secs_f64()));
    say(format_args!("{} passed, {failed} failed", configurations.len() - failed));
    failed == 0
}

fn cells(configuration: &Configuration, verdict: &Verdict) -> [String; COLUMNS.len()] {
    [
        configuration.name.to_owned(),
        "2".to_owned(),
        configuration.campaigns.to_string(),
        configuration.acceptors.to_string(),
        format!("{} + {}", configuration.phase1, configuration.phase2),
        configuration.slots.to_string(),
        configuration.commands.to_string(),
        configuration.crash_bounds(),
        configuration.unsynced.to_string(),
        configuration.also(),
        verdict.states.to_string(),
        verdict.depth.to_string(),
        format!("{:.1}", verdict.took.as_secs_f64()),
        if verdict.passed() { "passed" } else { "FAILED" }.to_owned(),
    ]
}

/// Words to the left, numbers to the right.
fn row(cells: &[String; COLUMNS.len()]) {
    let aligned = cells.iter().zip(COLUMNS).map(|(cell, (_, width))| match width {
        Width::Left(width) => format!("{cell:<width$}"),
        Width::Right(width) => format!("{cell:>width$}"),
    });
    say(format_args!("{}", aligned.collect::<Vec<_>>().join("  ").trim_end()));
}

/// Says a line; a reader who has seen enough may close the pipe.
fn say(line: fmt::Arguments<'_>) {
    writeln!(io::stdout(), "{line}").ok();
}

fn explain(configuration: &Configuration, verdict: &Verdict) {
    for goal in &verdict.unreached {
        say(format_args!("  never reached: {goal}"));
    }
    if verdict.violation.is_some() {
        // One thread takes longer and finds a shortest trace.
        let again = check(*configuration, Arc::new(Faithful), &Rule::ALL, 1);
        tell(again.violation.as_ref().or(verdict.violation.as_ref()));
    }
}

fn tell(violation: Option<&Violation>) {
    let Some(violation) = violation else { return };
    say(format_args!("  \"{}\" is broken by", violation.rule));
    for (place, step) in violation.trace.iter().enumerate() {
        say(format_args!("  {:>3}. {step}", place + 1));
    }
}

fn planted() -> bool {
    let bugs = Planted::every();
    let mut failed = 0;
    for bug in &bugs {
        let verdict = bug.search();
        let found = if verdict.violation.is_some() { "found" } else { "MISSED" };
        let took = verdict.took.as_secs_f64();
        say(format_args!("{}: {found} after {} states in {took:.1} s", bug.name, verdict.states));
        tell(verdict.violation.as_ref());
        failed += usize::from(verdict.violation.is_none());
    }
    say(format_args!("{} passed, {failed} failed", bugs.len() - failed));
    failed == 0
}
