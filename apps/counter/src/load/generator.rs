//! Load, and how much of it goes through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use paxos_net::client::{Client, ClientConfig, ClientError};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::load::latency::Latency;
use crate::machine::{Command, Counters};

/// The counter that is worked on.
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
        for client in &clients {
            let (client, command) = (client.clone(), self.command());
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
            working.spawn(work(client.clone(), self.command(), measured.clone(), until));
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

    fn command(&self) -> Command {
        let name = COUNTER.to_owned();
        match self.payload {
            0 => Command::Incr { name, by: 1 },
            bytes => Command::Padded { name, padding: Bytes::from(vec![0x5a; bytes]) },
        }
    }
}

async fn work(client: Client, command: Command, measured: Arc<Mutex<Measured>>, until: Instant) {
    while Instant::now() < until {
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

    #[test]
    fn a_payload_is_carried_beside_the_command() {
        let size = |payload| {
            let duration = Duration::ZERO;
            let generator = Generator { clients: 1, connections: 1, duration, payload };
            postcard::to_stdvec(&generator.command()).unwrap().len()
        };
        assert!(size(0) < 16);
        assert!((1000..1016).contains(&size(1000)));
    }
}
