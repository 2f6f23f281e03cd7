//! A node's end of the network: one UDP port for peers and clients, in and out.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use paxos_core::{ClusterId, NodeId, Slot};
use quinn::crypto::rustls::HandshakeData;
use quinn::{AsyncUdpSocket, ClientConfig, Connection, Incoming, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::close::{self, Close};
use crate::codec::{Codec, Protocol};
use crate::counts::{Counts, EndpointReport};
use crate::credentials::Credentials;
use crate::identity::Role;
use crate::limits::Limits;
use crate::link::Link;
use crate::links::{self, Links};
use crate::lock::lock;
use crate::network::{Entropy, Network};
use crate::protocol::{Hello, VERSION};
use crate::service::Service;
use crate::tls::{self, TlsError};
use crate::{clients, inbound};

/// How long [`Endpoint::close`] waits for the others to hear of it.
const FAREWELL: Duration = Duration::from_millis(500);

/// How often [`Endpoint::close`] looks whether the port is free.
const RELEASE: Duration = Duration::from_millis(1);

/// A node that has restarted tells the other ends of its old connections so this often at most.
const RESET_INTERVAL: Duration = Duration::from_millis(2);

/// What an endpoint is made of.
pub struct EndpointConfig {
    /// The node, as its certificate says.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The hash of the membership that the cluster was bootstrapped with.
    pub genesis: u64,
    /// How often the node has started.
    pub incarnation: u64,
    /// Drawn anew at every start.
    pub nonce: u64,
    /// The node's certificate.
    pub credentials: Credentials,
    /// Where to listen. An unspecified address listens on all.
    pub bind: SocketAddr,
    /// How this node's own links speak; it understands every codec.
    pub codec: Codec,
    /// The limits.
    pub limits: Limits,
    /// Where the nodes can be reached, for clients.
    pub addresses: BTreeMap<NodeId, String>,
    /// What everything received is handed to.
    pub service: Arc<dyn Service>,
}

/// Why an endpoint could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program has the port.
    #[error(
        "UDP port {address} is in use: is this node running already? Stop it, or choose another"
    )]
    InUse {
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The address is not one to listen on.
    #[error("cannot listen on UDP port {address}: {error}")]
    Io {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate is that of somebody else.
    #[error("the certificate is that of {found}, not of {wanted}: use the folder of this node")]
    WrongIdentity {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// TLS cannot work with the certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A node's end of the network. It works until it is closed or dropped.
pub struct Endpoint {
    shared: Arc<Shared>,
    socket: Weak<dyn AsyncUdpSocket>,
}

/// What all tasks of an endpoint have in common.
pub(crate) struct Shared {
    pub(crate) hello: Hello,
    pub(crate) codec: Codec,
    pub(crate) limits: Limits,
    /// Where the nodes can be reached, by the membership that governs from this slot on.
    addresses: Mutex<(Slot, BTreeMap<NodeId, String>)>,
    clients: Mutex<Vec<Weak<clients::Line>>>,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) quic: quinn::Endpoint,
    pub(crate) dialing: ClientConfig,
    pub(crate) counts: Counts,
    pub(crate) entropy: Entropy,
    /// The run in which each peer was met last, by its incarnation.
    runs: Mutex<BTreeMap<NodeId, u64>>,
    peers: Mutex<BTreeMap<NodeId, Connection>>,
    callers: Mutex<BTreeMap<String, usize>>,
    nudges: Mutex<BTreeMap<NodeId, Arc<Notify>>>,
    half_open: AtomicUsize,
    closing: AtomicBool,
}

impl Endpoint {
    /// Listens on a port of the system. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(config: EndpointConfig) -> Result<Self, BindError> {
        Self::bind_on(config, &Network::default())
    }

    /// Listens on a port of any network.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_on(config: EndpointConfig, network: &Network) -> Result<Self, BindError> {
        let address = config.bind;
        let socket = network.sockets.open(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address },
            _ => BindError::Io { address, error },
        })?;
        let found = config.credentials.identity();
        let wanted = crate::identity::Identity::peer(config.cluster, config.node);
        if *found != wanted {
            let (found, wanted) = (found.to_string(), wanted.to_string());
            return Err(BindError::WrongIdentity { found, wanted });
        }
        let mut server = ServerConfig::with_crypto(Arc::new(tls::listening(&config.credentials)?));
        config.limits.apply(&mut server);
        let alpn = Protocol::Peer.alpn(config.codec);
        let mut dialing = ClientConfig::new(Arc::new(tls::dialing(&config.credentials, alpn)?));
        dialing.transport_config(Arc::new(config.limits.link()));
        let held = Arc::downgrade(&socket);
        let mut keyed = keyed(config.credentials.key().secret_der());
        keyed.rng_seed(network.entropy.quic_seed());
        let quic = quinn::Endpoint::new_with_abstract_socket(
            keyed,
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(|error| BindError::Io { address: config.bind, error })?;
        let hello = Hello {
            cluster: config.cluster,
            genesis: config.genesis,
            node: config.node,
            incarnation: config.incarnation,
            nonce: config.nonce,
            version: VERSION,
        };
        let shared = Arc::new(Shared {
            hello,
            codec: config.codec,
            limits: config.limits,
            addresses: Mutex::new((Slot(0), config.addresses)),
            clients: Mutex::default(),
            service: config.service,
            quic,
            dialing,
            counts: Counts::default(),
            entropy: network.entropy.clone(),
            peers: Mutex::default(),
            runs: Mutex::default(),
            callers: Mutex::default(),
            nudges: Mutex::default(),
            half_open: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        tokio::spawn(accept(shared.clone()));
        Ok(Endpoint { shared, socket: held })
    }

    /// Where it listens: tells the port if it was left to the system.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.quic.local_addr()
    }

    /// Dials a peer and keeps dialing, until every clone of the link is dropped or the endpoint
    /// closed. One link a peer; for a new address, drop the old link.
    pub fn link(&self, peer: NodeId, address: String) -> Link {
        links::dial(&self.shared, peer, address)
    }

    /// The links to all others, none at first.
    pub fn links(&self) -> Links {
        Links::new(&self.shared)
    }

    /// What was refused or dropped so far.
    pub fn report(&self) -> EndpointReport {
        self.shared.counts.report()
    }

    /// Closes every connection and tells the other ends, then waits until the port is free: another
    /// run of the node may follow at once.
    pub async fn close(self) {
        self.shared.stop();
        // If it does not come through, their time-outs tell them.
        timeout(FAREWELL, self.shared.quic.wait_idle()).await.ok();
        let socket = self.socket.clone();
        drop(self);
        let released = async {
            while socket.strong_count() > 0 {
                sleep(RELEASE).await;
            }
        };
        // Somebody may keep a handle for reasons of his own; the port is free when he drops it.
        timeout(FAREWELL, released).await.ok();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.quic.close(Close::STOPPING.code(), Close::STOPPING.text());
        // Links that are waiting to dial again have nothing to wait for.
        for nudge in lock(&self.nudges).values() {
            nudge.notify_waiters();
        }
    }

    /// Whether nothing more is to be dialed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Makes a connection the one of its peer; an older one is closed.
    pub(crate) fn adopt(&self, peer: NodeId, run: u64, connection: &Connection) {
        lock(&self.runs).insert(peer, run);
        if let Some(older) = lock(&self.peers).insert(peer, connection.clone()) {
            Close::REPLACED.apply(&older);
        }
        // The peer is there: a link to it that is waiting need not wait longer.
        if let Some(nudge) = lock(&self.nudges).get(&peer) {
            nudge.notify_waiters();
        }
    }

    /// Where the nodes can be reached, for clients.
    pub(crate) fn addresses(&self) -> (Slot, BTreeMap<NodeId, String>) {
        lock(&self.addresses).clone()
    }

    /// Clients are told these addresses from now on, those that are connected too.
    pub(crate) fn advertise(&self, from: Slot, addresses: BTreeMap<NodeId, String>) {
        *lock(&self.addresses) = (from, addresses);
        let mut clients = lock(&self.clients);
        clients.retain(|client| client.strong_count() > 0);
        let connected: Vec<_> = clients.iter().filter_map(Weak::upgrade).collect();
        drop(clients);
        connected.iter().for_each(|client| client.tell_news(self));
    }

    /// The client hears of new addresses while it is connected.
    pub(crate) fn keep_told(&self, client: &Arc<clients::Line>) {
        lock(&self.clients).push(Arc::downgrade(client));
    }

    /// Whoever waits to dial a peer is to be told when that peer dials us.
    pub(crate) fn expect(&self, peer: NodeId, nudge: Arc<Notify>) {
        lock(&self.nudges).insert(peer, nudge);
    }

    /// Closes the connection of a peer.
    pub(crate) fn hang_up(&self, peer: NodeId, reason: Close) {
        if let Some(connection) = lock(&self.peers).remove(&peer) {
            reason.apply(&connection);
        }
    }

    /// Whether a peer has been met in a later run than this.
    pub(crate) fn has_restarted(&self, peer: NodeId, run: u64) -> bool {
        lock(&self.runs).get(&peer).is_some_and(|met| *met > run)
    }

    /// Forgets a connection that has ended.
    pub(crate) fn disown(&self, peer: NodeId, connection: &Connection) {
        let mut peers = lock(&self.peers);
        if peers.get(&peer).is_some_and(|own| own.stable_id() == connection.stable_id()) {
            peers.remove(&peer);
        }
    }

    /// Takes a seat for a client's connection; `None`: this identity has as many as it may.
    pub(crate) fn seat(self: &Arc<Self>, identity: &str) -> Option<Seat> {
        let mut callers = lock(&self.callers);
        let taken = callers.entry(identity.to_owned()).or_default();
        if *taken >= self.limits.connections_per_identity {
            return None;
        }
        *taken += 1;
        Some(Seat { shared: self.clone(), identity: identity.to_owned() })
    }
}

