//! Linearizability of a counter's history, exactly: an increment answers the new value, so the
//! answers themselves fix the order, and no search is needed.

/// One completed or unknown operation on one counter that starts at 0.
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
    /// Added this much, more than 0; the answer was the counter's new value.
    Increment {
        /// How much.
        by: u64,
        /// The new value; `None`: the outcome is unknown.
        became: Option<u64>,
    },
    /// Read this value.
    Read(u64),
}

/// Checks a history.
///
/// Sound and complete for increments that answered and reads. An unknown increment may have
/// happened or not: it may explain a gap between answers, all of them together as much as they add.
///
/// # Errors
/// The first contradiction, in words.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut increments: Vec<(u64, u64)> = Vec::new();
    let (mut unknown, mut top) = (0u64, 0);
    for call in calls {
        match call.action {
            Action::Increment { by, became: Some(value) } => {
                let from = value
                    .checked_sub(by)
                    .ok_or(format!("history: {value} is below its own {by}"))?;
                increments.push((from, value));
                top = top.max(value);
            }
            Action::Increment { by, became: None } => unknown += by,
            Action::Read(value) => top = top.max(value),
        }
    }
    increments.sort_unstable();
    for pair in increments.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!(
                "history: two increments answered {} and {}: doubled",
                pair[0].1, pair[1].1
            ));
        }
    }
    let known: u64 = increments.iter().map(|(from, value)| value - from).sum();
    if top > known + unknown {
        return Err(format!(
            "history: {top} was seen, but only {known} + {unknown} were ever added"
        ));
    }
    for call in calls {
        if let Action::Read(value) = call.action {
            let inside = increments.partition_point(|(_, became)| *became <= value);
            if increments.get(inside).is_some_and(|(from, _)| *from < value) {
                return Err(format!(
                    "history: {value} was read, a value that the counter never had"
                ));
            }
        }
    }
    in_real_time(calls)
}

/// The order of the answers must not contradict the order in time.
fn in_real_time(calls: &[Call]) -> Result<(), String> {
    let place = |call: &Call| match call.action {
        Action::Increment { became, .. } => became.map(|value| (value, 0)),
        Action::Read(value) => Some((value, 1)),
    };
    let mut order: Vec<_> = calls.iter().filter_map(|call| Some((place(call)?, call))).collect();
    order.sort_by_key(|(place, _)| *place);
    // From the back: nothing placed strictly later may have been answered before this was invoked.
    let mut earliest: Option<(u64, u64)> = None;
    for group in order.chunk_by(|(one, _), (other, _)| one == other).rev() {
        for ((value, _), call) in group {
            if let Some((answered, seen)) = earliest
                && answered < call.invoked
            {
                return Err(format!(
                    "history: {seen} was answered at {answered}, then {value} was seen by a call \
                     invoked at {}: stale or reordered",
                    call.invoked
                ));
            }
        }
        let answered = group.iter().filter_map(|((value, _), call)| Some((call.answered?, *value)));
        earliest = answered.chain(earliest).min();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increment(invoked: u64, answered: u64, became: u64) -> Call {
        let action = Action::Increment { by: 1, became: Some(became) };
        Call { invoked, answered: Some(answered), action }
    }

    fn read(invoked: u64, answered: u64, value: u64) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Read(value) }
    }

    fn unknown(invoked: u64, by: u64) -> Call {
        let action = Action::Increment { by, became: None };
        Call { invoked, answered: None, action }
    }

    #[test]
    fn good_histories_pass() {
        assert_eq!(check(&[increment(0, 1, 1), increment(2, 9, 3), increment(3, 8, 2)]), Ok(()));
        assert_eq!(check(&[increment(0, 5, 1), read(1, 2, 0), read(3, 4, 1)]), Ok(()));
        assert_eq!(check(&[unknown(0, 2), increment(1, 2, 3), read(4, 5, 3)]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        assert!(check(&[increment(0, 1, 1), read(2, 3, 0)]).is_err());
        assert!(check(&[increment(0, 1, 1), read(2, 3, 1), read(4, 5, 0)]).is_err());
    }

    #[test]
    fn a_doubled_increment_is_seen() {
        assert!(check(&[increment(0, 1, 1), increment(0, 1, 1)]).is_err());
        assert!(check(&[increment(0, 1, 1), read(2, 3, 2)]).is_err());
    }

    #[test]
    fn a_lost_increment_is_seen() {
        assert!(check(&[increment(0, 1, 1), increment(2, 3, 1)]).is_err());
    }

    #[test]
    fn answers_against_the_order_of_time_are_seen() {
        assert!(check(&[increment(0, 1, 2), increment(2, 3, 1)]).is_err());
    }

    #[test]
    fn a_value_between_two_states_is_seen() {
        let action = Action::Increment { by: 5, became: Some(5) };
        let call = Call { invoked: 0, answered: Some(9), action };
        assert!(check(&[call, read(0, 9, 3)]).is_err());
    }
}
