//! One message, and the chain that holds it to those before it.

use serde::{Deserialize, Serialize};

/// The most bytes that a message's text may have.
pub const TEXT_MAX: usize = 4096;

/// What a message takes of a room's memory beside its text and its author's name.
const OVERHEAD: u64 = 64;

/// Where the chain of every room begins: the basis of the 64-bit FNV-1a hash.
pub const CHAIN_BEGINS: u64 = 0xcbf2_9ce4_8422_2325;

/// What somebody said in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the room, from 1 and without gaps; never used again. It alone orders messages.
    pub id: u64,
    /// Who said it, as the certificate names them.
    pub author: String,
    /// When, by the clock of whoever said it, in milliseconds since 1970 (UTC). Only a label.
    pub said_at: u64,
    /// What was said.
    pub text: String,
    /// The hash of this message and of all before it in the room.
    ///
    /// Invariant: it is [`chained`] from that of the message before, so two nodes whose hashes are
    /// equal here have said the same up to here, and one difference shows at every later message.
    pub chain: u64,
}

/// What a client has to say: the rest is added where it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Line {
    /// When, by the client's clock, in milliseconds since 1970 (UTC).
    pub said_at: u64,
    /// What.
    pub text: String,
}

impl Message {
    /// Who a client is to the others: `ada` for `client/ada`, and whoever is no plain client by the
    /// whole identity, so that nobody passes for somebody else.
    pub fn author_of(identity: &str) -> &str {
        identity.strip_prefix("client/").unwrap_or(identity)
    }

    /// About how many bytes it takes in a room, in a page or in a frame.
    pub fn size(&self) -> u64 {
        OVERHEAD + (self.author.len() + self.text.len()) as u64
    }

    /// Whether its hash is right, given that of the message before.
    pub fn continues(&self, before: u64) -> bool {
        self.chain == chained(before, self)
    }
}

/// The hash of a message and of all before it, of which `before` is the hash: FNV-1a, gone on with.
/// It tells mistakes apart, not malice. Every step of it can be undone, so chains that differ never
/// become equal again by the same messages.
pub fn chained(before: u64, message: &Message) -> u64 {
    let Message { id, author, said_at, text, chain: _ } = message;
    let hash = [*id, *said_at, author.len() as u64, text.len() as u64]
        .iter()
        .fold(before, |hash, number| absorbed(hash, &number.to_le_bytes()));
    absorbed(absorbed(hash, author.as_bytes()), text.as_bytes())
}

fn absorbed(hash: u64, bytes: &[u8]) -> u64 {
    let prime = 0x0000_0100_0000_01b3;
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(prime))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, author: &str, text: &str) -> Message {
        Message { id, author: author.into(), said_at: 5, text: text.into(), chain: 0 }
    }

    #[test]
    fn the_author_is_the_name_in_the_certificate_and_nobody_passes_for_another() {
        assert_eq!(Message::author_of("client/ada"), "ada");
        assert_eq!(Message::author_of("admin/ada"), "admin/ada");
        assert_eq!(Message::author_of("peer/1"), "peer/1");
    }

    #[test]
    fn everything_in_a_message_counts_in_its_chain() {
        let plain = chained(CHAIN_BEGINS, &message(1, "ada", "hi"));
        let others = [
            chained(plain, &message(1, "ada", "hi")),
            chained(CHAIN_BEGINS, &message(2, "ada", "hi")),
            chained(CHAIN_BEGINS, &message(1, "bob", "hi")),
            chained(CHAIN_BEGINS, &message(1, "adah", "i")),
            chained(CHAIN_BEGINS, &Message { said_at: 6, ..message(1, "ada", "hi") }),
        ];
        assert!(others.iter().all(|other| *other != plain), "{others:?}");
        // The form is on disk, in snapshots: it must not change unnoticed.
        assert_eq!(plain, 0x286a_2000_8e5c_672f);
    }

    #[test]
    fn a_difference_never_heals() {
        let (mut one, mut other) = (CHAIN_BEGINS, CHAIN_BEGINS ^ 1);
        for id in 1..1000 {
            let next = message(id, "ada", "the same");
            (one, other) = (chained(one, &next), chained(other, &next));
            assert_ne!(one, other);
        }
    }
}