/// One client connection of an identity, counted while it lives.
pub(crate) struct Seat {
    shared: Arc<Shared>,
    identity: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut callers = lock(&self.shared.callers);
        if let Some(taken) = callers.get_mut(&self.identity) {
            *taken -= 1;
            if *taken == 0 {
                callers.remove(&self.identity);
            }
        }
    }
}

/// A handshake in progress, counted while it lives.
pub(crate) struct HalfOpen(Arc<Shared>);

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.half_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keys that follow from the node's own, so that the next run of the node recognises connections
/// of this one and resets them at once; the other ends need not wait for their time-outs.
fn keyed(secret: &[u8]) -> quinn::EndpointConfig {
    let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let derive = |label: &[u8]| hmac::sign(&root, label);
    let reset = hmac::Key::new(hmac::HMAC_SHA256, derive(b"paxos stateless reset").as_ref());
    let names = derive(b"paxos connection ids");
    let names = names.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut config = quinn::EndpointConfig::new(Arc::new(reset));
    config.min_reset_interval(RESET_INTERVAL);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(names)));
    config
}

async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.quic.accept().await {
        let open = shared.half_open.load(Ordering::Relaxed);
        if open >= shared.limits.half_open_max {
            shared.counts.handshakes_refused.warn(&incoming.remote_address(), &"too many at once");
            incoming.refuse();
        } else if open >= shared.limits.half_open_retry
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // A source that does not receive what is sent to its address does not come back.
            incoming.retry().ok();
        } else {
            shared.half_open.fetch_add(1, Ordering::Relaxed);
            let guard = HalfOpen(shared.clone());
            tokio::spawn(greet(shared.clone(), incoming, guard));
        }
    }
}

