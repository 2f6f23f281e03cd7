//! The service: rooms as a deterministic state machine.

use std::collections::BTreeMap;

use paxos_core::{Context, StateMachine};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::{Line, Message, TEXT_MAX};
use crate::room::{Digest, Page, Room, Span};

/// The most bytes that a room's name may have.
pub const NAME_MAX: usize = 64;

/// The most rooms that there can be: together with [`crate::room::ROOM_BYTES_MAX`] it bounds the
/// state.
pub const ROOMS_MAX: usize = 64;

/// The most messages that one command may say.
pub const LINES_MAX: usize = 1_000;

/// Rooms by name. One begins with what is said there first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    rooms: BTreeMap<String, Room>,
}

/// What changes the rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Says something, message by message and with nothing of others in between. All of it is said
    /// or nothing.
    Say {
        /// Where.
        room: String,
        /// What, in order.
        lines: Vec<Line>,
    },
}

/// What was said got these ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// That of the first message.
    pub first: u64,
    /// That of the last.
    pub last: u64,
}

/// What asks about rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Messages of a room; the answer is [`Answer::History`], an empty page for a room that there
    /// is not.
    History {
        /// The room.
        room: String,
        /// Which messages.
        span: Span,
        /// How many at most.
        limit: u64,
    },
    /// All rooms in the order of their names; the answer is [`Answer::Rooms`].
    Rooms,
    /// The hash of everything said in a room up to a message; the answer is [`Answer::Digest`].
    Digest {
        /// The room.
        room: String,
        /// The message.
        upto: u64,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Messages.
    History(Page),
    /// Rooms.
    Rooms(Vec<Summary>),
    /// A hash.
    Digest(Digest),
}

/// A room at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub room: String,
    /// The id of the oldest message that is kept.
    pub first: u64,
    /// The id of the newest.
    pub last: u64,
    /// When that was said, by the clock of whoever said it, in milliseconds since 1970 (UTC).
    pub said_at: u64,
}

/// What those are told who watch a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// Something was said.
    Said(Message),
}

/// Why nothing was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The text cannot be one.
    #[error(transparent)]
    Text(#[from] TextError),
    /// There are too many messages at once, or none.
    #[error("1 to {LINES_MAX} messages are said at once, not {count}")]
    Count {
        /// How many.
        count: u64,
    },
    /// There are too many rooms.
    #[error("there are {ROOMS_MAX} rooms already: use one of them")]
    TooMany,
}

/// Why a text is no name of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum NameError {
    /// It is empty or too long.
    #[error("a room's name has 1 to {NAME_MAX} bytes, not {bytes}")]
    Length {
        /// What it has.
        bytes: u64,
    },
    /// It would spoil what it is printed in.
    #[error("a room's name has no blanks and no control characters in it")]
    Blank,
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum TextError {
    /// It is empty or too long.
    #[error("a message has 1 to {TEXT_MAX} bytes, not {bytes}: say it in several")]
    Length {
        /// What it has.
        bytes: u64,
    },
}

/// Checks a room's name.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(NameError::Length { bytes: name.len() as u64 });
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(NameError::Blank);
    }
    Ok(())
}

/// Checks a message's text. Control characters may be in it: whoever shows it makes them harmless.
///
/// # Errors
/// [`TextError`].
pub fn check_text(text: &str) -> Result<(), TextError> {
    if text.is_empty() || text.len() > TEXT_MAX {
        return Err(TextError::Length { bytes: text.len() as u64 });
    }
    Ok(())
}

/// The topic under which a room's [`Happening`]s are told.
pub fn topic(room: &str) -> String {
    format!("room/{room}")
}

impl StateMachine for Chat {
    type Command = Command;
    type Reply = Result<Said, Refusal>;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, context: &mut Context<'_>, command: Command) -> Result<Said, Refusal> {
        match command {
            Command::Say { room, lines } => self.say(context, &room, lines),
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::History { room, span, limit } => {
                let page = self.rooms.get(&room).map(|room| room.page(span, limit));
                Answer::History(page.unwrap_or(Page { first: 1, last: 0, messages: Vec::new() }))
            }
            Query::Rooms => Answer::Rooms(self.summaries()),
            Query::Digest { room, upto } => {
                let digest = self.rooms.get(&room).map(|room| room.digest(upto));
                Answer::Digest(digest.unwrap_or_else(|| Room::default().digest(upto)))
            }
        }
    }
}

