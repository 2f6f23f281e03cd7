//! The service: named counters as a deterministic state machine.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use paxos_core::{Context, StateMachine};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most bytes that a name may have.
pub const NAME_MAX: usize = 256;

/// The most counters that there can be: together with [`NAME_MAX`] it bounds the state.
pub const COUNTERS_MAX: usize = 1_000_000;

/// The most counters in one answer to [`Query::List`].
pub const PAGE_MAX: usize = 1_000;

/// Named counters. One that was never touched reads 0. Each change is told once: the topic is the
/// counter's name, the event its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    values: BTreeMap<String, u64>,
}

/// What changes a counter. The reply is its value afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Adds.
    Incr {
        /// The counter.
        name: String,
        /// How much.
        by: u64,
    },
    /// Sets.
    Set {
        /// The counter.
        name: String,
        /// To what.
        value: u64,
        /// Only if it is this much now.
        if_value: Option<u64>,
    },
    /// Adds 1, and carries bytes that mean nothing: they are logged and sent like the rest of the
    /// command, and not kept. For measuring what size costs.
    Padded {
        /// The counter.
        name: String,
        /// The bytes.
        padding: Bytes,
    },
}

impl Command {
    /// The counter that it changes.
    pub fn name(&self) -> &str {
        match self {
            Command::Incr { name, .. }
            | Command::Set { name, .. }
            | Command::Padded { name, .. } => name,
        }
    }
}

/// What asks about counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The value of one; the answer is [`Answer::Value`].
    Get {
        /// The counter.
        name: String,
    },
    /// Counters in the order of their names, at most [`PAGE_MAX`]; the answer is
    /// [`Answer::Page`], and it is empty behind the last.
    List {
        /// Only those behind this name.
        after: Option<String>,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A counter's value.
    Value(u64),
    /// Names and values.
    Page(Vec<(String, u64)>),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum Refusal {
    /// The value is not the expected one.
    #[error("the value is {present}, not the one expected")]
    Differs {
        /// The value.
        present: u64,
    },
    /// The sum would not fit.
    #[error("{present} and {by} more exceed the greatest value, {}: set it lower first", u64::MAX)]
    Overflow {
        /// The value.
        present: u64,
        /// How much was to be added.
        by: u64,
    },
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There are too many counters.
    #[error("there are {COUNTERS_MAX} counters already: use one of them")]
    TooMany,
}

/// Why a text is no name of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
pub enum NameError {
    /// It is empty or too long.
    #[error("a name has 1 to {NAME_MAX} bytes, not {bytes}")]
    Length {
        /// What it has.
        bytes: u64,
    },
    /// It would spoil what it is printed in.
    #[error("a name has no control characters, such as line breaks, in it")]
    Control,
}

/// Checks a name.
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(NameError::Length { bytes: name.len() as u64 });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

impl StateMachine for Counters {
    type Command = Command;
    type Reply = Result<u64, Refusal>;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, context: &mut Context<'_>, command: Command) -> Result<u64, Refusal> {
        let name = command.name().to_owned();
        let before = self.value(&name);
        let done = match command {
            Command::Incr { name, by } => self.increment(name, by),
            Command::Padded { name, padding: _ } => self.increment(name, 1),
            Command::Set { name, value, if_value } => self.set(name, value, if_value),
        };
        if let Ok(value) = done
            && value != before
        {
            context.tell(&name, &value);
        }
        done
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Get { name } => Answer::Value(self.value(&name)),
            Query::List { after } => Answer::Page(self.page(after.as_deref())),
        }
    }
}

impl Counters {
    /// A counter's value.
    pub fn value(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }

    fn increment(&mut self, name: String, by: u64) -> Result<u64, Refusal> {
        let present = self.value(&name);
        let sum = present.checked_add(by).ok_or(Refusal::Overflow { present, by })?;
        self.store(name, sum)
    }

    fn set(&mut self, name: String, value: u64, if_value: Option<u64>) -> Result<u64, Refusal> {
        let present = self.value(&name);
        if if_value.is_some_and(|expected| expected != present) {
            return Err(Refusal::Differs { present });
        }
        self.store(name, value)
    }

    fn store(&mut self, name: String, value: u64) -> Result<u64, Refusal> {
        check_name(&name)?;
        if self.values.len() >= COUNTERS_MAX && !self.values.contains_key(&name) {
            return Err(Refusal::TooMany);
        }
        self.values.insert(name, value);
        Ok(value)
    }

