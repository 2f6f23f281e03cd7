//! The model check, small: the roles keep every rule in every history within the bounds, and each
//! planted bug is found. `cargo run --release -p paxos-tests --bin model` searches more.

use std::process::Command;
use std::sync::Arc;

use paxos_tests::model::leases::{BOTH, OVERLAP};
use paxos_tests::model::{Configuration, Faithful, Leases, Mistake, Planted, Rule, check};
use stateright::{Checker, Model};

const TINY: Configuration = Configuration::FLEXIBLE;

#[test]
fn the_roles_keep_every_rule_in_every_small_history() {
    let crashes = Configuration { crashes: true, unsynced: 1, ..TINY };
    let learners = Configuration { learners: true, ..TINY };
    for configuration in [Configuration::SMALL, crashes, learners] {
        let verdict = check(configuration, Arc::new(Faithful), &Rule::ALL, 1);
        assert!(verdict.passed(), "{verdict:#?}");
        assert!(verdict.states > 50_000, "{} states are too few", verdict.states);
    }
}

#[test]
fn r2_each_slot_is_decided_by_its_own_members_in_every_small_history_with_a_change() {
    for configuration in [Configuration::REPLACED, Configuration::JOINED, Configuration::RIVALS] {
        let verdict = check(configuration, Arc::new(Faithful), &Rule::ALL, 1);
        assert!(verdict.passed(), "{}: {verdict:#?}", configuration.name);
        assert!(verdict.states > 5_000, "{} states are too few", verdict.states);
    }
}

#[test]
fn the_same_search_finds_the_same_states() {
    let search = |threads| check(TINY, Arc::new(Faithful), &Rule::ALL, threads);
    let (one, two) = (search(1), search(2));
    assert_eq!((one.states, one.transitions), (two.states, two.transitions));
}

#[test]
fn a_crash_with_everything_synced_shows_the_acceptor_nothing() {
    let search = |crashes| {
        let configuration = Configuration { crashes, ..TINY };
        check(configuration, Arc::new(Faithful), &Rule::ALL, 1)
    };
    let (without, with) = (search(false), search(true));
    assert!(with.passed(), "{with:#?}");
    assert_eq!(with.states, without.states, "recovery differs from what was there before");
}

#[test]
fn every_planted_bug_is_found() {
    for planted in Planted::every() {
        let verdict = planted.search();
        let violation = verdict.violation.unwrap_or_else(|| panic!("missed: {}", planted.name));
        println!("{}: {} states\n{}", planted.name, verdict.states, violation.trace.join("\n"));
        assert_eq!(violation.rule, planted.rule.name());
        let least = if planted.rule == Rule::Agreement { 8 } else { 3 };
        assert!(violation.trace.len() >= least, "{}: {:#?}", planted.name, violation.trace);
    }
}

/// Searches for leases that overlap; answers how many states that took, and what was discovered.
fn leases(until: u64, restarts: u64, mistake: Mistake) -> (usize, bool, bool) {
    let changed = mistake == Mistake::LendsToTheHigher;
    search(Leases { until, rounds: 1, restarts, changed, mistake })
}

fn search(model: Leases) -> (usize, bool, bool) {
    let checker = model.checker().threads(2).spawn_bfs().join();
    let found = checker.discoveries();
    if let Some(path) = found.get(OVERLAP) {
        let steps: Vec<_> =
            path.clone().into_actions().iter().map(|it| format!("{it:?}")).collect();
        println!("{}", steps.join("\n"));
    }
    (checker.unique_state_count(), found.contains_key(OVERLAP), found.contains_key(BOTH))
}

#[test]
fn no_two_leases_overlap_in_any_small_history() {
    let (states, overlap, both) = leases(3, 0, Mistake::Nothing);
    println!("{states} states");
    assert!(both && !overlap, "{states} states: overlap {overlap}, both {both}");
}

/// A leader that knows only the membership of the past, and learns of the change at any time. Two
/// moments are enough for the planted mistake; with four there are six million states.
#[test]
fn no_two_leases_overlap_when_a_leader_lags_behind_a_change_of_membership() {
    let mistake = Mistake::Nothing;
    let model = Leases { until: 1, rounds: 1, restarts: 0, changed: true, mistake };
    let (states, overlap, _) = search(model);
    println!("{states} states");
    assert!(!overlap && states > 50_000, "{states} states: overlap {overlap}");
}

#[test]
fn every_planted_mistake_with_leases_is_found() {
    for mistake in
        [Mistake::NoSilence, Mistake::PassesAny, Mistake::KeepsItsBallot, Mistake::LendsToTheHigher]
    {
        let restarts = u64::from(mistake == Mistake::NoSilence);
        let until = if mistake == Mistake::LendsToTheHigher { 1 } else { 2 };
        let (states, overlap, _) = leases(until, restarts, mistake);
        println!("{mistake:?}: {states} states");
        assert!(overlap, "{mistake:?}: missed in {states} states");
    }
}

#[test]
fn every_configuration_has_a_name_of_its_own() {
    let all = Configuration::every().into_iter().chain(Configuration::large());
    let mut names: Vec<_> = all.map(|one| one.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_program_says_what_it_searched_and_refuses_what_it_does_not_know() {
    let told = |words: &[&str]| {
        let program = env!("CARGO_BIN_EXE_model");
        let output = Command::new(program).args(words).output().expect("the program starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = told(&["tail"]);
    assert_eq!((code, said.lines().last()), (Some(0), Some("1 passed, 0 failed")), "{said}");
    let (code, said) = told(&["--help"]);
    assert!(code == Some(0) && said.contains("--planted"), "{said}");
    assert_eq!(told(&["--nonsense"]).0, Some(64));
}
