//! Crashes and failing disks: what was acknowledged is there afterwards.

use paxos_actors::log::{LogError, MemoryDisk, OpenError};
use paxos_core::{Record, Recovered, Slot};

use crate::story::*;

/// A drain as chance has it; some need no sync, some are large.
fn drain(dice: &mut Dice, number: u64) -> Vec<Record> {
    (0..=dice.roll(3))
        .map(|_| match dice.roll(5) {
            0 => promised(number),
            1 | 2 => chosen(1 + dice.roll(30), 1),
            _ => {
                let length = dice.roll(700) as usize;
                accepted(1 + dice.roll(30), number, &"v".repeat(length))
            }
        })
        .collect()
}

/// What the writer of a log knows about it.
#[derive(Default)]
pub struct Ledger {
    pub drains: Vec<Vec<Record>>,
    /// So many of them must be there after a crash.
    pub acknowledged: usize,
    incarnation: u64,
}

impl Ledger {
    /// Checks that what was read is what was written up to some drain, with all that was
    /// acknowledged, and goes on from there.
    pub fn accept(&mut self, recovered: &Recovered, what: &str) {
        assert!(recovered.incarnation > self.incarnation, "{what}: an incarnation came twice");
        self.incarnation = recovered.incarnation;
        let kept = (self.acknowledged..=self.drains.len())
            .find(|count| fold(&self.drains[..*count], recovered.incarnation) == *recovered);
        let kept = kept.unwrap_or_else(|| panic!("{what}: not a prefix: {recovered:?}"));
        self.drains.truncate(kept);
        // Whatever was read is durable from now on.
        self.acknowledged = kept;
    }

    /// Writes drains until the log fails or chance ends it.
    fn write(&mut self, log: &mut paxos_actors::log::Log, dice: &mut Dice) {
        for _ in 0..dice.roll(12) {
            let drain = drain(dice, self.drains.len() as u64 + 1);
            self.drains.push(drain);
            let drain = &self.drains[self.drains.len() - 1];
            match log.append(drain) {
                Ok(()) if drain.iter().any(Record::needs_sync) => {
                    self.acknowledged = self.drains.len();
                }
                Ok(()) => {}
                Err(_) => return,
            }
            if dice.roll(4) == 0 && log.idle().is_err() {
                return;
            }
        }
    }
}

#[test]
fn disk1_what_was_acknowledged_survives_every_crash() {
    for seed in 0..4000 {
        let mut dice = Dice(seed);
        let machine = Machine::new();
        let mut ledger = Ledger::default();
        for run in 0..6 {
            // Some runs end in the middle of an operation, some in that of a recovery.
            machine.at().faults.stop_after = (dice.roll(2) == 0).then(|| dice.roll(25));
            if let Ok((mut log, recovered)) = machine.open() {
                ledger.accept(&recovered, &format!("seed {seed}, run {run}"));
                ledger.write(&mut log, &mut dice);
            }
            machine.at().faults.stop_after = None;
            if dice.roll(4) > 0 {
                machine.at().crash(|below| dice.roll(below));
            }
        }
        let recovered = machine.open().unwrap_or_else(|error| panic!("seed {seed}: {error}")).1;
        ledger.accept(&recovered, &format!("seed {seed}, last"));
    }
}

#[test]
fn disk2_a_write_torn_by_sectors_is_there_as_a_whole_or_not_at_all() {
    let large = [accepted(1, 1, &"a".repeat(900)), accepted(2, 1, &"b".repeat(900))].to_vec();
    let mut seen = [false; 2];
    for seed in 0..500 {
        let machine = Machine::new();
        let mut log = machine.start();
        log.append(&[promised(1)]).unwrap();
        machine.at().faults.fail_next_sync = true;
        log.append(&large).unwrap_err();
        let mut dice = Dice(seed);
        machine.at().crash(|below| dice.roll(below));
        let recovered = machine.open().unwrap().1;
        let (without, with) = (vec![vec![promised(1)]], vec![vec![promised(1)], large.clone()]);
        let whole = recovered == fold(&with, 2);
        assert!(whole || recovered == fold(&without, 2), "seed {seed}: {recovered:?}");
        seen[usize::from(whole)] = true;
    }
    assert_eq!(seen, [true; 2], "both must have happened");
}

#[test]
fn a10_disk8_after_a_failed_sync_nothing_is_written_and_nothing_acknowledged() {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[promised(1)]).unwrap();
    machine.at().faults.fail_next_sync = true;
    let error = log.append(&[promised(2)]).unwrap_err();
    assert!(matches!(&error, LogError::Sync { path, .. } if path.ends_with(FIRST)), "{error}");
    let changes = machine.at().changes();
    assert!(matches!(log.append(&[promised(3)]), Err(LogError::GivenUp { .. })));
    assert!(matches!(log.idle(), Err(LogError::GivenUp { .. })));
    assert!(matches!(log.release(), Err(LogError::GivenUp { .. })));
    assert_eq!(machine.at().changes(), changes, "a sync is never tried again");
}

#[test]
fn a10_what_a_restart_reads_from_the_cache_after_a_failed_sync_is_made_durable() {
    for seed in 0..50 {
        let machine = Machine::new();
        let mut log = machine.start();
        machine.at().faults.fail_next_sync = true;
        log.append(&[accepted(1, 7, &"v".repeat(1500))]).unwrap_err();
        drop(log);
        let (_, read) = machine.open().unwrap();
        assert_eq!(read.promised, ballot(7));
        let mut dice = Dice(seed);
        machine.at().crash(|below| dice.roll(below));
        assert_eq!(machine.open().unwrap().1.accepted, read.accepted, "seed {seed}");
    }
}

