//! Seeded histories of whole clusters. `run` checks agreement, durability before every promise and
//! vote, exactly-once, linearizability and progress; here: enough of them, and real ones.

use paxos_tests::simulation::run;

/// The seeds that every run of the tests goes through.
const SEEDS: std::ops::Range<u64> = 0..1000;

#[test]
fn a_thousand_seeds_agree_and_make_progress() {
    let mut failed = Vec::new();
    let mut leaders = 0;
    for seed in SEEDS {
        match run(seed) {
            Ok(report) if report.answered < 100 => {
                failed.push(format!("seed {seed}: only {} commands", report.answered));
            }
            Ok(report) if !report.faults.missing().is_empty() => {
                failed.push(format!("seed {seed}: no {:?} happened", report.faults.missing()));
            }
            Ok(report) => leaders += report.leaders,
            Err(broken) => failed.push(format!("seed {seed}: {broken}")),
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed, first: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(leaders > 2 * SEEDS.end as usize, "leaders hardly ever changed: {leaders}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 7, 42] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).unwrap().hash, run(2).unwrap().hash);
}

/// Seeds that once failed, and what they found.
const FOUND: [(u64, &str); 2] = [
    (15, "a fetch that timed out with nobody left to ask rang its timer for ever"),
    (16_619, "word of an election came after word of its end, and the node led on in name"),
];

#[test]
fn what_was_found_stays_found() {
    for (seed, what) in FOUND {
        assert!(run(seed).is_ok(), "seed {seed}: {what}: {:?}", run(seed));
    }
}