    fn page(&self, after: Option<&str>) -> Vec<(String, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.values
            .range::<str, _>((from, Bound::Unbounded))
            .take(PAGE_MAX)
            .map(|(name, value)| (name.clone(), *value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{SessionId, Slot, Time};
    use proptest::prelude::*;

    fn apply(counters: &mut Counters, command: Command) -> Result<u64, Refusal> {
        let mut events = Vec::new();
        let mut context = Context::new(Slot(1), Time(0), SessionId(1), "client/ada", &mut events);
        counters.apply(&mut context, command)
    }

    fn incr(name: &str, by: u64) -> Command {
        Command::Incr { name: name.to_owned(), by }
    }

    fn set(name: &str, value: u64, if_value: Option<u64>) -> Command {
        Command::Set { name: name.to_owned(), value, if_value }
    }

    #[test]
    fn increments_add_up_and_an_untouched_counter_reads_0() {
        let mut counters = Counters::default();
        assert_eq!(counters.value("hits"), 0);
        assert_eq!(apply(&mut counters, incr("hits", 2)), Ok(2));
        assert_eq!(apply(&mut counters, incr("hits", 3)), Ok(5));
        assert_eq!(counters.query(Query::Get { name: "hits".into() }), Answer::Value(5));
        assert_eq!(counters.query(Query::Get { name: "other".into() }), Answer::Value(0));
    }

    #[test]
    fn an_overflow_is_refused_and_changes_nothing() {
        let mut counters = Counters::default();
        apply(&mut counters, set("x", u64::MAX, None)).unwrap();
        let refusal = Refusal::Overflow { present: u64::MAX, by: 1 };
        assert_eq!(apply(&mut counters, incr("x", 1)), Err(refusal));
        assert_eq!(apply(&mut counters, incr("x", 0)), Ok(u64::MAX));
    }

    #[test]
    fn set_compares_if_asked_to() {
        let mut counters = Counters::default();
        assert_eq!(apply(&mut counters, set("x", 5, Some(0))), Ok(5));
        let refusal = Err(Refusal::Differs { present: 5 });
        assert_eq!(apply(&mut counters, set("x", 9, Some(4))), refusal);
        assert_eq!(apply(&mut counters, set("x", 9, Some(5))), Ok(9));
        assert_eq!(apply(&mut counters, set("x", 1, None)), Ok(1));
    }

    #[test]
    fn every_change_is_told_once_and_nothing_else() {
        let (mut counters, mut events) = (Counters::default(), Vec::new());
        let mut context = Context::new(Slot(1), Time(0), SessionId(1), "client/ada", &mut events);
        for command in [incr("x", 2), incr("x", 0), set("x", 2, None), set("x", 9, Some(1))] {
            let _ = counters.apply(&mut context, command);
        }
        counters.apply(&mut context, set("x", 1, None)).unwrap();
        let told = |event: &paxos_core::Event| (event.topic.clone(), event.bytes.to_vec());
        let told: Vec<_> = events.iter().map(told).collect();
        assert_eq!(told, [("x".to_owned(), vec![2]), ("x".to_owned(), vec![1])]);
    }

    #[test]
    fn names_have_limits() {
        let mut counters = Counters::default();
        let long = "x".repeat(NAME_MAX + 1);
        let refused = Refusal::Name(NameError::Length { bytes: NAME_MAX as u64 + 1 });
        assert_eq!(apply(&mut counters, incr(&long, 1)), Err(refused));
        assert!(apply(&mut counters, incr(&long[1..], 1)).is_ok());
        assert!(apply(&mut counters, incr("", 1)).is_err());
        assert_eq!(apply(&mut counters, incr("a\nb", 1)), Err(NameError::Control.into()));
        assert_eq!(counters.page(None).len(), 1);
    }

    #[test]
    fn a_padded_command_counts_one_and_keeps_nothing() {
        let (mut padded, mut plain) = (Counters::default(), Counters::default());
        let padding = Bytes::from(vec![7; 1000]);
        let command = Command::Padded { name: "x".into(), padding };
        assert!(postcard::to_stdvec(&command).unwrap().len() > 1000);
        assert_eq!(apply(&mut padded, command), Ok(1));
        assert_eq!(apply(&mut plain, incr("x", 1)), Ok(1));
        assert_eq!(padded, plain);
    }

    #[test]
    fn lists_come_in_pages_by_name() {
        let mut counters = Counters::default();
        for number in 0..PAGE_MAX + 2 {
            apply(&mut counters, incr(&format!("c{number:06}"), 1)).unwrap();
        }
        let first = counters.page(None);
        assert_eq!(first.len(), PAGE_MAX);
        let second = counters.page(first.last().map(|(name, _)| name.as_str()));
        assert_eq!(second[0].0, format!("c{PAGE_MAX:06}"));
        assert_eq!(second.len(), 2);
        assert!(counters.page(Some("d")).is_empty());
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let name = || "[a-c]{0,2}";
        prop_oneof![
            (name(), any::<u64>()).prop_map(|(name, by)| Command::Incr { name, by }),
            (name(), 0u64..9, proptest::option::of(0u64..9))
                .prop_map(|(name, value, if_value)| Command::Set { name, value, if_value }),
            name().prop_map(|name| Command::Padded { name, padding: Bytes::from_static(b"xx") }),
        ]
    }

    proptest! {
        #[test]
        fn any_commands_may_come_and_a_snapshot_restores_what_they_made(
            commands in proptest::collection::vec(any_command(), 0..40)
        ) {
            let mut counters = Counters::default();
            for command in commands {
                if let Ok(value) = apply(&mut counters, command.clone()) {
                    let (Command::Incr { name, .. }
                    | Command::Set { name, .. }
                    | Command::Padded { name, .. }) = command;
                    prop_assert_eq!(counters.value(&name), value);
                }
            }
            prop_assert_eq!(&Counters::restore(&counters.snapshot()).unwrap(), &counters);
        }
    }
}
