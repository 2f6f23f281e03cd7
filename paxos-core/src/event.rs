//! What a state machine tells those who watch it.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::Slot;
use crate::value::payload;

/// A place among the events of the log, the same on every node; in order of slot, then index.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The slot in which it was told.
    pub slot: Slot,
    /// Which of the slot's events it is, from 0.
    pub index: u32,
}

impl Position {
    /// Behind all events of a slot: from here on watches who has read the state of that slot.
    pub fn behind(slot: Slot) -> Self {
        Position { slot, index: u32::MAX }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            u32::MAX => write!(f, "the end of {}", self.slot),
            index => write!(f, "{}.{index}", self.slot),
        }
    }
}

/// What was told about a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    pub position: Position,
    /// About what; who watches chooses by it.
    pub topic: String,
    /// What, encoded.
    #[serde(with = "payload")]
    pub bytes: Bytes,
}

/// Which topics somebody watches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TopicFilter {
    /// This one.
    Exact(String),
    /// All that begin so; with nothing, all.
    Prefix(String),
}

/// So many filters one watch may have,
pub const FILTERS_MAX: usize = 64;

/// and so many bytes each of them.
pub const FILTER_BYTES_MAX: usize = 4096;

impl TopicFilter {
    /// Whether a topic is one of them.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            TopicFilter::Exact(exact) => topic == exact,
            TopicFilter::Prefix(prefix) => topic.starts_with(prefix.as_str()),
        }
    }

    /// The bytes of its text.
    pub fn size(&self) -> usize {
        match self {
            TopicFilter::Exact(text) | TopicFilter::Prefix(text) => text.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_the_order_of_the_log() {
        let at = |slot, index| Position { slot: Slot(slot), index };
        assert!(at(1, 9) < at(2, 0) && at(2, 0) < at(2, 1));
        assert!(at(2, 7) < Position::behind(Slot(2)) && Position::behind(Slot(2)) < at(3, 0));
        assert_eq!(at(2, 7).to_string(), "#2.7");
        assert_eq!(Position::behind(Slot(2)).to_string(), "the end of #2");
    }
}
