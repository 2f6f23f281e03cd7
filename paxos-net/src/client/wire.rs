//! One connection to one node, shared by many calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_core::{ClusterId, NodeId, Slot};
use quinn::{Connection, SendStream};
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::close::{self, Close};
use crate::codec::Codec;
use crate::dial::{self, DialError};
use crate::frame::{CLIENT_FRAME_MAX, FrameTooLarge};
use crate::lock::lock;
use crate::network::Entropy;
use crate::outbox::{NotQueued, Outbox};
use crate::protocol::{
    Call, ClientHello, ClientRequest, ClientResponse, ClientWelcome, NEWS, Response, VERSION,
};
use crate::reader::{Ended, FrameReader};

/// Bytes of requests that may wait for the network.
const QUEUE_BYTES: usize = 16 << 20;

/// How often a connection with waiting calls listens for signs of life,
const LISTEN: Duration = Duration::from_millis(60);

/// and how many pings in a row may remain without any.
const PINGS: u32 = 4;

/// Nobody waits for the answer to a ping.
const PING: u64 = NEWS;

/// A connection. When the last who uses it drops it, it closes.
pub(crate) struct Wire {
    line: Arc<Line>,
    welcome: ClientWelcome,
    window: Semaphore,
}

struct Line {
    connection: Connection,
    codec: Codec,
    outbox: Outbox,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    news: News,
}

#[derive(Default)]
struct Waiting {
    calls: BTreeMap<u64, oneshot::Sender<ClientResponse>>,
    closed: Option<String>,
}

/// Why a call has no response.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoResponse {
    /// It never left.
    #[error("not sent: {0}")]
    NotSent(String),
    /// No frame can carry it.
    #[error("too long to be sent")]
    TooLarge,
    /// It may have been read.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

/// What a node is dialed with.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) quic: quinn::Endpoint,
    pub(crate) config: quinn::ClientConfig,
    pub(crate) codec: Codec,
    pub(crate) cluster: ClusterId,
    pub(crate) entropy: Entropy,
    /// What a node has said last, unasked, of where the nodes can be reached.
    pub(crate) news: News,
}

/// The newest of it, by the slot from which it is so, until it is taken in. Shared by all
/// connections of a client.
pub(crate) type News = Arc<Mutex<(Slot, Option<BTreeMap<NodeId, String>>)>>;

impl Dialer {
    /// Connects to a node and waits until it has accepted us.
    pub(crate) async fn dial(
        &self,
        node: NodeId,
        address: &str,
        deadline: Instant,
    ) -> Result<Wire, DialError> {
        let target = (self.cluster, node);
        let connection =
            dial::connect(&self.quic, self.config.clone(), target, address, deadline).await?;
        let silent = || DialError::Silent { address: address.to_owned() };
        let greeted = greet(&connection, self.codec, address);
        let (send, reader, welcome) =
            timeout_at(deadline, greeted).await.map_err(|_| silent())??;
        let line = Arc::new(Line {
            connection,
            codec: self.codec,
            outbox: Outbox::new(QUEUE_BYTES),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            news: self.news.clone(),
        });
        tokio::spawn(line.clone().run(send, reader));
        let window = Semaphore::new(welcome.requests.clamp(1, 1 << 20) as usize);
        Ok(Wire { line, welcome, window })
    }
}

async fn greet(
    connection: &Connection,
    codec: Codec,
    address: &str,
) -> Result<(SendStream, FrameReader, ClientWelcome), DialError> {
    let lost = |error| DialError::of(&error, address);
    let (mut send, receive) = connection.open_bi().await.map_err(lost)?;
    let mut reader = FrameReader::new(receive, CLIENT_FRAME_MAX);
    let mut bytes = Vec::new();
    crate::frame::append(&mut bytes, codec, &ClientHello { version: VERSION }, CLIENT_FRAME_MAX)
        .map_err(|error: FrameTooLarge| DialError::Failed(error.to_string()))?;
    if send.write_all(&bytes).await.is_err() {
        return Err(DialError::behind(connection, Ended::Lost, address).await);
    }
    match reader.one().await {
        Ok(frame) => match codec.decode(&frame) {
            Ok(welcome) => Ok((send, reader, welcome)),
            Err(error) => Err(DialError::Failed(error.to_string())),
        },
        Err(ended) => Err(DialError::behind(connection, ended, address).await),
    }
}

