//! The small nouns of the protocol: nodes, slots, ballots, time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A node of the cluster. Ids are given once and never used again.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// The random 128-bit name of a cluster, drawn when it is bootstrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for ClusterId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for ClusterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(id) if digits => Ok(ClusterId(id)),
            _ => Err(format!("a cluster id is 32 hexadecimal digits, not {text:?}")),
        }
    }
}

/// A position in the replicated log. The first is [`Slot::FIRST`]; 0 is never used.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Slot(pub u64);

impl Slot {
    /// The first slot of every log.
    pub const FIRST: Slot = Slot(1);

    /// The slot behind this one, saturating.
    pub fn next(self) -> Slot {
        self.plus(1)
    }

    /// The slot `distance` further on, saturating.
    pub fn plus(self, distance: u64) -> Slot {
        Slot(self.0.saturating_add(distance))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Microseconds since an epoch that the driver chooses. Core never reads a clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// This instant and `duration` more, saturating.
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_micros() as u64))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A ballot, totally ordered by its fields in this order ("ballot number" in Lamport, *The
/// Part-Time Parliament*, 1998).
///
/// Invariant: no ballot is used for two leaderships. The round grows within one run of a node, and
/// the incarnation, which is counted up and synced at every start, grows between runs; nothing need
/// be written before a `Prepare` is sent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ballot {
    /// Grows with every campaign; at most [`Ballot::ROUND_MAX`].
    pub round: u64,
    /// The node that leads under this ballot.
    pub node: NodeId,
    /// How often that node has started.
    pub incarnation: u64,
}

impl Ballot {
    /// Lower than every ballot of a node: "none yet".
    pub const ZERO: Ballot = Ballot { round: 0, node: NodeId(0), incarnation: 0 };

    /// A higher round is refused as nonsense, so that no message can exhaust the ballots.
    pub const ROUND_MAX: u64 = 1 << 62;

    /// Whether a node may have made this ballot.
    pub fn is_sound(self) -> bool {
        self.round > 0 && self.round <= Self::ROUND_MAX
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Ballot::ZERO {
            return f.write_str("none");
        }
        write!(f, "{}.{}.{}", self.round, self.node, self.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_order_by_round_then_node_then_incarnation() {
        let ballot = |round, node, incarnation| Ballot { round, node: NodeId(node), incarnation };
        assert!(ballot(2, 1, 1) > ballot(1, 9, 9));
        assert!(ballot(1, 2, 1) > ballot(1, 1, 9));
        assert!(ballot(1, 1, 2) > ballot(1, 1, 1));
        assert!(ballot(1, 0, 0) > Ballot::ZERO);
    }

    #[test]
    fn unsound_ballots_are_recognised() {
        assert!(!Ballot::ZERO.is_sound());
        assert!(!Ballot { round: u64::MAX, node: NodeId(1), incarnation: 1 }.is_sound());
        assert!(Ballot { round: Ballot::ROUND_MAX, node: NodeId(1), incarnation: 1 }.is_sound());
    }

    #[test]
    fn cluster_ids_read_back() {
        let id = ClusterId(0xfeed);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("feed".parse::<ClusterId>().is_err());
        assert!("+0000000000000000000000000000001".parse::<ClusterId>().is_err());
    }

    #[test]
    fn in_json_a_cluster_id_is_its_32_digits() {
        let id = ClusterId(0xfeed);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ClusterId>(&json).unwrap(), id);
    }
}
