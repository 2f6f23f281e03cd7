//! Two forms of the same messages: compact bytes, and JSON that people can read off the wire.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// How messages become bytes. Whoever dials chooses, by the protocol name that it offers in TLS;
/// a server understands both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// postcard.
    #[default]
    Binary,
    /// JSON, for debugging. Payload bytes are base64.
    Json,
}

/// What the two ends of a connection are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Node to node.
    Peer,
    /// Client to node.
    Client,
}

/// Every protocol name (ALPN) that a node answers to, with what it stands for. The number is the
/// version.
pub const ALPNS: [(&str, Protocol, Codec); 4] = [
    ("paxos-peer/1", Protocol::Peer, Codec::Binary),
    ("paxos-peer-json/1", Protocol::Peer, Codec::Json),
    ("paxos-client/1", Protocol::Client, Codec::Binary),
    ("paxos-client-json/1", Protocol::Client, Codec::Json),
];

/// Bytes that are not the message that was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("not a message of this protocol ({0}): are both ends of one version?")]
pub struct DecodeError(String);

impl Codec {
    /// The bytes of a value.
    ///
    /// # Panics
    /// If the value has no form on the wire, as messages inside a node: sending it is a mistake of
    /// ours.
    pub fn encode<T: Serialize>(self, value: &T) -> Vec<u8> {
        let failed = "a value that is sent has a form on the wire";
        match self {
            Codec::Binary => postcard::to_stdvec(value).expect(failed),
            Codec::Json => serde_json::to_vec(value).expect(failed),
        }
    }

    /// The value of bytes; all of them must belong to it.
    ///
    /// # Errors
    /// [`DecodeError`]. Allocates no more than a small multiple of the bytes given.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        match self {
            Codec::Binary => match postcard::take_from_bytes(bytes) {
                Ok((value, [])) => Ok(value),
                Ok((_, rest)) => Err(DecodeError(format!("{} bytes too many", rest.len()))),
                Err(error) => Err(DecodeError(error.to_string())),
            },
            Codec::Json => {
                serde_json::from_slice(bytes).map_err(|error| DecodeError(error.to_string()))
            }
        }
    }
}

impl Protocol {
    /// The name under which this protocol is spoken with a codec.
    pub fn alpn(self, codec: Codec) -> &'static str {
        let found = ALPNS.iter().find(|(_, protocol, its)| (*protocol, *its) == (self, codec));
        found.expect("the table has every pair").0
    }

    /// What a name stands for.
    pub fn of_alpn(name: &[u8]) -> Option<(Protocol, Codec)> {
        let found = ALPNS.iter().find(|(alpn, ..)| alpn.as_bytes() == name);
        found.map(|(_, protocol, codec)| (*protocol, *codec))
    }
}