#[test]
fn disk7_no_space_names_the_file_and_a_restart_goes_on() {
    let machine = Machine::new();
    let mut log = machine.start();
    let value = "v".repeat(1000);
    let mut acknowledged = 0;
    machine.at().faults.no_space = true;
    let error = loop {
        match log.append(&[accepted(acknowledged + 1, 1, &value)]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, LogError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("memory/"), "{error}");
    assert!(matches!(machine.open(), Err(OpenError::Log(LogError::NoSpace { .. }))));
    machine.at().faults.no_space = false;
    assert_eq!(machine.open().unwrap().1.accepted.len() as u64, acknowledged);
}

/// A life with several segments, a cut and a release, and restarts between; it ends at the first
/// failure. Says what was acknowledged.
fn live(machine: &Machine) -> (Recovered, Recovered) {
    let mut acknowledged = Recovered::default();
    let mut tried = Recovered::default();
    let slots: Vec<u64> = (1..=18).collect();
    for part in slots.chunks(6) {
        let Ok((mut log, _)) = machine.open() else { break };
        for slot in part {
            let mut drain = vec![accepted(*slot, *slot, &"v".repeat(700))];
            drain.extend((slot % 6 == 5).then(|| Record::Trimmed(Slot(slot - 4))));
            // Without the cuts: one that was tried may not have come about.
            let votes = drain.iter().filter(|record| !matches!(record, Record::Trimmed(_)));
            votes.for_each(|record| tried.absorb(record.clone()));
            if log.append(&drain).is_err() {
                return (acknowledged, tried);
            }
            drain.iter().for_each(|record| acknowledged.absorb(record.clone()));
            let done = if slot % 2 == 0 { log.idle().map(|_| 0) } else { log.release() };
            if done.is_err() {
                return (acknowledged, tried);
            }
        }
    }
    (acknowledged, tried)
}

/// Nothing acknowledged is missing, but what lies below the cut; nothing is there that was not
/// written.
fn assert_between(
    recovered: &Recovered,
    (acknowledged, tried): &(Recovered, Recovered),
    what: &str,
) {
    assert!(recovered.promised >= acknowledged.promised, "{what}");
    assert!(recovered.trimmed >= acknowledged.trimmed, "{what}");
    for (slot, value) in &acknowledged.accepted {
        let held = recovered.accepted.get(slot);
        assert!(held == Some(value) || *slot < recovered.trimmed, "{what}: {slot}");
    }
    for (slot, value) in &recovered.accepted {
        assert_eq!(tried.accepted.get(slot), Some(value), "{what}: {slot}");
    }
}

#[test]
fn a20_disk12_the_storage_fails_after_every_operation() {
    let formatted = Machine::new().copy();
    let whole = Machine::with(formatted.clone());
    live(&whole);
    let operations = whole.at().changes() - formatted.changes();
    assert!(operations > 100 && whole.copy().names().len() > 3);
    for count in 0..operations {
        let machine = Machine::with(formatted.clone());
        machine.at().faults.stop_after = Some(count);
        let ledger = live(&machine);
        machine.at().faults.stop_after = None;
        for seed in 0..4 {
            let machine = Machine::with(machine.copy());
            let mut dice = Dice(seed);
            machine.at().crash(|below| dice.roll(below));
            let what = format!("after {count} operations, seed {seed}");
            let recovered = machine.open().unwrap_or_else(|error| panic!("{what}: {error}")).1;
            assert_between(&recovered, &ledger, &what);
        }
    }
}

#[test]
fn a20_making_a_directory_fails_after_every_operation() {
    let operations = Machine::new().at().changes();
    for count in 0..operations {
        for seed in 0..8 {
            let machine = Machine::blank();
            machine.at().faults.stop_after = Some(count);
            machine.format().unwrap_err();
            machine.at().faults.stop_after = None;
            let mut dice = Dice(seed);
            machine.at().crash(|below| dice.roll(below));
            match machine.open() {
                Ok((_, recovered)) => assert_eq!(recovered, fold([], 1)),
                Err(OpenError::LostMemory { .. } | OpenError::NoIdentity { .. }) => {}
                Err(other) => panic!("after {count} operations, seed {seed}: {other}"),
            }
        }
    }
}

/// A disk whose log has a torn tail with a whole frame behind the torn one.
fn torn() -> (MemoryDisk, Recovered) {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[accepted(1, 1, "kept")]).unwrap();
    let mut behind = 0;
    for slot in 2..=3 {
        behind = *frames(&machine.bytes(FIRST)).last().unwrap();
        log.append(&[Record::Chosen { slot: Slot(slot), ballot: ballot(1), value: None }]).unwrap();
    }
    machine.at().flip(FIRST, behind - 1, 0);
    (machine.copy(), fold([&vec![accepted(1, 1, "kept")]], 0))
}

#[test]
fn proc7_a_crash_in_recovery_and_again_changes_nothing() {
    let (disk, expected) = torn();
    for count in 0..8 {
        for seed in 0..30 {
            let mut dice = Dice(seed);
            let machine = Machine::with(disk.clone());
            for _ in 0..3 {
                machine.at().faults.stop_after = Some(count);
                let _ = machine.open();
                machine.at().faults.stop_after = None;
                machine.at().crash(|below| dice.roll(below));
            }
            let what = format!("after {count} operations, seed {seed}");
            let recovered = machine.open().unwrap_or_else(|error| panic!("{what}: {error}")).1;
            assert_eq!(recovered.accepted, expected.accepted, "{what}");
            assert!((2..=5).contains(&recovered.incarnation), "{what}");
            assert_eq!(recovered.chosen(Slot::FIRST), expected.chosen(Slot::FIRST), "{what}");
        }
    }
}
