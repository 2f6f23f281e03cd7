//! Linearizability of a log's history, exactly: an append answers the position of its value, so the
//! answers themselves fix the order. Positions count from 1 without gaps.

use std::collections::{BTreeMap, BTreeSet};

use super::timing::{Window, in_order};

/// One completed or unknown operation on one log that starts empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was invoked, on one monotonic clock.
    pub invoked: u64,
    /// When it was answered; `None`: never.
    pub answered: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Appended this value, which no other append has.
    Append {
        /// The value.
        value: u64,
        /// Its position; `None`: the outcome is unknown.
        position: Option<u64>,
    },
    /// Read what is at a position.
    Read {
        /// The position.
        position: u64,
        /// The value there; `None`: the log ended before it.
        value: Option<u64>,
    },
}

/// Checks a history.
///
/// Sound and complete. The value of an unknown append may be in the log or not: it explains a read
/// of itself, or a position of which nothing is known.
///
/// # Errors
/// The first contradiction, in words.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut values = BTreeMap::new();
    let mut unknown = BTreeMap::new();
    for call in calls {
        if let Action::Append { value, position } = call.action {
            match position {
                Some(position) => place(&mut values, position, value)?,
                None => drop(unknown.insert(value, call.invoked)),
            }
        }
    }
    for call in calls {
        if let Action::Read { position, value: Some(value) } = call.action {
            place(&mut values, position, value)?;
        }
    }
    let mut windows: BTreeMap<u64, Window> = BTreeMap::new();
    let appended = calls.iter().filter_map(|call| match call.action {
        Action::Append { value, .. } => Some((value, call)),
        Action::Read { .. } => None,
    });
    let appended: BTreeMap<u64, &Call> = appended.collect();
    let mut seen = BTreeSet::new();
    for (position, value) in &values {
        let Some(append) = appended.get(value) else {
            return Err(format!("history: {value} was read at {position}, nobody appended it"));
        };
        if !seen.insert(value) {
            return Err(format!("history: {value} is in the log twice, again at {position}"));
        }
        unknown.remove(value);
        windows.insert(*position, Window::of(append.invoked, append.answered));
    }
    // Only appends whose outcome is unknown can be where nothing was seen, the oldest first: none
    // of them has an end.
    let mut left: Vec<u64> = unknown.into_values().collect();
    left.sort_unstable_by(|one, other| other.cmp(one));
    let last = values.keys().next_back().copied().unwrap_or_default();
    if last > calls.len() as u64 {
        return Err(format!("history: position {last} in a log of fewer appends"));
    }
    for position in (1..=last).filter(|position| !values.contains_key(position)) {
        let Some(invoked) = left.pop() else {
            return Err(format!("history: nobody appended what is at {position}"));
        };
        windows.insert(position, Window::of(invoked, None));
    }
    for call in calls {
        if let Action::Read { position, value } = call.action
            && let Some(window) = windows.get_mut(&position)
        {
            match value {
                Some(_) => window.not_after(call.answered),
                None => window.not_before(call.invoked),
            }
        }
    }
    in_order(windows)
}

fn place(values: &mut BTreeMap<u64, u64>, position: u64, value: u64) -> Result<(), String> {
    match *values.entry(position).or_insert(value) {
        _ if position == 0 => Err(format!("history: {value} is at 0, before the first position")),
        known if known == value => Ok(()),
        known => Err(format!("history: both {known} and {value} are at {position}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(invoked: u64, answered: u64, value: u64, position: u64) -> Call {
        let action = Action::Append { value, position: Some(position) };
        Call { invoked, answered: Some(answered), action }
    }

    fn lost(invoked: u64, value: u64) -> Call {
        Call { invoked, answered: None, action: Action::Append { value, position: None } }
    }

    fn read(invoked: u64, answered: u64, position: u64, value: Option<u64>) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Read { position, value } }
    }

    #[test]
    fn good_histories_pass() {
        assert_eq!(check(&[append(0, 9, 7, 2), append(1, 8, 5, 1), read(2, 3, 1, None)]), Ok(()));
        assert_eq!(check(&[lost(0, 7), append(1, 2, 5, 2), read(3, 4, 1, Some(7))]), Ok(()));
        assert_eq!(check(&[lost(0, 7), lost(0, 8), append(1, 2, 5, 3)]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        assert!(check(&[append(0, 1, 7, 1), read(2, 3, 1, None)]).is_err());
        assert!(check(&[lost(0, 7), read(1, 2, 1, Some(7)), read(3, 4, 1, None)]).is_err());
    }

    #[test]
    fn a_lost_tail_is_seen() {
        assert!(check(&[append(0, 1, 7, 1), append(2, 3, 8, 1)]).is_err());
        assert!(check(&[append(0, 1, 7, 1), append(2, 3, 8, 3)]).is_err());
    }

    #[test]
    fn a_doubled_value_is_seen() {
        assert!(check(&[append(0, 1, 7, 1), read(0, 1, 2, Some(7))]).is_err());
    }

    #[test]
    fn answers_against_the_order_of_time_are_seen() {
        assert!(check(&[append(0, 1, 7, 2), append(2, 3, 8, 1)]).is_err());
        assert!(check(&[append(0, 1, 5, 2), lost(4, 7)]).is_err());
    }

    #[test]
    fn what_nobody_appended_is_seen() {
        assert!(check(&[append(0, 1, 7, 1), read(2, 3, 2, Some(9))]).is_err());
        assert!(check(&[append(0, 1, 7, 1), read(2, 3, 0, Some(7))]).is_err());
    }
}
