//! Operations spread over time.

use std::time::Duration;

/// The kill periods that operations are spread over, so that [`KILLS_MIN`] kills fall into them.
pub const PERIODS: u32 = 5;

/// Fewer kills make no torture.
pub const KILLS_MIN: u64 = 3;

/// When each of a process's operations may begin, counted from the start of the run, and how many
/// kills it waits for: where nodes take long to come back, operations must not run ahead of kills.
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

    /// How many kills must be over before operation `index` begins. One period of grace keeps this
    /// from being felt where kills are on time.
    pub fn kills(&self, index: u64) -> u64 {
        if self.span.is_zero() {
            return 0;
        }
        let ops = u128::from(self.ops.max(1));
        let periods = u128::from(PERIODS) * u128::from(index + 1) / ops;
        periods.saturating_sub(1).min(u128::from(KILLS_MIN)) as u64
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
        assert_eq!(Pace::unlimited(10).kills(9), 0);
    }

    #[test]
    fn operations_do_not_run_ahead_of_kills() {
        let pace = Pace::over_periods(10, Duration::from_secs(2));
        let kills: Vec<_> = (0..10).map(|index| pace.kills(index)).collect();
        assert_eq!(kills, [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(Pace::over_periods(1, Duration::from_secs(2)).kills(0), KILLS_MIN);
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
            prop_assert_eq!(pace.kills(ops - 1), KILLS_MIN);
        }
    }
}
