//! The settings of a node, each with its default: the sections of a cluster file.

use std::time::Duration;

use paxos_core::{ArchiveOptions, HeartbeatOptions};
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
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Policy {
    /// Every node sends signs of life; who misses those of the leader campaigns.
    #[default]
    Heartbeat,
}

/// The section `[leadership]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeadershipSettings {
    /// The policy. Default heartbeat.
    pub policy: Policy,
    /// Between two signs of life. Default 50 ms.
    #[serde(deserialize_with = "human")]
    pub heartbeat_interval: Duration,
    /// A node that is silent for this long is suspected. Default 250 ms.
    #[serde(deserialize_with = "human")]
    pub suspect_after: Duration,
    /// Campaigns are spread at random over this time, so that two nodes seldom start at once.
    /// Default 100 ms.
    #[serde(deserialize_with = "human")]
    pub spread: Duration,
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
        let heartbeat = HeartbeatOptions::default();
        LeadershipSettings {
            policy: Policy::default(),
            heartbeat_interval: heartbeat.interval,
            suspect_after: heartbeat.suspect_after,
            spread: heartbeat.spread,
        }
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

fn human<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}
