//! The log is cut at its beginning, and its files are used again, for years.

use paxos_actors::log::{Disk, Log, LogError, MemoryDisk};
use paxos_core::{Record, Recovered, Slot};

use crate::crash::Ledger;
use crate::story::*;

/// Appends votes of about a kilobyte, four to a segment.
fn fill(log: &mut Log, slots: std::ops::RangeInclusive<u64>) {
    for slot in slots {
        log.append(&[accepted(slot, 1, &"v".repeat(900))]).unwrap();
    }
}

/// A log of several segments with a cut in the middle, and nothing taken out yet.
fn cut_log() -> (Machine, Log) {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[promised(7)]).unwrap();
    fill(&mut log, 1..=30);
    log.append(&[trimmed(21)]).unwrap();
    (machine, log)
}

fn slots(recovered: &Recovered) -> Vec<u64> {
    recovered.accepted.keys().map(|slot| slot.0).collect()
}

#[test]
fn a_segment_stays_while_it_has_a_record_of_one_slot_at_the_cut() {
    let machine = Machine::new();
    let mut log = machine.start();
    // A late vote for a high slot stands among low ones.
    fill(&mut log, 1..=4);
    log.append(&[accepted(50, 1, "high")]).unwrap();
    fill(&mut log, 5..=20);
    log.append(&[trimmed(50)]).unwrap();
    let kept = (1..=log.segments()).find(|number| {
        let bytes = machine.bytes(&format!("log-{number:010}.seg"));
        bytes.windows(4).any(|bytes| bytes == b"high")
    });
    assert_eq!(log.release().unwrap(), kept.unwrap() - 1);
    assert_eq!(slots(&machine.open().unwrap().1), [50]);
    let mut log = machine.start();
    log.append(&[trimmed(51)]).unwrap();
    assert!(log.release().unwrap() > 2);
    assert_eq!(log.segments(), 1);
    let (_, recovered) = machine.open().unwrap();
    assert_eq!((slots(&recovered), recovered.trimmed), (vec![], Slot(51)));
}

#[test]
fn a_start_takes_out_what_a_crash_left_and_the_next_write_what_it_never_began() {
    let (machine, log) = cut_log();
    drop(log);
    let mut log = machine.start();
    let before = log.segments();
    log.append(&[promised(8)]).unwrap();
    assert!(log.release().unwrap() >= 4);
    assert!(log.segments() < before);
    assert_eq!(slots(&machine.open().unwrap().1), (21..=30).collect::<Vec<_>>());
}

#[test]
fn files_are_used_again_and_the_directory_does_not_grow() {
    for spare_segments in [0, 1, 2, 5] {
        let machine = Machine::new();
        let (mut log, _) = machine.open_with(spare_segments).unwrap();
        let mut reused = 0;
        for slot in 1..=2000_u64 {
            fill(&mut log, slot..=slot);
            if slot.is_multiple_of(20) {
                log.append(&[trimmed(slot - 10)]).unwrap();
            }
            log.release().unwrap();
            let (segments, spares) = machine.segments_and_spares();
            assert!(segments.len() <= 12, "slot {slot}: {segments:?}");
            assert!(spares.len() <= spare_segments as usize + 1, "slot {slot}: {spares:?}");
            reused += usize::from(spares.iter().any(|name| name.starts_with("spare-")));
            if slot.is_multiple_of(300) {
                log = machine.open_with(spare_segments).unwrap().0;
            }
        }
        assert_eq!(reused > 0, spare_segments > 0);
        let (_, recovered) = machine.open().unwrap();
        assert_eq!(slots(&recovered), (1990..=2000).collect::<Vec<_>>());
    }
}

#[test]
fn only_files_of_the_usual_size_are_kept() {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[accepted(1, 1, &"x".repeat(50_000))]).unwrap();
    fill(&mut log, 2..=4);
    log.append(&[trimmed(5)]).unwrap();
    assert!(log.release().unwrap() > 0);
    for name in machine.segments_and_spares().1 {
        assert_eq!(machine.bytes(&name).len(), 4096, "{name}");
    }
}

/// After each operation of a release the power fails.
fn crash_in_release(check: impl Fn(Machine, &str)) {
    let (whole, mut log) = cut_log();
    let before = whole.copy();
    drop(log);
    log = whole.start();
    log.release().unwrap();
    let operations = whole.at().changes() - before.changes();
    assert!(operations > 10);
    for count in 0..operations {
        for seed in 0..12 {
            let machine = Machine::with(before.clone());
            machine.at().faults.stop_after = Some(count);
            if let Ok((mut log, _)) = machine.open() {
                let _ = log.release();
            }
            machine.at().faults.stop_after = None;
            let mut dice = Dice(seed);
            machine.at().crash(|below| dice.roll(below));
            check(machine, &format!("after {count} operations, seed {seed}"));
        }
    }
}

