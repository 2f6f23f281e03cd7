//! When the steps of an object whose order is known can have taken place.

use std::fmt::Display;

/// The time within which a step takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    low: u64,
    high: u64,
}

impl Window {
    /// Of an operation that was invoked and, if it ever was, answered then.
    pub fn of(invoked: u64, answered: Option<u64>) -> Self {
        Window { low: invoked, high: answered.unwrap_or(u64::MAX) }
    }

    /// Somebody who was answered then has seen it done.
    pub fn not_after(&mut self, answered: Option<u64>) {
        self.high = self.high.min(answered.unwrap_or(u64::MAX));
    }

    /// Somebody who asked then saw it not yet done.
    pub fn not_before(&mut self, invoked: u64) {
        self.low = self.low.max(invoked);
    }
}

/// Whether steps can take place in this order, each within its window. To take each as early as
/// possible loses nothing, so this is exact.
///
/// # Errors
/// The first step that comes too late, by its name.
pub fn in_order<N: Display>(steps: impl IntoIterator<Item = (N, Window)>) -> Result<(), String> {
    let mut now = 0;
    for (name, window) in steps {
        now = window.low.max(now);
        if now > window.high {
            let high = window.high;
            return Err(format!(
                "history: {name} was there by {high}, what must come before it not until {now}: \
                 stale or reordered"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fit_or_do_not() {
        let window = |low, high| Window { low, high };
        assert_eq!(in_order([(1, window(0, 9)), (2, window(0, 5))]), Ok(()));
        assert_eq!(in_order([(1, window(5, 9)), (2, window(0, 5))]), Ok(()));
        assert!(in_order([(1, window(6, 9)), (2, window(0, 5))]).is_err());
    }
}
