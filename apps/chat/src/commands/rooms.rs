//! `rooms`: which rooms there are.

use chat::client::rooms;
use chat::machine::Summary;
use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::moment::rfc3339;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use serde::Serialize;

use crate::commands::spoken::harmless;

const EXAMPLES: &str = "\
Examples:
  chat rooms
  chat rooms -o json --via 127.0.0.1:7402
  chat rooms --read linearizable --cluster D/cluster.toml";

/// Print all rooms: the newest message of each, the oldest that is kept, and when was spoken last
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("level", |level| level.default_value("stale")))]
pub struct Rooms {
    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct All<'a> {
    rooms: Vec<RoomLine<'a>>,
    #[serde(flatten)]
    how: ReadLabel,
}

#[derive(Serialize)]
struct RoomLine<'a> {
    room: &'a str,
    first: u64,
    last: u64,
    said_at: String,
}

impl Rooms {
    /// Reads, and prints all.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        let found = block_on(async {
            let client = self.common.client()?;
            let found = rooms(&client, consistency).await?;
            client.close().await;
            Ok(found)
        })?;
        let how = ReadLabel::of(found.slot, found.served);
        let all = All { rooms: found.answer.iter().map(RoomLine::of).collect(), how };
        how.tell(output, found.served);
        if output.is_text() && all.rooms.is_empty() {
            return Ok(Exit::Done);
        }
        output.result(all.text(), &all)?;
        Ok(Exit::Done)
    }
}

impl<'a> RoomLine<'a> {
    fn of(summary: &'a Summary) -> Self {
        let Summary { room, first, last, said_at } = summary;
        RoomLine { room, first: *first, last: *last, said_at: rfc3339(*said_at) }
    }
}

impl All<'_> {
    fn text(&self) -> String {
        let width = |line: &RoomLine<'_>| line.room.chars().count();
        let width = self.rooms.iter().map(width).max().unwrap_or(0);
        let lines = self.rooms.iter().map(|line| {
            let RoomLine { room, first, last, said_at } = line;
            let room = harmless(room);
            format!("{room:width$}  #{last}  from #{first}  {said_at}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::Slot;
    use paxos_net::protocol::Served;

    #[test]
    fn rooms_line_up() {
        let summary = |room: &str, last| Summary { room: room.into(), first: 1, last, said_at: 0 };
        let found = [summary("tea", 9), summary("größen", 22)];
        let how = ReadLabel::of(Slot(9), Served::Lease);
        let all = All { rooms: found.iter().map(RoomLine::of).collect(), how };
        let text = all.text();
        let expected = concat!(
            "tea     #9  from #1  1970-01-01T00:00:00.000Z\n",
            "größen  #22  from #1  1970-01-01T00:00:00.000Z"
        );
        assert_eq!(text, expected);
        let json = paxos_app::output::json(&all).unwrap();
        let start = r#"{"v":1,"rooms":[{"room":"tea","first":1,"last":9,"said_at":"1970-"#;
        assert!(json.starts_with(start), "{json}");
    }
}
