//! What followers of rooms hear: every message of a room once, in order, and all the same.

use std::collections::BTreeMap;

use chat::Message;
use chat::message::CHAIN_BEGINS;

/// Watches what followers hear.
#[derive(Debug, Default)]
pub struct Followers {
    /// The last message that each has heard.
    lasts: BTreeMap<usize, u64>,
    /// Every message that anybody has heard, by room and id.
    said: BTreeMap<(u64, u64), Message>,
}

impl Followers {
    /// A follower hears a message of its room.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn heard(&mut self, follower: usize, room: u64, message: &Message) -> Result<(), String> {
        let last = self.lasts.entry(follower).or_default();
        let (id, due) = (message.id, *last + 1);
        if id != due {
            return Err(format!("followers: follower {follower} hears {id} where {due} is due"));
        }
        *last = id;
        let known = self.said.entry((room, id)).or_insert_with(|| message.clone());
        if known != message {
            return Err(format!(
                "followers: follower {follower} hears {message:?}, and another has heard {known:?}"
            ));
        }
        let before = match id {
            1 => Some(CHAIN_BEGINS),
            id => self.said.get(&(room, id - 1)).map(|before| before.chain),
        };
        if before.is_some_and(|before| message.continues(before)) {
            return Ok(());
        }
        Err(format!("followers: {message:?} does not follow from what was heard before it"))
    }

    /// The last message that a follower has heard; 0: none yet.
    pub fn last(&self, follower: usize) -> u64 {
        self.lasts.get(&follower).copied().unwrap_or(0)
    }

    /// How many messages were heard, by whomever.
    pub fn said(&self) -> usize {
        self.said.len()
    }

    /// A client was told that this text has this id in a room.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn acknowledged(&self, room: u64, id: u64, text: &str) -> Result<(), String> {
        match self.said.get(&(room, id)) {
            Some(message) if message.text == text => Ok(()),
            other => Err(format!("followers: {text} was said as {id}, and heard was {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::Line;
    use chat::room::{Room, Span};

    fn messages(texts: &[&str]) -> Vec<Message> {
        let mut room = Room::default();
        for text in texts {
            room.say("ada", Line { said_at: 0, text: (*text).to_owned() });
        }
        room.page(Span::After(0), 9).messages
    }

    fn hear(heard: &[(usize, u64, &Message)]) -> Result<Followers, String> {
        let mut checker = Followers::default();
        for (follower, room, message) in heard {
            checker.heard(*follower, *room, message)?;
        }
        Ok(checker)
    }

    #[test]
    fn everything_once_in_order_is_fine() {
        let all = messages(&["a", "b"]);
        let checker = hear(&[(0, 7, &all[0]), (1, 7, &all[0]), (1, 7, &all[1])]).unwrap();
        assert_eq!((checker.last(0), checker.last(1), checker.last(2)), (1, 2, 0));
        assert_eq!(checker.said(), 2);
        assert!(checker.acknowledged(7, 2, "b").is_ok());
        assert!(checker.acknowledged(7, 2, "c").is_err());
        assert!(checker.acknowledged(7, 3, "c").is_err());
        assert!(checker.acknowledged(8, 2, "b").is_err());
    }

    #[test]
    fn gaps_repeats_and_differences_are_seen() {
        let (all, other) = (messages(&["a", "b", "c"]), messages(&["a", "x", "c"]));
        assert!(hear(&[(0, 7, &all[0]), (0, 7, &all[2])]).is_err(), "a gap");
        assert!(hear(&[(0, 7, &all[0]), (0, 7, &all[0])]).is_err(), "a repeat");
        assert!(hear(&[(0, 7, &all[1])]).is_err(), "it begins late");
        let one = [(0, 7, &all[0]), (0, 7, &all[1]), (1, 7, &all[0])];
        assert!(hear(&[&one[..], &[(1, 7, &other[1])]].concat()).is_err(), "another text");
        assert!(hear(&[(0, 7, &other[0]), (0, 7, &all[1]), (0, 7, &other[2])]).is_err(), "a chain");
    }
}
