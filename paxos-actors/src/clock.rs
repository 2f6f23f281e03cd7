//! The clock of a node.

use paxos_core::Time;
use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started, suspension included: an `Instant` stands still while a
/// machine is suspended, and a lease must not.
pub fn now() -> Time {
    let clock = if cfg!(target_os = "linux") { ClockId::Boottime } else { ClockId::Monotonic };
    let time = clock_gettime(clock);
    Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_never_runs_backwards() {
        let times: Vec<_> = (0..1000).map(|_| super::now()).collect();
        assert!(times.is_sorted());
    }
}
