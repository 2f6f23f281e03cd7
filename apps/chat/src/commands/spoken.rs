//! How messages look: for people on one line each, harmless to their terminals; for programs as
//! objects.

use std::fmt;

use chat::Message;
use chat::machine::check_name;
use paxos_app::moment::{rfc3339, time_of_day};
use paxos_app::output::Output;
use serde::Serialize;

/// A message as an object.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Spoken<'a> {
    /// Where.
    pub room: &'a str,
    /// The message's number.
    pub seq: u64,
    /// When, by the clock of whoever said it: RFC 3339, UTC.
    pub said_at: String,
    /// Who.
    pub author: &'a str,
    /// What.
    pub text: &'a str,
}

/// Messages that are gone.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Gone<'a> {
    room: &'a str,
    gone: Bounds,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Bounds {
    first: u64,
    last: u64,
}

/// Writes a message to stdout.
///
/// # Errors
/// That of stdout.
pub fn print(output: &Output, room: &str, message: &Message) -> std::io::Result<()> {
    let Message { id, author, said_at, text, chain: _ } = message;
    let said_at = rfc3339(*said_at);
    output.result(ForPeople(message), &Spoken { room, seq: *id, said_at, author, text })
}

/// Says that messages are gone: on stdout where programs read it, else on stderr.
///
/// # Errors
/// That of stdout.
pub fn print_gone(output: &Output, room: &str, first: u64, last: u64) -> std::io::Result<()> {
    if output.is_text() {
        output.remark(format_args!("#{first} to #{last} are gone: a room keeps only so many"));
        return Ok(());
    }
    output.result("", &Gone { room, gone: Bounds { first, last } })
}

/// `#seq 14:02:11 alice  text`; times are UTC.
struct ForPeople<'a>(&'a Message);

impl fmt::Display for ForPeople<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { id, author, said_at, text, chain: _ } = self.0;
        let (time, author, text) = (time_of_day(*said_at), harmless(author), harmless(text));
        write!(f, "#{id} {time} {author}  {text}")
    }
}

/// The text without what would change how the rest of a terminal is shown: control characters, and
/// those that break a line or turn its direction around, are spelled out.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(' '),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                shown.extend(c.escape_unicode());
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Reads a room's name from the command line.
///
/// # Errors
/// Why it is none, in words.
pub fn parse_room(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        let said_at = 1_732_802_531_042;
        Message { id: 12, author: "ada".into(), said_at, text: text.into(), chain: 0 }
    }

    #[test]
    fn a_line_is_the_one_documented() {
        assert_eq!(ForPeople(&message("hi you")).to_string(), "#12 14:02:11 ada  hi you");
    }

    #[test]
    fn the_json_form_is_the_one_documented() {
        let message = message("hi");
        let said_at = rfc3339(message.said_at);
        let spoken = Spoken { room: "tea", seq: 12, said_at, author: "ada", text: "hi" };
        assert_eq!(
            paxos_app::output::json(&spoken).unwrap(),
            concat!(
                r#"{"v":1,"room":"tea","seq":12,"said_at":"2024-11-28T14:02:11.042Z","#,
                r#""author":"ada","text":"hi"}"#
            )
        );
    }

    #[test]
    fn other_peoples_text_does_nothing_to_a_terminal() {
        assert_eq!(harmless("größe ☕"), "größe ☕");
        assert_eq!(harmless("a\tb\nc\rd"), "a b\\nc\\rd");
        assert_eq!(harmless("\u{1b}[2J\u{7}\u{9b}31m"), "\\u{1b}[2J\\u{7}\\u{9b}31m");
        assert_eq!(harmless("\u{202e}txt\u{2066}\u{2028}"), "\\u{202e}txt\\u{2066}\\u{2028}");
    }

    #[test]
    fn a_name_that_the_service_would_refuse_is_wrong_usage() {
        assert_eq!(parse_room("tea"), Ok("tea".to_owned()));
        assert!(parse_room("a b").is_err() && parse_room("").is_err());
    }
}
