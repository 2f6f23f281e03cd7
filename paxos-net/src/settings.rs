//! The settings of a node, each with its default: the sections of a cluster file.

use std::time::Duration;

use paxos_core::{ArchiveOptions, DetectorOptions, LeadershipOptions, PhiOptions, Rule};
use serde::{Deserialize, Deserializer};

use crate::codec::Codec;
use crate::duration::parse_duration;
use crate::limits::Limits;

/// The section `[net]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Net {
    /// How messages become bytes. Default binary.
    pub codec: Codec,
}

/// A policy of leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// Every node sends signs of life; when those of the leader stay away for a fixed time,
    /// everybody else campaigns at a random moment.
    #[default]
    Heartbeat,
    /// A failure detector judges the leader, and the others campaign one after the other by rank,
    /// the first at once.
    FailureDetector,
}

/// A failure detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DetectorKind {
    /// Silence that is unlikely, after what was usual.
    #[default]
    Phi,
    /// Silence for a fixed time.
    Fixed,
    /// What a program around the node says.
    Outside,
}

/// The section `[leadership]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeadershipSettings {
    /// The policy. Default heartbeat.
    pub policy: Policy,
    /// The detector of the policy failure-detector; not to be named with another. Default phi.
    pub detector: Option<DetectorKind>,
    /// Between two signs of life. Default 50 ms.
    #[serde(deserialize_with = "human")]
    pub heartbeat_interval: Duration,
    /// A node that is silent for this long is suspected, unless the detector is another than fixed.
    /// A leader whom no quorum answers for so long gives up by every policy. Default 250 ms.
    #[serde(deserialize_with = "human")]
    pub suspect_after: Duration,
    /// By the policy heartbeat, campaigns are spread at random over this time, so that two nodes
    /// seldom start at once; by failure-detector, each node leaves so much time to everybody whose
    /// turn comes before its own. Default 100 ms.
    #[serde(deserialize_with = "human")]
    pub spread: Duration,
    /// Of the detector phi: it suspects from this phi on, in thousandths (in the file as a number
    /// such as 8 or 8.5). Default 8.
    #[serde(rename = "phi_threshold", deserialize_with = "thousandths")]
    pub phi_threshold_milli: Option<u32>,
    /// Of the detector phi: so many times between heartbeats tell what is usual. Default 100.
    pub phi_window: Option<u32>,
    /// Of the detector phi: the standard deviation is taken for no less. Default half of
    /// heartbeat_interval.
    #[serde(deserialize_with = "maybe_human")]
    pub phi_sigma_floor: Option<Duration>,
}

/// The section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A file of the log is closed at this size. Default 16 MiB.
    pub segment_bytes: u64,
}

/// The section `[snapshots]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotSettings {
    /// A snapshot is made of every so many bytes of the log's values. Default 32 MiB.
    pub every_bytes: u64,
    /// So many are kept; the log is cut below the oldest of them. Default 2.
    pub keep: u32,
    /// Fetching one from a peer takes no more than this of the network, in bytes a second. Default
    /// 64 MiB.
    pub fetch_bytes_per_second: u64,
}

/// The section `[batching]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Batches of one gateway on their way at once; commands gather meanwhile. Default 8.
    pub batches_in_flight: u64,
    /// A batch is sent at this size at the latest. Default 256 KiB.
    pub batch_bytes: u64,
}

/// The section `[limits]`; [`Limits`] has the rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Connections of one client identity to one node. Default 64.
    pub connections_per_identity: usize,
    /// Requests in progress on one client connection. Default 256.
    pub requests_per_connection: usize,
    /// Bytes waiting on the lanes of a link for control, relay and snapshots, each. Default 1 MiB.
    pub lane_bytes: usize,
    /// Bytes waiting on the lane of values of a link. Default 8 MiB.
    pub values_lane_bytes: usize,
}

impl Default for LeadershipSettings {
    fn default() -> Self {
        let options = LeadershipOptions::default();
        LeadershipSettings {
            policy: Policy::default(),
            detector: None,
            heartbeat_interval: options.interval,
            suspect_after: options.suspect_after,
            spread: options.spread,
            phi_threshold_milli: None,
            phi_window: None,
            phi_sigma_floor: None,
        }
    }
}

