//! Reads that need not be up to date promise something all the same: a state that there was, none
//! older than was asked for, and an age that is not too low.

use std::collections::BTreeMap;

use paxos_core::Slot;

use super::counter_history::{Action, Call};

/// A read of a counter, and what was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleRead {
    /// When it was invoked, in microseconds.
    pub invoked: u64,
    /// The least slot of a state that may answer it: as it was asked, and as its client has seen
    /// before.
    pub least: Slot,
    /// The slot of the answer.
    pub slot: Slot,
    /// The answer.
    pub value: u64,
    /// It claims to contain everything that was answered until so long before, in microseconds.
    pub behind: Option<u64>,
}

/// Checks such reads of a counter that only grows. `states` has what it was behind each slot,
/// `calls` the history of those who changed it, on the same clock; clocks of nodes run at `slowest`
/// thousandths of its rate at least.
///
/// # Errors
/// The first contradiction, in words.
pub fn check(
    reads: &[StaleRead],
    calls: &[Call],
    states: &BTreeMap<Slot, u64>,
    slowest: u64,
) -> Result<(), String> {
    let acknowledged = |call: &Call| match call.action {
        Action::Increment { became: Some(became), .. } => Some((call.answered?, became)),
        _ => None,
    };
    let mut answers: Vec<_> = calls.iter().filter_map(acknowledged).collect();
    answers.sort_unstable();
    // The most that had been answered by then.
    let mut most = 0;
    for (_, became) in &mut answers {
        most = most.max(*became);
        *became = most;
    }
    for read in reads {
        let StaleRead { invoked, least, slot, value, behind } = *read;
        if slot < least {
            return Err(format!("stale reads: {slot} was read, behind {least}"));
        }
        if let Some(state) = states.get(&slot).filter(|state| **state != value) {
            return Err(format!("stale reads: {value} was read after {slot}, which left {state}"));
        }
        let Some(behind) = behind else { continue };
        // The clock of who answered may be slow, and the answer may be of the moment of the call.
        let since = invoked.saturating_sub(behind.saturating_mul(1000) / slowest);
        let before = answers.partition_point(|(answered, _)| *answered < since);
        if let Some((answered, became)) = before.checked_sub(1).and_then(|last| answers.get(last))
            && *became > value
        {
            return Err(format!(
                "stale reads: {value} was read at {invoked}, said to be {behind} us old, but \
                 {became} was answered by {answered}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut StaleRead)) -> Result<(), String> {
        let added = |answered, became| {
            let action = Action::Increment { by: 5, became: Some(became) };
            Call { invoked: answered - 50, answered: Some(answered), action }
        };
        let states = BTreeMap::from([(Slot(1), 5), (Slot(2), 10), (Slot(3), 10)]);
        let behind = Some(200);
        let mut read = StaleRead { invoked: 500, least: Slot(1), slot: Slot(1), value: 5, behind };
        change(&mut read);
        check(&[read], &[added(400, 10), added(200, 5)], &states, 1000)
    }

    #[test]
    fn reads_that_say_how_old_they_are_pass() {
        assert_eq!(checked(|_| {}), Ok(()));
        assert_eq!(checked(|read| read.behind = None), Ok(()));
        let newest =
            |read: &mut StaleRead| (read.slot, read.value, read.behind) = (Slot(3), 10, Some(0));
        assert_eq!(checked(newest), Ok(()));
    }

    #[test]
    fn c11_a_read_that_goes_back_is_seen() {
        assert!(checked(|read| read.least = Slot(2)).is_err());
    }

    #[test]
    fn c11_a_state_that_never_was_is_seen() {
        assert!(checked(|read| read.value = 6).is_err());
    }

    #[test]
    fn c11_a_read_that_says_it_is_fresher_than_it_is_is_seen() {
        assert!(checked(|read| read.behind = Some(99)).is_err());
        assert_eq!(checked(|read| read.behind = Some(100)), Ok(()));
    }
}
