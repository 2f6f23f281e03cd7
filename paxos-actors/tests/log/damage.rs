//! Damage at rest: it is refused by file and offset, or it is a torn tail. It is never believed.

use std::path::Path;

use paxos_actors::log::{Log, LogOptions, MemoryDisk, OpenError, Trouble};
use paxos_core::{ClusterId, NodeId, Record, Recovered};

use crate::story::*;

/// A few drains of every kind, the last one marked or not.
fn small_log(marked: bool) -> (MemoryDisk, Vec<Vec<Record>>) {
    let machine = Machine::new();
    let mut log = machine.start();
    let drains = vec![
        vec![promised(1)],
        vec![accepted(1, 1, "one"), accepted(2, 1, "two")],
        vec![chosen(1, 1)],
        vec![promised(4), accepted(3, 4, "three")],
        vec![chosen(2, 1), chosen(3, 4)],
        vec![accepted(4, 5, "four")],
    ];
    drains.iter().for_each(|drain| log.append(drain).unwrap());
    if marked {
        assert!(log.idle().unwrap());
    }
    (machine.copy(), drains)
}

/// What is recovered must be the state after some number of drains, at least `least` of all that
/// were written, the frames of the format and of the start included.
fn assert_prefix(recovered: &Recovered, drains: &[Vec<Record>], least: u64, what: &str) {
    let least = least.saturating_sub(2) as usize;
    let mut states = (least..=drains.len()).flat_map(|count| {
        // The frame of the start may be in the torn tail, and its incarnation with it.
        [fold(&drains[..count], 1), fold(&drains[..count], 2)]
    });
    assert!(states.any(|state| state == *recovered), "{what}: {recovered:?}");
}

