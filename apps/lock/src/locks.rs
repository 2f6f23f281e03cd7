//! The locks: who holds each, who waits, and which token comes next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use paxos_core::Time;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::terms::{LockSession, Token};

/// The bytes of a lock's name, at most.
pub const NAME_MAX: usize = 200;
/// Locks that are held at once, and locks whose last token is remembered, at most.
pub const LOCKS_MAX: usize = 65_536;
/// Those who wait for one lock, at most.
pub const QUEUE_MAX: usize = 4_096;

/// All locks.
///
/// Invariant: a lock that is not here was never granted with a token above the floor.
/// Invariant: those that are free are exactly those nobody holds, and nobody waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locks {
    locks: BTreeMap<String, Lock>,
    free: BTreeSet<(Token, String)>,
    floor: Token,
}

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    /// The token of its last grant.
    pub(crate) last: Token,
    pub(crate) holder: Option<Holder>,
    /// Those who wait, in the order in which they came.
    pub(crate) queue: VecDeque<Waiter>,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) session: LockSession,
    pub(crate) token: Token,
    /// In replicated time.
    pub(crate) since: Time,
}

/// Who waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) session: LockSession,
    /// In replicated time.
    pub(crate) since: Time,
}

/// What an attempt to get a lock came to.
pub(crate) enum Attempt {
    /// The session holds it, since now or before.
    Held { token: Token, is_new: bool },
    /// So many are before it.
    Waiting { ahead: usize, is_new: bool },
    /// Somebody has it, and the session does not want to wait.
    Taken,
}

/// Whether a lock can have this name.
pub fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(bad)
}

impl Locks {
    pub(crate) fn get(&self, name: &str) -> Option<&Lock> {
        self.locks.get(name)
    }

    /// Those whose names begin so and come behind this one, in order.
    pub(crate) fn behind<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Lock)> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        let all = self.locks.range::<str, _>((from, Bound::Unbounded));
        all.take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Gives the lock to a session, or a place in the queue, unless it has one of both already.
    pub(crate) fn attempt(
        &mut self,
        now: Time,
        name: &str,
        session: LockSession,
        waits: bool,
    ) -> Result<Attempt, Refusal> {
        let Some(lock) = self.locks.get_mut(name) else {
            self.make_room()?;
            let lock = Lock { last: self.floor, holder: None, queue: VecDeque::new() };
            self.locks.insert(name.to_owned(), lock);
            let token = self.give(now, name, session);
            return Ok(Attempt::Held { token, is_new: true });
        };
        let Some(holder) = lock.holder else {
            self.free.remove(&(lock.last, name.to_owned()));
            let token = self.give(now, name, session);
            return Ok(Attempt::Held { token, is_new: true });
        };
        if holder.session == session {
            return Ok(Attempt::Held { token: holder.token, is_new: false });
        }
        if let Some(ahead) = lock.queue.iter().position(|waiter| waiter.session == session) {
            return Ok(Attempt::Waiting { ahead: ahead + 1, is_new: false });
        }
        if !waits {
            return Ok(Attempt::Taken);
        }
        if lock.queue.len() >= QUEUE_MAX {
            return Err(Refusal::QueueFull);
        }
        lock.queue.push_back(Waiter { session, since: now });
        Ok(Attempt::Waiting { ahead: lock.queue.len(), is_new: true })
    }

    /// Takes a session out of the queue of a lock. Answers whether it was in it.
    pub(crate) fn leave(&mut self, name: &str, session: LockSession) -> bool {
        let Some(lock) = self.locks.get_mut(name) else { return false };
        let before = lock.queue.len();
        lock.queue.retain(|waiter| waiter.session != session);
        lock.queue.len() < before
    }

    /// Takes a lock from a session that holds it, and says with which token. Whoever is next gets
    /// it when [`Locks::pass_on`] is called.
    pub(crate) fn vacate(&mut self, name: &str, session: LockSession) -> Option<Token> {
        let lock = self.locks.get_mut(name)?;
        let holder = lock.holder.filter(|holder| holder.session == session)?;
        lock.holder = None;
        Some(holder.token)
    }

    /// Gives a lock that nobody holds to the first who waits for it, and says to whom.
    ///
    /// Invariant: the lock goes to one session, the one that has waited longest.
    pub(crate) fn pass_on(&mut self, now: Time, name: &str) -> Option<(LockSession, Token)> {
        let lock = self.locks.get_mut(name).filter(|lock| lock.holder.is_none())?;
        let Some(first) = lock.queue.pop_front() else {
            self.free.insert((lock.last, name.to_owned()));
            return None;
        };
        Some((first.session, self.give(now, name, first.session)))
    }

    fn give(&mut self, now: Time, name: &str, session: LockSession) -> Token {
        let Some(lock) = self.locks.get_mut(name) else { return self.floor };
        let token = Token(lock.last.0.saturating_add(1));
        lock.last = token;
        lock.holder = Some(Holder { session, token, since: now });
        token
    }

    /// Forgets a free lock if there are too many: from then on new locks begin above its token.
    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.locks.len() < LOCKS_MAX {
            return Ok(());
        }
        // The lowest token raises the floor least.
        let (token, name) = self.free.pop_first().ok_or(Refusal::TooManyLocks)?;
        self.locks.remove(&name);
        self.floor = self.floor.max(token);
        Ok(())
    }
}

