//! Snapshots on a disk: whole or not there, whatever happens while they are written.

use std::sync::{Arc, Mutex};

use paxos_actors::log::{Directory, Kept, MemoryDisk, SnapshotError, Snapshots};
use paxos_core::{ClusterId, Manifest, Slot};

use crate::story::Dice;

const CLUSTER: ClusterId = ClusterId(7);

type Shared = Arc<Mutex<MemoryDisk>>;

fn open(disk: &Shared, keep: usize) -> Result<Snapshots, SnapshotError> {
    Snapshots::open(Box::new(disk.clone()), CLUSTER, keep)
}

fn state(upto: u64) -> Vec<u8> {
    (0..3000).map(|byte| (byte * upto) as u8).collect()
}

/// What is there, and the newest, which must be what was saved.
fn found(disk: &Shared) -> Vec<u64> {
    let mut snapshots = open(disk, 2).unwrap();
    let stored: Vec<_> = snapshots.stored().iter().map(|stored| stored.upto.0).collect();
    let newest = snapshots.newest().unwrap();
    assert_eq!(newest, stored.last().map(|upto| state(*upto)));
    stored
}

#[test]
fn so_many_are_kept_and_the_newest_is_read_back() {
    let disk = MemoryDisk::new().shared();
    assert_eq!(found(&disk), [] as [u64; 0]);
    let mut snapshots = open(&disk, 2).unwrap();
    for (upto, kept) in [(5, vec![5]), (9, vec![5, 9]), (30, vec![9, 30])] {
        snapshots.save(Slot(upto), &state(upto)).unwrap();
        let stored: Vec<_> = snapshots.stored().iter().map(|stored| stored.upto.0).collect();
        assert_eq!(stored, kept);
    }
    assert_eq!(found(&disk), [9, 30]);
}

#[test]
fn clus4_a_crash_at_every_step_leaves_the_old_or_the_new() {
    let mut dice = Dice(1);
    let mut seen_both = [false; 2];
    for steps in 0.. {
        let disk = MemoryDisk::new().shared();
        open(&disk, 2).unwrap().save(Slot(5), &state(5)).unwrap();
        disk.lock().unwrap().faults.stop_after = Some(steps);
        let saved = open(&disk, 2).and_then(|mut snapshots| snapshots.save(Slot(9), &state(9)));
        let mut left = disk.lock().unwrap();
        left.faults.stop_after = None;
        left.crash(|bound| dice.roll(bound));
        drop(left);
        let stored = found(&disk);
        assert!(stored == [5] || stored == [5, 9], "after {steps} steps: {stored:?}");
        seen_both[stored.len() - 1] = true;
        if saved.is_ok() {
            assert_eq!(stored, [5, 9], "what was saved is there");
            break;
        }
    }
    assert_eq!(seen_both, [true, true]);
}

/// Carries a snapshot over in pieces; `spoil` may change each.
fn carry(from: &Shared, to: &Shared, spoil: impl Fn(u64, &mut Vec<u8>)) -> Kept {
    let (mut source, mut target) = (open(from, 2).unwrap(), open(to, 2).unwrap());
    let manifest = source.stored().last().unwrap().clone();
    let mut offset = 0;
    loop {
        let mut piece = source.piece(&manifest, offset, 700).unwrap().unwrap();
        spoil(offset, &mut piece);
        match target.keep(&manifest, offset, &piece).unwrap() {
            Kept::Written(kept) => offset = kept,
            Kept::Whole(_) => {
                target.store().unwrap();
                return Kept::Whole(Vec::new());
            }
            Kept::Spoiled => return Kept::Spoiled,
        }
    }
}

#[test]
fn one_that_is_carried_over_is_the_same_bytes() {
    let (from, to) = (MemoryDisk::new().shared(), MemoryDisk::new().shared());
    open(&from, 2).unwrap().save(Slot(9), &state(9)).unwrap();
    assert_eq!(carry(&from, &to, |_, _| {}), Kept::Whole(Vec::new()));
    assert_eq!(found(&to), [9]);
    let name = "snapshot-00000000000000000009.snap";
    assert_eq!(from.lock().unwrap().contents(name), to.lock().unwrap().contents(name));
}

#[test]
fn d4_pieces_of_two_snapshots_are_never_put_together() {
    let (from, to) = (MemoryDisk::new().shared(), MemoryDisk::new().shared());
    let (mut source, mut target) = (open(&from, 2).unwrap(), open(&to, 2).unwrap());
    source.save(Slot(9), &state(9)).unwrap();
    source.save(Slot(11), &state(11)).unwrap();
    let [older, newer] = &source.stored().to_vec()[..] else { panic!("two are kept") };
    let first = source.piece(older, 0, 700).unwrap().unwrap();
    let second = source.piece(newer, 700, 700).unwrap().unwrap();
    assert_eq!(target.keep(older, 0, &first).unwrap(), Kept::Written(700));
    // At the very offset, but of another: nothing is written.
    assert_eq!(target.keep(newer, 700, &second).unwrap(), Kept::Written(700));
    let rest = source.piece(older, 700, older.bytes).unwrap().unwrap();
    assert!(matches!(target.keep(older, 700, &rest).unwrap(), Kept::Whole(_)));
}

