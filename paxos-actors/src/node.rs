//! A node: the whole graph, started and stopped as one.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix::{AsyncContext, Context};
use paxos_core::{
    Acceptor, AcceptorOptions, Applied, Archive, ArchiveOptions, Backlog, Configurations, Elector,
    Envelope, HeartbeatOptions, HeartbeatPolicy, Learner, LearnerOptions, Message, NodeId,
    Position, Proposer, ProposerOptions, RecentOptions, Replica, RestoreError, Role, RoleKind,
    Slot, StateMachine, TopicFilter,
};
use paxos_net::protocol::Consistency;
use paxos_net::{
    BindError, Client, ClientConfig, ClientError, ClusterFile, ClusterFileError, CredentialsError,
    Endpoint, EndpointConfig, Entropy, Watcher,
};
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::apply::ApplyActor;
use crate::bootstrap::node_folder;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::farewell;
use crate::gateway::{GatewayActor, GatewayOptions};
use crate::graph;
use crate::ground::{self, Ground};
use crate::ingress::Ingress;
use crate::log::{
    Inspection, LockError, Log, LogOptions, OpenError, SnapshotError, SnapshotReport, Snapshots,
};
use crate::log_actor::{LogActor, Writes};
use crate::messages::Halt;
use crate::observer::Observer;
use crate::role::RoleActor;
use crate::roster::Roster;
use crate::shelf::{Arrivals, Shelf, ShelfActor};
use crate::watches::{WatchOptions, Watches};
use crate::wiring::{RoleAddress, Wires, Wiring};

/// What a node needs to know to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its cluster.
    pub cluster: ClusterFile,
    /// Which of the nodes it is.
    pub node: NodeId,
    /// Its folder: certificate, key and data directory.
    pub folder: PathBuf,
    /// Where to listen, if not where the others reach it.
    pub bind: Option<SocketAddr>,
}

impl NodeConfig {
    /// Reads the cluster file. The node's folder is the one beside it, unless one is named.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn load(
        cluster_file: &Path,
        node: NodeId,
        folder: Option<PathBuf>,
    ) -> Result<Self, StartError> {
        let cluster = ClusterFile::load(cluster_file)?;
        let beside = cluster_file.parent().unwrap_or(Path::new("."));
        let folder = folder.unwrap_or_else(|| node_folder(beside, node));
        Ok(NodeConfig { cluster, node, folder, bind: None })
    }

    /// The log of the node, to be read while the node does not run; nothing is written.
    ///
    /// # Errors
    /// See [`StartError`]: above all, that the node runs.
    pub fn inspect(&self) -> Result<Inspection, StartError> {
        self.address()?;
        ground::inspect(&self.folder, self.cluster.cluster, self.node)
    }

    /// The snapshots in the node's folder, oldest first, each read as a whole if its checksum is to
    /// be looked at. The node may run.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn snapshots(&self, whole: bool) -> Result<Vec<SnapshotReport>, StartError> {
        self.address()?;
        ground::look(&self.folder, self.cluster.cluster, whole)
    }

    /// Where the others reach it.
    fn address(&self) -> Result<&str, StartError> {
        self.cluster.address(self.node).ok_or_else(|| {
            let known: Vec<_> = self.cluster.nodes.keys().map(|node| node.0.to_string()).collect();
            StartError::NoSuchNode { node: self.node, known: known.join(", ") }
        })
    }
}

/// Why a node did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster file was refused.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// The cluster file does not name the node.
    #[error("the cluster file names no node {}: it has {known}", node.0)]
    NoSuchNode {
        /// Which.
        node: NodeId,
        /// Those it names.
        known: String,
    },
    /// The certificate was refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The data directory is in use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshots could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The newest snapshot is not one of this service.
    #[error("the newest snapshot cannot be used: {0}; use the program that wrote it")]
    Restore(#[from] RestoreError),
    /// The endpoint could not be made.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address does not resolve.
    #[error("cannot listen on {address}: {reason}. Name another address to bind, or mend the file")]
    Address {
        /// Which.
        address: String,
        /// Why.
        reason: String,
    },
    /// The system lacks something.
    #[error("the system gives no {what}: {reason}")]
    System {
        /// What it lacks.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl StartError {
    /// The exit code that fits, after sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Open(
                OpenError::Damaged { .. }
                | OpenError::DamagedIdentity { .. }
                | OpenError::MissingSegment { .. }
                | OpenError::Disk(_)
                | OpenError::Log(_),
            )
            | StartError::Lock(LockError::Io { .. })
            | StartError::Snapshot(_)
            | StartError::Restore(_) => 74,
            StartError::System { .. } => 70,
            _ => 78,
        }
    }
}

