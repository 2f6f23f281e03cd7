//! Whether everybody heard what was said: all of it, once, in one order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::load::speakers::Told;
use crate::message::Message;

/// What became of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Messages that were acknowledged.
    pub said: u64,
    /// How many of them the follower saw that saw the fewest.
    pub seen: u64,
    /// Followers that saw all of them,
    pub complete: usize,
    /// of so many.
    pub followers: usize,
    /// Messages that were acknowledged and that a follower did not see, or not with the number and
    /// text that were acknowledged; of all followers.
    pub lost: u64,
    /// Messages that a follower saw again, or behind a later one, or that are in the room twice; of
    /// all followers.
    pub repeated: u64,
    /// Messages whose outcome nobody knows.
    pub unknown: u64,
}

impl Verdict {
    /// Compares what was told to those who spoke with what each follower heard, in its order. No
    /// text was said twice.
    pub fn new(told: &Told, heard: &[Vec<Message>]) -> Verdict {
        let said = told.said.len() as u64;
        let (mut seen, mut complete, mut lost, mut repeated) = (said, 0, 0, 0);
        for messages in heard {
            let by_id: BTreeMap<_, _> =
                messages.iter().map(|message| (message.id, message.text.as_str())).collect();
            let is_seen =
                |said: &&(u64, String)| by_id.get(&said.0).is_some_and(|text| *text == said.1);
            let saw = told.said.iter().filter(is_seen).count() as u64;
            seen = seen.min(saw);
            complete += usize::from(saw == said);
            lost += said - saw;
            repeated += repeats(messages);
        }
        let (followers, unknown) = (heard.len(), told.unknown.len() as u64);
        Verdict { said, seen, complete, followers, lost, repeated, unknown }
    }

    /// Whether everybody saw everything, once.
    pub fn is_good(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.unknown == 0 && self.followers > 0
    }
}

/// How many messages do not follow the one before, or say what was said before.
fn repeats(messages: &[Message]) -> u64 {
    let backwards = messages.windows(2).filter(|pair| pair[1].id <= pair[0].id).count();
    let texts: BTreeSet<_> = messages.iter().map(|message| &message.text).collect();
    let ids: BTreeSet<_> = messages.iter().map(|message| message.id).collect();
    (backwards + (ids.len() - texts.len().min(ids.len()))) as u64
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { said, seen, complete, followers, lost, repeated, unknown } = self;
        write!(f, "said {said}, seen {seen} on {complete} of {followers}, ")?;
        write!(f, "lost {lost}, repeated {repeated}")?;
        if *unknown > 0 {
            write!(f, ", unknown {unknown}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(messages: &[(u64, &str)]) -> Vec<Message> {
        let message = |(id, text): &(u64, &str)| Message {
            id: *id,
            author: "ada".into(),
            said_at: 0,
            text: (*text).into(),
            chain: 0,
        };
        messages.iter().map(message).collect()
    }

    fn verdict(heard: &[Vec<Message>]) -> Verdict {
        let said = [(1, "a"), (2, "b"), (3, "c")].map(|(id, text)| (id, text.to_owned()));
        Verdict::new(&Told { said: said.to_vec(), unknown: vec![] }, heard)
    }

    const ALL: [(u64, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];

    #[test]
    fn a_good_run_has_the_documented_line() {
        let good = verdict(&[heard(&ALL), heard(&ALL), heard(&ALL)]);
        assert!(good.is_good());
        assert_eq!(good.to_string(), "said 3, seen 3 on 3 of 3, lost 0, repeated 0");
        assert!(!verdict(&[]).is_good(), "nobody was there");
    }

    #[test]
    fn what_one_follower_missed_is_lost() {
        let bad = verdict(&[heard(&ALL), heard(&[(1, "a"), (3, "c")])]);
        assert_eq!(bad.to_string(), "said 3, seen 2 on 1 of 2, lost 1, repeated 0");
        assert!(!bad.is_good());
        let other = verdict(&[heard(&[(1, "a"), (2, "x"), (3, "c")])]);
        assert_eq!((other.lost, other.repeated), (1, 0));
    }

    #[test]
    fn what_comes_again_or_late_or_twice_is_repeated() {
        let again = verdict(&[heard(&[(1, "a"), (2, "b"), (2, "b"), (3, "c")])]);
        assert_eq!((again.lost, again.repeated), (0, 1));
        let late = verdict(&[heard(&[(1, "a"), (3, "c"), (2, "b")])]);
        assert_eq!((late.lost, late.repeated), (0, 1));
        let twice = verdict(&[heard(&[(1, "a"), (2, "b"), (3, "c"), (4, "b")])]);
        assert_eq!((twice.lost, twice.repeated), (0, 1));
        assert!(!twice.is_good());
    }
}
