//! A node: the whole graph, started and stopped as one.

use std::marker::PhantomData;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use paxos_core::{
    Acceptor, AcceptorOptions, Configurations, DetectorOptions, Elector, Governance, Hosting,
    LeadershipOptions, NodeId, Policy, Position, Proposer, ProposerOptions, RestoreError, Rule,
    Slot, StateMachine, TopicFilter,
};
use paxos_net::protocol::Consistency;
use paxos_net::{
    BindError, Client, ClientConfig, ClientError, ClusterFile, ClusterFileError, CredentialsError,
    Endpoint, EndpointConfig, Entropy, Watcher,
};
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::bootstrap::node_folder;
use crate::contexts::Contexts;
use crate::failure::Failure;
use crate::farewell;
use crate::gateway::{GatewayActor, GatewayOptions};
use crate::graph;
use crate::ground::{self, Ground};
use crate::ingress::Ingress;
use crate::log::{
    Inspection, LockError, Log, LogOptions, OpenError, SnapshotError, SnapshotReport,
};
use crate::log_actor::{LogActor, Writes};
use crate::messages::Halt;
use crate::role::RoleActor;
use crate::roster::Roster;
use crate::state::State;
use crate::verdicts::Verdicts;
use crate::wiring::Wires;

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
    /// Whether its leadership goes by a detector outside.
    listens: bool,
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

        let recover = || State::<S>::recover(me, snapshots, &cluster, &recovered, genesis.clone());
        let state = (!identity.witness).then(recover).transpose()?;
        let known = |state: &State<S>| state.learner.governance();
        let nothing = || Governance { configurations: genesis.clone(), settled: true };
        let governance = state.as_ref().map_or_else(nothing, known);
        let may_lead = !cluster.never_lead.contains(&me);
        let hosting = Hosting::of(me, state.is_some(), may_lead, &governance.configurations);
        let leadership =
            LeadershipOptions { campaigns: hosting.leads, ..cluster.leadership.options() };
        let listens = leadership.rule == Rule::FailureDetector(DetectorOptions::Outside);
        let proposer = proposer_options(&leadership);
        let gateway = gateway_options(&cluster);
        let newest = &governance.configurations.newest().1;
        let graph = graph::draw(&cluster, (me, hosting), &folder, &leadership, &gateway, newest);

        let (failing, failures) = unbounded_channel();
        let contexts = Contexts::<S>::new();
        let wires = contexts.wire((me, hosting), incarnation, (clock, observer), failing);
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
        let roster = Roster::new(me, hosting, endpoint.links(), &cluster.nodes, governance);
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
        let policy = Policy::new(me, incarnation, leadership, genesis.clone(), seed, now);
        let applied = state.as_ref().map_or(Slot(0), |state| state.replica.applied());
        if let Some(state) = state {
            contexts.state.run(state, (hosting, threads), genesis.clone(), &wires)?;
        }
        if hosting.accepts {
            let (lease, beside_replica) = (identity.genesis.lease, hosting.learns);
            let options = AcceptorOptions { lease, beside_replica, ..AcceptorOptions::default() };
            let acceptor = Acceptor::recover(me, options, &recovered, now);
            contexts.acceptor.run(RoleActor::new("acceptor", acceptor, wires.clone()));
        }
        if hosting.leads {
            let proposer = Proposer::new(me, incarnation, proposer, genesis);
            contexts.proposer.run(RoleActor::new("proposer", proposer, wires.clone()));
        }
        let elector = Elector::new(me, policy);
        contexts.elector.run(RoleActor::new("leadership", elector, wires.clone()));
        contexts.log.run(log);
        contexts.gateway.run(GatewayActor::new(
            gateway,
            (address.clone(), identity.genesis),
            applied,
            leader.clone(),
            wires.clone(),
        ));
        let address = listening;
        let service = PhantomData;
        let actors = Actors(wires);
        Ok(Node { actors, endpoint, address, graph, listens, leader, client, failures, service })
    }

    /// The graph of actors that was built, for people.
    pub fn graph(&self) -> &str {
        &self.graph
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its leadership, for a detector outside that suspects and trusts.
    pub fn verdicts(&self) -> Verdicts {
        Verdicts::new(self.actors.0.clone(), self.listens)
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

/// A leader asks as often as it beats, and is as patient as its followers are with it.
fn proposer_options(leadership: &LeadershipOptions) -> ProposerOptions {
    ProposerOptions {
        confirm_every: leadership.interval,
        patience: leadership.suspect_after,
        ..ProposerOptions::default()
    }
}

/// A gateway is twice as patient as followers are with their leader: by then a change is over.
fn gateway_options(cluster: &ClusterFile) -> GatewayOptions {
    GatewayOptions {
        patience: 2 * cluster.leadership.suspect_after,
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
