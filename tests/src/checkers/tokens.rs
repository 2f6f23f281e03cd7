//! Linearizability of a history of fencing tokens, exactly: each grant answers a token that is
//! greater than every token before it; numbers may be left out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::timing::{Window, in_order};

/// One answered operation. A grant whose outcome is unknown says nothing and is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// When it was invoked, on one monotonic clock.
    pub invoked: u64,
    /// When it was answered.
    pub answered: u64,
    /// What it answered.
    pub action: Action,
}

/// What an operation answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// This token was granted.
    Granted(u64),
    /// This was the last token that was granted; 0: none ever was.
    Last(u64),
}

/// Checks a history. Sound and complete.
///
/// # Errors
/// The first contradiction, in words.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let mut windows: BTreeMap<u64, Window> = BTreeMap::new();
    for call in calls {
        if let Action::Granted(token) = call.action {
            match windows.entry(token) {
                Entry::Vacant(free) if token > 0 => {
                    free.insert(Window::of(call.invoked, Some(call.answered)));
                }
                _ => return Err(format!("history: the token {token} was granted twice")),
            }
        }
    }
    // A token that was only seen was granted by somebody who never heard of it.
    for call in calls {
        if let Action::Last(token @ 1..) = call.action {
            windows.entry(token).or_insert(Window::of(0, None)).not_after(Some(call.answered));
        }
    }
    for call in calls {
        if let Action::Last(token) = call.action
            && let Some((_, next)) = windows.range_mut(token + 1..).next()
        {
            next.not_before(call.invoked);
        }
    }
    in_order(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(invoked: u64, answered: u64, token: u64) -> Call {
        Call { invoked, answered, action: Action::Granted(token) }
    }

    fn last(invoked: u64, answered: u64, token: u64) -> Call {
        Call { invoked, answered, action: Action::Last(token) }
    }

    #[test]
    fn good_histories_pass() {
        assert_eq!(check(&[granted(0, 9, 33), granted(1, 8, 5), last(2, 3, 0)]), Ok(()));
        assert_eq!(check(&[last(0, 1, 7), granted(2, 3, 8), last(4, 5, 8)]), Ok(()));
    }

    #[test]
    fn a_stale_answer_is_seen() {
        assert!(check(&[granted(0, 1, 7), last(2, 3, 0)]).is_err());
        assert!(check(&[last(0, 1, 7), last(2, 3, 6)]).is_err());
    }

    #[test]
    fn a_lost_tail_is_seen() {
        assert!(check(&[granted(0, 1, 7), granted(2, 3, 8), last(4, 5, 7)]).is_err());
    }

    #[test]
    fn a_doubled_token_is_seen() {
        assert!(check(&[granted(0, 1, 7), granted(2, 3, 7)]).is_err());
    }

    #[test]
    fn answers_against_the_order_of_time_are_seen() {
        assert!(check(&[granted(0, 1, 8), granted(2, 3, 7)]).is_err());
    }
}
