//! A snapshot that comes from a peer: what is here of it outlives a restart, and nothing of it is
//! ever taken for more than it is.

use std::sync::{Arc, Mutex};

use paxos_actors::log::{Kept, MemoryDisk, SnapshotError, Snapshots};
use paxos_core::{ClusterId, Manifest, Slot};

use crate::story::Dice;

const COMING: &str = "coming.tmp";
const MARKS: &str = "coming.marks";

type Shared = Arc<Mutex<MemoryDisk>>;

fn open(disk: &Shared) -> Result<Snapshots, SnapshotError> {
    Snapshots::open(Box::new(disk.clone()), ClusterId(7), 2)
}

/// A peer that has a snapshot of every slot below `upto`, with a state of so many bytes.
struct Peer {
    snapshots: Snapshots,
    manifest: Manifest,
    piece: u64,
}

impl Peer {
    fn new(upto: u64, bytes: u64, piece: u64) -> Self {
        let mut snapshots = open(&MemoryDisk::new().shared()).unwrap();
        let state: Vec<u8> = (0..bytes).map(|byte| (byte * (upto + byte / 251)) as u8).collect();
        snapshots.save(Slot(upto), &state).unwrap();
        let manifest = snapshots.stored()[0].clone();
        Peer { snapshots, manifest, piece }
    }

    fn bytes(&mut self, offset: u64, length: u64) -> Vec<u8> {
        self.snapshots.piece(&self.manifest, offset, length).unwrap().unwrap()
    }

    /// Gives pieces, from what is here on, until there are no more or `pieces` are given.
    fn give(&mut self, to: &mut Snapshots, pieces: u64) -> Result<Kept, SnapshotError> {
        let mut kept = Kept::Written(here(to, &self.manifest));
        for _ in 0..pieces {
            let Kept::Written(offset) = kept else { break };
            let piece = self.bytes(offset, self.piece);
            kept = to.keep(&self.manifest, offset, &piece)?;
        }
        if let Kept::Whole(_) = kept {
            to.store()?;
        }
        Ok(kept)
    }
}

/// How much of a snapshot is here.
fn here(snapshots: &Snapshots, manifest: &Manifest) -> u64 {
    snapshots.partial().filter(|(coming, _)| *coming == manifest).map_or(0, |(_, offset)| offset)
}

fn names(disk: &Shared) -> Vec<String> {
    disk.lock().unwrap().names()
}

#[test]
fn clus4_a_fetch_goes_on_where_it_was_after_a_restart() {
    let (mut peer, disk) = (Peer::new(9, 3000, 700), MemoryDisk::new().shared());
    for restarts in 1..=4 {
        let mut target = open(&disk).unwrap();
        assert_eq!(peer.give(&mut target, 1).unwrap(), Kept::Written(restarts * 700));
    }
    // Another peer has the same bytes.
    let mut other = Peer::new(9, 3000, 50);
    assert!(matches!(other.give(&mut open(&disk).unwrap(), 100).unwrap(), Kept::Whole(_)));
    let stored = open(&disk).unwrap().newest().unwrap();
    assert_eq!(stored, peer.snapshots.newest().unwrap());
    assert_eq!(names(&disk), ["snapshot-00000000000000000009.snap"], "nothing else is left");
}

/// Fetches a snapshot while the disk stops after every possible number of changes; then the power
/// fails or the process alone does, and what is found must be the beginning of the snapshot, from
/// which on it can be completed. How often the fetch could be gone on with.
fn crash_at_every_step(peer: &mut Peer, power: bool) -> u64 {
    let (mut dice, mut resumed) = (Dice(3), 0);
    for steps in 0.. {
        let disk = MemoryDisk::new().shared();
        disk.lock().unwrap().faults.stop_after = Some(steps);
        let whole = open(&disk).and_then(|mut target| peer.give(&mut target, u64::MAX));
        let mut left = disk.lock().unwrap();
        left.faults.stop_after = None;
        if power {
            left.crash(|bound| dice.roll(bound));
        }
        drop(left);
        let mut target = open(&disk).unwrap();
        let offset = here(&target, &peer.manifest);
        if offset > 0 {
            let coming = disk.lock().unwrap().contents(COMING).unwrap().to_vec();
            assert_eq!(coming[..offset as usize], peer.bytes(0, offset), "after {steps} steps");
            resumed += 1;
        } else {
            assert!(!names(&disk).iter().any(|name| name.starts_with("coming")), "{steps} steps");
        }
        if whole.is_ok() {
            assert_eq!(target.stored().last(), Some(&peer.manifest), "what was stored is there");
            return resumed;
        }
        if target.stored().is_empty() {
            assert!(matches!(peer.give(&mut target, u64::MAX).unwrap(), Kept::Whole(_)));
        }
        assert_eq!(open(&disk).unwrap().newest().unwrap(), peer.snapshots.newest().unwrap());
    }
    unreachable!("the steps of a fetch have an end")
}

