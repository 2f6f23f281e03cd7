//! Seeded histories of whole clusters. A run checks agreement, validity, durability before every
//! promise and vote, recovery, order, equal states, exactly-once, linearizability and progress;
//! here: enough of them, and real ones.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paxos_tests::checkers::locks::Tally;
use paxos_tests::simulation::{
    Plan, Report, Rhythm, Service, TROUBLES, Trouble, run, run_as, run_telling,
};

/// The seeds that every run of the tests goes through.
const SEEDS: u64 = 1000;

/// Those in which a chat is served.
const CHATS: u64 = 100;

/// Those in which locks are.
const LOCKS: u64 = 120;

/// Runs all seeds on two threads; answers the reports, or what failed.
fn all(change: impl Fn(Plan) -> Plan + Sync) -> Result<Vec<Report>, Vec<String>> {
    let next = AtomicU64::new(0);
    let (reports, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            match run_as(seed, &change) {
                Ok(report) => reports.lock().unwrap().push(report),
                Err(broken) => failed.lock().unwrap().push(format!("seed {seed}: {broken}")),
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let failed: Vec<String> = failed.into_inner().unwrap();
    if failed.is_empty() { Ok(reports.into_inner().unwrap()) } else { Err(failed) }
}

#[test]
fn a_thousand_seeds_agree_and_make_progress() {
    let reports = match all(Plan::with_the_usual) {
        Ok(reports) => reports,
        Err(failed) => panic!("{} failed: {:#?}", failed.len(), &failed[..failed.len().min(5)]),
    };
    // A planned fault that did not happen has failed its run already.
    for report in &reports {
        assert!(report.answered >= 100, "only {} commands: {report:?}", report.answered);
        let faults = &report.faults;
        assert!(faults.lost > 0 && faults.duplicated > 0 && faults.reordered > 0, "{report:?}");
    }
    for kind in TROUBLES {
        let times: u64 =
            reports.iter().filter_map(|report| report.faults.troubles.get(&kind)).sum();
        assert!(times > 100, "{kind:?} happened {times} times only");
    }
    let restored: u64 = reports.iter().map(|report| report.restored).sum();
    assert!(restored > 1000, "snapshots hardly ever helped: {restored}");
    let resumed: u64 = reports.iter().map(|report| report.resumed).sum();
    assert!(resumed > 20, "hardly any fetch was gone on with after a restart: {resumed}");
    let leaders: usize = reports.iter().map(|report| report.leaders).sum();
    assert!(leaders > 2000, "leaders hardly ever changed: {leaders}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 7, 42] {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).unwrap().hash, run(2).unwrap().hash);
}

/// Seed 3029434549 failed at 09998cc for a client that took its time.
#[test]
fn clients_that_take_their_time_hurry_once_all_is_healed() {
    let think = Duration::from_secs(30);
    run_as(3_029_434_549, |plan| Plan { think, ..plan }).unwrap();
}

/// A witness had cut what only one replica had in a snapshot, and that replica's disk was lost: two
/// of three nodes were left, and what was acknowledged was gone.
#[test]
fn seed_418_a_witness_cuts_only_what_the_loss_of_a_disk_cannot_take() {
    run(418).unwrap();
}

/// The leader held a promise of a node whose disk was lost since, and with it the only knowledge of
/// slots that it had cut; it led for ever without them.
#[test]
fn seed_2493992979_a_leader_gives_up_that_lacks_what_nobody_left_knows_to_be_cut() {
    run(2_493_992_979).unwrap();
}

/// Storms and cuts went on until the end, so that nobody led when leadership was to be moved. Once
/// the time for faults is up, only those strike that have not happened yet.
#[test]
fn seeds_1795900660_and_1795902424_a_transfer_meets_a_leader_in_the_end() {
    for seed in [1_795_900_660, 1_795_902_424] {
        let report = run(seed).unwrap();
        assert!(report.faults.troubles.contains_key(&Trouble::Transfer), "seed {seed}");
    }
}

/// A leader elected by a quorum of a past membership was lent a lease by an acceptor that had lent
/// to the leader of the present one.
#[test]
fn seed_1306577757_what_is_lent_to_another_node_stays_until_it_is_over() {
    run(1_306_577_757).unwrap();
}

/// A leader of the past had a lease that is one by the membership of the present, too, but not the
/// promises of that: it may not read, and its lease does not count.
#[test]
fn seed_4210781006_of_locks_a_lease_counts_if_its_holder_may_read_by_it() {
    run_as(4_210_781_006, |plan| plan.serving(Service::Lock)).unwrap();
}

/// A leader that had been cut off stamped batches by its clock, which had gone on while nobody led;
/// its successor found them behind its own batches, and they moved time on by that much.
#[test]
fn seed_817398678_of_locks_the_clock_of_an_older_leader_ends_no_session() {
    run_as(817_398_678, |plan| plan.serving(Service::Lock)).unwrap();
}

/// A node that joined as a voter, and was to leave again with the next change, learned of both at
/// once from a snapshot, hosted no acceptor, and was needed for the slots in between.
#[test]
fn seed_337344058_of_locks_an_acceptor_is_there_for_as_long_as_it_may_be_needed() {
    run_as(337_344_058, |plan| plan.serving(Service::Lock)).unwrap();
}

/// A cluster of one was called done while its node did not know yet that it had chosen the last
/// slot before a crash.
#[test]
fn seed_817402761_of_locks_a_run_ends_when_every_node_knows_all_that_is_chosen() {
    run_as(817_402_761, |plan| plan.serving(Service::Lock)).unwrap();
}

#[test]
fn a_seed_that_fails_has_a_trace_too() {
    // There is no link that could be cut.
    let alone = |plan: Plan| {
        let rhythm = Rhythm { every: Duration::from_secs(1), lasts: Duration::from_secs(1) };
        let troubles = [(Trouble::Cut, rhythm)].into();
        Plan { troubles, ..plan.only_reordering().of_voters(1) }
    };
    let tell = |seed| {
        let mut lines = 0;
        let (hash, ran) = run_telling(seed, alone, &mut |_| lines += 1);
        assert!(ran.as_ref().is_err_and(|broken| broken.starts_with("faults: ")), "{ran:?}");
        (hash, lines)
    };
    assert_eq!(tell(1), tell(1));
    assert_ne!(tell(1), tell(2));
}

/// Followers of a chat hear everything once and in order, in clusters that suffer as those above.
#[test]
fn d15_followers_of_simulated_rooms_hear_everything_once() {
    let (mut heard, mut moved, mut lagged) = (0, 0, 0);
    for seed in 0..CHATS {
        let chat = |plan: Plan| plan.with_the_usual().serving(Service::Chat);
        let report = run_as(seed, chat).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        heard += report.heard;
        moved += report.moved;
        lagged += report.lagged;
    }
    assert!(heard > 100_000 / 4, "too little was heard: {heard}");
    assert!(moved > 1000 && lagged > 100, "nothing happened: {moved} moves, {lagged} times late");
}

/// A lock has one holder at a time, by replicated time and by what holders are sure of; its tokens
/// rise; and who waits is served in turn, in clusters that suffer as those above.
#[test]
fn f2_simulated_locks_have_one_holder_at_a_time() {
    let mut locks = Tally::default();
    for seed in 0..LOCKS {
        let lock = |plan: Plan| plan.with_the_usual().serving(Service::Lock);
        let report = run_as(seed, lock).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        locks.add(report.locks);
    }
    let Tally { grants, handed_over, expired, renewed, left, late, fenced } = locks;
    assert!(grants > 6000 && renewed > 3000, "too little was held: {locks:?}");
    assert!(handed_over > 1500 && left > 400, "hardly anybody waited: {locks:?}");
    assert!(expired > 300 && late > 400 && fenced > 20, "nobody fell silent: {locks:?}");
}
