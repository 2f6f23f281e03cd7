//! The bytes on disk, and that they read back.

use paxos_actors::log::{FormatError, OpenError};
use paxos_core::{NodeId, PeerRun, Record, Slot, Value};
use proptest::prelude::*;

use crate::story::*;

#[test]
fn golden_bytes_of_a_small_log() {
    let machine = Machine::new();
    let mut log = machine.start();
    log.append(&[promised(3), accepted(1, 3, "hi")]).unwrap();
    log.append(&[chosen(1, 3)]).unwrap();
    assert!(log.idle().unwrap());
    assert_eq!(hex(&machine.bytes(FIRST)[FRAMES_FROM..]), GOLDEN);
    assert!(machine.bytes(FIRST)[..FRAMES_FROM].iter().all(|byte| *byte == 0));
}

#[test]
fn an_identity_is_text_that_people_can_read() {
    let text = String::from_utf8(Machine::new().bytes("identity.json")).unwrap();
    assert!(text.contains("\"format\": 2"), "{text}");
    assert!(text.contains("\"cluster\": \"0000000000000000000000000000feed\""), "{text}");
    assert!(text.contains("10.0.0.3:7000"), "{text}");
}

#[test]
fn a_directory_with_anything_in_it_is_not_formatted() {
    let machine = Machine::new();
    let before = machine.bytes("identity.json");
    assert!(matches!(machine.format(), Err(FormatError::NotEmpty { .. })));
    assert_eq!(machine.bytes("identity.json"), before);
}

#[test]
fn every_start_counts_the_incarnation_up() {
    let machine = Machine::new();
    for incarnation in 1..=200 {
        let (log, recovered) = machine.open().unwrap();
        assert_eq!((log.incarnation(), recovered.incarnation), (incarnation, incarnation));
    }
    assert!(machine.at().names().contains(&SECOND.to_owned()), "it must have rolled over");
}

#[test]
fn a_drain_larger_than_a_segment_gets_one_that_is_large_enough() {
    let machine = Machine::new();
    let mut log = machine.start();
    let drains = [vec![promised(1)], vec![accepted(1, 1, &"x".repeat(50_000))], vec![promised(2)]];
    drains.iter().for_each(|drain| log.append(drain).unwrap());
    assert_eq!(machine.bytes(SECOND).len() % 4096, 0);
    assert_eq!(machine.open().unwrap().1, fold(&drains, 2));
}

#[test]
fn nothing_is_written_for_nothing() {
    let machine = Machine::new();
    let mut log = machine.start();
    assert!(log.idle().unwrap(), "the first frame of the run is not marked yet");
    let changes = machine.at().changes();
    log.append(&[]).unwrap();
    assert!(!log.idle().unwrap());
    assert_eq!(machine.at().changes(), changes);
    log.append(&[chosen(1, 1)]).unwrap();
    assert_eq!(machine.at().changes(), changes + 1, "a mark of a chosen slot is not synced");
    log.append(&[promised(1)]).unwrap();
    assert_eq!(machine.at().changes(), changes + 3, "one write and one sync a drain");
}

#[test]
fn released_segments_are_gone_and_what_they_promised_is_not() {
    let machine = Machine::new();
    let mut log = machine.start();
    let peer = Record::Peer { node: NodeId(3), run: PeerRun { incarnation: 4, nonce: 5 } };
    log.append(&[promised(90), peer.clone()]).unwrap();
    for slot in 1..=20 {
        log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
    }
    assert_eq!(log.release().unwrap(), 0, "nothing is cut yet");
    log.append(&[Record::Trimmed(Slot(15))]).unwrap();
    let before = log.segments();
    let released = log.release().unwrap();
    assert!(released >= 3, "{released}");
    assert_eq!(log.segments(), before - released);
    let (_, recovered) = machine.open().unwrap();
    assert_eq!((recovered.promised, recovered.trimmed), (ballot(90), Slot(15)));
    assert_eq!(recovered.peers, fold([&vec![peer]], 0).peers);
    let kept: Vec<u64> = recovered.accepted.keys().map(|slot| slot.0).collect();
    assert_eq!(kept, [15, 16, 17, 18, 19, 20], "what is cut is not reported");
    assert!(!machine.at().names().contains(&FIRST.to_owned()));
}

#[test]
fn disk6_a_missing_segment_is_refused_be_it_the_first_the_last_or_one_between() {
    let machine = Machine::new();
    let mut log = machine.start();
    for slot in 1..=12 {
        log.append(&[accepted(slot, 1, &"v".repeat(1000))]).unwrap();
    }
    let segments = log.segments();
    assert!(segments >= 4);
    for number in 1..=segments {
        let machine = Machine::with(machine.copy());
        let name = format!("log-{number:010}.seg");
        machine.at().delete(&name);
        let error = machine.open().err().unwrap();
        assert!(matches!(error, OpenError::MissingSegment { .. }), "{number}: {error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (1..50u64).prop_map(promised),
        (1..40u64, 1..50u64, "[a-z]{0,300}")
            .prop_map(|(slot, round, text)| accepted(slot, round, &text)),
        (1..40u64, 1..50u64).prop_map(|(slot, round)| chosen(slot, round)),
        (1..40u64, 1..50u64).prop_map(|(slot, round)| Record::Chosen {
            slot: Slot(slot),
            ballot: ballot(round),
            value: Some(Value::Noop),
        }),
        (1..40u64).prop_map(|slot| Record::Trimmed(Slot(slot))),
        (1..5u64, 1..9u64, any::<u64>()).prop_map(|(node, incarnation, nonce)| Record::Peer {
            node: NodeId(node),
            run: PeerRun { incarnation, nonce },
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(runs in prop::collection::vec(
        prop::collection::vec(prop::collection::vec(record(), 0..6), 0..12), 1..5)) {
        let machine = Machine::new();
        for run in &runs {
            let mut log = machine.start();
            for drain in run {
                log.append(drain).unwrap();
            }
        }
        let expected = fold(runs.iter().flatten(), runs.len() as u64 + 1);
        prop_assert_eq!(machine.open().unwrap().1, expected);
    }
}

/// The bytes in hexadecimal without the zeros at the end, a frame a line.
fn hex(bytes: &[u8]) -> String {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let whole = [&[0; FRAMES_FROM], bytes].concat();
    let offsets = frames(&whole);
    offsets
        .windows(2)
        .map(|at| {
            format!("{} {}\n", text(&whole[at[0]..at[0] + 32]), text(&whole[at[0] + 32..at[1]]))
        })
        .collect()
}

/// Header and body of the frames of the format, of the start, of two drains, and of the mark.
const GOLDEN: &str = "\
0800000001000000010000000000000000000000000000000100000000be13d4 0100000000000000
08000000010000000200000000000000010000000000000001000000206b6b2d 0100000000000100
12000000010000000300000000000000020000000000000001000000d63ddbb0 \
020103020102010302010101000000026869
07000000010000000400000000000000030000000000000001000000e3df94e6 01030103020100
0100000001000000050000000000000003000000000000000100000066c3cfbc 00
";