#[test]
fn disk3_names_that_come_back_after_a_cut_are_no_part_of_the_log() {
    let came_back = std::cell::Cell::new(0);
    crash_in_release(|machine, what| {
        let (segments, _) = machine.segments_and_spares();
        let (mut log, recovered) = machine.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(recovered.promised, ballot(7), "{what}");
        assert_eq!(slots(&recovered), (21..=30).collect::<Vec<_>>(), "{what}");
        // What was taken out, and is here again, is gone once the log is open.
        let first = machine.segments_and_spares().0[0].clone();
        came_back.set(came_back.get() + usize::from(first != segments[0]));
        fill(&mut log, 31..=45);
        log.append(&[trimmed(45)]).unwrap();
        log.release().unwrap();
        let recovered = machine.open().unwrap_or_else(|error| panic!("{what}: {error}")).1;
        assert_eq!(slots(&recovered), [45], "{what}");
    });
    assert!(came_back.get() > 5, "it happened {} times", came_back.get());
}

#[test]
fn a10_a_sync_that_fails_before_segments_go_keeps_them() {
    let (machine, mut log) = cut_log();
    let (segments, _) = machine.segments_and_spares();
    machine.at().faults.fail_next_sync = true;
    assert!(matches!(log.release(), Err(LogError::Sync { .. })));
    assert_eq!(machine.segments_and_spares().0, segments);
    assert!(matches!(log.append(&[promised(8)]), Err(LogError::GivenUp { .. })));
    for seed in 0..20 {
        let machine = Machine::with(machine.copy());
        let mut dice = Dice(seed);
        machine.at().crash(|below| dice.roll(below));
        let recovered = machine.open().unwrap().1;
        assert_eq!(slots(&recovered), (21..=30).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn disk14_what_a_file_held_before_it_was_used_again_is_never_read() {
    let (machine, mut log) = cut_log();
    log.release().unwrap();
    drop(log);
    let expected = Machine::with(machine.copy()).open().unwrap().1;
    let (segments, spares) = machine.segments_and_spares();
    let spare = spares.iter().find(|name| name.starts_with("spare-")).unwrap();
    let held = machine.bytes(spare);
    assert!(held.windows(9).any(|bytes| bytes == b"vvvvvvvvv"), "it holds its old records");
    let last: u32 = segments.last().unwrap()[4..14].parse().unwrap();
    // As the next segment, its zeros having been lost.
    let next = Machine::with(machine.copy());
    next.at().overwrite(&format!("log-{:010}.seg", last + 1), [&[0; 512], &held[512..]].concat());
    assert_eq!(next.open().unwrap().1, expected);
    // Behind the end of the one that is written to.
    let name = format!("log-{last:010}.seg");
    let end = *frames(&machine.bytes(&name)).last().unwrap();
    for from in [end, end + 1, end + 40] {
        let behind = Machine::with(machine.copy());
        behind.change(&name, |bytes| bytes[from..].copy_from_slice(&held[from..]));
        assert_eq!(behind.open().unwrap().1, expected, "from {from}");
    }
}

/// A snapshot is written, the log is cut and its segments go; whoever does it keeps the order.
fn snapshot_and_cut(machine: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    let (mut log, _) = machine.open()?;
    let mut disk = machine.disk.clone();
    for (slot, name) in [(9, "snapshot-9"), (21, "snapshot-21")] {
        disk.prepare("snapshot.tmp", 512);
        disk.ready("snapshot.tmp")?;
        disk.write_at("snapshot.tmp", 0, name.as_bytes())?;
        disk.sync("snapshot.tmp")?;
        disk.rename("snapshot.tmp", name)?;
        disk.sync_dir()?;
        log.append(&[trimmed(slot)])?;
        log.release()?;
    }
    Ok(())
}

#[test]
fn a16_after_a_power_cut_there_is_the_snapshot_or_the_log_that_it_stands_for() {
    let machine = Machine::new();
    fill(&mut machine.start(), 1..=30);
    let before = machine.copy();
    snapshot_and_cut(&machine).unwrap();
    let operations = machine.at().changes() - before.changes();
    let mut cuts = std::collections::BTreeSet::new();
    for count in 0..operations {
        for seed in 0..8 {
            let machine = Machine::with(before.clone());
            machine.at().faults.stop_after = Some(count);
            let _ = snapshot_and_cut(&machine);
            machine.at().faults.stop_after = None;
            let mut dice = Dice(seed);
            machine.at().crash(|below| dice.roll(below));
            let what = format!("after {count} operations, seed {seed}");
            let recovered = machine.open().unwrap_or_else(|error| panic!("{what}: {error}")).1;
            let cut = recovered.trimmed.0;
            let name = format!("snapshot-{cut}");
            if cut > 0 {
                assert!(machine.has(&name), "{what}: cut at {cut}, no snapshot");
                assert!(machine.bytes(&name).starts_with(name.as_bytes()), "{what}: {name}");
            }
            assert_eq!(slots(&recovered), (cut.max(1)..=30).collect::<Vec<_>>(), "{what}");
            cuts.insert(cut);
        }
    }
    assert_eq!(cuts.into_iter().collect::<Vec<_>>(), [0, 9, 21], "all three must have happened");
}

/// A drain as chance has it, about slots that move on.
fn drain(dice: &mut Dice, number: u64, slot: u64) -> Vec<Record> {
    (0..=dice.roll(3))
        .map(|_| match dice.roll(12) {
            0 => promised(number),
            1 => trimmed(slot.saturating_sub(dice.roll(12))),
            2 => accepted(slot + 25, number, "far ahead"),
            3..=5 => chosen(slot + dice.roll(4), 1),
            _ => {
                let length = dice.roll(900) as usize;
                accepted(slot + dice.roll(4), number, &"v".repeat(length))
            }
        })
        .collect()
}

/// Appends, cuts and releases until the log fails or chance ends it; says how many segments went.
fn live(log: &mut Log, ledger: &mut Ledger, slot: &mut u64, dice: &mut Dice) -> u32 {
    let mut gone = 0;
    for _ in 0..dice.roll(40) {
        *slot += dice.roll(3);
        ledger.drains.push(drain(dice, ledger.drains.len() as u64 + 1, *slot));
        let drain = &ledger.drains[ledger.drains.len() - 1];
        let needs_sync = drain.iter().any(Record::needs_sync);
        if log.append(drain).is_err() {
            return gone;
        }
        if needs_sync {
            ledger.acknowledged = ledger.drains.len();
        }
        match log.release() {
            Ok(count) => gone += count,
            Err(_) => return gone,
        }
        if dice.roll(4) == 0 && log.idle().is_err() {
            return gone;
        }
    }
    gone
}

#[test]
fn a20_random_drains_cuts_and_crashes_keep_what_was_acknowledged_and_nothing_below_the_cut() {
    let (mut gone, mut reused, mut starts) = (0, 0, 0);
    for seed in 0..1500 {
        let mut dice = Dice(seed);
        let machine = Machine::new();
        let (mut ledger, mut slot) = (Ledger::default(), 1);
        let spare_segments = dice.roll(4) as u32;
        for run in 0..6 {
            // Some runs end in the middle of an operation, some in that of a recovery.
            machine.at().faults.stop_after = (dice.roll(2) == 0).then(|| dice.roll(150));
            if let Ok((mut log, recovered)) = machine.open_with(spare_segments) {
                let what = format!("seed {seed}, run {run}");
                ledger.accept(&recovered, &what);
                starts += 1;
                gone += live(&mut log, &mut ledger, &mut slot, &mut dice);
            }
            machine.at().faults.stop_after = None;
            let (_, spares) = machine.segments_and_spares();
            reused += usize::from(spares.iter().any(|name| name.starts_with("spare-")));
            if dice.roll(4) > 0 {
                machine.at().crash(|below| dice.roll(below));
            }
        }
        let what = format!("seed {seed}, last");
        let (mut log, recovered) =
            machine.open_with(spare_segments).unwrap_or_else(|error| panic!("{what}: {error}"));
        ledger.accept(&recovered, &what);
        assert!(recovered.accepted.keys().all(|slot| *slot >= recovered.trimmed), "{what}");
        // Files of segments that are out of the log go one at a time.
        let mut calls = 0;
        let (segments, spares) = loop {
            log.release().unwrap();
            let (segments, spares) = machine.segments_and_spares();
            calls += 1;
            if segments.len() == log.segments() as usize || calls > 100 {
                break (segments, spares);
            }
        };
        assert_eq!(segments.len(), log.segments() as usize, "{what}: {segments:?}");
        assert!(spares.len() <= spare_segments as usize + 1, "{what}: {spares:?}");
    }
    assert!(gone > 5000 && reused > 1000, "{gone} gone, {reused} with spares, {starts} starts");
}

#[test]
fn a_crash_while_a_file_is_made_ready_again_leaves_one_that_means_nothing() {
    let (machine, mut log) = cut_log();
    log.release().unwrap();
    let expected = Machine::with(machine.copy()).open().unwrap().1;
    // A start begins to zero a spare, and the power fails before that is synced.
    let (mut clean, mut mixed) = (0, 0);
    for seed in 0..60 {
        let machine = Machine::with(machine.copy());
        machine.at().faults.stop_after = Some(1);
        machine.open().unwrap_err();
        machine.at().faults.stop_after = None;
        let mut dice = Dice(seed);
        machine.at().crash(|below| dice.roll(below));
        let spares = machine.segments_and_spares().1;
        let held = |disk: &MemoryDisk, name: &String| disk.contents(name).unwrap().to_vec();
        let zeros = spares.iter().all(|name| held(&machine.at(), name).iter().all(|b| *b == 0));
        *(if zeros { &mut clean } else { &mut mixed }) += 1;
        let (mut log, recovered) = machine.open().unwrap();
        assert_eq!(recovered.accepted, expected.accepted, "seed {seed}");
        assert_eq!(recovered.promised, expected.promised, "seed {seed}");
        fill(&mut log, 31..=60);
        let recovered = machine.open().unwrap().1;
        assert_eq!(slots(&recovered), (21..=60).collect::<Vec<_>>(), "seed {seed}");
    }
    assert!(mixed > 10, "{mixed} mixed, {clean} clean");
}
