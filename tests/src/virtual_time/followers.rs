//! Clients that follow the counter. Each is told every sum once and in order, whatever befalls the
//! nodes, or hears what is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paxos_core::{Position, Slot, TopicFilter};
use paxos_net::Client;
use paxos_net::client::{ClientError, Watched, Watcher};
use tokio::task::JoinSet;

use super::trace::Trace;
use crate::checkers::counter_history::{Action, Call};

/// Several of them.
#[derive(Default)]
pub struct Followers {
    clients: Vec<Client>,
    told: Vec<Arc<Mutex<Told>>>,
    tasks: JoinSet<()>,
}

/// What one was told.
#[derive(Debug, Default)]
struct Told {
    sums: BTreeMap<Position, u64>,
    /// Behind the first up to the second, it was told that something is missing.
    gaps: Vec<(Position, Position)>,
    /// Everything up to here was told.
    upto: Position,
    broken: Option<String>,
}

impl Followers {
    /// Adds one that follows from the beginning.
    pub fn join(&mut self, client: Client, trace: Trace) {
        let told = Arc::new(Mutex::new(Told::default()));
        let topics = vec![TopicFilter::Exact("sum".to_owned())];
        let watcher = client.watch(topics, Position::default());
        let name = format!("follower/{}", self.told.len());
        self.clients.push(client);
        self.told.push(told.clone());
        self.tasks.spawn(follow(watcher, told, name, trace));
    }

    /// Whether each has been told the last sum, or everything up to the slot in which it was read.
    pub fn reached(&self, slot: Slot, sum: u64) -> bool {
        self.told.iter().all(|told| {
            let told = lock(told);
            let last = told.sums.last_key_value().map_or(0, |(_, last)| *last);
            told.broken.is_some() || last == sum || told.upto.slot >= slot
        })
    }

    /// How many sums they were told.
    pub fn told(&self) -> usize {
        self.told.iter().map(|told| lock(told).sums.len()).sum()
    }

    /// Ends them.
    pub async fn leave(&mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        for client in self.clients.drain(..) {
            client.close().await;
        }
    }

    /// Holds what they were told against each other, and against what others were answered.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn check(&self, history: &[Call]) -> Result<(), String> {
        let mut all = BTreeMap::new();
        for told in &self.told {
            let told = lock(told);
            if let Some(broken) = &told.broken {
                return Err(format!("watches: {broken}"));
            }
            for (position, sum) in &told.sums {
                if *all.entry(*position).or_insert(*sum) != *sum {
                    return Err(format!("watches: two followers were told two sums at {position}"));
                }
            }
        }
        self.told.iter().try_for_each(|told| lock(told).check(&all, history))
    }
}

impl Told {
    fn add(&mut self, position: Position, sum: u64) -> Result<(), String> {
        if let Some((last, before)) = self.sums.last_key_value()
            && (position <= *last || sum <= *before)
        {
            return Err(format!("{sum} at {position} behind {before} at {last}"));
        }
        if position <= self.upto {
            return Err(format!("{sum} at {position}, which was said to be without events"));
        }
        self.sums.insert(position, sum);
        Ok(())
    }

    fn check(&self, all: &BTreeMap<Position, u64>, history: &[Call]) -> Result<(), String> {
        let is_missing =
            |place: &Position| self.gaps.iter().any(|(from, to)| place > from && place <= to);
        let lacks = |(place, _): &(&Position, &u64)| {
            !self.sums.contains_key(place) && **place <= self.upto && !is_missing(place)
        };
        if let Some((place, sum)) = all.iter().find(lacks) {
            return Err(format!("watches: one was never told {sum} at {place}"));
        }
        let answered = history.iter().filter_map(|call| match call.action {
            Action::Increment { became, .. } => became,
            Action::Read(_) => None,
        });
        for sum in answered.filter(|_| self.gaps.is_empty()) {
            if !self.sums.values().any(|told| *told == sum) {
                return Err(format!("watches: {sum} was answered and never told"));
            }
        }
        Ok(())
    }
}

async fn follow(mut watcher: Watcher, told: Arc<Mutex<Told>>, name: String, trace: Trace) {
    loop {
        let before = watcher.after();
        let watched = watcher.next_as::<u64>().await;
        let mut told = lock(&told);
        match watched {
            Ok(Watched::Event { position, event, .. }) => {
                let words = || format!("is told {event} at {position}");
                trace.event(&name, &(position, event), words);
                if let Err(broken) = told.add(position, event) {
                    told.broken.get_or_insert(broken);
                }
            }
            Ok(Watched::Lagged { next }) => {
                trace.event(&name, &next, || format!("hears that it lags behind {next}"));
                told.gaps.push((before, watcher.after()));
            }
            Ok(Watched::Level { .. }) => {}
            Err(ClientError::Closed) => return,
            Err(error) => {
                told.broken.get_or_insert(error.to_string());
                return;
            }
        }
        told.upto = watcher.after();
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
