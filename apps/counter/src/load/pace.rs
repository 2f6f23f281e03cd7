//! Operations spread over time.

use std::time::Duration;

/// The kill periods that operations are spread over, so that at least three kills fall into them.
pub const PERIODS: u32 = 5;

/// When each of a process's operations may begin, counted from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    span: Duration,
    ops: u64,
}

impl Pace {
    /// All at once: each as soon as the one before is answered.
    pub fn unlimited(ops: u64) -> Pace {
        Pace { span: Duration::ZERO, ops }
    }

    /// Evenly over [`PERIODS`] periods; the last begins when they are over.
    pub fn over_periods(ops: u64, period: Duration) -> Pace {
        Pace { span: period.saturating_mul(PERIODS), ops }
    }

    /// How many operations there are.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// When operation `index`, from 0, may begin.
    pub fn due(&self, index: u64) -> Duration {
        let nanos = self.span.as_nanos() * u128::from(index + 1) / u128::from(self.ops.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ten_thousand_operations_take_five_periods() {
        let pace = Pace::over_periods(10_000, Duration::from_secs(2));
        assert_eq!(pace.due(0), Duration::from_millis(1));
        assert_eq!(pace.due(4_999), Duration::from_secs(5));
        assert_eq!(pace.due(9_999), Duration::from_secs(10));
    }

    #[test]
    fn without_kills_nothing_waits() {
        assert_eq!(Pace::unlimited(10).due(9), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn the_last_is_due_when_all_periods_are_over_and_none_before_its_predecessor(
            ops in 1u64..1_000_000,
            millis in 1u64..100_000,
        ) {
            let period = Duration::from_millis(millis);
            let pace = Pace::over_periods(ops, period);
            prop_assert_eq!(pace.due(ops - 1), period * PERIODS);
            prop_assert!(pace.due(ops / 2) <= pace.due(ops / 2 + 1));
        }
    }
}
