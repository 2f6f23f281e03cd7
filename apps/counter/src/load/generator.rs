//! Load, and how much of it goes through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use paxos_net::client::{Client, ClientConfig, ClientError};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::latency::Latency;
use crate::machine::{Command, Counters};

/// The counter that is worked on, and what the names begin with if there are several.
const COUNTER: &str = "bench";
/// After a refusal, so that refusals are not what is measured.
const PAUSE: Duration = Duration::from_millis(5);

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Commands outstanding at any time, each in a session of its own.
    pub clients: u64,
    /// Connections that they share.
    pub connections: u64,
    /// For how long.
    pub duration: Duration,
    /// Bytes that each command carries beside what it needs.
    pub payload: usize,
    /// Counters that are worked on, one after the other.
    pub counters: u64,
    /// Bytes that the name of each has, if there are several and it can be so short.
    pub name_bytes: usize,
}

/// What went through.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How long the commands took that were done.
    pub latency: Latency,
    /// Commands refused because the cluster was busy.
    pub busy: u64,
    /// Commands that failed otherwise.
    pub failed: u64,
    /// Why the first of them failed.
    pub reason: Option<ClientError>,
    /// From the first command to the end of the last.
    pub elapsed: Duration,
}

impl Measured {
    /// Commands done per second.
    pub fn throughput(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.done() as f64 / seconds } else { 0.0 }
    }

    /// Commands done.
    pub fn done(&self) -> u64 {
        self.latency.quantiles().count
    }
}

impl Generator {
    /// Generates load; `progress` hears about every second how many commands are done. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// If not even the first command of each client succeeds.
    pub async fn run(
        &self,
        config: &ClientConfig,
        mut progress: impl FnMut(u64),
    ) -> anyhow::Result<Measured> {
        let clients = self.connect(config)?;
        // Opens the sessions, so that this is not measured.
        let mut first = JoinSet::new();
        let next = Arc::<AtomicU64>::default();
        for client in &clients {
            let (client, command) = (client.clone(), self.command(&next));
            first.spawn(async move { client.execute_as::<Counters>(&command).await });
        }
        while let Some(done) = first.join_next().await {
            done??.map_err(anyhow::Error::from)?;
        }
        let measured = Arc::new(Mutex::new(Measured::default()));
        let begun = Instant::now();
        let mut working = JoinSet::new();
        for client in &clients {
            let until = begun + self.duration;
            let (generator, next, measured) = (*self, next.clone(), measured.clone());
            working.spawn(work(client.clone(), generator, next, measured, until));
        }
        loop {
            tokio::select! {
                joined = working.join_next() => match joined {
                    Some(joined) => joined?,
                    None => break,
                },
                () = sleep(Duration::from_secs(1)) => progress(lock(&measured).done()),
            }
        }
        let mut measured = lock(&measured).clone();
        measured.elapsed = begun.elapsed();
        for client in clients.iter().take(self.connections as usize) {
            client.close().await;
        }
        Ok(measured)
    }

    /// One handle for each client; the first `connections` of them are distinct.
    fn connect(&self, config: &ClientConfig) -> Result<Vec<Client>, ClientError> {
        let connections = self.connections.clamp(1, self.clients.max(1));
        let shared: Vec<_> = (0..connections)
            .map(|_| {
                let mut config = config.clone();
                config.connections = 1;
                config.sessions_max = self.clients.div_ceil(connections) as usize;
                Client::new(config)
            })
            .collect::<Result<_, _>>()?;
        Ok(shared.iter().cycle().take(self.clients as usize).cloned().collect())
    }

    /// The next command; `next` counts them.
    fn command(&self, next: &AtomicU64) -> Command {
        let name = match self.counters {
            0 | 1 => COUNTER.to_owned(),
            counters => {
                let number = next.fetch_add(1, Ordering::Relaxed) % counters;
                let width = self.name_bytes.saturating_sub(COUNTER.len() + 1);
                format!("{COUNTER}-{number:0width$}")
            }
        };
        match self.payload {
            0 => Command::Incr { name, by: 1 },
            bytes => Command::Padded { name, padding: Bytes::from(vec![0x5a; bytes]) },
        }
    }
}

async fn work(
    client: Client,
    generator: Generator,
    next: Arc<AtomicU64>,
    measured: Arc<Mutex<Measured>>,
    until: Instant,
) {
    while Instant::now() < until {
        let command = generator.command(&next);
        let begun = Instant::now();
        let done = client.execute_as::<Counters>(&command).await;
        let took = begun.elapsed();
        match done {
            Ok(Ok(_)) => {
                lock(&measured).latency.record(took);
                continue;
            }
            Err(ClientError::Busy) => lock(&measured).busy += 1,
            Ok(Err(_)) => lock(&measured).failed += 1,
            Err(error) => {
                let mut measured = lock(&measured);
                measured.failed += 1;
                measured.reason.get_or_insert(error);
            }
        }
        sleep(PAUSE).await;
    }
}

fn lock(measured: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_what_was_done_in_the_time() {
        let mut measured = Measured { elapsed: Duration::from_secs(2), ..Measured::default() };
        for _ in 0..10 {
            measured.latency.record(Duration::from_millis(1));
        }
        assert_eq!(measured.throughput(), 5.0);
        assert_eq!(Measured::default().throughput(), 0.0);
    }

    fn generator(payload: usize, counters: u64) -> Generator {
        let (duration, name_bytes) = (Duration::ZERO, 20);
        Generator { clients: 1, connections: 1, duration, payload, counters, name_bytes }
    }

    #[test]
    fn several_counters_take_turns_and_have_names_of_the_length_that_was_asked_for() {
        let (generator, next) = (generator(0, 3), AtomicU64::new(0));
        let mut names: Vec<_> = (0..4)
            .map(|_| match generator.command(&next) {
                Command::Incr { name, .. } => name,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(names.iter().all(|name| name.len() == 20), "{names:?}");
        assert_eq!(names.pop(), Some(names[0].clone()));
        names.dedup();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn a_payload_is_carried_beside_the_command() {
        let size = |payload| {
            let command = generator(payload, 1).command(&AtomicU64::new(0));
            postcard::to_stdvec(&command).unwrap().len()
        };
        assert!(size(0) < 16);
        assert!((1000..1016).contains(&size(1000)));
    }
}
