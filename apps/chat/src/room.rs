//! One room: its newest messages, in order, and where they begin.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::message::{CHAIN_BEGINS, Line, Message, chained};

/// The most messages that a room keeps; the oldest go.
pub const ROOM_MESSAGES_MAX: usize = 100_000;

/// The most bytes that a room keeps, by [`Message::size`]; the oldest messages go.
pub const ROOM_BYTES_MAX: u64 = 8 << 20;

/// The most messages in one page of a room's history,
pub const PAGE_MESSAGES_MAX: usize = 500;

/// and the most bytes, by [`Message::size`]; one message fits in any case.
pub const PAGE_BYTES_MAX: u64 = 256 << 10;

/// A room.
///
/// Invariant: the messages that are kept follow each other without a gap, up to the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The id of the oldest message that is kept, or of the one that will be next.
    first: u64,
    /// The hash of all messages before that one.
    before: u64,
    messages: VecDeque<Message>,
    bytes: u64,
}

/// Which messages of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Span {
    /// The oldest of those behind this id.
    After(u64),
    /// The newest of those before this id.
    Before(u64),
}

/// Some messages of a room, in order, and what else the room has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The id of the oldest message that is kept; those before it are gone for good.
    pub first: u64,
    /// The id of the newest message; 0: nothing was ever said there.
    pub last: u64,
    /// The messages.
    pub messages: Vec<Message>,
}

/// What is known of a room up to some message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The id of the oldest message that is kept.
    pub first: u64,
    /// The id of the newest message.
    pub last: u64,
    /// The hash of everything up to the message that was asked for; `None`: it is not there yet, or
    /// not any more.
    pub chain: Option<u64>,
}

impl Default for Room {
    fn default() -> Self {
        Room { first: 1, before: CHAIN_BEGINS, messages: VecDeque::new(), bytes: 0 }
    }
}

impl Room {
    /// The id of the oldest message that is kept; of the next if there is none.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The id of the newest message; 0: there was none yet.
    pub fn last(&self) -> u64 {
        self.first + self.messages.len() as u64 - 1
    }

    /// The newest message.
    pub fn newest(&self) -> Option<&Message> {
        self.messages.back()
    }

    /// Adds a message, and lets go of the oldest beyond what a room keeps.
    pub fn say(&mut self, author: &str, line: Line) -> &Message {
        let Line { said_at, text } = line;
        let id = self.last() + 1;
        let mut message = Message { id, author: author.to_owned(), said_at, text, chain: 0 };
        message.chain = chained(self.chain(), &message);
        self.bytes += message.size();
        while self.messages.len() >= ROOM_MESSAGES_MAX || self.bytes > ROOM_BYTES_MAX {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.size();
            (self.first, self.before) = (oldest.id + 1, oldest.chain);
        }
        self.messages.push_back(message);
        let newest = self.messages.len() - 1;
        &self.messages[newest]
    }

    /// Some messages, at most `limit` and no more than fit into a page.
    pub fn page(&self, span: Span, limit: u64) -> Page {
        let limit = limit.min(PAGE_MESSAGES_MAX as u64) as usize;
        let messages = match span {
            Span::After(id) => {
                let begin = self.place(id.saturating_add(1));
                fitting(self.messages.range(begin..), limit)
            }
            Span::Before(id) => {
                let end = self.place(id);
                let mut messages = fitting(self.messages.range(..end).rev(), limit);
                messages.reverse();
                messages
            }
        };
        Page { first: self.first, last: self.last(), messages }
    }

    /// The hash of everything up to a message.
    pub fn digest(&self, upto: u64) -> Digest {
        let chain = match upto.checked_sub(self.first) {
            Some(place) => usize::try_from(place)
                .ok()
                .and_then(|place| self.messages.get(place))
                .map(|message| message.chain),
            None => (upto + 1 == self.first).then_some(self.before),
        };
        Digest { first: self.first, last: self.last(), chain }
    }

    /// The hash of everything that was ever said here.
    fn chain(&self) -> u64 {
        self.messages.back().map_or(self.before, |newest| newest.chain)
    }

    /// Where the first message with this id or a higher one is; behind all if there is none.
    fn place(&self, id: u64) -> usize {
        let behind = id.saturating_sub(self.first).min(self.messages.len() as u64);
        behind as usize
    }
}

