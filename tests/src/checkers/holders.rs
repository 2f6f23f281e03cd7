//! What those who hold locks are sure of, by their own clocks, and what a store that compares
//! tokens makes of what they show it.

use std::collections::BTreeMap;

use paxos_core::Time;

/// What a client is sure of: to hold this lock, by this grant, until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The lock.
    pub lock: u64,
    /// The grant.
    pub token: u64,
    /// The end, in the time of the world.
    pub until: Time,
}

/// Watches what clients are sure of.
#[derive(Debug)]
pub struct Holders {
    /// No clock does what the terms of sessions do not allow for.
    fair: bool,
    sure: BTreeMap<usize, Vec<Belief>>,
    /// The highest token that each lock's store was shown.
    newest: BTreeMap<u64, u64>,
    /// How often it refused one.
    refused: u64,
}

impl Holders {
    /// A checker for clocks that are fair, or that are not: then nobody can be sure of anything.
    pub fn new(fair: bool) -> Self {
        Holders { fair, sure: BTreeMap::new(), newest: BTreeMap::new(), refused: 0 }
    }

    /// A client is sure of this from now on, and of nothing else; and these grants are in force.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn believes(
        &mut self,
        now: Time,
        client: usize,
        sure: &[Belief],
        in_force: impl Fn(u64) -> Option<u64>,
    ) -> Result<(), String> {
        self.sure.insert(client, sure.to_vec());
        let wrong = |belief: &&Belief| {
            self.fair && belief.until > now && in_force(belief.lock) != Some(belief.token)
        };
        match sure.iter().find(wrong) {
            Some(Belief { lock, token, until }) => Err(format!(
                "locks: client {client} is sure of lock {lock} by grant {token} until {until}, and \
                 in force is {:?}",
                in_force(*lock)
            )),
            None => Ok(()),
        }
    }

    /// A grant is over, and its holder did not ask for that.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn lost(&self, now: Time, lock: u64, token: u64) -> Result<(), String> {
        let sure = |belief: &Belief| (belief.lock, belief.token) == (lock, token);
        let surprised = |belief: &Belief| self.fair && sure(belief) && belief.until > now;
        match self.sure.iter().find(|(_, beliefs)| beliefs.iter().any(surprised)) {
            Some((client, beliefs)) => Err(format!(
                "locks: lock {lock} is taken from client {client}, which is sure of {beliefs:?}"
            )),
            None => Ok(()),
        }
    }

    /// A client shows the token of a grant to what the lock protects. Answers whether that takes
    /// it: it refuses a lower one than it has seen.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn shown(
        &mut self,
        client: usize,
        (lock, token): (u64, u64),
        is_sure: bool,
    ) -> Result<bool, String> {
        let newest = self.newest.entry(lock).or_default();
        let taken = token >= *newest;
        *newest = token.max(*newest);
        self.refused += u64::from(!taken);
        if taken || !is_sure || !self.fair {
            return Ok(taken);
        }
        Err(format!(
            "locks: client {client} is sure of lock {lock} by grant {token}, and {newest} was shown"
        ))
    }

    /// How often a store refused what it was shown.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Belief = Belief { lock: 1, token: 7, until: Time(10) };

    #[test]
    fn who_is_sure_must_be_right_as_long_as_clocks_are_fair() {
        let mut checker = Holders::new(true);
        assert!(checker.believes(Time(1), 0, &[SURE], |_| Some(7)).is_ok());
        assert!(checker.lost(Time(10), 1, 7).is_ok(), "it is sure no longer");
        assert!(checker.lost(Time(9), 1, 6).is_ok() && checker.lost(Time(9), 2, 7).is_ok());
        assert!(checker.lost(Time(9), 1, 7).is_err());
        let two = [Belief { lock: 2, ..SURE }, SURE];
        let of_both = |lock| Some(if lock == 1 { 8 } else { 7 });
        assert!(checker.believes(Time(1), 0, &two, of_both).is_err());
        assert!(checker.believes(Time(1), 0, &[SURE], |_| None).is_err());
        assert!(checker.believes(Time(10), 0, &[SURE], |_| None).is_ok(), "it comes too late");
        assert!(checker.believes(Time(1), 0, &[], |_| None).is_ok());
        assert!(checker.lost(Time(9), 1, 7).is_ok(), "it is sure of nothing");
        let mut checker = Holders::new(false);
        assert!(checker.believes(Time(1), 0, &[SURE], |_| None).is_ok());
        assert!(checker.lost(Time(9), 1, 7).is_ok());
    }

    #[test]
    fn a_store_refuses_lower_tokens_and_never_who_is_sure() {
        let mut checker = Holders::new(true);
        for (token, sure, taken) in [(7, true, true), (7, false, true), (9, true, true)] {
            assert_eq!(checker.shown(0, (1, token), sure), Ok(taken));
        }
        assert_eq!(checker.shown(0, (1, 7), false), Ok(false));
        assert_eq!(checker.shown(0, (2, 7), true), Ok(true), "of another lock");
        assert_eq!(checker.refused(), 1);
        assert!(checker.shown(0, (1, 8), true).is_err());
        assert_eq!(Holders::new(false).shown(0, (1, 8), true), Ok(true));
    }
}
