//! Clients at work in the background, and the history of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use counter::{Answer, Command, Counters, Query, Refusal};
use paxos_core::SessionId;
use paxos_net::client::{Client, ClientConfig, ClientError};
use paxos_net::protocol::Consistency;
use tokio::task::JoinSet;

use crate::checkers::counter_history::{Action, Call, check};
use crate::processes::patience::{LIMIT, until};

/// One attempt; the next follows under the same request id.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// One operation in so many is a read.
const READS: u64 = 4;

/// Clients that add 1 to a counter again and again, and read it, each with one operation
/// outstanding. An operation is repeated until it is answered, so nothing stays unknown.
pub struct Load {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Vec<Call>>,
}

impl Load {
    /// Sets clients to work on a counter that nobody has touched.
    pub fn start(mut config: ClientConfig, clients: u64, counter: &str) -> Load {
        config.timeout = ATTEMPT;
        let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let worker = Worker {
            config,
            counter: counter.to_owned(),
            over: over.clone(),
            acknowledged: acknowledged.clone(),
            start: Instant::now(),
        };
        let thread = thread::spawn(move || worker.run(clients));
        Load { over, acknowledged, thread }
    }

    /// How many increments were answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` increments were answered than now.
    pub fn await_more(&self, more: u64) {
        let enough = self.acknowledged() + more;
        until("increments go on", || {
            (self.acknowledged() >= enough || self.thread.is_finished()).then_some(())
        });
        assert!(self.acknowledged() >= enough, "a client has given up");
    }

    /// Lets every client finish what it is at. What they saw must be what one counter does to which
    /// each increment was added once; returns how many there were.
    ///
    /// # Panics
    /// If it is not.
    pub fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let calls = self.thread.join().expect("no client has given up");
        check(&calls).unwrap_or_else(|broken| panic!("{broken}"));
        self.acknowledged.load(Ordering::Relaxed)
    }
}

struct Worker {
    config: ClientConfig,
    counter: String,
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    start: Instant,
}

impl Worker {
    fn run(self, clients: u64) -> Vec<Call> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there can be a runtime").block_on(async {
            let worker = Arc::new(self);
            let mut working = JoinSet::new();
            for _ in 0..clients {
                working.spawn(worker.clone().work());
            }
            working.join_all().await.into_iter().flatten().collect()
        })
    }

    async fn work(self: Arc<Self>) -> Vec<Call> {
        let client = Client::new(self.config.clone()).expect("the configuration is sound");
        let session = persist(|| client.open()).await;
        let (mut calls, mut sequence, mut index) = (Vec::new(), 0, 0);
        while !self.over.load(Ordering::Relaxed) {
            index += 1;
            let invoked = self.now();
            let action = if index % READS == 0 {
                Action::Read(self.read(&client).await)
            } else {
                sequence += 1;
                let became = Some(self.increment(&client, session, sequence).await);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Action::Increment { by: 1, became }
            };
            calls.push(Call { invoked, answered: Some(self.now()), action });
        }
        client.close().await;
        calls
    }

    async fn increment(&self, client: &Client, session: SessionId, sequence: u64) -> u64 {
        let command = Command::Incr { name: self.counter.clone(), by: 1 };
        let bytes = Bytes::from(postcard::to_stdvec(&command).expect("a command is plain data"));
        let reply = persist(|| client.execute_in(session, sequence, bytes.clone())).await;
        let reply: Result<u64, Refusal> = postcard::from_bytes(&reply).expect("it is a reply");
        reply.expect("nothing speaks against adding 1")
    }

    async fn read(&self, client: &Client) -> u64 {
        let query = Query::Get { name: self.counter.clone() };
        let ask = || client.query_as::<Counters>(&query, Consistency::Linearizable);
        match persist(ask).await {
            (_, Answer::Value(value)) => value,
            (_, Answer::Page(page)) => panic!("{page:?} is no value"),
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// Tries until there is an answer.
async fn persist<T, F>(mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, ClientError>>,
{
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(answer) => return answer,
            Err(error @ ClientError::Rejected(_)) => panic!("{error}"),
            Err(error) => assert!(begun.elapsed() < LIMIT, "no answer in {LIMIT:?}: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
