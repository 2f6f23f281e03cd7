//! Linearizability of a register whose written values are unique, exactly (Gibbons & Korach,
//! *Testing Shared Memories*, 1997, section 4).
//!
//! All that is known of a value, its write and its reads, is a cluster, and clusters follow each
//! other whole. With f the first answer and s the last invocation of a cluster: if f < s the
//! register holds the value from f to s; else one moment between s and f is enough for all of it.

use std::collections::BTreeMap;

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
    /// Wrote this value, which no other write has.
    Write(u64),
    /// Read this value; `None`: nothing was written yet.
    Read(Option<u64>),
}

#[derive(Clone, Copy)]
struct Cluster {
    /// When its write was invoked; `None`: no write of it is known.
    written: Option<u64>,
    first_answer: u64,
    last_invoked: u64,
    read: bool,
}

/// Checks a history. Sound and complete; an unknown write may have happened or not.
///
/// # Errors
/// The first contradiction, in words.
pub fn check(calls: &[Call]) -> Result<(), String> {
    let clusters = clusters(calls)?;
    let mut held: Vec<(u64, u64, Option<u64>)> = Vec::new();
    let mut momentary = Vec::new();
    for (value, cluster) in clusters {
        let Cluster { first_answer, last_invoked, .. } = cluster;
        if first_answer < last_invoked {
            held.push((first_answer, last_invoked, value));
        } else {
            momentary.push((last_invoked, first_answer, value));
        }
    }
    held.sort_unstable();
    for pair in held.windows(2) {
        let ((_, until, one), (from, _, other)) = (pair[0], pair[1]);
        if until > from {
            return Err(format!(
                "history: {} was there until {until}, but {} from {from} on: stale or reordered",
                named(one),
                named(other)
            ));
        }
    }
    for (from, until, value) in momentary {
        let before = held.partition_point(|(start, _, _)| *start < from);
        if let Some((start, end, other)) = before.checked_sub(1).and_then(|at| held.get(at))
            && until < *end
        {
            return Err(format!(
                "history: {} was there some time from {from} to {until}, but {} from {start} to \
                 {end}: stale or reordered",
                named(value),
                named(*other)
            ));
        }
    }
    Ok(())
}

/// What is known of each value; `None` is the one before the first write. Writes that may not have
/// happened and that nobody read are left out.
fn clusters(calls: &[Call]) -> Result<BTreeMap<Option<u64>, Cluster>, String> {
    let nothing = Cluster { written: None, first_answer: u64::MAX, last_invoked: 0, read: false };
    let mut clusters: BTreeMap<Option<u64>, Cluster> = BTreeMap::new();
    for call in calls {
        let (value, read) = match call.action {
            Action::Write(value) => (Some(value), false),
            Action::Read(value) => (value, true),
        };
        let cluster = clusters.entry(value).or_insert(nothing);
        if !read && cluster.written.replace(call.invoked).is_some() {
            return Err(format!("history: {} was written twice", named(value)));
        }
        cluster.first_answer = cluster.first_answer.min(call.answered.unwrap_or(u64::MAX));
        cluster.last_invoked = cluster.last_invoked.max(call.invoked);
        cluster.read |= read;
    }
    if let Some(initial) = clusters.get_mut(&None) {
        (initial.written, initial.first_answer) = (Some(0), 0);
    }
    for (value, cluster) in &clusters {
        let value = named(*value);
        match cluster.written {
            None => return Err(format!("history: {value} was read, nobody wrote it")),
            Some(written) if cluster.first_answer < written => {
                return Err(format!("history: {value} was read before it was written"));
            }
            Some(_) => {}
        }
    }
    clusters.retain(|_, cluster| cluster.read || cluster.first_answer < u64::MAX);
    Ok(clusters)
}

fn named(value: Option<u64>) -> String {
    value.map_or("nothing".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(invoked: u64, answered: u64, value: u64) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Write(value) }
    }

    fn lost(invoked: u64, value: u64) -> Call {
        Call { invoked, answered: None, action: Action::Write(value) }
    }

    fn read(invoked: u64, answered: u64, value: Option<u64>) -> Call {
        Call { invoked, answered: Some(answered), action: Action::Read(value) }
    }

    #[test]
    fn good_histories_pass() {
        assert_eq!(check(&[read(1, 2, None), write(1, 9, 7), read(3, 4, Some(7))]), Ok(()));
        assert_eq!(check(&[lost(1, 7), write(2, 3, 8), read(4, 5, Some(7))]), Ok(()));
        assert_eq!(check(&[lost(1, 7), write(2, 3, 8), read(4, 5, Some(8))]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        assert!(check(&[write(1, 2, 7), read(3, 4, None)]).is_err());
        assert!(check(&[write(1, 2, 7), write(3, 4, 8), read(5, 6, Some(7))]).is_err());
    }

    #[test]
    fn a_lost_write_is_seen() {
        let again = [write(1, 2, 7), read(3, 4, Some(7)), read(5, 6, None)];
        assert!(check(&again).is_err());
    }

    #[test]
    fn a_value_that_comes_back_is_seen() {
        let calls = [
            write(1, 9, 7),
            write(1, 9, 8),
            read(2, 3, Some(7)),
            read(4, 5, Some(8)),
            read(6, 7, Some(7)),
        ];
        assert!(check(&calls).is_err());
    }

    #[test]
    fn what_nobody_wrote_is_seen() {
        assert!(check(&[read(1, 2, Some(7))]).is_err());
        assert!(check(&[read(1, 2, Some(7)), write(3, 4, 7)]).is_err());
        assert!(check(&[write(1, 2, 7), write(3, 4, 7)]).is_err());
    }
}
