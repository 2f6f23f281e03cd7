//! Scenarios that need whole clusters: networks, partitions, and nodes that stop, stand still and
//! come back. Their ids are explained in `tests/FAULTS.md`; those of the roles alone are in
//! `paxos-core/tests/scenarios`.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod determinism;
mod fetches;
mod idle;
mod leases;
mod memberships;
mod networks;
mod partitions;
mod processes;
mod reordering;
mod replies;
mod roles;

use std::time::Duration;

use paxos_core::{DetectorOptions, PhiOptions, Rule};

/// Both policies, and both detectors: stories of elections are told under each.
fn rules() -> [Rule; 3] {
    let phi = DetectorOptions::Phi(PhiOptions::default());
    [Rule::Heartbeat, Rule::FailureDetector(DetectorOptions::Fixed), Rule::FailureDetector(phi)]
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