impl Wire {
    /// What the node said first.
    pub(crate) fn welcome(&self) -> &ClientWelcome {
        &self.welcome
    }

    /// Whether calls can still be sent.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.line.waiting).closed.is_none()
    }

    /// Waits until there is room among the calls that the node takes at once.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.window.acquire().await.ok()
    }

    /// Sends a call and waits for the response.
    pub(crate) async fn call(
        &self,
        call: Call,
        timeout_ms: u64,
    ) -> Result<ClientResponse, NoResponse> {
        let line = &self.line;
        let id = line.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = lock(&line.waiting);
            if let Some(words) = &waiting.closed {
                return Err(NoResponse::NotSent(words.clone()));
            }
            waiting.calls.insert(id, tell);
        }
        let _forget = Forget { line, id };
        let request = ClientRequest { id, timeout_ms, call };
        line.outbox.push(line.codec, &[request], CLIENT_FRAME_MAX).map_err(|not| match not {
            NotQueued::Full => NoResponse::NotSent("too much waits to be sent".to_owned()),
            NotQueued::TooLarge => NoResponse::TooLarge,
        })?;
        told.await
            .map_err(|_| NoResponse::Lost(lock(&line.waiting).closed.clone().unwrap_or_default()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        Close::DONE.apply(&self.line.connection);
    }
}

/// A call that is given up is not waited for by anybody.
struct Forget<'a> {
    line: &'a Line,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.line.waiting).calls.remove(&self.id);
    }
}

impl Line {
    async fn run(self: Arc<Self>, mut send: SendStream, mut reader: FrameReader) {
        let reading = async {
            loop {
                let frames = match reader.batch().await {
                    Ok(frames) => frames,
                    Err(Ended::TooLarge(error)) => return error.to_string(),
                    Err(_) => return close::words(&self.connection.closed().await),
                };
                for frame in frames {
                    match self.codec.decode::<ClientResponse>(&frame) {
                        Ok(response) => self.complete(response),
                        Err(error) => return error.to_string(),
                    }
                }
            }
        };
        let words = tokio::select! {
            biased;
            words = reading => words,
            _ = self.outbox.drain_into(&mut send) => close::words(&self.connection.closed().await),
            words = self.watch() => words,
        };
        Close::DONE.apply(&self.connection);
        let mut waiting = lock(&self.waiting);
        waiting.closed = Some(words);
        waiting.calls.clear();
    }

    /// Ends when nothing at all comes from the node although calls wait for it: whoever dies
    /// without a word is not waited for until a time-out of QUIC.
    async fn watch(&self) -> String {
        let heard = || self.connection.stats().udp_rx.datagrams;
        let (mut before, mut silent) = (heard(), 0);
        loop {
            sleep(LISTEN).await;
            let now = heard();
            if now != before || lock(&self.waiting).calls.is_empty() {
                (before, silent) = (now, 0);
                continue;
            }
            silent += 1;
            if silent > PINGS {
                return format!("no sign of life for {} ms", (LISTEN * silent).as_millis());
            }
            let ping = ClientRequest { id: PING, timeout_ms: 0, call: Call::Ping };
            // If there is no room for it, there is enough that the node must acknowledge.
            self.outbox.push(self.codec, &[ping], CLIENT_FRAME_MAX).ok();
        }
    }

    fn complete(&self, response: ClientResponse) {
        if let Response::News { from, addresses } = response.response {
            let mut news = lock(&self.news);
            if news.0 <= from {
                *news = (from, Some(addresses));
            }
            return;
        }
        // Nobody waits for a call that was given up.
        if let Some(tell) = lock(&self.waiting).calls.remove(&response.id) {
            tell.send(response).ok();
        }
    }
}
