//! Reading without opening: what is said of a sound log, a torn one and a damaged one.

use paxos_actors::log::{Inspection, MemoryDisk, OpenError, SegmentReport, Trouble};
use paxos_core::{ClusterId, NodeId, Slot};

use crate::story::*;

fn several() -> Machine {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 1..=9 {
        log.append(&[accepted(slot, 1, &"v".repeat(900)), chosen(slot, 1)]).unwrap();
    }
    assert!(log.idle().unwrap());
    machine
}

fn begin(machine: &Machine) -> Inspection {
    Inspection::begin(Box::new(machine.disk.clone()), None, CLUSTER, NODE).unwrap()
}

/// All of a log, with the certainty that nothing was written.
fn read(machine: &Machine) -> (Inspection, Vec<SegmentReport>, Option<OpenError>) {
    let before = machine.copy();
    let mut log = begin(machine);
    let mut reports = Vec::new();
    let error = loop {
        match log.next_segment() {
            Ok(Some(report)) => reports.push(report),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let after = machine.copy();
    assert_eq!((after.changes(), after.names()), (before.changes(), before.names()));
    (log, reports, error)
}

#[test]
fn a_sound_log_is_told_segment_by_segment_and_says_what_opening_it_says() {
    let machine = several();
    let (log, reports, error) = read(&machine);
    assert!(error.is_none() && reports.len() == 3, "{error:?}, {}", reports.len());
    assert_eq!(log.identity(), &identity());
    let sealed: Vec<_> = reports.iter().map(|report| report.sealed).collect();
    assert_eq!(sealed, [true, true, false]);
    let mut slots = 1;
    for report in &reports {
        let name = report.path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = machine.bytes(&name);
        let offsets = frames(&bytes);
        assert_eq!(report.bytes, bytes.len() as u64);
        assert_eq!(report.frames, offsets.len() as u64 - 1);
        assert_eq!(report.end, *offsets.last().unwrap() as u64);
        assert_eq!(report.records, report.found.len() as u64);
        let (low, high) = report.slots.unwrap();
        assert_eq!(low, Slot(slots), "{name}");
        slots = high.0 + 1;
        assert!(!report.torn);
    }
    assert_eq!(slots, 10);
    assert_eq!(log.drain(), 12, "of the format, of the start, nine votes, and the mark");
    assert_eq!(log.mark(), 11);
    let recovered = log.recovered().clone();
    let mut opened = machine.open().unwrap().1;
    opened.incarnation -= 1;
    assert_eq!(recovered, opened);
}

#[test]
fn a_torn_tail_is_told_as_one_and_is_no_error() {
    let machine = several();
    let (_, reports, _) = read(&machine);
    let last = reports.last().unwrap();
    let name = last.path.file_name().unwrap().to_str().unwrap();
    machine.change(name, |bytes| bytes[last.end as usize + 3] = 9);
    let (_, torn, error) = read(&machine);
    assert!(error.is_none(), "{error:?}");
    let told = torn.last().unwrap();
    assert_eq!((told.torn, told.end, told.frames), (true, last.end, last.frames));
}

#[test]
fn disk4_damage_is_named_with_file_and_offset_and_what_stands_before_it_is_shown() {
    let machine = several();
    let offsets = frames(&machine.bytes(SECOND));
    machine.at().flip(SECOND, offsets[2] + 40, 1);
    let (log, reports, error) = read(&machine);
    assert_eq!(reports.len(), 1);
    let Some(OpenError::Damaged { path, offset, trouble, .. }) = error else { panic!("{error:?}") };
    assert_eq!(path.file_name().unwrap().to_str(), Some(SECOND));
    assert_eq!((offset, trouble), (offsets[2] as u64, Trouble::Checksum));
    let before = log.damaged().unwrap();
    assert_eq!((before.number, before.frames), (2, 2));
    assert!(before.found.iter().all(|found| found.offset < offset));
}

#[test]
fn disk15_whose_log_it_is_comes_first() {
    let machine = several();
    let begin = |disk: MemoryDisk, cluster, node| {
        Inspection::begin(Box::new(disk.shared()), None, cluster, node).err().unwrap()
    };
    let other = begin(machine.copy(), ClusterId(9), NODE);
    assert!(matches!(other, OpenError::OtherCluster { .. }), "{other}");
    let other = begin(machine.copy(), CLUSTER, NodeId(2));
    assert!(matches!(other, OpenError::OtherNode { .. }), "{other}");
    let nothing = begin(MemoryDisk::new(), CLUSTER, NODE);
    assert!(matches!(nothing, OpenError::LostMemory { .. }), "{nothing}");
}
