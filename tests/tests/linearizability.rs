//! The checkers of client histories, against each other and against histories that an atomic object
//! made: none that it made is refused, damage is seen, and size is no excuse.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;

use paxos_core::Random;
use paxos_tests::checkers::{compare_and_set, counter_history, positions, registers, tokens};

/// One operation as an atomic object did it: invoked, done, answered.
#[derive(Clone, Copy)]
struct Step {
    invoked: u64,
    answered: u64,
}

/// Operations of so many clients, in the order in which they are done. Each client has one
/// outstanding; the moment at which it is done lies anywhere between invocation and answer.
fn steps(random: &mut Random, clients: usize, count: usize) -> Vec<Step> {
    let mut free = vec![0u64; clients];
    let mut steps: Vec<(u64, Step)> = Vec::with_capacity(count);
    for _ in 0..count {
        let client = random.below(clients as u64) as usize;
        let invoked = free[client] + 1 + random.below(5);
        let done = invoked + random.below(20);
        let answered = done + random.below(20);
        free[client] = answered;
        steps.push((done, Step { invoked, answered }));
    }
    steps.sort_by_key(|(done, _)| *done);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Of a tenth of the operations, the outcome is unknown.
fn answer(random: &mut Random, step: Step) -> Option<u64> {
    (random.below(10) > 0).then_some(step.answered)
}

fn counter(random: &mut Random, clients: usize, count: usize) -> Vec<counter_history::Call> {
    use counter_history::{Action, Call};
    let mut value = 0;
    let mut call = |step: Step, random: &mut Random| {
        let Step { invoked, answered } = step;
        if random.below(2) == 0 {
            return Call { invoked, answered: Some(answered), action: Action::Read(value) };
        }
        let by = 1 + random.below(9);
        value += by;
        let answered = answer(random, step);
        Call {
            invoked,
            answered,
            action: Action::Increment { by, became: answered.map(|_| value) },
        }
    };
    steps(random, clients, count).into_iter().map(|step| call(step, random)).collect()
}

fn log(random: &mut Random, clients: usize, count: usize) -> Vec<positions::Call> {
    use positions::{Action, Call};
    let mut values = BTreeMap::new();
    let mut call = |(number, step): (usize, Step), random: &mut Random| {
        let Step { invoked, answered } = step;
        let end = values.len() as u64 + 1;
        if random.below(2) == 0 {
            let position = 1 + random.below(end);
            let value = values.get(&position).copied();
            let action = Action::Read { position, value };
            return Call { invoked, answered: Some(answered), action };
        }
        let value = number as u64;
        values.insert(end, value);
        let answered = answer(random, step);
        Call {
            invoked,
            answered,
            action: Action::Append { value, position: answered.map(|_| end) },
        }
    };
    let steps = steps(random, clients, count).into_iter().enumerate();
    steps.map(|step| call(step, random)).collect()
}

fn grants(random: &mut Random, clients: usize, count: usize) -> Vec<tokens::Call> {
    use tokens::{Action, Call};
    let mut last = 0;
    let mut call = |Step { invoked, answered }: Step, random: &mut Random| {
        let action = match random.below(2) {
            0 => Action::Last(last),
            _ => {
                last += 1 + random.below(3);
                Action::Granted(last)
            }
        };
        Call { invoked, answered, action }
    };
    steps(random, clients, count).into_iter().map(|step| call(step, random)).collect()
}

fn register(random: &mut Random, clients: usize, count: usize) -> Vec<registers::Call> {
    use registers::{Action, Call};
    let mut held = None;
    let mut call = |(number, step): (usize, Step), random: &mut Random| {
        let Step { invoked, answered } = step;
        if random.below(2) == 0 {
            return Call { invoked, answered: Some(answered), action: Action::Read(held) };
        }
        held = Some(number as u64 + 1);
        Call { invoked, answered: answer(random, step), action: Action::Write(number as u64 + 1) }
    };
    let steps = steps(random, clients, count).into_iter().enumerate();
    steps.map(|step| call(step, random)).collect()
}

fn swaps(random: &mut Random, clients: usize, count: usize) -> Vec<compare_and_set::Call> {
    use compare_and_set::{Action, Call};
    let mut held = 0;
    let mut call = |step: Step, random: &mut Random| {
        let Step { invoked, answered } = step;
        let (expected, new) = (random.below(5), random.below(5));
        let (action, answered) = match random.below(3) {
            0 => (Action::Read(held), Some(answered)),
            1 => {
                held = new;
                (Action::Write(new), Some(answered))
            }
            _ => {
                let done = expected == held;
                held = if done { new } else { held };
                let rare = random.below(20) == 0;
                (
                    Action::CompareAndSet { expected, new, done },
                    answer(random, step).filter(|_| !rare),
                )
            }
        };
        Call { invoked, answered, action }
    };
    steps(random, clients, count).into_iter().map(|step| call(step, random)).collect()
}

#[test]
fn a_hundred_thousand_operations_of_an_atomic_object_pass() {
    let random = &mut Random::new(1);
    assert_eq!(counter_history::check(&counter(random, 50, 100_000)), Ok(()));
    assert_eq!(positions::check(&log(random, 50, 100_000)), Ok(()));
    assert_eq!(tokens::check(&grants(random, 50, 100_000)), Ok(()));
    assert_eq!(registers::check(&register(random, 50, 100_000)), Ok(()));
}

#[test]
fn two_thousand_compare_and_sets_of_ten_clients_are_decided() {
    for seed in 0..5 {
        let calls = swaps(&mut Random::new(seed), 10, 2000);
        assert_eq!(compare_and_set::check(0, &calls, 1_000_000), Ok(()), "seed {seed}");
    }
}

/// A register as the search sees it, its initial value 0.
fn searched(calls: &[registers::Call]) -> Result<(), String> {
    use compare_and_set::{Action, Call};
    let call = |call: &registers::Call| Call {
        invoked: call.invoked,
        answered: call.answered,
        action: match call.action {
            registers::Action::Write(value) => Action::Write(value),
            registers::Action::Read(value) => Action::Read(value.unwrap_or(0)),
        },
    };
    compare_and_set::check(0, &calls.iter().map(call).collect::<Vec<_>>(), 1_000_000)
}

/// Every order of a history's operations, tried: what linearizability means, word by word.
fn explained(calls: &[registers::Call], held: Option<u64>, left: u32) -> bool {
    let is_left = |number: &usize| left & (1 << number) != 0;
    let numbers = || (0..calls.len()).filter(is_left);
    if numbers().all(|number| calls[number].answered.is_none()) {
        return true;
    }
    // Nothing may come before what was answered before it was invoked.
    let soonest = numbers().filter_map(|number| calls[number].answered).min().unwrap_or(u64::MAX);
    numbers().filter(|number| calls[*number].invoked <= soonest).any(|number| {
        let left = left & !(1 << number);
        match calls[number].action {
            registers::Action::Write(value) => explained(calls, Some(value), left),
            registers::Action::Read(value) => value == held && explained(calls, held, left),
        }
    })
}

#[test]
fn three_ways_to_judge_a_register_agree_on_every_damaged_history() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..20_000 {
        let random = &mut Random::new(seed);
        let mut calls = register(random, 3, 8);
        // One read answers something else, at times what it should.
        let place = random.below(8) as usize;
        if let registers::Action::Read(value) = &mut calls[place].action {
            *value = Some(random.below(9)).filter(|value| *value > 0);
        }
        let meaning = explained(&calls, None, (1 << calls.len()) - 1);
        let (exact, search) = (registers::check(&calls), searched(&calls));
        assert_eq!(exact.is_ok(), meaning, "seed {seed}: {exact:?} {calls:#?}");
        assert_eq!(search.is_ok(), meaning, "seed {seed}: {search:?} {calls:#?}");
        *(if meaning { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 2000 && bad > 2000, "{good} good and {bad} bad");
}

/// What is true of a whole history with one answer changed: no atomic object gives it.
fn refused<C: Copy>(
    make: impl Fn(&mut Random) -> Vec<C>,
    damage: impl Fn(&mut C) -> bool,
    check: impl Fn(&[C]) -> Result<(), String>,
) {
    let mut damaged = 0;
    for seed in 0..200 {
        let mut calls = make(&mut Random::new(seed));
        // In the second half of a long history enough has happened to contradict it.
        let behind = calls.len() / 2;
        if calls[behind..].iter_mut().any(&damage) {
            damaged += 1;
            assert!(check(&calls).is_err(), "seed {seed} passes");
        }
    }
    assert!(damaged > 150, "only {damaged} histories could be damaged");
}

#[test]
fn a_stale_answer_in_the_middle_of_a_long_history_is_seen() {
    let stale = |call: &mut counter_history::Call| match &mut call.action {
        counter_history::Action::Read(value) => {
            *value = 0;
            true
        }
        counter_history::Action::Increment { .. } => false,
    };
    refused(|random| counter(random, 4, 200), stale, counter_history::check);
    let empty = |call: &mut positions::Call| match &mut call.action {
        positions::Action::Read { position, value } if value.is_some() => {
            (*position, *value) = (1, None);
            true
        }
        _ => false,
    };
    refused(|random| log(random, 4, 200), empty, positions::check);
    let none = |call: &mut tokens::Call| match &mut call.action {
        tokens::Action::Last(token) => {
            *token = 0;
            true
        }
        tokens::Action::Granted(_) => false,
    };
    refused(|random| grants(random, 4, 200), none, tokens::check);
    let first = |call: &mut registers::Call| match &mut call.action {
        registers::Action::Read(value) => {
            *value = None;
            true
        }
        registers::Action::Write(_) => false,
    };
    refused(|random| register(random, 4, 200), first, registers::check);
}
