//! Roles over the log, as a node has them: a promise, a vote, a ballot and a state are what the
//! disk gives back, whatever moment the power fails at.

use paxos_actors::log::{Log, OpenError};
use paxos_core::acceptor::Answer;
use paxos_core::batch::{Commands, Entry};
use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Batch, Configurations, Input, Inside,
    Learner, LearnerMessage, LearnerOptions, Message, NodeId, Operation, Origin, Promise, Proposer,
    ProposerMessage, ProposerOptions, Record, Recovered, Replica, Restored, Role, SessionId, Slot,
    Time, Value,
};

use crate::story::*;
use crate::sum::Sum;

/// Of the node whose id the proposer of the story has.
fn of(node: u64, round: u64) -> Ballot {
    Ballot { round, node: NodeId(node), incarnation: 1 }
}

fn value(text: &'static str) -> Value {
    Value::Commands(Batch {
        stamp: Time(1),
        by: paxos_core::Ballot::ZERO,
        bytes: text.as_bytes().into(),
    })
}

fn recover(recovered: &Recovered) -> Acceptor {
    Acceptor::recover(NODE, AcceptorOptions::default(), recovered, Time(0))
}

/// An acceptor's answer to one message, written and sent, or not: an answer comes only when the
/// log has taken its records.
fn ask(acceptor: &mut Acceptor, log: &mut Log, ballot: Ballot, ask: AcceptorMessage) -> Told {
    match acceptor.step(Time(0), ballot.node, ask) {
        Answer::After(persist) => match log.append(&persist.records) {
            Ok(()) => Told::Answer(persist.then[0].message.clone()),
            Err(_) => Told::Silence,
        },
        Answer::Now(_) => Told::Refused,
        Answer::Dropped => Told::Silence,
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    Answer(Message),
    Refused,
    Silence,
}

fn accept(ballot: Ballot, slot: u64, value: Value) -> AcceptorMessage {
    AcceptorMessage::Accept { ballot, slot: Slot(slot), value }
}

fn prepare(ballot: Ballot) -> AcceptorMessage {
    AcceptorMessage::Prepare { ballot, first: Slot::FIRST, after: None }
}

fn promise(told: Told) -> Promise {
    match told {
        Told::Answer(Message::Proposer(ProposerMessage::Promise(promise))) => promise,
        other => panic!("{other:?} instead of a promise"),
    }
}

#[test]
fn a3_a_vote_and_the_promise_in_it_are_on_disk_together_or_not_at_all() {
    let machine = Machine::new();
    let (mut log, recovered) = machine.open().unwrap();
    let mut acceptor = recover(&recovered);
    promise(ask(&mut acceptor, &mut log, of(1, 1), prepare(of(1, 1))));
    let before = machine.bytes(FIRST);
    let vote = ask(&mut acceptor, &mut log, of(2, 5), accept(of(2, 5), 1, value("v")));
    assert!(matches!(vote, Told::Answer(_)));
    let after = machine.bytes(FIRST);
    let (mut without, mut with) = (0, 0);
    // The write got as far as any byte of it, and the rest is as it was.
    let end = frames(&after)[frames(&after).len() - 1];
    for cut in frames(&before)[frames(&before).len() - 1]..=end {
        let torn = Machine::with(machine.copy());
        torn.at().overwrite(FIRST, [&after[..cut], &before[cut..]].concat());
        let (mut log, recovered) = torn.open().unwrap();
        let mut acceptor = recover(&recovered);
        let late = ask(&mut acceptor, &mut log, of(1, 1), accept(of(1, 1), 1, value("u")));
        if recovered.accepted.is_empty() {
            assert!(matches!(late, Told::Answer(_)), "cut at {cut}: nothing was promised to 2");
            without += 1;
        } else {
            assert_eq!(late, Told::Refused, "cut at {cut}: it has accepted under a higher ballot");
            assert_eq!(acceptor.promised(), of(2, 5));
            with += 1;
        }
    }
    assert!(without > 10 && with > 0, "{without} without, {with} with");
}

#[test]
fn a4_a_repeated_accept_takes_nothing_away_whatever_moment_the_power_fails_at() {
    let machine = Machine::new();
    let (mut log, recovered) = machine.open().unwrap();
    let mut acceptor = recover(&recovered);
    for (slot, text) in [(1, "one"), (2, "two"), (3, "three")] {
        ask(&mut acceptor, &mut log, of(1, 1), accept(of(1, 1), slot, value(text)));
    }
    drop(log);
    // The same again from the same leader, and from the next one, which took the values over.
    for round in [1, 2] {
        for count in 0..20 {
            for seed in 0..6 {
                let machine = Machine::with(machine.copy());
                let (mut log, recovered) = machine.open().unwrap();
                let mut acceptor = recover(&recovered);
                machine.at().faults.stop_after = Some(count);
                for (slot, text) in [(2, "two"), (3, "three")] {
                    let again = accept(of(1, round), slot, value(text));
                    ask(&mut acceptor, &mut log, of(1, round), again);
                }
                machine.at().faults.stop_after = None;
                let mut dice = Dice(seed);
                machine.at().crash(|below| dice.roll(below));
                let (mut log, recovered) = machine.open().unwrap();
                let mut acceptor = recover(&recovered);
                let next = promise(ask(&mut acceptor, &mut log, of(2, 9), prepare(of(2, 9))));
                let held: Vec<_> = next.accepted.into_iter().map(|held| held.value).collect();
                let all = ["one", "two", "three"].map(value);
                assert_eq!(held, all, "round {round}, after {count} operations, seed {seed}");
            }
        }
    }
}

#[test]
fn b6_no_run_of_a_node_has_a_ballot_that_an_earlier_run_had() {
    let (machine, mut dice) = (Machine::new(), Dice(1));
    let genesis = || Configurations::genesis(identity().genesis);
    let (mut last, mut ballots, mut failed) = (None, 0, 0);
    for _ in 0..400 {
        // Now and then the start itself is cut off, at whatever operation.
        let cut_off = dice.roll(3) == 0;
        machine.at().faults.stop_after = cut_off.then(|| dice.roll(8));
        if let Ok((log, _)) = machine.open() {
            let run = log.incarnation();
            let mut proposer = Proposer::new(NODE, run, ProposerOptions::default(), genesis());
            let campaign = Input::Message(NODE, Message::Inside(Inside::Campaign { after: None }));
            proposer.handle(Time(0), campaign, &mut Vec::new());
            let ballot = proposer.ballot().unwrap();
            // It counts its rounds from the first again, and yet repeats no ballot.
            assert_eq!(ballot.round, 1);
            assert!(Some(ballot) > last, "{ballot} after {last:?}");
            last = Some(ballot);
            ballots += 1;
        } else {
            failed += 1;
        }
        machine.at().faults.stop_after = None;
        machine.at().crash(|below| dice.roll(below));
    }
    assert!(ballots > 200 && failed > 20, "{ballots} ballots, {failed} starts cut off");
}

/// What is chosen in a slot: the first opens a session, each other adds its own number.
fn command(slot: u64) -> Value {
    let (session, sequence) = (SessionId(1), slot - 1);
    let command = postcard::to_stdvec(&slot).unwrap().into();
    let operation = match slot {
        1 => Operation::Open,
        _ => Operation::Run { session, sequence, command },
    };
    let commands = Commands {
        origin: Origin { node: NODE, incarnation: 1, number: slot },
        identities: vec!["client/ada".to_owned()],
        entries: vec![Entry { identity: 0, operation }],
    };
    Value::Commands(Batch {
        stamp: Time(slot),
        by: paxos_core::Ballot::ZERO,
        bytes: commands.encode(),
    })
}

/// Applies what a learner hands out.
fn apply(replica: &mut Replica<Sum>, effects: Vec<paxos_core::Effect>, log: Option<&mut Log>) {
    let mut records = Vec::new();
    for effect in effects {
        match effect {
            paxos_core::Effect::Apply { slot, value } => {
                replica.apply(slot, &value);
            }
            paxos_core::Effect::Persist(persist) => records.extend(persist.records),
            _ => {}
        }
    }
    // A log that fails here has lost no promise: the marks are fetched again.
    log.into_iter().for_each(|log| drop(log.append(&records)));
}

#[test]
fn a19_d7_a_restart_skips_no_command_and_applies_none_twice() {
    const SLOTS: u64 = 12;
    let ballot = of(2, 1);
    let genesis = || Configurations::genesis(identity().genesis);
    let learn = |recovered: &Recovered| {
        Learner::recover(NODE, LearnerOptions::default(), Restored::nothing(genesis()), recovered)
    };
    let live = |machine: &Machine| {
        let Ok((mut log, recovered)) = machine.open() else { return };
        let (mut learner, mut replica) = (learn(&recovered), Replica::<Sum>::new(genesis()));
        for slot in (1..=SLOTS).map(Slot) {
            let value = command(slot.0);
            let vote = Record::Accepted { slot, ballot, value: value.clone() };
            if log.append(&[vote]).is_err() {
                return;
            }
            let mut effects = Vec::new();
            let accept = Message::Acceptor(AcceptorMessage::Accept { ballot, slot, value });
            let chosen = Message::Learner(LearnerMessage::Chosen { ballot, slot, value: None });
            for message in [accept, chosen] {
                learner.handle(Time(0), Input::Message(ballot.node, message), &mut effects);
            }
            apply(&mut replica, effects, Some(&mut log));
        }
        assert_eq!(replica.applied(), Slot(SLOTS));
    };
    let formatted = Machine::new().copy();
    let whole = Machine::with(formatted.clone());
    live(&whole);
    let operations = whole.at().changes() - formatted.changes();
    let mut prefixes = std::collections::BTreeSet::new();
    for count in 0..=operations {
        for seed in 0..3 {
            let machine = Machine::with(formatted.clone());
            machine.at().faults.stop_after = Some(count);
            live(&machine);
            machine.at().faults.stop_after = None;
            let mut dice = Dice(seed);
            machine.at().crash(|below| dice.roll(below));
            let what = format!("after {count} operations, seed {seed}");
            let recovered = machine.open().unwrap_or_else(|error| panic!("{what}: {error}")).1;
            // State and applied slot are both made of the same records.
            let (mut learner, mut replica) = (learn(&recovered), Replica::<Sum>::new(genesis()));
            for (slot, value) in learner.chosen(Slot::FIRST) {
                replica.apply(slot, value);
            }
            let applied = replica.applied().0;
            assert_eq!(learner.next(), Slot(applied + 1), "{what}");
            assert_eq!(replica.machine().0, (2..=applied).sum::<u64>(), "{what}");
            prefixes.insert(applied);
            // What is missing comes from a peer that sends everything.
            let chosen = (1..=SLOTS).map(|slot| (ballot, command(slot))).collect();
            let (first, upto) = (Slot::FIRST, Slot(SLOTS + 1));
            let fill = LearnerMessage::Fill { first, chosen, upto, snapshot: None };
            let (mut effects, fill) = (Vec::new(), Message::Learner(fill));
            learner.handle(Time(0), Input::Message(ballot.node, fill), &mut effects);
            apply(&mut replica, effects, None);
            assert_eq!(replica.machine().0, (2..=SLOTS).sum::<u64>(), "{what}");
        }
    }
    assert!(prefixes.len() > 6, "the power failed at few different moments: {prefixes:?}");
}

/// Where a synced promise is lost, its node must not come back as one that never gave it.
#[test]
fn s20_a_node_whose_newest_record_rotted_does_not_rejoin_with_an_older_promise() {
    let machine = Machine::new();
    let (mut log, recovered) = machine.open().unwrap();
    let mut acceptor = recover(&recovered);
    for round in [3, 7] {
        promise(ask(&mut acceptor, &mut log, of(2, round), prepare(of(2, round))));
    }
    assert!(log.idle().unwrap(), "a log that has nothing to do marks what it has synced");
    drop(log);
    let bytes = machine.bytes(FIRST);
    let offsets = frames(&bytes);
    // Behind the newest record stands the mark.
    let newest = offsets[offsets.len() - 3]..offsets[offsets.len() - 2];
    for offset in newest.clone() {
        let rotted = Machine::with(machine.copy());
        rotted.at().flip(FIRST, offset, (offset % 8) as u32);
        match rotted.open() {
            Err(OpenError::Damaged { offset: at, .. }) => assert_eq!(at, newest.start as u64),
            Err(other) => panic!("byte {offset}: {other}"),
            Ok((_, recovered)) => {
                assert_eq!(recovered.promised, of(2, 7), "byte {offset} is forgotten silently");
            }
        }
    }
}

#[test]
fn s20_a_torn_first_write_is_a_node_that_never_was() {
    // Nothing is promised before the directory is whole, so a torn one is refused and made anew.
    let whole = Machine::new().copy();
    let names = whole.names();
    for name in &names {
        let bytes = whole.contents(name).unwrap().to_vec();
        for cut in 0..bytes.len().min(700) {
            let torn = Machine::with(whole.clone());
            torn.at().overwrite(name, bytes[..cut].to_vec());
            if let Ok((_, recovered)) = torn.open() {
                assert_eq!(recovered.promised, Ballot::ZERO, "{name} cut at {cut}");
                assert!(recovered.accepted.is_empty(), "{name} cut at {cut}");
            }
        }
    }
}