/// Opens a damaged copy and checks that damage leaves it as it was.
fn open_damaged(disk: &MemoryDisk, what: &str) -> Result<Recovered, (String, u64)> {
    let machine = Machine::with(disk.clone());
    match machine.open() {
        Ok((mut log, recovered)) => {
            log.append(&[promised(1000)]).unwrap();
            let again = machine.open().unwrap().1;
            assert_eq!(again.promised, ballot(1000), "{what}: the log goes on");
            assert_eq!(again.accepted, recovered.accepted, "{what}: the log goes on");
            Ok(recovered)
        }
        Err(OpenError::Damaged { path, offset, .. }) => {
            let now = machine.copy();
            assert_eq!(now.names(), disk.names(), "{what}");
            for name in disk.names() {
                assert_eq!(now.contents(&name), disk.contents(&name), "{what}");
            }
            Err((path.file_name().unwrap().to_str().unwrap().to_owned(), offset))
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_log_cut_at_every_byte_is_a_prefix_or_refused() {
    for marked in [false, true] {
        let (disk, drains) = small_log(marked);
        let bytes = disk.contents(FIRST).unwrap().to_vec();
        let offsets = frames(&bytes);
        for zeros in [false, true] {
            for cut in 0..bytes.len() {
                let what = format!("cut at {cut}, zeros: {zeros}");
                let mut disk = disk.clone();
                let mut cut_bytes = bytes[..cut].to_vec();
                if zeros {
                    cut_bytes.resize(bytes.len(), 0);
                }
                disk.overwrite(FIRST, cut_bytes);
                // A frame that ends in zeros is whole without them if zeros follow.
                let zero =
                    |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == 0);
                let ends = offsets.windows(2).map(|at| at[1]);
                let whole = ends.filter(|end| *end <= cut || (zeros && zero(cut..*end))).count();
                match open_damaged(&disk, &what) {
                    Ok(recovered) => {
                        let run = if whole < 2 { 1 } else { 2 };
                        let last = whole.saturating_sub(2).min(drains.len());
                        assert_eq!(recovered, fold(&drains[..last], run), "{what}");
                    }
                    Err((name, offset)) => {
                        assert_eq!((name.as_str(), whole), (FIRST, 0), "{what} ({offset})");
                    }
                }
            }
        }
    }
}

#[test]
fn a_log_with_any_bit_flipped_is_a_prefix_or_refused() {
    for marked in [false, true] {
        let (disk, drains) = small_log(marked);
        let bytes = disk.contents(FIRST).unwrap().to_vec();
        let offsets = frames(&bytes);
        let end = *offsets.last().unwrap();
        for offset in 0..end + 64 {
            let frame = offsets.windows(2).position(|at| (at[0]..at[1]).contains(&offset));
            let marks = offsets[..offsets.len() - 1].iter().enumerate();
            let least = marks
                .filter(|(other, _)| Some(*other) != frame)
                .map(|(_, at)| mark(&bytes, *at))
                .max()
                .unwrap();
            for bit in 0..8 {
                let what = format!("bit {bit} of byte {offset}, marked: {marked}");
                let mut disk = disk.clone();
                disk.flip(FIRST, offset, bit);
                match open_damaged(&disk, &what) {
                    Ok(recovered) => {
                        assert_prefix(&recovered, &drains, least, &what);
                        assert!(frame.is_none_or(|frame| frame as u64 + 1 > least), "{what}");
                    }
                    Err((name, at)) => {
                        let expected = frame.map_or(0, |frame| offsets[frame] as u64);
                        assert_eq!((name.as_str(), at), (FIRST, expected), "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_identity_with_any_bit_flipped_is_refused_or_the_same() {
    let (disk, _) = small_log(false);
    for offset in 0..disk.contents("identity.json").unwrap().len() {
        for bit in 0..8 {
            let mut disk = disk.clone();
            disk.flip("identity.json", offset, bit);
            // `open` compares what is read with what was written.
            match Machine::with(disk).open() {
                Ok(_)
                | Err(
                    OpenError::DamagedIdentity { .. }
                    | OpenError::NewerFormat { .. }
                    | OpenError::OlderFormat { .. },
                ) => {}
                Err(other) => panic!("bit {bit} of byte {offset}: {other}"),
            }
        }
    }
}

#[test]
fn a11_a_flipped_bit_in_the_middle_is_refused_with_the_record_that_follows() {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 1..=20 {
        log.append(&[accepted(slot, 1, "value")]).unwrap();
    }
    let offsets = frames(&machine.bytes(FIRST));
    // The lowest byte of a length, and a byte of a body.
    for within in [0, 40] {
        let machine = Machine::with(machine.copy());
        machine.at().flip(FIRST, offsets[10] + within, 3);
        let before = machine.bytes(FIRST);
        let error = machine.open().err().unwrap();
        let OpenError::Damaged { path, offset, follows, .. } = &error else { panic!("{error}") };
        assert_eq!(path, &Path::new("memory").join(FIRST));
        assert_eq!((*offset, *follows), (offsets[10] as u64, Some(offsets[11] as u64)));
        let text = format!("a valid record follows at {}", offsets[11]);
        assert!(error.to_string().contains(&text), "{error}");
        assert_eq!(machine.bytes(FIRST), before);
    }
}

#[test]
fn a12_the_loss_of_the_last_synced_record_is_seen_once_the_log_was_idle() {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[promised(1)]).unwrap();
    log.append(&[promised(2)]).unwrap();
    let last = frames(&machine.bytes(FIRST))[3];
    let unmarked = Machine::with(machine.copy());
    unmarked.at().flip(FIRST, last + 33, 0);
    assert_eq!(unmarked.open().unwrap().1.promised, ballot(1), "it looks like a torn tail");
    assert!(log.idle().unwrap());
    machine.at().flip(FIRST, last + 33, 0);
    let damaged = machine.open().err().unwrap();
    assert!(matches!(damaged, OpenError::Damaged { offset, .. } if offset == last as u64));
}

#[test]
fn a13_a_torn_tail_is_zeroed_before_the_first_append() {
    let machine = Machine::new();
    machine.start().append(&[promised(1)]).unwrap();
    let end = *frames(&machine.bytes(FIRST)).last().unwrap();
    machine.change(FIRST, |bytes| {
        bytes[end] = 0x55;
        bytes[end + 300..end + 340].fill(0xaa);
    });
    machine.start().append(&[promised(2)]).unwrap();
    let bytes = machine.bytes(FIRST);
    let end = *frames(&bytes).last().unwrap();
    assert!(bytes[end..].iter().all(|byte| *byte == 0));
    assert_eq!(machine.open().unwrap().1.promised, ballot(2));
}

#[test]
fn a14_a_record_cut_in_its_body_ends_the_log_and_keeps_what_is_before_it() {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[accepted(1, 1, "kept")]).unwrap();
    log.append(&[accepted(2, 1, "cut in the middle")]).unwrap();
    let last = frames(&machine.bytes(FIRST))[3];
    machine.change(FIRST, |bytes| bytes.truncate(last + 40));
    assert_eq!(machine.open().unwrap().1, fold([&vec![accepted(1, 1, "kept")]], 2));
}

#[test]
fn a18_a_record_in_the_place_of_another_is_refused() {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 7..=10 {
        log.append(&[accepted(slot, 1, "same size")]).unwrap();
    }
    let offsets = frames(&machine.bytes(FIRST));
    machine.change(FIRST, |bytes| bytes.copy_within(offsets[3]..offsets[4], offsets[4]));
    let error = machine.open().err().unwrap();
    let OpenError::Damaged { offset, trouble, .. } = error else { panic!("{error}") };
    assert_eq!((offset, trouble), (offsets[4] as u64, Trouble::Checksum));
}

#[test]
fn disk5_a_segment_in_the_place_of_another_is_refused() {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 1..=12 {
        log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
    }
    let second = machine.bytes(SECOND);
    machine.at().overwrite("log-0000000003.seg", second);
    assert!(matches!(machine.open(), Err(OpenError::Damaged { .. })));
}

#[test]
fn disk4_trouble_in_a_segment_that_is_not_the_last_is_always_damage() {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 1..=4 {
        log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
    }
    assert!(log.segments() > 1);
    let end = *frames(&machine.bytes(FIRST)).last().unwrap();
    machine.at().flip(FIRST, end + 7, 0);
    let error = machine.open().err().unwrap();
    assert!(matches!(error, OpenError::Damaged { offset, .. } if offset == end as u64), "{error}");
}

#[test]
fn disk9_a_log_that_cannot_be_read_is_refused() {
    let machine = Machine::new();
    machine.start();
    machine.at().faults.unreadable = true;
    assert!(matches!(machine.open(), Err(OpenError::Disk(_))));
}

#[test]
fn disk14_a_tail_that_turned_to_zeros_is_not_read_as_records() {
    let machine = Machine::new();
    let mut log = machine.start();
    (1..=9).for_each(|round| log.append(&[promised(round)]).unwrap());
    let offsets = frames(&machine.bytes(FIRST));
    machine.change(FIRST, |bytes| bytes[offsets[6]..].fill(0));
    assert_eq!(machine.open().unwrap().1.promised, ballot(4));
    // Up to the first frame: that one is known to have been synced.
    machine.change(FIRST, |bytes| bytes.fill(0));
    let error = machine.open().err().unwrap();
    assert!(matches!(error, OpenError::Damaged { trouble: Trouble::Gone, .. }), "{error}");
}

#[test]
fn disk14_a_sealed_segment_knows_that_the_next_one_had_a_record() {
    let machine = Machine::new();
    let mut log = machine.start();
    while log.segments() == 1 {
        log.append(&[accepted(1, 1, &"v".repeat(1000))]).unwrap();
    }
    machine.change(SECOND, |bytes| bytes.fill(0));
    let error = machine.open().err().unwrap();
    let OpenError::Damaged { path, offset, trouble, .. } = error else { panic!("{error}") };
    assert_eq!((path.file_name().unwrap().to_str(), offset), (Some(SECOND), 512));
    assert_eq!(trouble, Trouble::Gone);
}

#[test]
fn disk15_foreign_data_and_garbage_are_refused_by_name() {
    let machine = Machine::new();
    let open = |cluster, node| {
        let disk = Box::new(machine.disk.clone());
        Log::open(disk, cluster, node, LogOptions::default()).err().unwrap()
    };
    let other = open(ClusterId(9), NODE);
    assert!(matches!(other, OpenError::OtherCluster { found: CLUSTER, .. }), "{other}");
    assert!(other.to_string().contains(&CLUSTER.to_string()), "{other}");
    let other = open(CLUSTER, NodeId(2));
    assert!(matches!(other, OpenError::OtherNode { found: NODE, .. }), "{other}");
    machine.change("identity.json", |bytes| bytes.fill(b'?'));
    let garbage = machine.open().err().unwrap();
    assert!(matches!(garbage, OpenError::DamagedIdentity { .. }), "{garbage}");
}

#[test]
fn disk15_another_format_is_refused_by_name() {
    let machine = Machine::new();
    let other = |from: &str, to: &str| {
        machine.change("identity.json", |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replace(from, to).into_bytes();
        });
        machine.open().err().unwrap()
    };
    let newer = other("\"format\": 2", "\"format\": 7");
    assert!(matches!(newer, OpenError::NewerFormat { found: 7, known: 2, .. }), "{newer}");
    let older = other("\"format\": 7", "\"format\": 1");
    assert!(matches!(older, OpenError::OlderFormat { found: 1, known: 2, .. }), "{older}");
}

#[test]
fn proc8_a_node_whose_data_is_gone_has_lost_its_memory() {
    let error = Machine::blank().open().err().unwrap();
    assert!(matches!(error, OpenError::LostMemory { .. }), "{error}");
    assert!(error.to_string().contains("new member under a new id"), "{error}");
    let machine = Machine::new();
    machine.at().delete("identity.json");
    assert!(matches!(machine.open(), Err(OpenError::NoIdentity { .. })));
}