fn fitting<'a>(messages: impl Iterator<Item = &'a Message>, limit: usize) -> Vec<Message> {
    let (mut bytes, mut taken) = (0, Vec::new());
    for message in messages.take(limit) {
        bytes += message.size();
        if bytes > PAGE_BYTES_MAX && !taken.is_empty() {
            break;
        }
        taken.push(message.clone());
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TEXT_MAX;

    fn line(text: &str) -> Line {
        Line { said_at: 0, text: text.to_owned() }
    }

    fn room(count: usize, text: &str) -> Room {
        let mut room = Room::default();
        (0..count).for_each(|_| {
            room.say("ada", line(text));
        });
        room
    }

    fn ids(page: &Page) -> Vec<u64> {
        page.messages.iter().map(|message| message.id).collect()
    }

    #[test]
    fn messages_are_numbered_from_1_and_read_in_order() {
        let mut room = room(5, "hi");
        assert_eq!((room.first(), room.last()), (1, 5));
        assert_eq!(ids(&room.page(Span::After(0), 9)), [1, 2, 3, 4, 5]);
        assert_eq!(ids(&room.page(Span::After(2), 2)), [3, 4]);
        assert_eq!(ids(&room.page(Span::After(5), 9)), [0u64; 0]);
        assert_eq!(ids(&room.page(Span::After(u64::MAX), 9)), [0u64; 0]);
        assert_eq!(ids(&room.page(Span::Before(5), 2)), [3, 4]);
        assert_eq!(ids(&room.page(Span::Before(u64::MAX), 2)), [4, 5]);
        assert_eq!(ids(&room.page(Span::Before(1), 2)), [0u64; 0]);
        assert_eq!(ids(&room.page(Span::Before(0), 2)), [0u64; 0]);
        assert_eq!(room.say("bob", line("ho")).id, 6);
        let nothing = Room::default().page(Span::After(0), 9);
        assert_eq!(nothing, Page { first: 1, last: 0, messages: vec![] });
    }

    #[test]
    fn a_page_has_a_limit_in_messages_and_in_bytes() {
        let many = room(PAGE_MESSAGES_MAX + 7, "hi");
        assert_eq!(many.page(Span::After(0), u64::MAX).messages.len(), PAGE_MESSAGES_MAX);
        let long = "x".repeat(TEXT_MAX);
        let heavy = room(100, &long);
        for span in [Span::After(0), Span::Before(u64::MAX)] {
            let page = heavy.page(span, u64::MAX);
            let bytes: u64 = page.messages.iter().map(Message::size).sum();
            assert!(bytes <= PAGE_BYTES_MAX && page.messages.len() > 50, "{bytes}");
        }
        const { assert!(PAGE_BYTES_MAX > 2 * TEXT_MAX as u64) }
    }

    #[test]
    fn the_oldest_messages_go_and_their_ids_stay_used() {
        let long = "x".repeat(TEXT_MAX);
        let mut room = room(3000, &long);
        assert!(room.first() > 1 && room.last() == 3000);
        assert!(room.bytes <= ROOM_BYTES_MAX);
        let page = room.page(Span::After(0), 1);
        assert_eq!((page.first, page.messages[0].id), (room.first(), room.first()));
        // What is left still chains from what is gone.
        let before = room.digest(room.first() - 1).chain.unwrap();
        assert!(page.messages[0].continues(before));
        assert_eq!(room.digest(room.first() - 2).chain, None);
        let short = ROOM_MESSAGES_MAX + 10;
        (0..short).for_each(|_| {
            room.say("a", line("x"));
        });
        assert_eq!(room.last(), 3000 + short as u64);
        assert!(room.messages.len() <= ROOM_MESSAGES_MAX);
    }

    #[test]
    fn a_digest_is_that_of_the_message_it_names() {
        let room = room(3, "hi");
        assert_eq!(room.digest(0).chain, Some(CHAIN_BEGINS));
        assert_eq!(room.digest(2).chain, Some(room.messages[1].chain));
        assert_eq!(room.digest(4), Digest { first: 1, last: 3, chain: None });
        assert_eq!(room.digest(u64::MAX).chain, None);
        assert_eq!(Room::default().digest(0).chain, Some(CHAIN_BEGINS));
    }
}
