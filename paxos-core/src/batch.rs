//! The bytes of a batch: client operations, made once by a gateway, decoded only to be applied.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::NodeId;
use crate::value::payload;

/// The most bytes that one command may have. A batch of one command, and a frame around it, fit
/// into every other limit.
pub const COMMAND_MAX: usize = 1 << 20;

/// The most bytes that an encoded batch may have.
pub const BATCH_MAX: usize = COMMAND_MAX + (64 << 10);

/// A batch of client operations in the order in which they are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Who made the batch, so that its maker recognises it when it is applied.
    pub origin: Origin,
    /// The identities named by the entries.
    pub identities: Vec<String>,
    /// The operations.
    pub entries: Vec<Entry>,
}

/// A gateway's own name for a batch, unique for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The gateway's node.
    pub node: NodeId,
    /// That node's run.
    pub incarnation: u64,
    /// Counts up within the run.
    pub number: u64,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose: an index into [`Commands::identities`].
    pub identity: u32,
    /// What.
    pub operation: Operation,
}

/// A session of a client: a counter in the replicated state, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client can have logged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Opens a session.
    Open,
    /// Runs a command once, however often it is sent.
    Run {
        /// The session.
        session: SessionId,
        /// One more than that of the session's command before; the first is 1.
        sequence: u64,
        /// The encoded command.
        #[serde(with = "payload")]
        command: Bytes,
    },
    /// Ends a session.
    Close {
        /// The session.
        session: SessionId,
    },
}

impl Operation {
    /// About how many bytes it takes in a batch.
    pub fn size(&self) -> usize {
        match self {
            Operation::Open | Operation::Close { .. } => 16,
            Operation::Run { command, .. } => command.len() + 32,
        }
    }
}

impl Commands {
    /// The bytes that frames and log records carry.
    pub fn encode(&self) -> Bytes {
        let bytes = postcard::to_stdvec(self).expect("a batch is plain data and always encodes");
        Bytes::from(bytes)
    }

    /// Reads them; `None` if they are not the bytes of a batch.
    pub fn decode(bytes: &[u8]) -> Option<Commands> {
        let (commands, rest) = postcard::take_from_bytes::<Commands>(bytes).ok()?;
        let known = commands.identities.len();
        let sound = commands.entries.iter().all(|entry| (entry.identity as usize) < known);
        (rest.is_empty() && sound).then_some(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_batch() {
        let commands = Commands {
            origin: Origin { node: NodeId(2), incarnation: 3, number: 4 },
            identities: vec!["client/ada".to_owned()],
            entries: vec![
                Entry { identity: 0, operation: Operation::Open },
                Entry {
                    identity: 0,
                    operation: Operation::Run {
                        session: SessionId(7),
                        sequence: 1,
                        command: Bytes::from_static(b"hi"),
                    },
                },
            ],
        };
        let golden = b"\x02\x03\x04\x01\x0aclient/ada\x02\x00\x00\x00\x01\x07\x01\x02hi";
        assert_eq!(commands.encode(), &golden[..]);
        assert_eq!(Commands::decode(golden), Some(commands));
    }

    #[test]
    fn the_size_of_an_operation_is_no_less_than_what_it_takes() {
        let run = |bytes: usize| Operation::Run {
            session: SessionId(u64::MAX),
            sequence: u64::MAX,
            command: vec![7; bytes].into(),
        };
        let close = Operation::Close { session: SessionId(u64::MAX) };
        for operation in [Operation::Open, close, run(0), run(100), run(COMMAND_MAX)] {
            let identity = u32::MAX;
            let entry = postcard::to_stdvec(&Entry { identity, operation: operation.clone() });
            let (takes, says) = (entry.unwrap().len(), operation.size());
            assert!((takes..=takes + 32).contains(&says), "{takes} bytes, said to be {says}");
        }
        const { assert!(BATCH_MAX >= COMMAND_MAX + 1024 && BATCH_MAX <= 2 * COMMAND_MAX) }
        assert_eq!(SessionId(7).to_string(), "7");
    }

    #[test]
    fn bytes_that_are_not_a_batch_are_recognised() {
        assert_eq!(Commands::decode(b""), None);
        let stranger = Commands {
            origin: Origin { node: NodeId(1), incarnation: 1, number: 1 },
            identities: vec![],
            entries: vec![Entry { identity: 0, operation: Operation::Open }],
        };
        assert_eq!(Commands::decode(&stranger.encode()), None);
    }
}
