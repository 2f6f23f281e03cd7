//! The light client: finds the leader, keeps sessions, retries until a deadline, and says what is
//! certain when it fails. It is no cache and no actor; it needs a tokio runtime and nothing else.

mod calls;
mod error;
mod nodes;
mod sessions;
#[cfg(test)]
mod tests;
mod watcher;
mod wire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use paxos_core::{
    Manifest, Membership, NodeId, Operation, Outcome, Rejection, SessionId, Slot, StateMachine,
};
use quinn::TokioRuntime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cluster_file::ClusterFile;
use crate::codec::{Codec, Protocol};
use crate::credentials::Credentials;
use crate::limits::Limits;
use crate::network::Network;
use crate::protocol::{
    Call, ChangeRecord, Consistency, MembersReport, NodeReport, Response, Served,
};
use crate::tls;

use self::calls::Failure;
use self::nodes::Nodes;
use self::sessions::{Session, Sessions};
use self::wire::Dialer;

pub use self::error::ClientError;
pub use self::watcher::{Watched, Watcher};

/// For a node to report on itself; one that does not is not waited for longer.
const STATUS: Duration = Duration::from_secs(2);
/// Once a node has said who takes part, the others have so long.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// For [`Client::close`]: sessions that are not closed end by themselves when room is needed.
const FAREWELL: Duration = Duration::from_millis(500);
/// The transport is given this long to send its last packets.
const LEAVING: Duration = Duration::from_millis(10);

/// How a client is set up.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The cluster and where its nodes are.
    pub cluster: ClusterFile,
    /// The client's certificate.
    pub credentials: Credentials,
    /// Talk to the node at this address only, which must be one of the cluster file.
    pub via: Option<String>,
    /// For one call, retries included.
    pub timeout: Duration,
    /// How messages become bytes.
    pub codec: Codec,
    /// Sessions at most, and so commands in flight.
    pub sessions_max: usize,
    /// Connections to the node that it talks to.
    pub connections: usize,
}

impl ClientConfig {
    /// The defaults: 5 s a call, 64 sessions, one connection, the codec of the cluster file.
    pub fn new(cluster: ClusterFile, credentials: Credentials) -> Self {
        let codec = cluster.net.codec;
        ClientConfig {
            cluster,
            credentials,
            via: None,
            timeout: Duration::from_secs(5),
            codec,
            sessions_max: 64,
            connections: 1,
        }
    }
}

/// What a query found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read<A> {
    /// The last slot applied in the state that was read.
    pub slot: Slot,
    /// The answer.
    pub answer: A,
    /// How new that state certainly was.
    pub served: Served,
}

/// A client of a cluster. Clones share connections and sessions.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Arc<Nodes>,
    sessions: Arc<Sessions>,
    timeout: Duration,
    quic: quinn::Endpoint,
    /// The newest slot that a read has seen.
    seen: AtomicU64,
    closed: AtomicBool,
}

