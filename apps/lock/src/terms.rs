//! What a lock session is opened with, and the numbers that name sessions and grants.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// By how much one clock may run faster than another, in percent: what memberships allow unless
/// they say otherwise.
const DRIFT_PERCENT: u32 = 5;

/// A lock session. Invariant: its number is taken from a counter in the replicated state, so none
/// is ever used again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LockSession(pub u64);

/// A fencing token: the number of a grant (Kleppmann, *How to do distributed locking*, 2016).
/// Whoever is protected by the lock refuses what comes with a lower one than it has seen.
///
/// Invariant: each grant of a lock has a higher token than all before it, for ever.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Token(pub u64);

/// How long a session lives without a sign of life, and how much of that is for its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// By the holder's clock, all that the lock protects has stopped so long after the last
    /// acknowledged sign of life was sent.
    pub ttl: Duration,
    /// It begins to stop so long before that.
    pub grace: Duration,
}

impl Terms {
    /// The shortest ttl: below it a change of leader would cost locks.
    pub const TTL_MIN: Duration = Duration::from_millis(500);
    /// The longest ttl.
    pub const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Terms within the limits.
    ///
    /// # Errors
    /// [`Refusal::BadTerms`].
    pub fn checked(self) -> Result<Terms, Refusal> {
        let sound = (Self::TTL_MIN..=Self::TTL_MAX).contains(&self.ttl) && self.grace < self.ttl;
        if sound { Ok(self) } else { Err(Refusal::BadTerms) }
    }

    /// How long the service waits for a sign of life before it grants again: by any clock within
    /// the drift bound that is longer than the ttl is by the holder's.
    pub fn span(self) -> Duration {
        self.ttl.saturating_add(self.ttl * DRIFT_PERCENT / 100).saturating_add(self.grace)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Terms { ttl: Duration::from_secs(10), grace: Duration::from_secs(3) }
    }
}

impl fmt::Display for LockSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for LockSession {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(LockSession)
    }
}

impl FromStr for Token {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_waits_longer_than_the_slowest_clock_of_a_holder() {
        let terms = Terms::default();
        assert_eq!(terms.span(), Duration::from_millis(13_500));
        assert!(terms.checked().is_ok());
    }

    #[test]
    fn terms_beyond_the_limits_are_refused() {
        let terms = |ttl, grace| {
            Terms { ttl: Duration::from_millis(ttl), grace: Duration::from_millis(grace) }.checked()
        };
        assert!(terms(500, 0).is_ok());
        assert_eq!(terms(499, 0), Err(Refusal::BadTerms));
        assert_eq!(terms(1_000, 1_000), Err(Refusal::BadTerms));
        assert_eq!(terms(24 * 3_600_000 + 1, 0), Err(Refusal::BadTerms));
        let forever = Terms { ttl: Duration::MAX, grace: Duration::ZERO };
        assert_eq!(forever.checked(), Err(Refusal::BadTerms));
    }
}
