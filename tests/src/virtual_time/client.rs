//! Clients of a run: light clients that add to a counter and read it, and remember what they saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paxos_core::Random;
use paxos_net::Client;
use paxos_net::protocol::Consistency;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::trace::Trace;
use crate::checkers::counter_history::{Action, Call};
use crate::simulation::Sum;

/// Several clients at work.
pub struct Crowd {
    trace: Trace,
    clients: Vec<Client>,
    history: Arc<Mutex<Vec<Call>>>,
    dismissed: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(trace: Trace) -> Self {
        let (clients, tasks) = (Vec::new(), JoinSet::new());
        Crowd { trace, clients, history: Arc::default(), dismissed: Arc::default(), tasks }
    }

    /// Adds a client that works until it is dismissed and has done so many operations, with pauses
    /// up to `pause` between them.
    pub fn join(&mut self, client: Client, operations: u64, pause: Duration, seed: u64) {
        let one = Worker {
            name: format!("client/{}", self.clients.len()),
            client: client.clone(),
            trace: self.trace.clone(),
            history: self.history.clone(),
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
    pub fn history(&self) -> Vec<Call> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Worker {
    name: String,
    client: Client,
    trace: Trace,
    history: Arc<Mutex<Vec<Call>>>,
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
        let invoked = self.now();
        self.trace.event(&self.name, &"read", || "reads".to_owned());
        match self.client.query_as::<Sum>(&(), Consistency::Linearizable).await {
            Ok((slot, value)) => {
                let words = || format!("reads {value} after {slot}");
                self.trace.event(&self.name, &(slot, value), words);
                self.saw(invoked, true, Action::Read(value));
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

    fn saw(&self, invoked: u64, answered: bool, action: Action) {
        let call = Call { invoked, answered: answered.then(|| self.now()), action };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}
