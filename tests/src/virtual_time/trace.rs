//! What happened in a run, as a hash and, if anybody reads it, as lines.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What of a trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Printed {
    /// Nothing.
    Nothing,
    /// A line for every event of the protocol, of clients and of fate.
    Events,
    /// And one for every datagram.
    Datagrams,
}

/// The trace of one run. Clones are the same trace.
#[derive(Clone, Debug)]
pub struct Trace {
    since: Instant,
    printed: Printed,
    state: Arc<Mutex<(DefaultHasher, u64)>>,
}

impl Trace {
    /// An empty trace that begins now.
    pub fn new(printed: Printed) -> Self {
        let state = Arc::new(Mutex::new((DefaultHasher::new(), 0)));
        Trace { since: Instant::now(), printed, state }
    }

    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Virtual time since it began.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Something that is worth a line.
    pub fn event(&self, who: &str, what: &impl Hash, words: impl FnOnce() -> String) {
        self.note(Printed::Events, who, what, words);
    }

    /// A datagram, which is worth a line if somebody looks very closely.
    pub fn datagram(&self, what: &impl Hash, words: impl FnOnce() -> String) {
        self.note(Printed::Datagrams, "", what, words);
    }

    fn note(&self, least: Printed, who: &str, what: &impl Hash, words: impl FnOnce() -> String) {
        self.hash_in(&(who, what));
        if self.printed >= least {
            let millis = self.elapsed().as_micros() as f64 / 1000.0;
            // A reader who has seen enough may close the pipe.
            writeln!(io::stdout(), "{millis:>10.3} {who:<12} {}", words()).ok();
        }
    }

    fn hash_in(&self, what: &impl Hash) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (hasher, events) = &mut *state;
        *events += 1;
        self.elapsed().hash(hasher);
        what.hash(hasher);
    }

    /// The hash of all of it, and of how many events.
    pub fn hash(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0.finish(), state.1)
    }
}
