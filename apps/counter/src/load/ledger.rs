//! What all processes of a run were told.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::load::history::{Action, Event, History, Phase};
use crate::load::latency::Latency;

/// What processes were told, shared by all of them.
pub struct Ledger {
    history: Option<Mutex<History<BufWriter<File>>>>,
    tally: Mutex<Tally>,
}

/// The sums.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// What the counter became by each answered increment.
    pub answers: Vec<u64>,
    /// Increments whose outcome nobody knows.
    pub unknown: u64,
    /// Operations that were given up and certainly had no effect.
    pub failed: u64,
    /// How long increments took.
    pub increments: Latency,
    /// How long reads took.
    pub reads: Latency,
    /// The longest time without any answer so far.
    pub longest_gap: Duration,
    /// When the last answer came.
    pub last_answer: Option<Instant>,
}

impl Ledger {
    /// An empty one; with a path, it writes a history there.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(history: Option<&Path>) -> io::Result<Ledger> {
        let history = match history {
            Some(path) => Some(Mutex::new(History::new(BufWriter::new(File::create(path)?)))),
            None => None,
        };
        Ok(Ledger { history, tally: Mutex::default() })
    }

    /// Notes that an operation begins; its value is the amount of an increment.
    ///
    /// # Errors
    /// That of the history's file.
    pub fn invoked(&self, process: u64, action: Action, value: Option<u64>) -> io::Result<()> {
        self.write(Event { process, phase: Phase::Invoke, action, value })
    }

    /// Notes an answer, and how long it took.
    ///
    /// # Errors
    /// That of the history's file.
    pub fn answered(
        &self,
        process: u64,
        action: Action,
        value: u64,
        took: Duration,
    ) -> io::Result<()> {
        self.tally().answered(action, value, took, Instant::now());
        self.write(Event { process, phase: Phase::Ok, action, value: Some(value) })
    }

    /// Notes that an operation certainly had no effect.
    ///
    /// # Errors
    /// That of the history's file.
    pub fn failed(&self, process: u64, action: Action, value: Option<u64>) -> io::Result<()> {
        self.tally().failed += 1;
        self.write(Event { process, phase: Phase::Fail, action, value })
    }

    /// Notes that nobody knows what became of an increment.
    ///
    /// # Errors
    /// That of the history's file.
    pub fn unknown(&self, process: u64, value: u64) -> io::Result<()> {
        self.tally().unknown += 1;
        let action = Action::Incr;
        self.write(Event { process, phase: Phase::Info, action, value: Some(value) })
    }

    /// How many increments were answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.tally().answers.len() as u64
    }

    /// The sums so far, and the history written out.
    ///
    /// # Errors
    /// That of the history's file.
    pub fn close(&self) -> io::Result<Tally> {
        if let Some(history) = &self.history {
            lock(history).flush()?;
        }
        Ok(self.tally().clone())
    }

    fn write(&self, event: Event) -> io::Result<()> {
        self.history.as_ref().map_or(Ok(()), |history| lock(history).write(event))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

impl Tally {
    fn answered(&mut self, action: Action, value: u64, took: Duration, now: Instant) {
        match action {
            Action::Incr => {
                self.answers.push(value);
                self.increments.record(took);
            }
            Action::Get => self.reads.record(took),
        }
        if let Some(before) = self.last_answer {
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(before));
        }
        self.last_answer = Some(now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_answers_of_any_kind() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let took = Duration::from_millis(1);
        tally.answered(Action::Incr, 1, took, at(100));
        tally.answered(Action::Get, 1, took, at(150));
        tally.answered(Action::Incr, 2, took, at(450));
        tally.answered(Action::Incr, 3, took, at(460));
        assert_eq!(tally.longest_gap, Duration::from_millis(300));
        assert_eq!(tally.answers, [1, 2, 3]);
        assert_eq!(tally.increments.quantiles().count, 3);
        assert_eq!(tally.reads.quantiles().count, 1);
    }

    #[test]
    fn outcomes_are_counted() {
        let ledger = Ledger::new(None).unwrap();
        ledger.invoked(1, Action::Incr, Some(1)).unwrap();
        ledger.unknown(1, 1).unwrap();
        ledger.failed(1, Action::Get, None).unwrap();
        ledger.answered(1, Action::Incr, 1, Duration::ZERO).unwrap();
        assert_eq!(ledger.acknowledged(), 1);
        let tally = ledger.close().unwrap();
        assert_eq!((tally.unknown, tally.failed), (1, 1));
    }
}