impl Chat {
    fn say(
        &mut self,
        context: &mut Context<'_>,
        name: &str,
        lines: Vec<Line>,
    ) -> Result<Said, Refusal> {
        check_name(name)?;
        if lines.is_empty() || lines.len() > LINES_MAX {
            return Err(Refusal::Count { count: lines.len() as u64 });
        }
        lines.iter().try_for_each(|line| check_text(&line.text))?;
        if self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(name) {
            return Err(Refusal::TooMany);
        }
        let room = self.rooms.entry(name.to_owned()).or_default();
        let (author, first) = (Message::author_of(context.identity), room.last() + 1);
        let topic = topic(name);
        for line in lines {
            let message = room.say(author, line).clone();
            context.tell(&topic, &Happening::Said(message));
        }
        Ok(Said { first, last: room.last() })
    }

    fn summaries(&self) -> Vec<Summary> {
        let summary = |(name, room): (&String, &Room)| Summary {
            room: name.clone(),
            first: room.first(),
            last: room.last(),
            said_at: room.newest().map_or(0, |newest| newest.said_at),
        };
        self.rooms.iter().map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::CHAIN_BEGINS;
    use paxos_core::{Event, SessionId, Slot, Time};
    use proptest::prelude::*;

    fn tell(
        chat: &mut Chat,
        identity: &str,
        command: Command,
    ) -> (Result<Said, Refusal>, Vec<Event>) {
        let mut events = Vec::new();
        let (slot, session) = (Slot(1), SessionId(1));
        let mut context = Context::new(slot, Time(0), session, identity, &mut events);
        (chat.apply(&mut context, command), events)
    }

    fn apply(chat: &mut Chat, identity: &str, command: Command) -> Result<Said, Refusal> {
        tell(chat, identity, command).0
    }

    fn say(room: &str, texts: &[&str]) -> Command {
        let line = |text: &&str| Line { said_at: 7, text: (*text).to_owned() };
        Command::Say { room: room.to_owned(), lines: texts.iter().map(line).collect() }
    }

    fn history(chat: &Chat, room: &str, span: Span, limit: u64) -> Page {
        match chat.query(Query::History { room: room.to_owned(), span, limit }) {
            Answer::History(page) => page,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_said_is_numbered_in_its_room_and_has_the_author_of_the_certificate() {
        let mut chat = Chat::default();
        let said = |first, last| Ok(Said { first, last });
        assert_eq!(apply(&mut chat, "client/ada", say("tea", &["hi", "you"])), said(1, 2));
        assert_eq!(apply(&mut chat, "client/bob", say("tea", &["ho"])), said(3, 3));
        assert_eq!(apply(&mut chat, "client/bob", say("coffee", &["ha"])), said(1, 1));
        let page = history(&chat, "tea", Span::After(0), 9);
        let told: Vec<_> = page
            .messages
            .iter()
            .map(|message| (message.id, message.author.as_str(), message.text.as_str()))
            .collect();
        assert_eq!(told, [(1, "ada", "hi"), (2, "ada", "you"), (3, "bob", "ho")]);
    }

    #[test]
    fn those_who_watch_a_room_are_told_what_is_said_there() {
        let mut chat = Chat::default();
        let (said, events) = tell(&mut chat, "client/ada", say("tea", &["hi", "you"]));
        assert_eq!(said, Ok(Said { first: 1, last: 2 }));
        assert!(events.iter().all(|event| event.topic == topic("tea")));
        let told: Vec<_> = events
            .iter()
            .map(|event| match postcard::from_bytes(&event.bytes).unwrap() {
                Happening::Said(message) => message,
            })
            .collect();
        assert_eq!(told, history(&chat, "tea", Span::After(0), 9).messages);
        let (refused, events) = tell(&mut chat, "client/ada", say("tea", &["fine", ""]));
        assert!(refused.is_err() && events.is_empty());
    }

    #[test]
    fn a_command_is_said_as_a_whole_or_not_at_all() {
        let mut chat = Chat::default();
        let long = "x".repeat(TEXT_MAX + 1);
        let refused = [
            (say("tea", &["fine", ""]), TextError::Length { bytes: 0 }.into()),
            (say("tea", &["fine", &long]), TextError::Length { bytes: long.len() as u64 }.into()),
            (say("tea", &[]), Refusal::Count { count: 0 }),
            (say("tea", &["x"; LINES_MAX + 1]), Refusal::Count { count: LINES_MAX as u64 + 1 }),
            (say("", &["x"]), NameError::Length { bytes: 0 }.into()),
            (say("a b", &["x"]), NameError::Blank.into()),
            (say("a\u{1b}", &["x"]), NameError::Blank.into()),
            (say(&long, &["x"]), NameError::Length { bytes: long.len() as u64 }.into()),
        ];
        for (command, refusal) in refused {
            assert_eq!(apply(&mut chat, "client/ada", command), Err(refusal));
        }
        assert_eq!(chat, Chat::default(), "a refusal changes nothing");
    }

    #[test]
    fn there_are_only_so_many_rooms() {
        let mut chat = Chat::default();
        for number in 0..ROOMS_MAX {
            apply(&mut chat, "client/ada", say(&format!("r{number:02}"), &["x"])).unwrap();
        }
        let one_more = apply(&mut chat, "client/ada", say("more", &["x"]));
        assert_eq!(one_more, Err(Refusal::TooMany));
        assert!(apply(&mut chat, "client/ada", say("r00", &["x"])).is_ok());
        let Answer::Rooms(rooms) = chat.query(Query::Rooms) else { panic!("no rooms") };
        assert_eq!(rooms.len(), ROOMS_MAX);
        let first = Summary { room: "r00".to_owned(), first: 1, last: 2, said_at: 7 };
        assert_eq!(rooms[0], first);
    }

    #[test]
    fn nothing_is_known_of_a_room_that_there_is_not() {
        let chat = Chat::default();
        let nothing = Page { first: 1, last: 0, messages: vec![] };
        assert_eq!(history(&chat, "tea", Span::Before(9), 9), nothing);
        let query = Query::Digest { room: "tea".to_owned(), upto: 0 };
        let digest = Digest { first: 1, last: 0, chain: Some(CHAIN_BEGINS) };
        assert_eq!(chat.query(query), Answer::Digest(digest));
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let line = (any::<u64>(), "[a-z\u{1b}\u{202e}]{0,3}")
            .prop_map(|(said_at, text)| Line { said_at, text });
        let lines = proptest::collection::vec(line, 0..5);
        ("[a-c ]{0,2}", lines).prop_map(|(room, lines)| Command::Say { room, lines })
    }

    fn any_query() -> impl Strategy<Value = Query> {
        let id = || prop_oneof![0u64..40, any::<u64>()];
        let span = prop_oneof![id().prop_map(Span::After), id().prop_map(Span::Before)];
        let room = || "[a-c ]{0,2}";
        prop_oneof![
            (room(), span, id()).prop_map(|(room, span, limit)| Query::History {
                room,
                span,
                limit
            }),
            Just(Query::Rooms),
            (room(), id()).prop_map(|(room, upto)| Query::Digest { room, upto }),
        ]
    }

    proptest! {
        #[test]
        fn any_commands_and_queries_may_come(
            commands in proptest::collection::vec((any_command(), "client/[ab]"), 0..40),
            queries in proptest::collection::vec(any_query(), 0..40),
        ) {
            let mut chat = Chat::default();
            let mut said: BTreeMap<String, Vec<(String, Line)>> = BTreeMap::new();
            for (command, identity) in commands {
                let Command::Say { room, lines } = command.clone();
                let before = chat.clone();
                let heard = said.get(&room).map_or(0, Vec::len) as u64;
                match apply(&mut chat, &identity, command) {
                    Ok(told) => {
                        prop_assert_eq!(told.first, heard + 1);
                        prop_assert_eq!(told.last, heard + lines.len() as u64);
                        let author = Message::author_of(&identity).to_owned();
                        let lines = lines.into_iter().map(|line| (author.clone(), line));
                        said.entry(room).or_default().extend(lines);
                    }
                    Err(_) => prop_assert_eq!(&chat, &before),
                }
            }
            for (room, lines) in &said {
                let (mut chain, page) = (CHAIN_BEGINS, history(&chat, room, Span::After(0), 500));
                prop_assert_eq!(page.messages.len(), lines.len());
                for (message, (author, line)) in page.messages.iter().zip(lines) {
                    prop_assert_eq!((&message.author, &message.text), (author, &line.text));
                    prop_assert!(message.continues(chain));
                    chain = message.chain;
                }
            }
            let restored = Chat::restore(&chat.snapshot()).unwrap();
            prop_assert_eq!(&restored, &chat);
            for query in queries {
                prop_assert_eq!(chat.query(query.clone()), restored.query(query));
            }
        }
    }
}
