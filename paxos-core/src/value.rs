//! What a slot can hold.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::batch::Origin;
use crate::membership::Membership;
use crate::types::{Ballot, Slot, Time};

/// The value of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// Nothing: fills a gap, or marks the start of a leadership.
    Noop,
    /// A batch of client commands.
    Commands(Batch),
    /// A change of membership, void unless its base is the newest membership and in force.
    Reconfigure(Box<Reconfigure>),
}

impl Value {
    /// The bytes of payload that it carries; what limits are counted in.
    pub fn size(&self) -> usize {
        match self {
            Value::Noop => 0,
            Value::Commands(batch) => batch.bytes.len(),
            Value::Reconfigure(change) => {
                let members = change.membership.members.values();
                40 + change.by.len() + members.map(|it| it.address.len() + 32).sum::<usize>()
            }
        }
    }

    /// The leader's clock on it, if it carries one.
    pub fn stamp(&self) -> Option<Time> {
        match self {
            Value::Commands(batch) => Some(batch.stamp),
            Value::Noop | Value::Reconfigure(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Noop => f.write_str("noop"),
            Value::Commands(batch) => match std::str::from_utf8(&batch.bytes) {
                Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    write!(f, "'{text}'")
                }
                _ => write!(f, "{} bytes", batch.bytes.len()),
            },
            Value::Reconfigure(change) => write!(f, "reconfigure on {}", change.base),
        }
    }
}

/// A batch of commands, made once by a gateway and carried unchanged by frames and log records.
/// Only `apply` decodes it. Without bytes it carries time alone: something was due.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's clock when it proposed the batch; replicated time is the greatest applied.
    pub stamp: Time,
    /// The ballot of the leader whose clock that is; who proposes it again leaves it.
    pub by: Ballot,
    /// An encoded [`crate::batch::Commands`].
    #[serde(with = "payload")]
    pub bytes: Bytes,
}

/// A proposed change of membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reconfigure {
    /// The slot from which the membership that it was made from governs.
    pub base: Slot,
    /// What shall govern from the slot of the change plus alpha.
    pub membership: Membership,
    /// Who made it, so that its maker recognises it when it is applied.
    pub origin: Origin,
    /// Whose wish it is, as the certificate names him.
    pub by: String,
}

/// What a gateway wants to have logged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proposal {
    /// An encoded [`crate::batch::Commands`].
    Commands(#[serde(with = "payload")] Bytes),
    /// A change of membership.
    Reconfigure(Box<Reconfigure>),
}

impl Proposal {
    /// The value of a slot, with the leader's clock and ballot if it is one that carries them.
    pub fn stamped(self, stamp: Time, by: Ballot) -> Value {
        match self {
            Proposal::Commands(bytes) => Value::Commands(Batch { stamp, by, bytes }),
            Proposal::Reconfigure(change) => Value::Reconfigure(change),
        }
    }
}

/// Bytes for serde: raw where the format is binary, one base64 string where people read it.
pub mod payload {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes the bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            STANDARD.encode(bytes).serialize(serializer)
        } else {
            bytes.serialize(serializer)
        }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// Those of the deserializer, and text that is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
        } else {
            Bytes::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    #[test]
    fn the_size_of_a_change_of_membership_is_about_what_it_takes() {
        let lengths = [0, 20, 200];
        let members = (1..).zip(lengths).map(|(id, length)| (NodeId(id), "a".repeat(length)));
        let membership = Membership::of_voters(members).unwrap();
        let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
        let (base, by) = (Slot::FIRST, "admin/ada".to_owned());
        let change = Reconfigure { base, membership, origin, by };
        let value = Value::Reconfigure(Box::new(change));
        let (takes, says) = (postcard::to_stdvec(&value).unwrap().len(), value.size());
        assert!((takes..=takes + 32 * lengths.len()).contains(&says), "{takes}, said {says}");
    }

    #[test]
    fn a_trace_shows_a_value_as_text_only_if_it_can_be_read_back() {
        let value = |bytes: &'static [u8]| {
            let (stamp, by) = (Time(0), Ballot::ZERO);
            Value::Commands(Batch { stamp, by, bytes: bytes.into() }).to_string()
        };
        assert_eq!(value(b"ab"), "'ab'");
        assert_eq!(value(b"a b"), "3 bytes");
        assert_eq!(value(b"a\n"), "2 bytes");
        assert_eq!(value(b"\xff"), "1 bytes");
    }
}