/// One incoming connection, from its first packet to its end.
async fn greet(shared: Arc<Shared>, incoming: Incoming, guard: HalfOpen) {
    let from = incoming.remote_address();
    let deadline = Instant::now() + shared.limits.hello_deadline;
    let shaken = async { incoming.accept()?.await };
    let connection = match timeout_at(deadline, shaken).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let what = format!("handshake failed: {}", close::words(&error));
            return shared.counts.handshakes_refused.warn(&from, &what);
        }
        Err(_) => {
            return shared.counts.handshakes_refused.warn(&from, &"handshake not done in time");
        }
    };
    match admit(&shared, &connection) {
        Ok((Protocol::Peer, codec, Role::Peer(peer))) => {
            inbound::serve(shared, connection, codec, peer, deadline, guard).await;
        }
        Ok((_, codec, role)) => {
            clients::serve(shared, connection, codec, role, deadline, guard).await;
        }
        Err(reason) => {
            shared.counts.roles_refused.warn(&from, &reason);
            reason.apply(&connection);
        }
    }
}

/// What a connection is for, if its certificate entitles to it.
fn admit(shared: &Shared, connection: &Connection) -> Result<(Protocol, Codec, Role), Close> {
    let (protocol, codec) = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| Protocol::of_alpn(&data.protocol?))
        .ok_or(Close::ROLE)?;
    let identity = tls::identity_of(connection).ok_or(Close::NO_IDENTITY)?;
    if identity.cluster != shared.hello.cluster {
        return Err(Close::FOREIGN);
    }
    if !tls::allows(protocol, &identity.role) {
        return Err(Close::ROLE);
    }
    Ok((protocol, codec, identity.role))
}
