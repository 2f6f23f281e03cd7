//! The clock of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use paxos_core::Time;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Where a node's time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// Microseconds since the machine started, suspension included: an `Instant` stands still while
    /// a machine is suspended, and a lease must not.
    Machine,
    /// One that follows the runtime's clock, which can be a virtual one.
    Runtime(RuntimeClock),
}

impl Clock {
    /// The time now. It never runs backwards.
    pub fn now(&self) -> Time {
        match self {
            Clock::Machine => {
                let linux = cfg!(target_os = "linux");
                let time =
                    clock_gettime(if linux { ClockId::Boottime } else { ClockId::Monotonic });
                Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
            }
            Clock::Runtime(clock) => clock.now(),
        }
    }

    /// How long a timer of the runtime has to run until this clock shows the deadline, if it does
    /// not jump meanwhile. After a jump, as after a suspension, the timer rings late.
    pub fn until(&self, deadline: Time) -> Duration {
        let missing = deadline.since(self.now());
        match self {
            Clock::Machine => missing,
            Clock::Runtime(clock) => clock.takes(missing).max(clock.rest()),
        }
    }

    /// Whether the node stands still, so that no timer of its roles may ring. Only a node in
    /// virtual time is told so: one that the system has stopped runs nothing that could ask.
    pub fn stands_still(&self) -> bool {
        matches!(self, Clock::Runtime(clock) if clock.stands_still())
    }
}

/// A clock that follows the runtime's at a rate of its own, and can jump ahead. Clones are the same
/// clock.
#[derive(Clone, Debug)]
pub struct RuntimeClock {
    since: Instant,
    rate: u64,
    /// The sum of all jumps, in microseconds.
    ahead: Arc<AtomicU64>,
    /// Until then its node stands still, in microseconds of the runtime since `since`.
    still_until: Arc<AtomicU64>,
}

impl RuntimeClock {
    /// A clock that shows zero at a moment, and of which `rate` seconds pass, at least one, in a
    /// thousand of the runtime's.
    pub fn new(since: Instant, rate: u64) -> Self {
        let (ahead, still_until) = Default::default();
        RuntimeClock { since, rate: rate.max(1), ahead, still_until }
    }

    /// From now on no timer of its node's roles rings for so long; the clock goes on.
    pub fn stand_still(&self, lasts: Duration) {
        let until = self.since.elapsed() + lasts;
        self.still_until.fetch_max(until.as_micros() as u64, Ordering::Relaxed);
    }

    /// Its node stands still no longer.
    pub fn go_on(&self) {
        self.still_until.store(0, Ordering::Relaxed);
    }

    /// Whether its node stands still.
    pub fn stands_still(&self) -> bool {
        !self.rest().is_zero()
    }

    /// How long its node will still stand still.
    fn rest(&self) -> Duration {
        let until = Duration::from_micros(self.still_until.load(Ordering::Relaxed));
        until.saturating_sub(self.since.elapsed())
    }

    /// It jumps ahead.
    pub fn jump(&self, by: Duration) {
        self.ahead.fetch_add(by.as_micros() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> Time {
        let passed = self.since.elapsed().as_micros() as u64 * self.rate / 1000;
        Time(passed + self.ahead.load(Ordering::Relaxed))
    }

    /// How long the runtime takes for so much of this clock.
    fn takes(&self, duration: Duration) -> Duration {
        Duration::from_micros((duration.as_micros() as u64 * 1000).div_ceil(self.rate))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn it_never_runs_backwards() {
        let runtime = RuntimeClock::new(Instant::now(), 1000);
        for clock in [Clock::Machine, Clock::Runtime(runtime)] {
            let times: Vec<_> = (0..1000).map(|_| clock.now()).collect();
            assert!(times.is_sorted());
        }
    }

    #[test]
    fn a_clock_of_another_rate_tells_how_long_the_runtime_takes() {
        let since = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        for (rate, takes) in [(500, 600), (1000, 300), (1500, 200)] {
            let its = RuntimeClock::new(since, rate);
            let before = its.now();
            let passed = before.since(Time(0));
            assert!(passed >= Duration::from_millis(10 * rate) && passed.as_secs() < 60);
            assert_eq!(its.takes(Duration::from_millis(300)), Duration::from_millis(takes));
            its.stand_still(Duration::from_secs(50));
            its.jump(Duration::from_secs(100));
            let clock = Clock::Runtime(its.clone());
            assert!(clock.now().since(before) >= Duration::from_secs(100));
            let rest = clock.until(before);
            assert!(clock.stands_still() && rest > Duration::from_secs(40), "{rest:?}");
            its.go_on();
            assert_eq!((clock.until(before), clock.stands_still()), (Duration::ZERO, false));
        }
    }
}
