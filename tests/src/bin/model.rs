//! Searches every configuration of the model and prints a line for each. If a rule is broken, or
//! something was not reached that must be, it says how and exits with 1.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use paxos_tests::model::{Configuration, Faithful, Rule, Verdict, check};

const THREADS: usize = 2;

fn main() -> ExitCode {
    let began = Instant::now();
    println!(
        "{:<32} {:<48} {:>10} {:>5} {:>7}  verdict",
        "configuration", "bounds", "states", "depth", "time"
    );
    let mut failed = Vec::new();
    let mut states = 0;
    for configuration in Configuration::every() {
        let verdict = search(&configuration, THREADS);
        states += verdict.states;
        let passed = verdict.passed();
        println!(
            "{:<32} {:<48} {:>10} {:>5} {:>5.1} s  {}",
            configuration.name,
            configuration.bounds(),
            verdict.states,
            verdict.depth,
            verdict.took.as_secs_f64(),
            if passed { "passed" } else { "FAILED" }
        );
        if !passed {
            failed.push((configuration, verdict));
        }
    }
    for (configuration, verdict) in &failed {
        explain(configuration, verdict);
    }
    let took = began.elapsed().as_secs_f64();
    println!("{states} states in {took:.1} s, {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn search(configuration: &Configuration, threads: usize) -> Verdict {
    check(*configuration, Arc::new(Faithful), &Rule::ALL, threads)
}

fn explain(configuration: &Configuration, verdict: &Verdict) {
    let name = configuration.name;
    if verdict.violation.is_none() {
        println!("\n{name}: never reached: {}", verdict.unreached.join(", "));
        return;
    }
    // One thread takes longer and finds a shortest trace.
    let Some(violation) = search(configuration, 1).violation else { return };
    println!("\n{name}: \"{}\" is broken by", violation.rule);
    for (place, step) in violation.trace.iter().enumerate() {
        println!("{:>3}. {step}", place + 1);
    }
}