#[test]
fn one_that_is_spoiled_on_the_way_is_thrown_away() {
    let (from, to) = (MemoryDisk::new().shared(), MemoryDisk::new().shared());
    open(&from, 2).unwrap().save(Slot(9), &state(9)).unwrap();
    let spoiled = carry(&from, &to, |offset, piece| {
        if offset == 1400 {
            piece[3] ^= 1;
        }
    });
    assert_eq!(spoiled, Kept::Spoiled);
    assert_eq!(found(&to), [] as [u64; 0]);
    assert_eq!(to.lock().unwrap().names(), [] as [&str; 0]);
}

#[test]
fn clus4_a_fetch_that_ends_early_is_no_snapshot() {
    let (from, to) = (MemoryDisk::new().shared(), MemoryDisk::new().shared());
    open(&from, 2).unwrap().save(Slot(9), &state(9)).unwrap();
    let manifest = open(&from, 2).unwrap().stored()[0].clone();
    let piece = open(&from, 2).unwrap().piece(&manifest, 0, 700).unwrap().unwrap();
    let mut target = open(&to, 2).unwrap();
    assert_eq!(target.keep(&manifest, 0, &piece).unwrap(), Kept::Written(700));
    // Out of order, or of another snapshot: not written.
    assert_eq!(target.keep(&manifest, 1400, &piece).unwrap(), Kept::Written(700));
    let other = Manifest { upto: Slot(10), ..manifest.clone() };
    assert_eq!(target.keep(&other, 700, &piece).unwrap(), Kept::Written(700));
    // Begun anew.
    assert_eq!(target.keep(&manifest, 0, &piece).unwrap(), Kept::Written(700));
    assert_eq!(found(&to), [] as [u64; 0]);
    // Another file is gone on with only from its beginning.
    to.lock().unwrap().delete("coming.marks");
    assert_eq!(open(&to, 2).unwrap().keep(&manifest, 700, &piece).unwrap(), Kept::Spoiled);
    assert!(to.lock().unwrap().names().is_empty());
}

#[test]
fn a17_disk4_every_bit_that_rots_is_seen_and_nothing_is_taken_for_an_orphan() {
    let disk = MemoryDisk::new().shared();
    open(&disk, 2).unwrap().save(Slot(9), &state(9)).unwrap();
    let name = "snapshot-00000000000000000009.snap";
    let length = disk.lock().unwrap().contents(name).unwrap().len();
    for offset in (0..40).chain((40..length).step_by(97)) {
        for bit in 0..8 {
            disk.lock().unwrap().flip(name, offset, bit);
            let read = open(&disk, 2).and_then(|mut snapshots| snapshots.newest());
            let words = read.unwrap_err().to_string();
            assert!(words.contains(name), "byte {offset}, bit {bit}: {words}");
            disk.lock().unwrap().flip(name, offset, bit);
        }
    }
    assert_eq!(found(&disk), [9]);
}

#[test]
fn disk15_one_of_another_cluster_is_refused() {
    let disk = MemoryDisk::new().shared();
    let mut others = Snapshots::open(Box::new(disk.clone()), ClusterId(8), 2).unwrap();
    others.save(Slot(9), &state(9)).unwrap();
    let refused = open(&disk, 2).and_then(|mut snapshots| snapshots.newest());
    assert!(refused.unwrap_err().to_string().contains("another cluster"));
}

#[test]
fn disk6_a_snapshot_that_is_gone_is_missed() {
    let disk = MemoryDisk::new().shared();
    let mut snapshots = open(&disk, 2).unwrap();
    assert!(snapshots.reaches(Slot(1)).is_ok(), "nothing was cut");
    assert!(snapshots.reaches(Slot(5)).unwrap_err().to_string().contains("below 5"));
    snapshots.save(Slot(5), &state(5)).unwrap();
    assert!(snapshots.reaches(Slot(5)).is_ok());
    assert!(snapshots.reaches(Slot(6)).is_err());
}

#[test]
fn a_real_directory_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshots");
    let of = |keep| Snapshots::open(Box::new(Directory::new(&path)), CLUSTER, keep);
    assert!(of(2).unwrap().stored().is_empty(), "no directory, no snapshots");
    assert!(!path.exists());
    of(2).unwrap().save(Slot(5), &state(5)).unwrap();
    let mut snapshots = of(2).unwrap();
    let manifest = snapshots.stored()[0].clone();
    let all = snapshots.piece(&manifest, 0, 1 << 20).unwrap().unwrap();
    assert_eq!(all.len() as u64, manifest.bytes);
    assert_eq!(snapshots.piece(&manifest, 100, 10).unwrap().unwrap(), all[100..110]);
    assert_eq!(snapshots.newest().unwrap().unwrap(), state(5));
    snapshots.save(Slot(7), &state(7)).unwrap();
    snapshots.save(Slot(9), &state(9)).unwrap();
    assert_eq!(snapshots.piece(&manifest, 0, 10).unwrap(), None, "it is gone");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
    // No memory is taken for a length that is nonsense.
    let newest = path.join("snapshot-00000000000000000009.snap");
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[23] ^= 0x40;
    std::fs::write(&newest, bytes).unwrap();
    let refused = of(2).unwrap().newest().unwrap_err().to_string();
    assert!(refused.contains("its length is wrong"), "{refused}");
}

#[test]
fn one_that_is_to_be_shorter_than_a_header_is_thrown_away() {
    let disk = MemoryDisk::new().shared();
    let nonsense = Manifest { upto: Slot(9), bytes: 3, crc32c: 0 };
    let mut snapshots = open(&disk, 2).unwrap();
    assert_eq!(snapshots.keep(&nonsense, 0, &[1, 2, 3]).unwrap(), Kept::Spoiled);
    assert!(disk.lock().unwrap().names().is_empty());
}
