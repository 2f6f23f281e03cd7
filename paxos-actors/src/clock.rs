//! The clock of a node.

use paxos_core::Time;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Where a node's time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Microseconds since the machine started, suspension included: an `Instant` stands still while
    /// a machine is suspended, and a lease must not.
    Machine,
    /// Microseconds since a moment of the runtime's clock, which can be a virtual one.
    Runtime(Instant),
}

impl Clock {
    /// The time now. It never runs backwards.
    pub fn now(self) -> Time {
        match self {
            Clock::Machine => {
                let linux = cfg!(target_os = "linux");
                let time =
                    clock_gettime(if linux { ClockId::Boottime } else { ClockId::Monotonic });
                Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
            }
            Clock::Runtime(since) => Time(since.elapsed().as_micros() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_runs_backwards() {
        for clock in [Clock::Machine, Clock::Runtime(Instant::now())] {
            let times: Vec<_> = (0..1000).map(|_| clock.now()).collect();
            assert!(times.is_sorted());
        }
    }
}