#[cfg(test)]
impl Locks {
    pub(crate) fn check(&self, lives: impl Fn(&str, LockSession) -> bool) {
        assert!(self.locks.len() <= LOCKS_MAX);
        let mut free = BTreeSet::new();
        for (name, lock) in &self.locks {
            assert!(is_name(name) && lock.queue.len() <= QUEUE_MAX);
            match lock.holder {
                Some(holder) => {
                    assert!(lives(name, holder.session), "{name} is held by who is gone");
                    assert_eq!(holder.token, lock.last, "{name}");
                }
                None => {
                    assert!(lock.queue.is_empty(), "{name} is free, and somebody waits");
                    free.insert((lock.last, name.clone()));
                }
            }
            let mut seen = BTreeSet::new();
            for waiter in &lock.queue {
                assert!(lives(name, waiter.session), "{name} is awaited by who is gone");
                assert!(seen.insert(waiter.session), "{name} is awaited twice by one");
                assert_ne!(Some(waiter.session), lock.holder.map(|holder| holder.session));
            }
            assert!(lock.queue.iter().is_sorted_by_key(|waiter| waiter.since), "{name}");
        }
        assert_eq!(free, self.free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_word() {
        assert!(is_name("a") && is_name("nightly/backup:1") && is_name(&"x".repeat(NAME_MAX)));
        for name in ["", "a b", "a\n", "\u{7f}", &"x".repeat(NAME_MAX + 1)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn f6_a_lock_that_was_forgotten_goes_on_above_its_tokens() {
        let mut locks = Locks::default();
        let held = |locks: &mut Locks, name: &str| {
            let attempt = locks.attempt(Time(1), name, LockSession(1), false).unwrap();
            let Attempt::Held { token, .. } = attempt else { panic!("somebody holds {name}") };
            token
        };
        for token in 1..=3 {
            assert_eq!(held(&mut locks, "first"), Token(token));
            locks.vacate("first", LockSession(1));
            locks.pass_on(Time(1), "first");
        }
        for number in 1..LOCKS_MAX {
            held(&mut locks, &format!("{number}"));
        }
        // It was the only one that was free.
        assert_eq!(held(&mut locks, "one more"), Token(4));
        assert!(locks.get("first").is_none());
        let full = locks.attempt(Time(1), "first", LockSession(1), true);
        assert!(matches!(full, Err(Refusal::TooManyLocks)));
        locks.vacate("7", LockSession(1));
        locks.pass_on(Time(1), "7");
        assert_eq!(held(&mut locks, "first"), Token(4));
    }
}
