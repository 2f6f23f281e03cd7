//! The history of `counter torture`, read and judged.
//!
//! One JSON object a line, in order of time:
//! `{"process":3,"type":"invoke"|"ok"|"fail"|"info","f":"incr"|"get","value":V,"time":T}`. All of
//! it is on one counter that starts at 0, and each process ends with a read, so that a loss at the
//! very end shows.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::checkers::counter_history::{Action, Call, check};

/// Why a history was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It cannot be judged.
    #[error("line {line}: {what}: is this the file that `torture --history` wrote?")]
    Unreadable {
        /// Where, from 1.
        line: usize,
        /// What is there.
        what: String,
    },
    /// No counter behaves like that.
    #[error("{0}")]
    Broken(String),
}

/// What is in a history that was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Clients.
    pub processes: usize,
    /// Increments that were answered.
    pub increments: usize,
    /// Increments whose outcome is unknown.
    pub unknown: usize,
    /// Reads that were answered.
    pub reads: usize,
    /// Operations that certainly had no effect.
    pub failed: usize,
    /// The highest value that anybody saw.
    pub top: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { processes, increments, unknown, reads, failed, top } = self;
        write!(
            f,
            "linearizable: processes {processes}, increments {increments}, unknown {unknown}, \
             reads {reads}, failed {failed}, counter {top}"
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    process: u64,
    #[serde(rename = "type")]
    phase: Phase,
    f: Function,
    value: Option<u64>,
    time: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Phase {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Incr,
    Get,
}

/// What a process has asked and not been told yet.
struct Open {
    function: Function,
    amount: Option<u64>,
    invoked: u64,
}

/// A history as it is read, line by line.
#[derive(Default)]
struct History {
    calls: Vec<Call>,
    open: BTreeMap<u64, Open>,
    /// Whether the last operation of each process was a read that was answered.
    ended: BTreeMap<u64, bool>,
    failed: usize,
    time: u64,
}

/// Reads and judges a history.
///
/// # Errors
/// See [`Refusal`].
pub fn judge(text: &str) -> Result<Summary, Refusal> {
    let mut history = History::default();
    for (index, line) in text.lines().enumerate() {
        let read = serde_json::from_str(line).map_err(|error| error.to_string());
        read.and_then(|line| history.take(line))
            .map_err(|what| Refusal::Unreadable { line: index + 1, what })?;
    }
    history.finish()
}

impl History {
    fn take(&mut self, line: Line) -> Result<(), String> {
        let Line { process, phase, f, value, time } = line;
        if time < self.time {
            return Err(format!("time goes back from {} to {time}", self.time));
        }
        self.time = time;
        if phase == Phase::Invoke {
            let opened = Open { function: f, amount: value, invoked: time };
            if (f == Function::Incr) != value.is_some_and(|amount| amount > 0) {
                return Err("an increment has an amount, and nothing else has".to_owned());
            }
            self.ended.insert(process, false);
            return match self.open.insert(process, opened) {
                None => Ok(()),
                Some(_) => Err(format!("process {process} does two things at once")),
            };
        }
        let open = self.open.remove(&process).filter(|open| open.function == f);
        let open = open.ok_or_else(|| format!("process {process} did not ask for this"))?;
        match (phase, open.amount, value) {
            (Phase::Ok, Some(by), Some(became)) => {
                self.call(&open, Some(time), Action::Increment { by, became: Some(became) });
            }
            (Phase::Ok, None, Some(value)) => {
                self.call(&open, Some(time), Action::Read(value));
                self.ended.insert(process, true);
            }
            (Phase::Ok, _, None) => return Err("an answer has a value".to_owned()),
            (Phase::Info, Some(_), _) => self.unknown(&open),
            (Phase::Info | Phase::Fail, ..) => self.failed += 1,
            (Phase::Invoke, ..) => {}
        }
        Ok(())
    }

    fn call(&mut self, open: &Open, answered: Option<u64>, action: Action) {
        self.calls.push(Call { invoked: open.invoked, answered, action });
    }

    fn unknown(&mut self, open: &Open) {
        if let Some(by) = open.amount {
            self.call(open, None, Action::Increment { by, became: None });
        }
    }

    fn finish(mut self) -> Result<Summary, Refusal> {
        for open in std::mem::take(&mut self.open).into_values() {
            self.unknown(&open);
        }
        if self.ended.is_empty() {
            return Err(Refusal::Broken("it is empty: nothing was shown".to_owned()));
        }
        if let Some((process, _)) = self.ended.iter().find(|(_, ended)| !**ended) {
            let words = format!("process {process} does not end with a read: a loss may be hidden");
            return Err(Refusal::Broken(words));
        }
        check(&self.calls).map_err(Refusal::Broken)?;
        Ok(self.summary())
    }

    fn summary(&self) -> Summary {
        let Self { calls, ended, failed, .. } = self;
        let mut summary = Summary { processes: ended.len(), failed: *failed, ..Summary::default() };
        for call in calls {
            match call.action {
                Action::Increment { became: Some(value), .. } => {
                    summary.increments += 1;
                    summary.top = summary.top.max(value);
                }
                Action::Increment { became: None, .. } => summary.unknown += 1,
                Action::Read(value) => {
                    summary.reads += 1;
                    summary.top = summary.top.max(value);
                }
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word is an event: process, type, function, value. The time is its place.
    fn told(events: &[(u64, &str, &str, Option<u64>)]) -> Result<Summary, Refusal> {
        let lines = events.iter().enumerate().map(|(time, (process, phase, f, value))| {
            let value = value.map_or("null".to_owned(), |value| value.to_string());
            format!(
                r#"{{"process":{process},"type":"{phase}","f":"{f}","value":{value},"time":{time}}}"#
            )
        });
        judge(&lines.collect::<Vec<_>>().join("\n"))
    }

    const INVOKE: (u64, &str, &str, Option<u64>) = (1, "invoke", "incr", Some(1));
    const GET: (u64, &str, &str, Option<u64>) = (1, "invoke", "get", None);

    fn ok(f: &'static str, value: u64) -> (u64, &'static str, &'static str, Option<u64>) {
        (1, "ok", f, Some(value))
    }

    fn broken(events: &[(u64, &str, &str, Option<u64>)]) -> String {
        match told(events) {
            Err(Refusal::Broken(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_history_is_summed_up() {
        let unsure = (2, "info", "incr", Some(1));
        let other = (2, "invoke", "incr", Some(1));
        let summary = told(&[INVOKE, other, ok("incr", 2), unsure, GET, ok("get", 2)]);
        assert_eq!(
            summary,
            Err(Refusal::Broken(
                "process 2 does not end with a read: a loss may be hidden".to_owned()
            ))
        );
        let read = [(2, "invoke", "get", None), (2, "ok", "get", Some(2))];
        let all = [&[INVOKE, other, ok("incr", 2), unsure, GET, ok("get", 2)], &read[..]].concat();
        assert_eq!(
            told(&all).unwrap().to_string(),
            "linearizable: processes 2, increments 1, unknown 1, reads 2, failed 0, counter 2"
        );
    }

    #[test]
    fn a_stale_read_a_doubled_increment_and_a_lost_tail_are_seen() {
        let stale = [INVOKE, ok("incr", 1), GET, ok("get", 0), GET, ok("get", 1)];
        assert!(broken(&stale).contains("stale"), "{}", broken(&stale));
        let doubled = [INVOKE, ok("incr", 2), GET, ok("get", 2)];
        assert!(broken(&doubled).contains("ever added"), "{}", broken(&doubled));
        let tail = [INVOKE, ok("incr", 1), INVOKE, ok("incr", 2), GET, ok("get", 1)];
        assert!(broken(&tail).contains("stale"), "{}", broken(&tail));
        let twice = [INVOKE, ok("incr", 1), INVOKE, ok("incr", 1), GET, ok("get", 1)];
        assert!(broken(&twice).contains("doubled"), "{}", broken(&twice));
    }

    #[test]
    fn what_failed_must_not_show() {
        let failed = (1, "fail", "incr", Some(1));
        assert_eq!(told(&[INVOKE, failed, GET, ok("get", 0)]).unwrap().failed, 1);
        assert!(broken(&[INVOKE, failed, GET, ok("get", 1)]).contains("ever added"));
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        for events in [
            &[INVOKE, INVOKE][..],
            &[INVOKE, ok("get", 1)],
            &[GET, ok("get", 0), ok("get", 0)],
            &[GET, (1, "invoke", "incr", None)],
            &[GET, (1, "ok", "get", None)],
        ] {
            assert!(matches!(told(events), Err(Refusal::Unreadable { .. })), "{events:?}");
        }
        let error = judge("{}").unwrap_err().to_string();
        assert!(error.starts_with("line 1: missing field"), "{error}");
        assert_eq!(judge("").unwrap_err().to_string(), "it is empty: nothing was shown");
    }
}
