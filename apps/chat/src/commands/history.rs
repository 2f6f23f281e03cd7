//! `history`: what was said in a room.

use chat::client::history;
use chat::room::{PAGE_MESSAGES_MAX, Span};
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use paxos_core::Slot;
use paxos_net::protocol::{Consistency, Served};
use serde::Serialize;

use crate::commands::spoken::{parse_room, print, print_gone};

const EXAMPLES: &str = "\
Examples:
  chat history tea
  chat history tea --before 88210 --limit 50
  chat history tea --read linearizable -o json";

/// Print what was said in a room, oldest first
///
/// Any node answers from what it has, and how new that is is told; times are UTC, by the clock of
/// whoever said it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("level", |level| level.default_value("stale")))]
pub struct History {
    /// The room
    #[arg(value_parser = parse_room)]
    room: String,

    /// Only messages before the one with this number
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    before: Option<u64>,

    /// The newest so many of them
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,

    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

/// How far a room was read, and how new that was.
#[derive(Debug, Serialize)]
pub struct CaughtUp<'a> {
    /// The room.
    pub room: &'a str,
    /// The newest message of the state that was read.
    pub caught_up_to: u64,
    /// How new that state was.
    #[serde(flatten)]
    pub how: ReadLabel,
}

impl CaughtUp<'_> {
    /// Says so: on stdout where programs read it, else on stderr.
    ///
    /// # Errors
    /// That of stdout.
    pub fn tell(&self, output: &Output, served: Served) -> std::io::Result<()> {
        if output.is_text() {
            let CaughtUp { caught_up_to, how, .. } = self;
            output
                .remark(format_args!("caught up to #{caught_up_to}; {served}; slot {}", how.slot));
            return Ok(());
        }
        output.result("", self)
    }
}

impl History {
    /// Reads, page by page from the newest backwards, and prints.
    ///
    /// # Errors
    /// Those of the client; or that there is no such room.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        block_on(self.print(output, consistency))
    }

    async fn print(&self, output: &Output, consistency: Consistency) -> anyhow::Result<Exit> {
        let client = self.common.client()?;
        let (mut before, mut pages) = (self.before.unwrap_or(u64::MAX), Vec::new());
        let (mut left, mut newest) = (self.limit, None::<(u64, Slot, Served)>);
        let mut first;
        loop {
            let span = (Span::Before(before), left.min(PAGE_MESSAGES_MAX as u64));
            let read = history(&client, &self.room, span, consistency).await?;
            let page = read.answer;
            newest.get_or_insert((page.last, read.slot, read.served));
            first = page.first;
            let Some(oldest) = page.messages.first() else { break };
            (before, left) = (oldest.id, left - page.messages.len() as u64);
            pages.push(page.messages);
            if left == 0 {
                break;
            }
        }
        client.close().await;
        let (last, slot, served) = newest.unwrap_or((0, Slot(0), Served::Linearizable));
        if last == 0 {
            return Err(no_room(&self.room).into());
        }
        if left > 0 && first > 1 {
            print_gone(output, &self.room, 1, first - 1)?;
        }
        for message in pages.iter().rev().flatten() {
            print(output, &self.room, message)?;
        }
        let how = ReadLabel::of(slot, served);
        CaughtUp { room: &self.room, caught_up_to: last, how }.tell(output, served)?;
        Ok(Exit::Done)
    }
}

/// Nothing was ever said there.
pub fn no_room(room: &str) -> Fault {
    let words = format!("nothing was said in {room} yet; `chat rooms` lists the rooms there are");
    Fault::new(Exit::No, words)
}
