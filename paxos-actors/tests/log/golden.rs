//! The format on disk, held by a data directory that is checked in: today's code reads it, and
//! writes the same bytes.
//!
//! `UPDATE_GOLDEN=1 cargo test -p paxos-actors --test log golden` writes it anew. A difference is
//! a new format: it needs a new version number, and the old files must still be read.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use paxos_actors::log::{Inspection, MemoryDisk};
use paxos_core::{
    Membership, NodeId, Origin, PeerRun, Reconfigure, Record, Recovered, Slot, Value,
};

use crate::story::*;

/// What the log says, a record a line.
const RECORDS: &str = "records.txt";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log/golden")
}

/// Two runs with every kind of record, several segments, and a cut.
fn script() -> (Machine, Recovered) {
    let machine = Machine::new();
    let mut log = machine.start();
    let mut written = Recovered::default();
    let mut drain = |log: &mut paxos_actors::log::Log, records: &[Record]| {
        records.iter().for_each(|record| written.absorb(record.clone()));
        log.append(records).unwrap();
        log.release().unwrap();
    };
    let peer = PeerRun { incarnation: 4, nonce: 0x0123_4567_89ab_cdef };
    drain(&mut log, &[promised(3), Record::Peer { node: NodeId(2), run: peer }]);
    for slot in 1..=13 {
        drain(&mut log, &[accepted(slot, 3, &"golden".repeat(100)), chosen(slot - 1, 3)]);
    }
    drain(&mut log, &[trimmed(9)]);
    assert!(log.idle().unwrap());
    drop(log);
    let mut log = machine.start();
    let membership: Membership = identity().genesis;
    let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
    let change = Reconfigure { base: Slot(1), membership, origin, by: "admin/ada".to_owned() };
    let records = [
        Record::Accepted { slot: Slot(14), ballot: ballot(u64::MAX >> 2), value: Value::Noop },
        Record::Accepted {
            slot: Slot(15),
            ballot: ballot(300),
            value: Value::Reconfigure(Box::new(change)),
        },
    ];
    drain(&mut log, &records);
    drain(
        &mut log,
        &[Record::Chosen { slot: Slot(13), ballot: ballot(5), value: Some(Value::Noop) }],
    );
    assert!(log.idle().unwrap());
    (machine, written)
}

/// The files that mean something.
fn files(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let named = |name: String| {
        let bytes = disk.contents(&name).unwrap().to_vec();
        (name, bytes)
    };
    disk.names().into_iter().filter(|name| !name.ends_with(".tmp")).map(named).collect()
}

fn golden() -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    entries.map(named).collect()
}

fn told(machine: &Machine) -> String {
    let disk = Box::new(machine.disk.clone());
    let mut log = Inspection::begin(disk, None, CLUSTER, NODE).unwrap();
    let mut told = String::new();
    while let Some(segment) = log.next_segment().unwrap() {
        for found in &segment.found {
            let (number, record) = (segment.number, found.record.to_string());
            let record = record.replace(&"golden".repeat(100), "golden x 100");
            writeln!(told, "{number}:{} {} {record}", found.offset, found.drain).unwrap();
        }
    }
    told
}

#[test]
fn golden_what_is_written_is_the_directory_that_is_checked_in() {
    let (machine, _) = script();
    let mut written = files(&machine.at());
    written.insert(RECORDS.to_owned(), told(&machine).into_bytes());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(folder()).unwrap();
        golden().keys().for_each(|name| fs::remove_file(folder().join(name)).unwrap());
        for (name, bytes) in &written {
            fs::write(folder().join(name), bytes).unwrap();
        }
    }
    let golden = golden();
    assert_eq!(golden.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, bytes) in &golden {
        let differs = bytes.iter().zip(&written[name]).position(|(one, other)| one != other);
        assert_eq!((differs, bytes.len()), (None, written[name].len()), "{name} differs there");
    }
}

#[test]
fn golden_the_directory_that_is_checked_in_is_read() {
    let mut disk = MemoryDisk::new();
    let mut files = golden();
    let records = String::from_utf8(files.remove(RECORDS).unwrap()).unwrap();
    assert!(files.len() >= 3, "{:?}", files.keys());
    files.into_iter().for_each(|(name, bytes)| disk.overwrite(&name, bytes));
    let machine = Machine::with(disk);
    assert_eq!(told(&machine), records);
    let (mut log, recovered) = machine.open().unwrap();
    let mut expected = script().1;
    expected.incarnation = 3;
    assert_eq!(recovered, expected);
    log.append(&[promised(4)]).unwrap();
}
