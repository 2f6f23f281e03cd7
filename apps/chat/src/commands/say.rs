//! `say`: says something in a room, once.

use std::io::{self, BufRead, Read};
use std::thread;

use chat::Said;
use chat::client::say;
use chat::machine::{LINES_MAX, TextError, check_text};
use chat::message::{Line, TEXT_MAX};
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_net::client::{Client, ClientError};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, channel};

use crate::commands::spoken::parse_room;

/// Stands for the lines of stdin.
const STDIN: &str = "-";

/// Lines that were read and wait to be said.
const WAITING_MAX: usize = 2 * LINES_MAX;

/// One command says no more bytes than this, or a little more: about as much as a batch has.
const BYTES_MAX: usize = 128 << 10;

const EXAMPLES: &str = "\
Examples:
  chat say tea \"who wants some?\"
  chat say tea hello --cluster D/cluster.toml --identity D/client
  tail -f app.log | chat say logs -    (each line a message)";

/// Say something in a room, once and under your certificate's name
///
/// Prints the number of each message. With `-`, each line of stdin is a message; they are said in
/// order, as many at once as have come meanwhile, and lines without text are left out. A room
/// begins with what is said there first.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Say {
    /// The room
    #[arg(value_parser = parse_room)]
    room: String,

    /// What to say; - for the lines of stdin
    #[arg(value_parser = parse_text, allow_hyphen_values = true)]
    text: String,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Numbered<'a> {
    room: &'a str,
    seq: u64,
}

/// A line of stdin, or what is wrong with it.
type Input = Result<Line, Fault>;

impl Say {
    /// Says it, and prints the numbers of the messages.
    ///
    /// # Errors
    /// Those of the client, or that the service refuses it; or of stdin.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        if self.text != STDIN {
            return block_on(async {
                let client = self.common.client()?;
                let lines = vec![Line::now(self.text.as_str())];
                self.say(&client, output, lines).await?;
                client.close().await;
                Ok(Exit::Done)
            });
        }
        let (give, lines) = channel(WAITING_MAX);
        thread::spawn(move || read(io::stdin().lock(), |line| give.blocking_send(line).is_ok()));
        block_on(unless_stopped(self.say_all(output, lines)))
    }

    /// Says lines as they come. What comes while something is being said is said with one command:
    /// so there is never more than one on its way, and order is kept whoever fails.
    async fn say_all(&self, output: &Output, mut lines: Receiver<Input>) -> anyhow::Result<Exit> {
        let client = self.common.client()?;
        let mut next = lines.recv().await;
        while let Some(line) = next.take() {
            let mut bytes = 0;
            let (mut gathered, mut wrong) = (Vec::new(), None);
            let mut line = Some(line);
            while let Some(input) = line.take() {
                match input {
                    Ok(said) => {
                        bytes += said.text.len();
                        gathered.push(said);
                    }
                    Err(fault) => wrong = Some(fault),
                }
                if wrong.is_none() && gathered.len() < LINES_MAX && bytes < BYTES_MAX {
                    line = lines.try_recv().ok();
                }
            }
            if !gathered.is_empty() {
                self.say(&client, output, gathered).await?;
            }
            if let Some(fault) = wrong {
                return Err(fault.into());
            }
            next = lines.recv().await;
        }
        client.close().await;
        Ok(Exit::Done)
    }

    async fn say(&self, client: &Client, output: &Output, lines: Vec<Line>) -> anyhow::Result<()> {
        let count = lines.len();
        let texts = (lines[0].text.clone(), lines[count - 1].text.clone());
        match say(client, &self.room, lines).await {
            Ok(Ok(Said { first, last })) => {
                for seq in first..=last {
                    let numbered = Numbered { room: &self.room, seq };
                    output.result(format_args!("#{seq}"), &numbered)?;
                }
                Ok(())
            }
            Ok(Err(refusal)) => Err(Fault::new(Exit::No, refusal.to_string()).into()),
            Err(ClientError::Unknown { why, .. }) => Err(unknown(&why, count, &texts).into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whoever repeats the command may say it twice: they have to look first.
fn unknown(why: &str, count: usize, (first, last): &(String, String)) -> Fault {
    let what = match count {
        1 => format!("{first:?}"),
        _ => format!("{count} messages, from {first:?} to {last:?},"),
    };
    let words = format!(
        "outcome unknown ({why}): {what} may have been said, or may yet be, all or nothing; \
         look with `chat history` before you say it again"
    );
    Fault::new(Exit::NoQuorum, words)
}

/// Reads a message from the command line.
fn parse_text(text: &str) -> Result<String, TextError> {
    check_text(text).map(|()| text.to_owned())
}

/// Hands on the lines of a text until it ends, or nobody wants more. No more is held of a line than
/// a message may have.
fn read(mut text: impl BufRead, mut give: impl FnMut(Input) -> bool) {
    let mut number = 0u64;
    loop {
        number += 1;
        let mut bytes = Vec::new();
        let input = match (&mut text).take(TEXT_MAX as u64 + 2).read_until(b'\n', &mut bytes) {
            Ok(0) => return,
            Ok(_) => match message(&bytes) {
                Ok(None) => continue,
                Ok(Some(line)) => Ok(line),
                Err(error) => Err(Fault::usage(format!("line {number} of stdin: {error}"))),
            },
            Err(error) => Err(Fault::new(Exit::Disk, format!("reading stdin: {error}"))),
        };
        let over = input.is_err();
        if !give(input) || over {
            return;
        }
    }
}

/// What a line says; `None` if it has no text. What is not UTF-8 is replaced by a mark.
fn message(bytes: &[u8]) -> Result<Option<Line>, TextError> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(bytes);
    check_text(&text)?;
    Ok(Some(Line::now(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Result<String, String>> {
        let mut all = Vec::new();
        read(text, |input| {
            all.push(input.map(|line| line.text).map_err(|fault| fault.to_string()));
            true
        });
        all
    }

    #[test]
    fn each_line_with_text_is_a_message() {
        let texts = |all: Vec<Result<String, String>>| -> Vec<_> {
            all.into_iter().map(Result::unwrap).collect()
        };
        assert_eq!(texts(lines(b"one\n\r\n\ntwo\r\nthree")), ["one", "two", "three"]);
        assert_eq!(texts(lines(b"")), [""; 0]);
        assert_eq!(texts(lines(b"caf\xe9\n")), ["caf\u{fffd}"]);
        let most = "x".repeat(TEXT_MAX);
        assert_eq!(texts(lines(format!("{most}\r\n{most}").as_bytes())), [&*most, &*most]);
    }

    #[test]
    fn a_line_that_is_too_long_ends_it_and_is_named() {
        let long = "x".repeat(TEXT_MAX + 1);
        let all = lines(format!("one\n\n{long}\nthree\n").as_bytes());
        assert_eq!(all.len(), 2);
        let words = all[1].as_ref().unwrap_err();
        assert!(words.starts_with("line 3 of stdin: ") && words.contains("4096"), "{words}");
    }

    #[test]
    fn nobody_is_told_to_say_it_again_blindly() {
        let one = unknown("lost", 1, &("hi".into(), "hi".into())).to_string();
        assert!(one.contains("\"hi\" may have been said") && one.contains("chat history"), "{one}");
        let many = unknown("lost", 3, &("a".into(), "c".into())).to_string();
        assert!(many.contains("3 messages, from \"a\" to \"c\""), "{many}");
    }
}
