//! The real file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use paxos_actors::log::{Directory, DirectoryLock, LockError, Log, LogOptions, OpenError, format};
use paxos_core::Recovered;

use crate::story::*;

fn open(path: &Path) -> Result<(Log, Recovered), OpenError> {
    let options = LogOptions { segment_bytes: 8192, ..LogOptions::default() };
    let (log, recovered, _) = Log::open(Box::new(Directory::new(path)), CLUSTER, NODE, options)?;
    Ok((log, recovered))
}

#[test]
fn a_log_in_a_real_directory_reads_back() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("data");
    let mut disk = Directory::create(&path).unwrap();
    let _lock = DirectoryLock::acquire(&path).unwrap();
    format(&mut disk, &identity()).unwrap();
    let mut drains = Vec::new();
    for run in 1..=3 {
        let (mut log, recovered) = open(&path).unwrap();
        assert_eq!(recovered, fold(&drains, run));
        for _ in 0..20 {
            let number = drains.len() as u64 + 1;
            let length = if number.is_multiple_of(7) { 20_000 } else { 900 };
            drains.push(vec![accepted(number, number, &"v".repeat(length)), chosen(number, 1)]);
            log.append(&drains[drains.len() - 1]).unwrap();
        }
        assert!(log.idle().unwrap());
        assert!(log.segments() > run as u32);
    }
    assert_eq!(open(&path).unwrap().1, fold(&drains, 4));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn released_segments_leave_the_real_directory() {
    let place = tempfile::tempdir().unwrap();
    format(&mut Directory::new(place.path()), &identity()).unwrap();
    let (mut log, _) = open(place.path()).unwrap();
    for slot in 1..=60 {
        log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
    }
    log.append(&[paxos_core::Record::Trimmed(paxos_core::Slot(61))]).unwrap();
    let segments = || {
        let entries = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().ends_with(".seg")).count()
    };
    let before = segments();
    let released = log.release().unwrap() as usize;
    // Two are kept as spares, one is removed; each of the others waits for a call of its own.
    assert!(released > 4 && segments() == before - 3, "{released} of {before}");
    for left in (1..before - 3).rev() {
        assert_eq!(log.release().unwrap(), 0);
        assert_eq!(segments(), left);
    }
    drop(log);
    assert_eq!(open(place.path()).unwrap().1.trimmed, paxos_core::Slot(61));
}

#[test]
fn proc8_a_missing_directory_is_a_lost_memory() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("data");
    assert!(matches!(open(&path), Err(OpenError::LostMemory { .. })));
    assert!(!path.exists(), "nothing is made by opening");
    assert!(matches!(DirectoryLock::acquire(&path), Err(LockError::NoDirectory { .. })));
    fs::create_dir(&path).unwrap();
    let _lock = DirectoryLock::acquire(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::LostMemory { .. })), "a lock is no data");
}

#[test]
fn proc10_two_users_of_one_directory_are_kept_apart() {
    let place = tempfile::tempdir().unwrap();
    let lock = DirectoryLock::acquire(place.path()).unwrap();
    let second = DirectoryLock::acquire(place.path()).unwrap_err();
    assert!(matches!(second, LockError::Held { .. }), "{second}");
    assert!(second.to_string().contains("another process is using"), "{second}");
    assert!(matches!(DirectoryLock::acquire_to_read(place.path()), Err(LockError::Held { .. })));
    drop(lock);
    let readers: Vec<_> =
        (0..2).map(|_| DirectoryLock::acquire_to_read(place.path()).unwrap()).collect();
    assert!(readers.iter().all(Option::is_some));
    assert!(matches!(DirectoryLock::acquire(place.path()), Err(LockError::Held { .. })));
    drop(readers);
    DirectoryLock::acquire(place.path()).unwrap();
}

#[test]
fn reading_makes_no_lock_file() {
    let place = tempfile::tempdir().unwrap();
    assert!(DirectoryLock::acquire_to_read(place.path()).unwrap().is_none());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    let missing = DirectoryLock::acquire_to_read(place.path().join("data"));
    assert!(matches!(missing, Err(LockError::NoDirectory { .. })));
}

#[test]
fn files_of_a_real_directory_are_used_again_as_zeros() {
    use std::os::unix::fs::MetadataExt;
    let place = tempfile::tempdir().unwrap();
    format(&mut Directory::new(place.path()), &identity()).unwrap();
    let mut inodes = std::collections::BTreeSet::new();
    let mut segments = 0;
    for run in 0..3 {
        let (mut log, _) = open(place.path()).unwrap();
        for slot in 1 + run * 60..=(run + 1) * 60 {
            log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
            if slot % 10 == 0 {
                log.append(&[trimmed(slot - 5)]).unwrap();
            }
            segments += log.release().unwrap();
        }
        drop(log);
        for entry in fs::read_dir(place.path()).unwrap() {
            let entry = entry.unwrap();
            let (name, file) = (entry.file_name(), entry.metadata().unwrap());
            if name != "identity.json" && name != "lock" {
                inodes.insert(file.ino());
                assert!(file.len() <= 8192, "{name:?}");
            }
        }
        assert_eq!(open(place.path()).unwrap().1.accepted.len(), 6);
    }
    assert!(segments > 15, "{segments}");
    assert!(inodes.len() < 12, "{} files for {segments} segments", inodes.len());
}
