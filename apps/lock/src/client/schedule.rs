//! When a lock that is held is renewed, and when it is lost.

use std::time::Duration;

use paxos_core::Time;

use crate::client::{PAUSE, RENEWALS};
use crate::terms::Terms;

/// The times of a lock that is held, by its holder's clock. It looks at no clock itself.
///
/// Invariant: what counts is when a renewal was sent, not when its answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    terms: Terms,
    /// When the last sign of life was sent that was acknowledged.
    heard: Time,
    /// When the next is to be sent.
    next: Time,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing for so long.
    Nothing(Duration),
    /// A sign of life, to be acknowledged within so long.
    Renewal(Duration),
    /// To stop: no sign of life was acknowledged for ttl less grace.
    End,
}

impl Schedule {
    /// That of a session whose last acknowledged sign of life was `sent`.
    pub(crate) fn new(terms: Terms, sent: Time) -> Schedule {
        let mut schedule = Schedule { terms, heard: sent, next: sent };
        schedule.heard(sent);
        schedule
    }

    /// What is due.
    pub(crate) fn due(&self, now: Time) -> Due {
        let left = self.heard.after(self.trusted()).since(now);
        match self.next.since(now) {
            _ if left.is_zero() => Due::End,
            Duration::ZERO => Due::Renewal(left),
            rest => Due::Nothing(rest.min(left)),
        }
    }

    /// A sign of life was acknowledged.
    pub(crate) fn heard(&mut self, sent: Time) {
        self.heard = self.heard.max(sent);
        self.next = self.heard.after(self.trusted() / RENEWALS);
    }

    /// A sign of life was not acknowledged, and the next may be.
    pub(crate) fn failed(&mut self, now: Time) {
        self.next = now.after(PAUSE);
    }

    /// How long until the ttl is over.
    pub(crate) fn left(&self, now: Time) -> Duration {
        self.heard.after(self.terms.ttl).since(now)
    }

    /// How long after a sign of life the lock is certainly held, and its end need not begin.
    fn trusted(&self) -> Duration {
        self.terms.ttl.saturating_sub(self.terms.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Time = Time(7_000_000);

    fn terms(ttl: u64, grace: u64) -> Terms {
        let (ttl, grace) = (Duration::from_millis(ttl), Duration::from_millis(grace));
        Terms { ttl, grace }.checked().unwrap()
    }

    fn all_terms() -> [Terms; 6] {
        [(10_000, 3_000), (10_000, 0), (3_000, 2_000), (10_000, 9_000), (500, 499), (9_000, 6_000)]
            .map(|(ttl, grace)| terms(ttl, grace))
    }

    #[test]
    fn a_lock_whose_renewals_are_answered_is_kept_whatever_its_grace() {
        for terms in all_terms() {
            let mut schedule = Schedule::new(terms, BEGUN);
            let (mut now, mut renewals) = (BEGUN, 0);
            while now < BEGUN.after(terms.ttl * 10) {
                match schedule.due(now) {
                    Due::Nothing(rest) => now = now.after(rest),
                    Due::Renewal(within) => {
                        let sent = now;
                        now = now.after(within / 2);
                        schedule.heard(sent);
                        renewals += 1;
                    }
                    Due::End => panic!("{terms:?}: lost after {:?}", now.since(BEGUN)),
                }
            }
            assert!(renewals >= 10, "{terms:?}: {renewals} renewals");
        }
    }

    #[test]
    fn one_renewal_may_fail_before_the_last_that_counts() {
        for terms in all_terms().into_iter().filter(|terms| terms.ttl - terms.grace > 2 * PAUSE) {
            let mut schedule = Schedule::new(terms, BEGUN);
            let Due::Nothing(rest) = schedule.due(BEGUN) else { panic!("{terms:?}") };
            let now = BEGUN.after(rest);
            assert!(matches!(schedule.due(now), Due::Renewal(_)), "{terms:?}");
            schedule.failed(now);
            let Due::Nothing(rest) = schedule.due(now) else { panic!("{terms:?}") };
            assert!(matches!(schedule.due(now.after(rest)), Due::Renewal(_)), "{terms:?}");
        }
    }

    #[test]
    fn without_an_answer_the_end_begins_grace_before_the_ttl_is_over() {
        for terms in all_terms() {
            let mut schedule = Schedule::new(terms, BEGUN);
            let mut now = BEGUN;
            loop {
                match schedule.due(now) {
                    Due::Nothing(rest) => now = now.after(rest),
                    Due::Renewal(within) => {
                        now = now.after(within.min(PAUSE));
                        schedule.failed(now);
                    }
                    Due::End => break,
                }
            }
            assert_eq!(now, BEGUN.after(terms.ttl - terms.grace), "{terms:?}");
            assert_eq!(schedule.left(now), terms.grace, "{terms:?}");
            assert_eq!(schedule.left(now.after(terms.grace)), Duration::ZERO, "{terms:?}");
        }
    }

    #[test]
    fn a_late_answer_counts_from_when_its_question_was_sent() {
        let mut schedule = Schedule::new(terms(10_000, 3_000), BEGUN);
        let sent = BEGUN.after(Duration::from_secs(3));
        schedule.heard(sent);
        schedule.heard(BEGUN);
        assert_eq!(schedule.left(sent), Duration::from_secs(10));
        assert_eq!(schedule.due(sent.after(Duration::from_secs(7))), Due::End);
    }
}