impl LeadershipSettings {
    /// The options of a leadership with these settings.
    pub fn options(&self) -> LeadershipOptions {
        LeadershipOptions {
            rule: self.rule(),
            interval: self.heartbeat_interval,
            suspect_after: self.suspect_after,
            spread: self.spread,
            ..LeadershipOptions::default()
        }
    }

    fn rule(&self) -> Rule {
        match (self.policy, self.detector.unwrap_or_default()) {
            (Policy::Heartbeat, _) => Rule::Heartbeat,
            (_, DetectorKind::Phi) => Rule::FailureDetector(DetectorOptions::Phi(self.phi())),
            (_, DetectorKind::Fixed) => Rule::FailureDetector(DetectorOptions::Fixed),
            (_, DetectorKind::Outside) => Rule::FailureDetector(DetectorOptions::Outside),
        }
    }

    /// The parameters of the detector phi.
    pub fn phi(&self) -> PhiOptions {
        let usual = PhiOptions::default();
        PhiOptions {
            threshold_milli: self.phi_threshold_milli.unwrap_or(usual.threshold_milli),
            window: self.phi_window.unwrap_or(usual.window),
            floor: self.phi_sigma_floor.unwrap_or(self.heartbeat_interval / 2),
        }
    }

    /// What is wrong with them, in words.
    ///
    /// # Errors
    /// What, and what to do.
    pub fn check(&self) -> Result<(), &'static str> {
        let phis = self.phi_threshold_milli.is_some()
            || self.phi_window.is_some()
            || self.phi_sigma_floor.is_some();
        let detects = self.policy == Policy::FailureDetector;
        if self.heartbeat_interval.is_zero() || self.suspect_after <= self.heartbeat_interval {
            return Err("suspect_after must exceed heartbeat_interval, and that must exceed 0: \
                        several heartbeats should fit");
        }
        if self.detector.is_some() && !detects {
            return Err("a detector is for policy = \"failure-detector\": set that, or leave the \
                        detector away");
        }
        if phis && !(detects && self.detector.unwrap_or_default() == DetectorKind::Phi) {
            return Err(
                "what begins with phi_ is for policy = \"failure-detector\" with detector \
                        = \"phi\": set both, or leave it away",
            );
        }
        let PhiOptions { threshold_milli, window, floor } = self.phi();
        if !(500..=64_000).contains(&threshold_milli) {
            return Err("phi_threshold must be from 0.5 to 64: 8 is usual");
        }
        if !(2..=1000).contains(&window) {
            return Err("phi_window must be from 2 to 1000");
        }
        if floor.is_zero() {
            return Err("phi_sigma_floor must exceed 0: heartbeats that were punctual for long \
                        would make the first late one a failure");
        }
        Ok(())
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { segment_bytes: 16 << 20 }
    }
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        let fetch_bytes_per_second = ArchiveOptions::default().bytes_per_second;
        SnapshotSettings { every_bytes: 32 << 20, keep: 2, fetch_bytes_per_second }
    }
}

impl Default for Batching {
    fn default() -> Self {
        Batching { batches_in_flight: 8, batch_bytes: 256 << 10 }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        LimitSettings {
            connections_per_identity: limits.connections_per_identity,
            requests_per_connection: limits.requests_per_connection,
            lane_bytes: limits.lane_bytes,
            values_lane_bytes: limits.values_lane_bytes,
        }
    }
}

impl LimitSettings {
    /// The limits of an endpoint with these settings.
    pub fn limits(&self) -> Limits {
        Limits {
            connections_per_identity: self.connections_per_identity,
            requests_per_connection: self.requests_per_connection,
            lane_bytes: self.lane_bytes,
            values_lane_bytes: self.values_lane_bytes,
            ..Limits::default()
        }
    }
}

fn maybe_human<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    human(deserializer).map(Some)
}

fn thousandths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    // What is no number, or none that fits, ends at a bound, and is refused as that.
    Ok(Some((number * 1000.0).round() as u32))
}

fn human<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}
