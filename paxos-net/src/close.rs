//! With which code and words a connection is closed.

use std::fmt;

use quinn::{Connection, ConnectionError, VarInt};

use crate::codec::ALPNS;

/// The TLS alert no_application_protocol, as QUIC carries it.
const NO_COMMON_PROTOCOL: u64 = 0x100 + 120;

/// A reason to close a connection. The code is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    code: u32,
    words: &'static str,
}

impl Close {
    pub(crate) const DONE: Close = Close { code: 0, words: "done" };
    pub(crate) const STOPPING: Close = Close { code: 256, words: "this side stops" };
    pub(crate) const FOREIGN: Close =
        Close { code: 257, words: "the certificate is that of another cluster" };
    pub(crate) const ROLE: Close = Close { code: 258, words: "role not allowed on this ALPN" };
    pub(crate) const NO_IDENTITY: Close =
        Close { code: 259, words: "the certificate names no identity of this kind of cluster" };
    pub(crate) const TOO_MANY: Close =
        Close { code: 260, words: "too many connections of this identity" };
    pub(crate) const NO_HELLO: Close = Close { code: 261, words: "no sound Hello in time" };
    pub(crate) const REFUSED: Close = Close { code: 262, words: "the Hello was refused" };
    pub(crate) const REPLACED: Close =
        Close { code: 263, words: "replaced by a newer connection of the same node" };
    pub(crate) const TOO_LARGE: Close = Close { code: 264, words: "a frame exceeds the limit" };
    pub(crate) const NONSENSE: Close = Close { code: 265, words: "frames that cannot be decoded" };
    pub(crate) const STALLED: Close =
        Close { code: 267, words: "a request did not arrive in time" };
    pub(crate) const REMOVED: Close =
        Close { code: 268, words: "the node was removed from the cluster" };
    pub(crate) const SLOW: Close = Close { code: 266, words: "responses are not read" };

    /// Closes the connection. Both sides forget what was on its way.
    pub(crate) fn apply(self, connection: &Connection) {
        connection.close(self.code(), self.text());
    }

    pub(crate) fn text(self) -> &'static [u8] {
        self.words.as_bytes()
    }

    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self.code)
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection closed: {} (code {})", self.words, self.code)
    }
}

/// Why a connection ended, in words for people.
pub(crate) fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == NO_COMMON_PROTOCOL =>
        {
            let ours: Vec<_> = ALPNS.iter().map(|(alpn, ..)| *alpn).collect();
            format!(
                "the other side speaks no protocol that this side offers (this program knows {}): \
                 upgrade the older (error 120)",
                ours.join(", ")
            )
        }
        ConnectionError::ApplicationClosed(close) => {
            let words = String::from_utf8_lossy(&close.reason);
            format!("closed by the other side: {words} (code {})", close.error_code)
        }
        ConnectionError::ConnectionClosed(close) if is_tls(u64::from(close.error_code)) => {
            let words = String::from_utf8_lossy(&close.reason);
            format!(
                "the other side refused our certificate or protocol: {}: {words}",
                close.error_code
            )
        }
        ConnectionError::TransportError(error) if is_tls(u64::from(error.code)) => {
            format!("the other side's certificate or protocol was refused: {error}")
        }
        ConnectionError::Reset => "the other side has restarted".to_owned(),
        ConnectionError::TimedOut => "nothing was heard in time".to_owned(),
        other => other.to_string(),
    }
}

/// Whether certificates or roles are what ended it, so that trying again is of no use.
pub(crate) fn is_certificate(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            [Close::FOREIGN, Close::ROLE, Close::NO_IDENTITY]
                .iter()
                .any(|reason| reason.code() == close.error_code)
        }
        ConnectionError::ConnectionClosed(close) => is_tls(u64::from(close.error_code)),
        ConnectionError::TransportError(error) => is_tls(u64::from(error.code)),
        _ => false,
    }
}

/// TLS alerts have a range of QUIC's error codes of their own (RFC 9001, 4.8).
fn is_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}