/// A running node of a service. It lives on the actix `System` that it was started on. Dropped, it
/// ends without a goodbye; [`Node::stop`] is better.
pub struct Node<S: StateMachine> {
    actors: Actors,
    endpoint: Endpoint,
    address: SocketAddr,
    graph: String,
    leader: Arc<AtomicU64>,
    client: Client,
    failures: UnboundedReceiver<Failure>,
    service: PhantomData<fn() -> S>,
}

/// The actors of a node. They hold each other, so they have to be told when nobody needs them.
struct Actors(Wires);

impl Drop for Actors {
    fn drop(&mut self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        for actor in &self.0.halts {
            actor.do_send(Halt);
        }
    }
}

/// The contexts of all actors of a node: they have addresses before anything runs.
struct Contexts<S: StateMachine> {
    acceptor: Context<RoleActor<Acceptor>>,
    proposer: Context<RoleActor<Proposer>>,
    learner: Context<RoleActor<Learner>>,
    elector: Context<RoleActor<Elector<HeartbeatPolicy>>>,
    log: Context<LogActor>,
    apply: Context<ApplyActor<S>>,
    gateway: Context<GatewayActor>,
    archive: Context<RoleActor<Archive>>,
    shelf: Context<ShelfActor<S>>,
}

impl<S: StateMachine> Contexts<S> {
    fn new() -> Self {
        Contexts {
            acceptor: Context::new(),
            proposer: Context::new(),
            learner: Context::new(),
            elector: Context::new(),
            log: Context::new(),
            apply: Context::new(),
            gateway: Context::new(),
            archive: Context::new(),
            shelf: Context::new(),
        }
    }

    fn wire(
        &self,
        me: NodeId,
        incarnation: u64,
        (clock, observer): (Clock, Option<Observer>),
        failures: UnboundedSender<Failure>,
    ) -> Wires {
        let apply = self.apply.address();
        Arc::new(Wiring {
            me,
            incarnation,
            clock,
            observer,
            roles: BTreeMap::from([
                (RoleKind::Acceptor, role_address(&self.acceptor)),
                (RoleKind::Proposer, role_address(&self.proposer)),
                (RoleKind::Learner, role_address(&self.learner)),
                (RoleKind::Leadership, role_address(&self.elector)),
                (RoleKind::Archive, role_address(&self.archive)),
            ]),
            log: self.log.address().recipient(),
            apply: apply.clone().recipient(),
            ask: apply.clone().recipient(),
            follow: apply.clone().recipient(),
            shelf: self.shelf.address().recipient(),
            gateway: self.gateway.address().recipient(),
            halts: vec![
                self.gateway.address().recipient(),
                self.acceptor.address().recipient(),
                self.proposer.address().recipient(),
                self.learner.address().recipient(),
                self.elector.address().recipient(),
                self.archive.address().recipient(),
                self.shelf.address().recipient(),
                apply.recipient(),
                self.log.address().recipient(),
            ],
            roster: OnceLock::new(),
            failures,
            stopping: AtomicBool::new(false),
            writing: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        })
    }
}

fn role_address<R: Role + Unpin + 'static>(context: &Context<RoleActor<R>>) -> RoleAddress {
    let address = context.address();
    RoleAddress { deliver: address.clone().recipient(), describe: address.recipient() }
}

