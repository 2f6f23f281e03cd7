//! Linearizability of one register with compare-and-set, by search (Wing & Gong, *Testing and
//! Verifying Concurrent Objects*, 1993; with the memory of Lowe, *Testing for Linearizability*,
//! 2017): answers do not fix the order here, so orders are tried. Meant for up to ten clients and
//! 2,000 operations; a search that would take too long is given up, and that counts as failed.

use std::collections::HashSet;

/// One completed or unknown operation on one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was invoked, on one monotonic clock.
    pub invoked: u64,
    /// When it was answered; `None`: never. A read without an answer says nothing: leave it out.
    pub answered: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wrote this value.
    Write(u64),
    /// Read this value.
    Read(u64),
    /// Wrote `new` if the register held `expected`.
    CompareAndSet {
        /// What it should have held.
        expected: u64,
        /// What it was to hold then.
        new: u64,
        /// Whether it did; of an operation that was never answered, meaningless.
        done: bool,
    },
}

impl Call {
    /// What the register holds behind it; `None`: it cannot have been answered like that, or was
    /// never answered and changes nothing.
    fn apply(&self, state: u64) -> Option<u64> {
        match self.action {
            Action::Write(value) => Some(value),
            Action::Read(value) => (value == state).then_some(state),
            Action::CompareAndSet { expected, new, done } => {
                let holds = expected == state;
                let told = self.answered.map_or(holds, |_| done == holds);
                told.then_some(if holds { new } else { state })
            }
        }
    }
}

/// Checks the history of a register that first held `initial`, looking at `budget` different
/// situations at most; one takes about a hundred bytes.
///
/// # Errors
/// That no order explains the history, or that the search was given up.
pub fn check(initial: u64, calls: &[Call], budget: usize) -> Result<(), String> {
    let mut calls = calls.to_vec();
    // Those without an answer come last, so that the memory of the others stays short.
    calls.sort_by_key(|call| (call.answered.is_none(), call.invoked));
    let mut search = Search::new(&calls);
    let (mut state, mut taken) = (initial, Vec::new());
    let mut at = search.first();
    while at != END {
        let event = search.events[at];
        if !event.is_answer {
            let after = calls[event.call].apply(state);
            if let Some(after) = after.filter(|after| search.is_news(event.call, *after)) {
                if search.seen.len() > budget {
                    return Err(format!("history: undecided after {budget} situations"));
                }
                taken.push((event.call, state));
                state = after;
                search.take(event.call);
                at = search.first();
            } else {
                at = search.next[at];
            }
            continue;
        }
        let Some((call, before)) = taken.pop() else {
            return Err(format!("history: no order explains {:?}", calls[event.call]));
        };
        state = before;
        search.put_back(call);
        at = search.next[search.places[call].0];
    }
    Ok(())
}

/// The end of the list of events, and its head.
const END: usize = 0;

#[derive(Clone, Copy)]
struct Event {
    call: usize,
    is_answer: bool,
}

/// Invocations and answers that are not yet explained, in order of time, and the situations that
/// were looked at.
struct Search {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where a call's invocation and its answer are.
    places: Vec<(usize, Option<usize>)>,
    /// The calls that are taken, a bit each.
    bits: Vec<u64>,
    seen: HashSet<(Vec<u64>, u64)>,
}

impl Search {
    fn new(calls: &[Call]) -> Self {
        let mut order = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            order.push((call.invoked, false, number));
            order.extend(call.answered.map(|answered| (answered, true, number)));
        }
        order.sort_unstable();
        let mut events = vec![Event { call: usize::MAX, is_answer: false }];
        let mut places = vec![(END, None); calls.len()];
        for (_, is_answer, call) in order {
            match is_answer {
                false => places[call].0 = events.len(),
                true => places[call].1 = Some(events.len()),
            }
            events.push(Event { call, is_answer });
        }
        let count = events.len();
        Search {
            events,
            next: (1..=count).map(|place| place % count).collect(),
            previous: (0..count).map(|place| (place + count - 1) % count).collect(),
            places,
            bits: vec![0; calls.len().div_ceil(64)],
            seen: HashSet::new(),
        }
    }

    fn first(&self) -> usize {
        self.next[END]
    }

    /// Whether nobody was here before: the same calls taken with this one, and the same state.
    fn is_news(&mut self, call: usize, state: u64) -> bool {
        self.bits[call / 64] ^= 1 << (call % 64);
        // Calls are taken nearly in order: what is full needs no words, only their number.
        let full = self.bits.iter().take_while(|word| **word == u64::MAX).count();
        let last = self.bits.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let mut key = vec![full as u64];
        key.extend(self.bits.get(full..last).unwrap_or_default());
        let news = self.seen.insert((key, state));
        self.bits[call / 64] ^= 1 << (call % 64);
        news
    }

    fn take(&mut self, call: usize) {
        self.bits[call / 64] ^= 1 << (call % 64);
        let (invoked, answered) = self.places[call];
        for place in [Some(invoked), answered].into_iter().flatten() {
            let (before, behind) = (self.previous[place], self.next[place]);
            self.next[before] = behind;
            self.previous[behind] = before;
        }
    }

    fn put_back(&mut self, call: usize) {
        self.bits[call / 64] ^= 1 << (call % 64);
        let (invoked, answered) = self.places[call];
        for place in [answered, Some(invoked)].into_iter().flatten() {
            let (before, behind) = (self.previous[place], self.next[place]);
            self.next[before] = place;
            self.previous[behind] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(invoked: u64, answered: u64, value: u64) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Write(value) }
    }

    fn read(invoked: u64, answered: u64, value: u64) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Read(value) }
    }

    fn swap(invoked: u64, answered: Option<u64>, expected: u64, new: u64, done: bool) -> Call {
        Call { invoked, answered, action: Action::CompareAndSet { expected, new, done } }
    }

    fn check(calls: &[Call]) -> Result<(), String> {
        super::check(0, calls, 1000)
    }

    #[test]
    fn good_histories_pass() {
        assert_eq!(check(&[write(0, 9, 1), read(1, 2, 1), read(3, 4, 1)]), Ok(()));
        assert_eq!(check(&[swap(0, Some(9), 1, 2, true), write(0, 9, 1), read(10, 11, 2)]), Ok(()));
        assert_eq!(check(&[swap(0, None, 0, 2, false), read(5, 6, 0), read(7, 8, 2)]), Ok(()));
        assert_eq!(check(&[swap(0, Some(1), 5, 2, false), read(5, 6, 0)]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        assert!(check(&[write(0, 1, 1), read(2, 3, 0)]).is_err());
    }

    #[test]
    fn a_lost_write_is_seen() {
        assert!(check(&[swap(0, Some(1), 0, 1, true), read(2, 3, 0)]).is_err());
    }

    #[test]
    fn a_doubled_swap_is_seen() {
        let twice = [swap(0, Some(9), 0, 1, true), swap(0, Some(9), 0, 2, true)];
        assert!(check(&twice).is_err());
    }

    #[test]
    fn reads_in_another_order_are_seen() {
        let calls = [write(0, 9, 1), write(0, 9, 2), read(10, 11, 1), read(12, 13, 2)];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        let writes: Vec<_> = (1..=12).map(|value| write(0, 99, value)).collect();
        let never = [&writes[..], &[read(100, 101, 13)]].concat();
        assert!(check(&never).unwrap_err().contains("undecided"));
    }
}
