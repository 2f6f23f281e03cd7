//! Clients of a run: light clients that add to a counter and read it, and remember what they saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paxos_core::{Random, Slot};
use paxos_net::Client;
use paxos_net::client::Read;
use paxos_net::protocol::{Consistency, Served};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::trace::Trace;
use crate::checkers::counter_history::{Action, Call};
use crate::checkers::stale_reads::StaleRead;
use crate::simulation::Sum;

/// Several clients at work.
pub struct Crowd {
    trace: Trace,
    clients: Vec<Client>,
    leases: bool,
    seen: Arc<Mutex<Seen>>,
    dismissed: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// What clients saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Commands, and reads that contain everything answered before them.
    pub calls: Vec<Call>,
    /// Reads that need not.
    pub stale: Vec<StaleRead>,
    /// How many of the others a lease made certain.
    pub by_lease: u64,
}

impl Crowd {
    /// Nobody yet. With `leases`, they rely on leases too.
    pub fn new(trace: Trace, leases: bool) -> Self {
        let (clients, tasks) = (Vec::new(), JoinSet::new());
        let (seen, dismissed) = (Arc::default(), Arc::default());
        Crowd { trace, clients, leases, seen, dismissed, tasks }
    }

    /// Adds a client that works until it is dismissed and has done so many operations, with pauses
    /// up to `pause` between them.
    pub fn join(&mut self, client: Client, operations: u64, pause: Duration, seed: u64) {
        let one = Worker {
            name: format!("client/{}", self.clients.len()),
            client: client.clone(),
            trace: self.trace.clone(),
            leases: self.leases,
            newest: Slot(0),
            seen: self.seen.clone(),
            dismissed: self.dismissed.clone(),
            random: Random::new(seed),
        };
        self.clients.push(client);
        self.tasks.spawn(one.work(operations, pause));
    }

    /// From now on nobody need do more than was asked.
    pub fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Relaxed);
    }

    /// Waits until all are done.
    pub async fn done(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Closes the clients.
    pub async fn leave(&mut self) {
        for client in self.clients.drain(..) {
            client.close().await;
        }
    }

    /// What they saw.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Worker {
    name: String,
    client: Client,
    trace: Trace,
    leases: bool,
    /// The newest slot that a read of it has named.
    newest: Slot,
    seen: Arc<Mutex<Seen>>,
    dismissed: Arc<AtomicBool>,
    random: Random,
}

impl Worker {
    async fn work(mut self, operations: u64, pause: Duration) {
        let mut left = operations;
        while left > 0 || !self.dismissed.load(Ordering::Relaxed) {
            left = left.saturating_sub(1);
            if self.random.below(4) == 0 {
                self.read().await;
            } else {
                self.add().await;
            }
            sleep(self.random.duration_below(pause)).await;
        }
    }

    async fn add(&mut self) {
        let by = 1 + self.random.below(9);
        let invoked = self.now();
        self.trace.event(&self.name, &by, || format!("adds {by}"));
        match self.client.execute_as::<Sum>(&by).await {
            Ok(became) => {
                self.trace.event(&self.name, &became, || format!("is told {became}"));
                self.saw(invoked, true, Action::Increment { by, became: Some(became) });
            }
            Err(error) => {
                let certain = error.certainly_not_applied();
                let words = || format!("is told: {error}");
                self.trace.event(&self.name, &(certain, error.to_string()), words);
                if !certain {
                    self.saw(invoked, false, Action::Increment { by, became: None });
                }
            }
        }
    }

    async fn read(&mut self) {
        let (invoked, newest) = (self.now(), self.newest);
        let at_least = Slot(newest.0.saturating_sub(5));
        // The library sees to it that a stale read does not go back.
        let (consistency, least) = match self.random.below(8) {
            0..=2 => (Consistency::Stale { at_least }, newest),
            3 | 4 if self.leases => (Consistency::Lease, Slot(0)),
            _ => (Consistency::Linearizable, Slot(0)),
        };
        self.trace.event(&self.name, &consistency, || format!("reads {consistency:?}"));
        match self.client.read_as::<Sum>(&(), consistency).await {
            Ok(Read { slot, answer: value, served }) => {
                let words = || format!("reads {value} after {slot}, {served}");
                self.trace.event(&self.name, &(slot, value, served), words);
                self.newest = slot.max(newest);
                let Served::Stale { behind_ms } = served else {
                    self.noted().by_lease += u64::from(served == Served::Lease);
                    return self.saw(invoked, true, Action::Read(value));
                };
                let behind = behind_ms.map(|millis| millis * 1000);
                self.noted().stale.push(StaleRead { invoked, least, slot, value, behind });
            }
            Err(error) => {
                let words = || format!("is told: {error}");
                self.trace.event(&self.name, &error.to_string(), words);
            }
        }
    }

    fn now(&self) -> u64 {
        self.trace.elapsed().as_micros() as u64
    }

    fn noted(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, invoked: u64, answered: bool, action: Action) {
        let call = Call { invoked, answered: answered.then(|| self.now()), action };
        self.noted().calls.push(call);
    }
}
