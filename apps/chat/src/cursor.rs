//! Where somebody who follows a room is in it: pure, and the same wherever its pages come from.

use std::collections::VecDeque;

use paxos_core::Slot;
use thiserror::Error;

use crate::message::Message;
use crate::room::{PAGE_MESSAGES_MAX, Page, Span};

/// What somebody who follows a room hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The next message.
    Said(Message),
    /// These messages went from the room before they could be read: it keeps only so many.
    Gone {
        /// The first of them.
        first: u64,
        /// The last.
        last: u64,
    },
}

/// A node has told messages of a page in another order than that of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("message {found} came where {due} was due")]
pub struct OutOfOrder {
    /// The message that came.
    pub found: u64,
    /// The one that should have.
    pub due: u64,
}

/// A place in a room.
///
/// Invariant: messages are heard in the order of their ids, each once, and none is left out without
/// a [`News::Gone`] in its place, whatever nodes pages and messages come from and however often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    next: u64,
    seen: Slot,
    caught_up: bool,
}

impl Cursor {
    /// Before the message of this id.
    pub fn before(id: u64) -> Cursor {
        Cursor { next: id.max(1), seen: Slot(0), caught_up: false }
    }

    /// The id of the message that is heard next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The newest state that was read or told of: no older one may be read, or time would go
    /// backwards.
    pub fn seen(&self) -> Slot {
        self.seen
    }

    /// Whether everything that was said up to [`Cursor::seen`] was heard, so that it is enough to
    /// be told what is said behind it. Otherwise a page has to be read first.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up
    }

    /// The page to read, and how many messages of it at most.
    pub fn wants(&self) -> (Span, u64) {
        (Span::After(self.next - 1), PAGE_MESSAGES_MAX as u64)
    }

    /// Something may have been missed: read on from the state.
    pub fn lag(&mut self) {
        self.caught_up = false;
    }

    /// Takes in a page that was read from the state of a slot.
    ///
    /// # Errors
    /// [`OutOfOrder`], and then nothing was taken in.
    pub fn read(
        &mut self,
        slot: Slot,
        page: Page,
        news: &mut VecDeque<News>,
    ) -> Result<(), OutOfOrder> {
        let due = self.next.max(page.first)..;
        for (message, due) in page.messages.iter().zip(due) {
            if message.id != due {
                return Err(OutOfOrder { found: message.id, due });
            }
        }
        if page.first > self.next {
            news.push_back(News::Gone { first: self.next, last: page.first - 1 });
            self.next = page.first;
        }
        self.next += page.messages.len() as u64;
        news.extend(page.messages.into_iter().map(News::Said));
        self.seen = self.seen.max(slot);
        self.caught_up = self.next > page.last;
        Ok(())
    }

    /// Takes in a message that was told when a slot was applied. What was heard already is passed
    /// over; where one is missing before it, the state has to be read first.
    pub fn told(&mut self, slot: Slot, message: Message, news: &mut VecDeque<News>) {
        if message.id > self.next {
            return self.lag();
        }
        self.seen = self.seen.max(slot);
        if message.id == self.next {
            self.next += 1;
            news.push_back(News::Said(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Line;
    use crate::room::Room;

    fn room(count: u64) -> Room {
        let mut room = Room::default();
        (0..count).for_each(|_| {
            room.say("ada", Line { said_at: 0, text: "hi".to_owned() });
        });
        room
    }

    fn ids(news: &mut VecDeque<News>) -> Vec<u64> {
        let id = |news| match news {
            News::Said(message) => message.id,
            News::Gone { first, last } => panic!("{first} to {last} are gone"),
        };
        news.drain(..).map(id).collect()
    }

    fn message(id: u64) -> Message {
        room(id).page(Span::After(id - 1), 1).messages.remove(0)
    }

    #[test]
    fn pages_follow_each_other_until_all_is_heard() {
        let (room, mut cursor, mut news) = (room(1200), Cursor::before(3), VecDeque::new());
        let mut pages = 0;
        while !cursor.is_caught_up() {
            let (span, limit) = cursor.wants();
            cursor.read(Slot(7), room.page(span, limit), &mut news).unwrap();
            pages += 1;
        }
        assert_eq!((pages, cursor.seen()), (3, Slot(7)));
        assert_eq!(ids(&mut news), (3..=1200).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_told_is_heard_once_and_what_is_missing_is_read() {
        let (mut cursor, mut news) = (Cursor::before(1), VecDeque::new());
        cursor.read(Slot(4), room(2).page(Span::After(0), 9), &mut news).unwrap();
        for id in [1, 2, 3, 3, 2] {
            cursor.told(Slot(5), message(id), &mut news);
        }
        assert_eq!(ids(&mut news), [1, 2, 3]);
        assert!(cursor.is_caught_up() && cursor.seen() == Slot(5));
        cursor.told(Slot(6), message(5), &mut news);
        assert!(!cursor.is_caught_up() && cursor.seen() == Slot(5) && news.is_empty());
        cursor.read(Slot(6), room(5).page(Span::After(3), 9), &mut news).unwrap();
        assert_eq!(ids(&mut news), [4, 5]);
    }

    #[test]
    fn what_is_gone_is_said_in_its_place() {
        let (mut cursor, mut news) = (Cursor::before(2), VecDeque::new());
        let page = Page { first: 5, last: 5, messages: vec![message(5)] };
        cursor.read(Slot(1), page, &mut news).unwrap();
        let gone = News::Gone { first: 2, last: 4 };
        assert_eq!(news, [gone, News::Said(message(5))]);
        assert!(cursor.is_caught_up());
    }

    #[test]
    fn a_page_in_another_order_is_not_taken_in() {
        let (mut cursor, mut news) = (Cursor::before(1), VecDeque::new());
        for messages in
            [vec![message(1), message(3)], vec![message(2)], vec![message(2), message(1)]]
        {
            let before = cursor;
            let page = Page { first: 1, last: 3, messages };
            assert!(cursor.read(Slot(1), page, &mut news).is_err());
            assert!(cursor == before && news.is_empty());
        }
    }
}