impl<S: StateMachine> Node<S> {
    /// Starts a node: reads its log, applies what is chosen, listens, dials its peers.
    ///
    /// Call it on an actix `System`, for example inside `actix_rt::System::new().block_on(..)`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        config.address()?;
        let ground = Ground::of_folder(&config.folder)?;
        Self::start_on(ground, config)
    }

    /// Starts a node on any ground; what lies in the folder is not looked at.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_on(ground: Ground, config: NodeConfig) -> Result<Self, StartError> {
        let address = config.address()?.to_owned();
        let NodeConfig { cluster, node: me, folder, bind } = config;
        let Ground { credentials, disk, snapshots, lock, writes, clock, network, observer } =
            ground;
        let options = LogOptions { segment_bytes: cluster.log.segment_bytes, ..Default::default() };
        let (log, recovered, identity) = Log::open(disk, cluster.cluster, me, options)?;
        let incarnation = log.incarnation();
        let genesis = Configurations::genesis(identity.genesis.clone());

        let keep = cluster.snapshots.keep as usize;
        let mut snapshots = Snapshots::open(snapshots, cluster.cluster, keep)?;
        let mut replica = restore::<S>(&mut snapshots, recovered.trimmed, genesis.clone())?;
        let restored = replica.restored();
        let next = restored.next;
        let learner = Learner::recover(me, LearnerOptions::default(), restored, &recovered);
        let mut backlog = Backlog::new(cluster.snapshots.every_bytes, snapshots.bytes());
        let (begun, mut commands) = (Instant::now(), 0);
        let limits = (WatchOptions::default(), RecentOptions::default());
        let mut watches = Watches::new(limits.0, limits.1, replica.applied());
        for (slot, value) in learner.chosen(next) {
            let Applied { outcomes, events, .. } = replica.apply(slot, value);
            commands += outcomes.len();
            watches.add(slot, events);
            backlog.add(slot, value, replica.configurations());
        }
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(commands, "the values behind it: applied in {seconds:.3} s");
        let leadership = heartbeat_options(&cluster);
        let proposer = proposer_options(&leadership);
        let gateway = gateway_options(&cluster);
        let archive = ArchiveOptions::paced(cluster.snapshots.fetch_bytes_per_second);
        let graph = graph::draw(&cluster, me, &folder, &leadership, &gateway, &identity.genesis);

        let (failing, failures) = unbounded_channel();
        let contexts = Contexts::<S>::new();
        let wires = contexts.wire(me, incarnation, (clock, observer), failing);
        let leader = Arc::new(AtomicU64::new(0));
        let ingress = Ingress::new(wires.clone(), leader.clone(), recovered.peers.clone());
        let listening = EndpointConfig {
            node: me,
            cluster: cluster.cluster,
            genesis: identity.genesis.fingerprint(),
            incarnation,
            nonce: draw(&network.entropy)?,
            credentials: credentials.clone(),
            bind: bind.map_or_else(|| resolve(&address), Ok)?,
            codec: cluster.net.codec,
            limits: cluster.limits.limits(),
            addresses: cluster.nodes.clone(),
            service: Arc::new(ingress),
        };
        let endpoint = Endpoint::bind_on(listening, &network)?;
        let listening = endpoint.local_addr().map_err(|error| StartError::Address {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        let roster = Roster::new(me, endpoint.links(), &cluster.nodes, learner.governance());
        if wires.roster.set(roster).is_err() {
            unreachable!("the roster of a node is made once, here");
        }

        // Whatever can fail comes before the first actor runs.
        let client =
            ClientConfig { via: Some(address.clone()), ..ClientConfig::new(cluster, credentials) };
        let client = Client::new_on(client, &network)
            .map_err(|error| StartError::System { what: "client", reason: error.to_string() })?;
        let now = wires.clock.now();
        let seed = draw(&network.entropy)?;
        let threads = matches!(writes, Writes::Thread);
        let log = LogActor::new(log, lock, writes, wires.clone())
            .map_err(|error| StartError::System { what: "thread", reason: error.to_string() })?;
        let policy = HeartbeatPolicy::new(me, incarnation, leadership, genesis.clone(), seed, now);
        let shelved = snapshots.told();
        let arrivals = Arrivals::<S>::default();
        let shelf = Shelf::new(snapshots, genesis.clone(), arrivals.clone(), wires.clone());
        let shelf = ShelfActor::new(shelf, threads)
            .map_err(|error| StartError::System { what: "thread", reason: error.to_string() })?;
        let advanced = learner.advanced();
        let applied = replica.applied();
        let lease = identity.genesis.lease;
        let options = AcceptorOptions { lease, ..AcceptorOptions::default() };
        let acceptor = Acceptor::recover(me, options, &recovered, now);
        contexts.acceptor.run(RoleActor::new("acceptor", acceptor, wires.clone()));
        let proposer = Proposer::new(me, incarnation, proposer, genesis.clone());
        contexts.proposer.run(RoleActor::new("proposer", proposer, wires.clone()));
        contexts.learner.run(RoleActor::new("learner", learner, wires.clone()));
        let elector = Elector::new(me, policy);
        contexts.elector.run(RoleActor::new("leadership", elector, wires.clone()));
        contexts.log.run(log);
        let archive = Archive::new(me, archive);
        contexts.archive.run(RoleActor::new("archive", archive, wires.clone()));
        contexts.shelf.run(shelf);
        contexts.apply.run(ApplyActor::new(replica, (backlog, watches), arrivals, wires.clone()));
        contexts.gateway.run(GatewayActor::new(
            gateway,
            (address.clone(), identity.genesis),
            applied,
            leader.clone(),
            wires.clone(),
        ));
        let hello = [advanced].into_iter().chain(shelved).map(Message::Inside);
        wires.dispatch(hello.map(|message| Envelope { from: me, to: me, message }));

        let address = listening;
        let service = PhantomData;
        let actors = Actors(wires);
        Ok(Node { actors, endpoint, address, graph, leader, client, failures, service })
    }

    /// The graph of actors that was built, for people.
    pub fn graph(&self) -> &str {
        &self.graph
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has a command logged, applied and answered, through this node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn propose(&self, command: &S::Command) -> Result<S::Reply, ClientError> {
        self.client.execute_as::<S>(command).await
    }

    /// Asks about the state, linearizably, through this node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query(&self, query: &S::Query) -> Result<S::Answer, ClientError> {
        let (_, answer) = self.client.query_as::<S>(query, Consistency::Linearizable).await?;
        Ok(answer)
    }

    /// Follows what the state machine tells about topics, behind a position, through this node:
    /// [`Client::watch`].
    pub fn watch(&self, topics: Vec<TopicFilter>, after: Position) -> Watcher {
        self.client.watch(topics, after)
    }

    /// Waits until the node has to stop by itself, for a reason that is worth an exit code. The
    /// node must then be dropped or stopped; it does no more work for anybody.
    pub async fn failed(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => Failure::Actor("node"),
        }
    }

    /// Stops the node: hands leadership over if it leads, tells the others, ends its actors, writes
    /// what is queued. Its data directory is then free.
    pub async fn stop(self) {
        farewell::hand_over(&self.actors.0, &self.leader).await;
        self.actors.0.stopping.store(true, Ordering::Relaxed);
        self.client.close().await;
        self.endpoint.close().await;
        for actor in &self.actors.0.halts {
            // One that has ended already has no mailbox.
            actor.send(Halt).await.ok();
        }
    }
}

