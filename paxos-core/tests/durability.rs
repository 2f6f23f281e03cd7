//! Durable before it leaves: a promise or a vote goes out only inside a `Persist`, with or behind
//! the record that makes it true, and the log of any moment gives the acceptor back.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_core::acceptor::Answer;
use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Batch, Effect, Input, LearnerMessage,
    Message, NodeId, ProposerMessage, Record, Recovered, Role, Slot, Time, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

const ME: NodeId = NodeId(2);
const SLOTS: u64 = 4;

#[derive(Clone, Debug)]
enum Step {
    Hear(NodeId, AcceptorMessage),
    /// The process ends; of what was not synced a part of this many hundredths remains.
    Crash(usize),
    Sync,
}

fn value(letter: u8) -> Value {
    match letter {
        0 => Value::Noop,
        letter => Value::Commands(Batch {
            stamp: Time(0),
            by: paxos_core::Ballot::ZERO,
            bytes: vec![letter].into(),
        }),
    }
}

fn message() -> impl Strategy<Value = Step> {
    (1..5u64, 1..=3u64, 1..=2u64, 1..=SLOTS, 0..3u8, 0..3).prop_map(
        |(round, node, incarnation, slot, letter, kind)| {
            let (from, slot) = (NodeId(node), Slot(slot));
            let ballot = Ballot { round, node: from, incarnation };
            let message = match kind {
                0 => AcceptorMessage::Prepare { ballot, first: slot, after: None },
                1 => AcceptorMessage::Accept { ballot, slot, value: value(letter) },
                _ => AcceptorMessage::Confirm { ballot, round },
            };
            Step::Hear(from, message)
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => message(),
        1 => (0..=100usize).prop_map(Step::Crash),
        3 => Just(Step::Sync),
    ]
}

fn fold(records: &[Record]) -> Recovered {
    let mut recovered = Recovered::default();
    records.iter().for_each(|record| recovered.absorb(record.clone()));
    recovered
}

/// What a message says of the acceptor's state must be on record.
fn is_covered(message: &Message, log: &Recovered) -> bool {
    match message {
        Message::Proposer(ProposerMessage::Promise(page)) => {
            let held = |slot| log.accepted.get(&slot).map(|(ballot, value)| (*ballot, value));
            let reported = |slot| page.accepted.iter().find(|accepted| accepted.slot == slot);
            log.promised >= page.ballot
                && (page.first.0..=SLOTS).map(Slot).all(|slot| {
                    // Nothing that is on record is kept back either.
                    reported(slot).map(|found| (found.ballot, &found.value)) == held(slot)
                })
        }
        Message::Learner(LearnerMessage::Accepted { ballot, slot }) => {
            log.promised >= *ballot && log.accepted.get(slot).is_some_and(|held| held.0 >= *ballot)
        }
        _ => true,
    }
}

fn says_state(message: &Message) -> bool {
    matches!(message, Message::Proposer(ProposerMessage::Promise(_)) | Message::Learner(_))
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a1_a_promise_or_a_vote_leaves_only_behind_its_record(story in vec(step(), 1..60)) {
        let mut acceptor = Acceptor::new(ME);
        let (mut log, mut synced): (Vec<Record>, usize) = (Vec::new(), 0);
        for step in story {
            match step {
                Step::Sync => synced = log.len(),
                Step::Crash(hundredths) => {
                    log.truncate(synced + (log.len() - synced) * hundredths / 100);
                    // A restart syncs what it has read.
                    synced = log.len();
                    let (log, now) = (fold(&log), Time(0));
                    acceptor = Acceptor::recover(ME, AcceptorOptions::default(), &log, now);
                }
                Step::Hear(from, message) => {
                    let mut effects = Vec::new();
                    let input = Input::Message(from, Message::Acceptor(message));
                    acceptor.handle(Time(0), input, &mut effects);
                    for effect in effects {
                        match effect {
                            Effect::Persist(persist) => {
                                log.extend(persist.records);
                                for envelope in persist.then {
                                    let covered = is_covered(&envelope.message, &fold(&log));
                                    prop_assert!(covered, "{envelope} is not on record");
                                }
                            }
                            Effect::Send(envelope) => {
                                prop_assert!(!says_state(&envelope.message), "{envelope}");
                            }
                            other => prop_assert!(false, "an acceptor asks for {other}"),
                        }
                    }
                }
            }
            let log = fold(&log);
            prop_assert_eq!(acceptor.promised(), log.promised, "memory and log differ");
            for slot in (1..=SLOTS).map(Slot) {
                let held = log.accepted.get(&slot).map(|(ballot, value)| (*ballot, value));
                prop_assert_eq!(acceptor.accepted(slot), held, "memory and log differ");
            }
        }
    }

    #[test]
    fn the_acceptors_answer_is_a_type(story in vec(message(), 1..60)) {
        let mut acceptor = Acceptor::new(ME);
        for step in story {
            let Step::Hear(from, message) = step else { continue };
            let (asks_disk, highest) = match &message {
                AcceptorMessage::Confirm { .. } | AcceptorMessage::Cut { .. } => {
                    (false, acceptor.promised())
                }
                AcceptorMessage::Prepare { ballot, .. }
                | AcceptorMessage::Accept { ballot, .. } => {
                    (*ballot >= acceptor.promised(), *ballot.max(&acceptor.promised()))
                }
            };
            match acceptor.step(Time(0), from, message.clone()) {
                Answer::After(persist) => {
                    prop_assert!(asks_disk && !persist.then.is_empty(), "{message}: {persist}");
                    prop_assert_eq!(acceptor.promised(), highest);
                }
                Answer::Now(_) => prop_assert!(!asks_disk, "{message} was answered at once"),
                // Two values of one ballot; nothing else is nonsense here.
                Answer::Dropped => {
                    prop_assert!(matches!(message, AcceptorMessage::Accept { .. }), "{message}");
                }
            }
        }
    }
}
