//! Whether a counter that clients added 1 to, again and again, counted what they were told.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

/// What became of increments by 1 on a counter that began at 0 and that nobody else touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Increments that were answered.
    pub acknowledged: u64,
    /// What the counter read in the end.
    pub counter: u64,
    /// Answered increments that are not in the counter.
    pub lost: u64,
    /// What is in the counter beyond the answered increments, and beyond the unknown ones.
    pub doubled: u64,
    /// Increments whose outcome nobody knows.
    pub unknown: u64,
}

impl Verdict {
    /// Compares the new values that increments were answered with, and what was read in the end.
    ///
    /// Each increment makes a value of its own, so one answer twice is an increment lost even if
    /// another was doubled and the sums agree.
    pub fn new(answers: &[u64], reads: &[u64], unknown: u64) -> Verdict {
        let acknowledged = answers.len() as u64;
        let lowest = reads.iter().copied().min().unwrap_or(0);
        let highest = reads.iter().copied().max().unwrap_or(0);
        let values: BTreeSet<u64> = answers.iter().copied().collect();
        let kept = values.range(..=lowest).count() as u64;
        let lost = acknowledged - kept;
        let doubled = highest.saturating_sub(values.len() as u64).saturating_sub(unknown);
        let counter = if lost > 0 { lowest } else { highest };
        Verdict { acknowledged, counter, lost, doubled, unknown }
    }

    /// Whether every increment that was answered is there, once.
    pub fn is_good(&self) -> bool {
        self.lost == 0 && self.doubled == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { acknowledged, counter, lost, doubled, unknown } = self;
        write!(
            f,
            "acknowledged {acknowledged}, counter {counter}, lost {lost}, doubled {doubled}"
        )?;
        if *unknown > 0 {
            write!(f, ", unknown {unknown}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answers: &[u64], reads: &[u64], unknown: u64) -> (u64, u64) {
        let verdict = Verdict::new(answers, reads, unknown);
        assert_eq!(verdict.is_good(), verdict.lost == 0 && verdict.doubled == 0);
        (verdict.lost, verdict.doubled)
    }

    #[test]
    fn a_good_run_has_the_documented_line() {
        let good = Verdict::new(&[2, 1, 3], &[3, 3, 3], 0);
        assert!(good.is_good());
        assert_eq!(good.to_string(), "acknowledged 3, counter 3, lost 0, doubled 0");
        let unsure = Verdict::new(&[2, 1, 3], &[3, 4], 2);
        assert!(unsure.is_good());
        assert_eq!(unsure.to_string(), "acknowledged 3, counter 4, lost 0, doubled 0, unknown 2");
    }

    #[test]
    fn what_is_missing_is_lost() {
        assert_eq!(verdict(&[1, 2, 3], &[2], 0), (1, 0));
        assert_eq!(verdict(&[1, 2, 2], &[2], 0), (1, 0));
        assert_eq!(verdict(&[1, 2, 3], &[3, 1], 0), (2, 0), "one node reads an older state");
        assert_eq!(verdict(&[1], &[], 0), (1, 0));
    }

    #[test]
    fn what_is_too_much_is_doubled_unless_it_may_be_an_unknown() {
        assert_eq!(verdict(&[1, 3], &[3], 0), (0, 1));
        assert_eq!(verdict(&[1, 3], &[3], 1), (0, 0));
        assert_eq!(verdict(&[1, 2], &[5], 1), (0, 2));
    }

    #[test]
    fn one_lost_and_one_doubled_do_not_make_up_for_each_other() {
        assert_eq!(verdict(&[1, 1, 3], &[3], 0), (1, 1));
    }
}