#[test]
fn clus4_a_crash_of_the_receiver_at_every_step_keeps_what_is_sound() {
    // The process alone crashes: every piece whose mark is written stays.
    assert!(crash_at_every_step(&mut Peer::new(9, 3000, 700), false) >= 4);
    // With the power goes what was not synced: sometimes nothing that was written is lost.
    crash_at_every_step(&mut Peer::new(9, 3000, 700), true);
    // Once a MiB is here it is synced, and stays whatever happens.
    assert!(crash_at_every_step(&mut Peer::new(9, 3 << 20, 600 << 10), true) >= 4);
}

#[test]
fn disk4_what_rots_of_a_fetch_is_not_gone_on_with() {
    let mut peer = Peer::new(9, 3000, 700);
    for (name, offset) in [(COMING, 0), (COMING, 9), (COMING, 1399), (MARKS, 512), (MARKS, 520)] {
        let disk = MemoryDisk::new().shared();
        peer.give(&mut open(&disk).unwrap(), 2).unwrap();
        disk.lock().unwrap().flip(name, offset, 3);
        assert!(open(&disk).unwrap().partial().is_none(), "{name} at {offset}");
        assert!(names(&disk).is_empty(), "it is removed");
    }
    // Behind what is marked nothing counts yet.
    let disk = MemoryDisk::new().shared();
    peer.give(&mut open(&disk).unwrap(), 2).unwrap();
    disk.lock().unwrap().flip(COMING, 1400, 3);
    assert!(matches!(peer.give(&mut open(&disk).unwrap(), 9).unwrap(), Kept::Whole(_)));
}

#[test]
fn clus4_a_newer_snapshot_begins_anew_and_one_made_here_ends_the_fetch() {
    let (mut older, mut newer) = (Peer::new(9, 3000, 700), Peer::new(11, 3000, 700));
    let disk = MemoryDisk::new().shared();
    let mut target = open(&disk).unwrap();
    older.give(&mut target, 3).unwrap();
    newer.give(&mut target, 1).unwrap();
    assert_eq!(open(&disk).unwrap().partial(), Some((&newer.manifest, 700)));
    // Made here meanwhile, but it does not reach as far.
    target.save(Slot(10), b"state").unwrap();
    assert_eq!(open(&disk).unwrap().partial(), Some((&newer.manifest, 700)));
    target.save(Slot(11), b"state").unwrap();
    assert_eq!(target.partial(), None);
    assert!(names(&disk).iter().all(|name| name.ends_with(".snap")), "{:?}", names(&disk));
}

#[test]
fn clus4_what_is_left_behind_is_removed_when_a_stored_snapshot_covers_it() {
    let (mut peer, disk) = (Peer::new(9, 3000, 700), MemoryDisk::new().shared());
    peer.give(&mut open(&disk).unwrap(), 2).unwrap();
    let keep = |name: &str| disk.lock().unwrap().contents(name).unwrap().to_vec();
    let (coming, marks) = (keep(COMING), keep(MARKS));
    open(&disk).unwrap().save(Slot(12), b"state").unwrap();
    // A power cut brought them back, both or one of them.
    for (name, bytes) in [(COMING, coming), (MARKS, marks)] {
        disk.lock().unwrap().overwrite(name, bytes);
        assert_eq!(open(&disk).unwrap().partial(), None);
        assert_eq!(names(&disk), ["snapshot-00000000000000000012.snap"]);
    }
}