impl Client {
    /// Makes a client, which connects when it is first used. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Configuration`], or [`ClientError::Certificate`] if it is for another
    /// cluster.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        Self::new_on(config, &Network::default())
    }

    /// [`Client::new`] on any network.
    ///
    /// # Errors
    /// [`ClientError::Configuration`].
    pub fn new_on(config: ClientConfig, network: &Network) -> Result<Self, ClientError> {
        let wrong = ClientError::Configuration;
        let cluster = config.cluster.cluster;
        let identity = config.credentials.identity();
        if identity.cluster != cluster {
            return Err(ClientError::Certificate(format!(
                "it is for cluster {}, the cluster file for {cluster}",
                identity.cluster
            )));
        }
        let via = match &config.via {
            None => None,
            Some(via) => Some(config.cluster.node_at(via).ok_or_else(|| {
                wrong(format!("{via} is not an address in the cluster file: add it there first"))
            })?),
        };
        let quic = bind(network)
            .map_err(|error| wrong(format!("cannot open a UDP socket to talk from: {error}")))?;
        let alpn = Protocol::Client.alpn(config.codec);
        let crypto =
            tls::dialing(&config.credentials, alpn).map_err(|error| wrong(error.to_string()))?;
        let mut dialing = quinn::ClientConfig::new(Arc::new(crypto));
        dialing.transport_config(Arc::new(Limits::default().client()));
        let dialer = Dialer {
            quic: quic.clone(),
            config: dialing,
            codec: config.codec,
            cluster,
            entropy: network.entropy.clone(),
            news: Arc::default(),
        };
        let nodes = Nodes::new(dialer, config.cluster.nodes.clone(), via, config.connections);
        let sessions = Sessions::new(config.sessions_max);
        let inner = Inner {
            nodes,
            sessions,
            timeout: config.timeout,
            quic,
            seen: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// Runs a command exactly once, in a session of this client's own, and returns its reply.
    ///
    /// # Errors
    /// See [`ClientError`]; only with [`ClientError::Unknown`] may the command have run.
    pub async fn execute(&self, command: Bytes) -> Result<Bytes, ClientError> {
        let deadline = self.deadline();
        let Some(place) = self.inner.sessions.place(deadline).await else {
            return Err(ClientError::Busy);
        };
        loop {
            let session = match place.take() {
                Some(session) => session,
                None => Session { id: self.open_until(deadline).await?, next: 1 },
            };
            let done = self.run(session.id, session.next, &command, deadline).await;
            match &done {
                Ok(_) => place.give_back(Session { next: session.next + 1, ..session }),
                // The session is gone and the command was never sent before: begin anew.
                Err(ClientError::Rejected(Rejection::SessionExpired { .. })) => continue,
                // Its outcome is open, or the two sides disagree on it: let the session be.
                Err(ClientError::Unknown { .. } | ClientError::Undecodable(_)) => {}
                Err(ClientError::Rejected(rejection)) if *rejection != Rejection::NotACommand => {}
                Err(_) => place.give_back(session),
            }
            return done;
        }
    }

    /// Opens a session, for [`Client::execute_in`].
    ///
    /// # Errors
    /// See [`ClientError`]. A session that was opened unnoticed ends by itself.
    pub async fn open(&self) -> Result<SessionId, ClientError> {
        self.open_until(self.deadline()).await
    }

    /// Runs a command under a request id of the caller's choice, so that it can be repeated after
    /// any failure, also by another process.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn execute_in(
        &self,
        session: SessionId,
        sequence: u64,
        command: Bytes,
    ) -> Result<Bytes, ClientError> {
        let done = self.run(session, sequence, &command, self.deadline()).await;
        // Just what a command is told that has run before, and whose answer was lost since.
        match done {
            Err(ClientError::Rejected(why)) if why.may_have_run() => {
                Err(ClientError::Unknown { session, sequence, why: why.to_string() })
            }
            done => done,
        }
    }

    /// Reads; returns the answer and the last slot applied in the state that was read.
    ///
    /// # Errors
    /// See [`ClientError`]. A query never has an effect.
    pub async fn query(
        &self,
        query: Bytes,
        consistency: Consistency,
    ) -> Result<(Slot, Bytes), ClientError> {
        let read = self.read(query, consistency).await?;
        Ok((read.slot, read.answer))
    }

    /// Reads; returns with the answer how new it is. Of this client, no stale read goes back behind
    /// what an earlier read of it has seen, whatever node it asks.
    ///
    /// # Errors
    /// See [`ClientError`]. A query never has an effect.
    pub async fn read(
        &self,
        query: Bytes,
        consistency: Consistency,
    ) -> Result<Read<Bytes>, ClientError> {
        let seen = Slot(self.inner.seen.load(Ordering::Relaxed));
        let consistency = match consistency {
            Consistency::Stale { at_least } => Consistency::Stale { at_least: at_least.max(seen) },
            other => other,
        };
        let call = Call::Query { query, consistency };
        match self.ask(&call, self.deadline()).await {
            Ok((Response::Answer { slot, answer, served }, _)) => {
                self.inner.seen.fetch_max(slot.0, Ordering::Relaxed);
                Ok(Read { slot, answer, served })
            }
            Ok(_) => Err(unexpected()),
            Err(Failure { error, .. }) => Err(error),
        }
    }

    /// Has the leader hand over, and returns who leads then: `to`, or whichever voter was level
    /// first. If `from` does not lead any more, nothing is done. Needs an admin's certificate.
    ///
    /// # Errors
    /// See [`ClientError`]; [`crate::protocol::Refused::NotHandedOver`] if it leads on.
    pub async fn transfer(&self, from: NodeId, to: Option<NodeId>) -> Result<NodeId, ClientError> {
        match self.ask(&Call::Transfer { from, to }, self.deadline()).await {
            Ok((Response::Led { leader }, _)) => Ok(leader),
            Ok(_) => Err(unexpected()),
            Err(Failure { error, .. }) => Err(error),
        }
    }

    /// Who takes part, as the node knows that knows most of those that answer soon: one that has
    /// just started, or was away, may know a membership of the past.
    ///
    /// # Errors
    /// See [`ClientError`]: that of a node, if none answers.
    pub async fn members(&self) -> Result<MembersReport, ClientError> {
        let mut deadline = Instant::now() + self.inner.timeout;
        let mut asked = JoinSet::new();
        for node in self.inner.nodes.asked() {
            let client = self.clone();
            asked.spawn(async move { client.ask_node(node, Call::Members, deadline).await });
        }
        let (mut newest, mut error) = (None::<MembersReport>, unexpected());
        while let Ok(Some(answered)) = timeout_at(deadline, asked.join_next()).await {
            match answered {
                Ok(Ok(Response::Members(report))) => {
                    deadline = deadline.min(Instant::now() + STRAGGLERS);
                    let rank = |report: &MembersReport| (report.from, report.settled, report.next);
                    if newest.as_ref().is_none_or(|newest| rank(newest) < rank(&report)) {
                        newest = Some(*report);
                    }
                }
                Ok(Err(why)) => error = why,
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        newest.ok_or(error)
    }

    /// Has the membership changed; answers from which slot on the new one governs. Needs an admin's
    /// certificate.
    ///
    /// # Errors
    /// See [`ClientError`]. With [`ClientError::Doubtful`] the change may have been made: ask who
    /// takes part.
    pub async fn reconfigure(
        &self,
        base: Slot,
        membership: Membership,
    ) -> Result<Slot, ClientError> {
        let call = Call::Reconfigure { base, membership: Box::new(membership) };
        match self.ask(&call, self.deadline()).await {
            Ok((Response::Done(Outcome::Reconfigured(from)), _)) => Ok(from),
            // Our own change may be the one that came first.
            Ok((Response::Done(Outcome::Rejected(why)), Some(_))) => {
                Err(ClientError::Doubtful(why.to_string()))
            }
            Ok((Response::Done(outcome), _)) => Err(rejected(outcome)),
            Ok(_) => Err(unexpected()),
            Err(Failure { doubt: Some(why), .. }) => Err(ClientError::Doubtful(why)),
            Err(Failure { error, doubt: None }) => Err(error),
        }
    }

    /// Has a node make a snapshot; answers the first slot that it will not cover. It is made when
    /// the node's status says so. Needs an admin's certificate.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn save(&self, node: NodeId) -> Result<Slot, ClientError> {
        match self.ask_node(node, Call::Save, self.deadline()).await? {
            Response::Saving { upto } => Ok(upto),
            _ => Err(unexpected()),
        }
    }

    /// A piece of a node's snapshot, and which it is of; `None` for the newest. An empty piece is
    /// the end. Needs an admin's certificate.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn piece(
        &self,
        node: NodeId,
        upto: Option<Slot>,
        offset: u64,
    ) -> Result<(Manifest, Bytes), ClientError> {
        match self.ask_node(node, Call::Piece { upto, offset }, self.deadline()).await? {
            Response::Piece { snapshot, bytes } => Ok((snapshot, bytes)),
            _ => Err(unexpected()),
        }
    }

    /// How a node is, as it says itself.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self, node: NodeId) -> Result<NodeReport, ClientError> {
        self.status_until(node, self.deadline()).await
    }

    /// How all nodes are. Those that do not answer are not waited for long.
    pub async fn statuses(&self) -> BTreeMap<NodeId, Result<NodeReport, ClientError>> {
        let deadline = Instant::now() + self.inner.timeout.min(STATUS);
        let mut asked = JoinSet::new();
        for node in self.inner.nodes.addresses().into_keys() {
            let client = self.clone();
            asked.spawn(async move { (node, client.status_until(node, deadline).await) });
        }
        asked.join_all().await.into_iter().collect()
    }

    /// What changes of leadership each node remembers. Those that do not answer are not waited for
    /// long.
    pub async fn changes(&self) -> BTreeMap<NodeId, Result<Vec<ChangeRecord>, ClientError>> {
        let deadline = Instant::now() + self.inner.timeout.min(STATUS);
        let mut asked = JoinSet::new();
        for node in self.inner.nodes.addresses().into_keys() {
            let client = self.clone();
            asked.spawn(async move {
                let changes = match client.ask_node(node, Call::Changes, deadline).await {
                    Ok(Response::Changes(changes)) => Ok(changes),
                    Ok(_) => Err(unexpected()),
                    Err(error) => Err(error),
                };
                (node, changes)
            });
        }
        asked.join_all().await.into_iter().collect()
    }

    /// [`Client::execute`] in the types of a service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn execute_as<S: StateMachine>(
        &self,
        command: &S::Command,
    ) -> Result<S::Reply, ClientError> {
        decode(&self.execute(encode(command)?).await?)
    }

    /// [`Client::query`] in the types of a service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query_as<S: StateMachine>(
        &self,
        query: &S::Query,
        consistency: Consistency,
    ) -> Result<(Slot, S::Answer), ClientError> {
        let read = self.read_as::<S>(query, consistency).await?;
        Ok((read.slot, read.answer))
    }

    /// [`Client::read`] in the types of a service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn read_as<S: StateMachine>(
        &self,
        query: &S::Query,
        consistency: Consistency,
    ) -> Result<Read<S::Answer>, ClientError> {
        let Read { slot, answer, served } = self.read(encode(query)?, consistency).await?;
        Ok(Read { slot, answer: decode(&answer)?, served })
    }

    /// Closes free sessions, as far as that goes quickly, and the connections.
    pub async fn close(&self) {
        let deadline = Instant::now() + FAREWELL;
        let mut closing = JoinSet::new();
        for session in self.inner.sessions.drain() {
            let client = self.clone();
            let call = Call::Operate(Operation::Close { session: session.id });
            closing.spawn(async move { client.ask(&call, deadline).await.is_ok() });
        }
        closing.join_all().await;
        self.inner.closed.store(true, Ordering::Relaxed);
        timeout(FAREWELL, self.inner.nodes.close()).await.ok();
        self.inner.quic.close(0u32.into(), b"done");
        // The word goes out at once; that it arrived is not worth waiting for.
        timeout(LEAVING, self.inner.quic.wait_idle()).await.ok();
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.inner.timeout
    }
}

/// Prefers a socket that reaches both families.
fn bind(network: &Network) -> std::io::Result<quinn::Endpoint> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let old = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket = network.sockets.open(both).or_else(|_| network.sockets.open(old))?;
    let mut config = quinn::EndpointConfig::default();
    config.rng_seed(network.entropy.quic_seed());
    quinn::Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))
}

fn encode<T: Serialize>(value: &T) -> Result<Bytes, ClientError> {
    let encoded = postcard::to_stdvec(value);
    encoded.map(Bytes::from).map_err(|error| ClientError::Configuration(error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    postcard::from_bytes(bytes).map_err(|error| ClientError::Undecodable(error.to_string()))
}

fn unexpected() -> ClientError {
    ClientError::Undecodable("a response to another question".to_owned())
}

/// What an operation came to, if it is not what was asked for.
fn rejected(outcome: Outcome) -> ClientError {
    match outcome {
        Outcome::Rejected(rejection) => ClientError::Rejected(rejection),
        _ => unexpected(),
    }
}
