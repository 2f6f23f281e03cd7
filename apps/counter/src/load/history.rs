//! What clients asked and were told, in order of time, for a checker of linearizability.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

/// What happened to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It began.
    Invoke,
    /// It was answered.
    Ok,
    /// It certainly was not applied.
    Fail,
    /// Whether it was applied, or will be, is unknown.
    Info,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// An increment. Its value is the amount, or, once answered, what the counter became.
    Incr,
    /// A read. Its value is what was read.
    Get,
}

/// One line of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The client.
    pub process: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub phase: Phase,
    /// To what.
    #[serde(rename = "f")]
    pub action: Action,
    /// See [`Action`].
    pub value: Option<u64>,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    event: Event,
    time: u64,
}

/// Events, each written as a line of JSON with the nanoseconds since the beginning.
///
/// Invariant: lines are in order of time, since the clock is read by the one who writes.
pub struct History<W> {
    start: Instant,
    out: W,
}

impl<W: Write> History<W> {
    /// Begins now.
    pub fn new(out: W) -> Self {
        History { start: Instant::now(), out }
    }

    /// Writes an event that happens now.
    ///
    /// # Errors
    /// That of the writer.
    pub fn write(&mut self, event: Event) -> io::Result<()> {
        let line = Line { event, time: self.start.elapsed().as_nanos() as u64 };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// Hands on what is not written yet.
    ///
    /// # Errors
    /// That of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Event, time: u64) -> String {
        serde_json::to_string(&Line { event, time }).unwrap()
    }

    #[test]
    fn lines_have_the_documented_form() {
        let event =
            Event { process: 3, phase: Phase::Invoke, action: Action::Incr, value: Some(1) };
        assert_eq!(
            line(event, 17),
            r#"{"process":3,"type":"invoke","f":"incr","value":1,"time":17}"#
        );
        let event = Event { process: 0, phase: Phase::Info, action: Action::Get, value: None };
        assert_eq!(
            line(event, 0),
            r#"{"process":0,"type":"info","f":"get","value":null,"time":0}"#
        );
    }

    #[test]
    fn time_does_not_go_back() {
        let mut history = History::new(Vec::new());
        for phase in [Phase::Invoke, Phase::Ok, Phase::Invoke, Phase::Fail] {
            history.write(Event { process: 1, phase, action: Action::Get, value: None }).unwrap();
        }
        let text = String::from_utf8(history.out).unwrap();
        let times = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["time"].as_u64().unwrap()
        });
        assert!(times.is_sorted());
        assert_eq!(text.lines().count(), 4);
    }
}
