//! What lockers ask a lock service for and what they are told, as commands and replies of
//! [`Services`](super::services::Services), which are numbers.

use std::time::Duration;

use lock::{Command, Done, LockSession, Refusal, Standing, Terms, Token};

/// Commands from here on, and below [`DEMANDS_END`], ask for locks.
pub const DEMANDS: u64 = 1 << 62;

/// Behind the last of them.
pub const DEMANDS_END: u64 = 1 << 63;

/// The locks that lockers want.
pub const LOCKS: u64 = 3;

/// What sessions may be opened with.
pub const TERMS: u64 = 10;

/// What a locker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    /// A session, with terms of this number.
    Open {
        /// See [`terms`].
        terms: u64,
    },
    /// A lock.
    Acquire {
        /// For whom.
        session: u64,
        /// Which.
        lock: u64,
        /// To queue if somebody has it.
        waits: bool,
    },
    /// To be known to live.
    Renew {
        /// Who.
        session: u64,
    },
    /// To have a lock no longer.
    Release {
        /// Who.
        session: u64,
        /// Which.
        lock: u64,
        /// By which grant.
        token: u64,
    },
    /// To have a session no longer.
    Close {
        /// Which.
        session: u64,
    },
}

/// What a locker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Told {
    /// This session is open.
    Opened(u64),
    /// It holds the lock, with this token.
    Held(u64),
    /// So many are before it.
    Waiting(u64),
    /// Somebody has it.
    Taken,
    /// It lives.
    Renewed,
    /// The lock is given back.
    Released,
    /// The session has ended.
    Closed,
    /// The session had ended before.
    Expired,
    /// The lock is not held by that grant.
    NotHolder,
    /// What no locker should hear.
    Refused,
}

/// Terms by their number: from half a second to eight, with and without grace.
pub fn terms(number: u64) -> Terms {
    let ttl = Duration::from_millis(500 << (number / 2));
    let grace = if number.is_multiple_of(2) { ttl / 4 } else { Duration::ZERO };
    Terms { ttl, grace }
}

/// The name of a lock.
pub fn lock_name(lock: u64) -> String {
    format!("lock-{lock}")
}

impl Demand {
    /// As a number: the kind, the lock, the session, and what is particular.
    pub fn command(self) -> u64 {
        let (kind, lock, session, more) = match self {
            Demand::Open { terms } => (0, 0, 0, terms),
            Demand::Acquire { session, lock, waits } => (1, lock, session, u64::from(waits)),
            Demand::Renew { session } => (2, 0, session, 0),
            Demand::Release { session, lock, token } => (3, lock, session, token),
            Demand::Close { session } => (4, 0, session, 0),
        };
        DEMANDS | kind << 56 | (lock & 0xff) << 48 | (session & 0xff_ffff) << 24 | more & 0xff_ffff
    }

    /// What a number asks for; `None`: something else than locks.
    pub fn of(command: u64) -> Option<Demand> {
        if !(DEMANDS..DEMANDS_END).contains(&command) {
            return None;
        }
        let (lock, session) = (command >> 48 & 0xff, command >> 24 & 0xff_ffff);
        let more = command & 0xff_ffff;
        Some(match command >> 56 & 0x3f {
            0 => Demand::Open { terms: more },
            1 => Demand::Acquire { session, lock, waits: more == 1 },
            2 => Demand::Renew { session },
            3 => Demand::Release { session, lock, token: more },
            4 => Demand::Close { session },
            _ => return None,
        })
    }

    /// The same, as the service takes it.
    pub fn to_service(self) -> Command {
        match self {
            Demand::Open { terms: number } => Command::Open { terms: terms(number) },
            Demand::Acquire { session, lock, waits } => {
                Command::Acquire { session: LockSession(session), name: lock_name(lock), waits }
            }
            Demand::Renew { session } => Command::Renew { session: LockSession(session) },
            Demand::Release { session, lock, token } => Command::Release {
                session: LockSession(session),
                name: lock_name(lock),
                token: Token(token),
            },
            Demand::Close { session } => Command::Close { session: LockSession(session) },
        }
    }
}

impl Told {
    /// What the service has answered.
    pub fn by_service(told: Result<Done, Refusal>) -> Told {
        match told {
            Ok(Done::Opened(session)) => Told::Opened(session.0),
            Ok(Done::Standing(Standing::Held(token))) => Told::Held(token.0),
            Ok(Done::Standing(Standing::Waiting(ahead))) => Told::Waiting(ahead),
            Ok(Done::Standing(Standing::Taken)) => Told::Taken,
            Ok(Done::Renewed) => Told::Renewed,
            Ok(Done::Released) => Told::Released,
            Ok(Done::Closed) => Told::Closed,
            Err(Refusal::SessionExpired { .. }) => Told::Expired,
            Err(Refusal::NotHolder { .. }) => Told::NotHolder,
            Err(_) => Told::Refused,
        }
    }

    /// As a number.
    pub fn reply(self) -> u64 {
        let (kind, more) = match self {
            Told::Opened(session) => (0, session),
            Told::Held(token) => (1, token),
            Told::Waiting(ahead) => (2, ahead),
            Told::Taken => (3, 0),
            Told::Renewed => (4, 0),
            Told::Released => (5, 0),
            Told::Closed => (6, 0),
            Told::Expired => (7, 0),
            Told::NotHolder => (8, 0),
            Told::Refused => (9, 0),
        };
        more << 8 | kind
    }

    /// What a number tells.
    pub fn of(reply: u64) -> Told {
        let more = reply >> 8;
        match reply & 0xff {
            0 => Told::Opened(more),
            1 => Told::Held(more),
            2 => Told::Waiting(more),
            3 => Told::Taken,
            4 => Told::Renewed,
            5 => Told::Released,
            6 => Told::Closed,
            7 => Told::Expired,
            8 => Told::NotHolder,
            _ => Told::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_and_answers_are_numbers_and_come_back() {
        let (session, lock, token) = (70_000, 2, 90_000);
        for demand in [
            Demand::Open { terms: TERMS - 1 },
            Demand::Acquire { session, lock, waits: true },
            Demand::Acquire { session, lock, waits: false },
            Demand::Renew { session },
            Demand::Release { session, lock, token },
            Demand::Close { session },
        ] {
            assert_eq!(Demand::of(demand.command()), Some(demand));
        }
        assert_eq!(Demand::of(7), None);
        assert_eq!(Demand::of(DEMANDS_END), None);
        for told in [
            Told::Opened(session),
            Told::Held(token),
            Told::Waiting(3),
            Told::Taken,
            Told::Renewed,
            Told::Released,
            Told::Closed,
            Told::Expired,
            Told::NotHolder,
            Told::Refused,
        ] {
            assert_eq!(Told::of(told.reply()), told);
        }
    }

    #[test]
    fn all_terms_are_within_the_limits() {
        assert!((0..TERMS).all(|number| terms(number).checked().is_ok()));
    }
}
