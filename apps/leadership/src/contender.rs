//! Who is compared: policies of leadership, each set to bear a silence of the same length.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use paxos_net::settings::{DetectorKind, LeadershipSettings, Policy as NodePolicy};
use statrs::distribution::{ContinuousCDF, Normal};

/// A policy of leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Policy {
    /// Heartbeats: a leader silent for a fixed time is gone; campaigns begin at random
    Heartbeat,
    /// Failure detector phi: a silence that is unlikely after what was usual; turns go by rank
    Phi,
    /// Failure detector fixed: a leader silent for a fixed time is suspected; turns go by rank
    Fixed,
    /// A control that is told of every fault in the moment it happens, and of nothing else
    Oracle,
}

/// Every policy, in the order of the tables.
pub const POLICIES: [Policy; 4] = [Policy::Heartbeat, Policy::Phi, Policy::Fixed, Policy::Oracle];

/// The silence that all policies are set to bear where they are compared side by side.
pub const MATCHED: Duration = Duration::from_millis(250);

/// The silences that the curves go through beside [`MATCHED`].
pub const SWEPT: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(150), Duration::from_millis(400)];

/// The silences that every policy can be set to bear, in milliseconds: phi's threshold lies within
/// what a cluster file takes.
pub const BEARABLE_MS: std::ops::RangeInclusive<u64> = 63..=450;

/// A policy and its parameter: how long it waits for a leader and for everybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contender {
    /// The policy.
    pub policy: Policy,
    /// A leader is suspected after this silence, if its heartbeats were punctual before. The oracle
    /// bears any.
    pub bears: Duration,
}

impl Contender {
    /// A policy as it is compared side by side.
    pub fn matched(policy: Policy) -> Self {
        Contender { policy, bears: MATCHED }
    }

    /// The section `[leadership]` of its cluster file. All beat alike, every 50 ms.
    pub fn settings(&self) -> LeadershipSettings {
        let usual = LeadershipSettings::default();
        let by = |detector| LeadershipSettings {
            policy: NodePolicy::FailureDetector,
            detector: Some(detector),
            ..usual.clone()
        };
        match self.policy {
            Policy::Heartbeat => LeadershipSettings { suspect_after: self.bears, ..usual },
            Policy::Fixed => {
                LeadershipSettings { suspect_after: self.bears, ..by(DetectorKind::Fixed) }
            }
            // Everything else that goes by this time goes by the same.
            Policy::Phi => LeadershipSettings {
                suspect_after: self.bears,
                phi_threshold_milli: Some(threshold_milli(self.bears, usual.heartbeat_interval)),
                ..by(DetectorKind::Phi)
            },
            Policy::Oracle => by(DetectorKind::Outside),
        }
    }
}

/// The phi, in thousandths, at which a peer is suspected after this silence if it beats every
/// `interval` and no heartbeat deviates by more than the floor of sigma, which is half of that.
fn threshold_milli(bears: Duration, interval: Duration) -> u32 {
    let sigma = interval.as_secs_f64() / 2.0;
    let sigmas = bears.saturating_sub(interval).as_secs_f64() / sigma;
    let tail = Normal::standard().sf(sigmas);
    (-tail.log10() * 1000.0).round() as u32
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Policy::Heartbeat => "heartbeat",
            Policy::Phi => "phi",
            Policy::Fixed => "fixed",
            Policy::Oracle => "oracle",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi_is_set_to_bear_the_same_silence() {
        // (250 - 50) / 25 = 8 sigma: Q(8) = 6.22e-16. (100 - 50) / 25 = 2: Q(2) = 0.02275.
        let interval = Duration::from_millis(50);
        assert_eq!(threshold_milli(MATCHED, interval), 15_206);
        assert_eq!(threshold_milli(SWEPT[0], interval), 1643);
    }

    #[test]
    fn every_contender_has_settings_that_a_cluster_file_takes() {
        for policy in POLICIES {
            let ends = [*BEARABLE_MS.start(), *BEARABLE_MS.end()].map(Duration::from_millis);
            for bears in SWEPT.into_iter().chain([MATCHED]).chain(ends) {
                assert_eq!(Contender { policy, bears }.settings().check(), Ok(()));
            }
        }
    }
}