/// The state of the newest snapshot, or the first of all.
fn restore<S: StateMachine>(
    snapshots: &mut Snapshots,
    trimmed: Slot,
    genesis: Configurations,
) -> Result<Replica<S>, StartError> {
    let state = snapshots.newest()?;
    let begun = Instant::now();
    let replica = Replica::behind(state.as_deref(), genesis)?;
    let seconds = begun.elapsed().as_secs_f64();
    tracing::info!("the newest snapshot: {}, restored in {seconds:.3} s", snapshots.effort());
    snapshots.reaches(trimmed)?;
    Ok(replica)
}

fn heartbeat_options(cluster: &ClusterFile) -> HeartbeatOptions {
    let settings = &cluster.leadership;
    HeartbeatOptions {
        interval: settings.heartbeat_interval,
        suspect_after: settings.suspect_after,
        spread: settings.spread,
        campaigns: true,
        ..HeartbeatOptions::default()
    }
}

/// A leader asks as often as it beats, and is as patient as its followers are with it.
fn proposer_options(leadership: &HeartbeatOptions) -> ProposerOptions {
    ProposerOptions {
        confirm_every: leadership.interval,
        patience: leadership.suspect_after,
        ..ProposerOptions::default()
    }
}

fn gateway_options(cluster: &ClusterFile) -> GatewayOptions {
    GatewayOptions {
        batches_in_flight: cluster.batching.batches_in_flight as usize,
        batch_bytes: cluster.batching.batch_bytes as usize,
        ..GatewayOptions::default()
    }
}

fn resolve(address: &str) -> Result<SocketAddr, StartError> {
    let failed = |reason: String| StartError::Address { address: address.to_owned(), reason };
    let mut found = address.to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    found.next().ok_or_else(|| failed("it resolves to no address".to_owned()))
}

fn draw(entropy: &Entropy) -> Result<u64, StartError> {
    entropy
        .draw()
        .map_err(|error| StartError::System { what: "random numbers", reason: error.to_string() })
}
