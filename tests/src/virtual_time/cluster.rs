//! A cluster whose nodes can be started, crashed, cut off and healed.

use std::collections::BTreeMap;
use std::future::ready;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paxos_actors::clock::Clock;
use paxos_actors::log::{self, DataIdentity, Log, LogOptions, MemoryDisk};
use paxos_actors::observer::{Observer, Shown};
use paxos_actors::{Ground, Node, NodeConfig, Writes};
use paxos_core::{Membership, NodeId, Random, Recovered};
use paxos_net::{Client, ClientConfig, ClusterFile, Entropy, Network};

use super::switch::{Host, Switch};
use super::trace::Trace;
use super::vault::{self, CLUSTER};
use super::watch::Watch;
use crate::simulation::Sum;

/// The port of all nodes.
const PORT: u16 = 7400;

/// Small, so that the log goes through many segments.
const SEGMENT_BYTES: u64 = 64 << 10;

/// A cluster on a switch of its own.
pub struct Cluster {
    /// The network.
    pub switch: Switch,
    /// What happened.
    pub trace: Trace,
    file: ClusterFile,
    watch: Arc<Mutex<Watch>>,
    nodes: BTreeMap<NodeId, Home>,
    random: Random,
    sync: Duration,
}

/// A node's machine: what is left when the node is not running.
struct Home {
    disk: Arc<Mutex<MemoryDisk>>,
    running: Option<Running>,
}

struct Running {
    node: Node<Sum>,
    host: Host,
    observed: Arc<AtomicBool>,
}

impl Cluster {
    /// Formats the disks of `count` nodes, none of which runs yet. A sync takes up to `sync`.
    ///
    /// # Errors
    /// In words; only if there are more nodes than certificates.
    pub fn new(count: u64, seed: u64, sync: Duration, trace: Trace) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let addresses = |node| (NodeId(node), format!("{}:{PORT}", address_of(NodeId(node))));
        let nodes: BTreeMap<_, _> = (1..=count).map(addresses).collect();
        let mut file = ClusterFile::new(CLUSTER, nodes.clone());
        file.log.segment_bytes = SEGMENT_BYTES;
        let genesis = Membership::of_voters(nodes).map_err(|error| error.to_string())?;
        let mut homes = BTreeMap::new();
        for node in file.nodes.keys().copied() {
            let mut disk = MemoryDisk::new().shared();
            let identity = DataIdentity { cluster: CLUSTER, node, genesis: genesis.clone() };
            log::format(&mut disk, &identity).map_err(|error| error.to_string())?;
            homes.insert(node, Home { disk, running: None });
        }
        Ok(Cluster {
            switch: Switch::new(random.draw(), trace.clone()),
            trace,
            file,
            watch: Arc::new(Mutex::new(Watch::new(genesis.quorums))),
            nodes: homes,
            random,
            sync,
        })
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Whether a node runs.
    pub fn runs(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|home| home.running.is_some())
    }

    /// The checkers.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }

    /// Starts a node that is not running.
    ///
    /// # Errors
    /// Why it did not start, in words.
    pub fn start(&mut self, node: NodeId) -> Result<(), String> {
        self.trace.event(&node.to_string(), &"start", || "starts".to_owned());
        let host = self.switch.host(address_of(node));
        let home = self.nodes.get_mut(&node).ok_or("there is no such node")?;
        let recovered = read(node, &home.disk)?;
        lock(&self.watch).starts(node, &recovered);
        let observed = Arc::new(AtomicBool::new(true));
        let observer = observer(node, &self.trace, &self.watch, &observed);
        let (mut delays, upto) = (Random::new(self.random.draw()), self.sync);
        let ground = Ground {
            credentials: vault::of_node(node),
            disk: Box::new(home.disk.clone()),
            lock: None,
            writes: Writes::Delayed(Box::new(move || delays.duration_below(upto))),
            clock: Clock::Runtime(self.trace.since()),
            network: Network {
                sockets: Arc::new(host.clone()),
                entropy: Entropy::seeded(self.random.draw()),
            },
            observer: Some(observer),
        };
        let config =
            NodeConfig { cluster: self.file.clone(), node, folder: PathBuf::new(), bind: None };
        let started = Node::start_on(ground, config).map_err(|error| error.to_string())?;
        home.running = Some(Running { node: started, host, observed });
        Ok(())
    }

    /// Takes a node's power: not a word leaves it, and its disk keeps what was synced, and of the
    /// rest what chance decides.
    pub fn crash(&mut self, node: NodeId) {
        let Some(home) = self.nodes.get_mut(&node) else { return };
        let Some(Running { node: actors, host, observed }) = home.running.take() else { return };
        self.trace.event(&node.to_string(), &"crash", || "crashes".to_owned());
        observed.store(false, Ordering::Relaxed);
        host.unplug();
        // What still runs of the node writes to a disk that nobody will read.
        let mut survivor = lock(&home.disk).clone();
        survivor.crash(|bound| self.random.below(bound));
        home.disk = survivor.shared();
        drop(actors);
    }

    /// Stops a node as an operator does.
    pub async fn stop(&mut self, node: NodeId) {
        let Some(running) = self.nodes.get_mut(&node).and_then(|home| home.running.take()) else {
            return;
        };
        self.trace.event(&node.to_string(), &"stop", || "is stopped".to_owned());
        running.node.stop().await;
        running.observed.store(false, Ordering::Relaxed);
        running.host.unplug();
    }

    /// From now on nothing gets from the one node to the other.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        let words = || format!("nothing gets to {to} any more");
        self.trace.event(&from.to_string(), &("cut", to), words);
        self.switch.cut(address_of(from), address_of(to));
    }

    /// From now on nothing gets from the node to the client of this number: requests arrive, and
    /// the replies are lost.
    pub fn lose_replies(&self, node: NodeId, client: u64) {
        let words = || format!("nothing gets to client {client} any more");
        self.trace.event(&node.to_string(), &("cut client", client), words);
        self.switch.cut(address_of(node), address_of_client(client));
    }

    /// From now on nothing gets from the client of this number to the node either.
    pub fn cut_client(&self, node: NodeId, client: u64) {
        self.lose_replies(node, client);
        self.switch.cut(address_of_client(client), address_of(node));
    }

    /// Undoes one cut.
    pub fn mend(&self, from: NodeId, to: NodeId) {
        self.trace.event(&from.to_string(), &("mend", to), || format!("reaches {to} again"));
        self.switch.mend(address_of(from), address_of(to));
    }

    /// Undoes every cut, and the weather is fair.
    pub fn heal(&self) {
        self.trace.event("network", &"heal", || "is healed".to_owned());
        self.switch.heal();
    }

    /// A light client on a host of its own; `via`: that talks to one node only.
    ///
    /// # Errors
    /// In words.
    pub fn client(&mut self, number: u64, via: Option<NodeId>) -> Result<Client, String> {
        let network = Network {
            sockets: Arc::new(self.switch.host(address_of_client(number))),
            entropy: Entropy::seeded(self.random.draw()),
        };
        let config = ClientConfig {
            via: via.and_then(|node| self.file.address(node)).map(str::to_owned),
            ..ClientConfig::new(self.file.clone(), vault::of_client(number))
        };
        Client::new_on(config, &network).map_err(|error| error.to_string())
    }

    /// The first promise that was broken, or the first node that gave up by itself.
    ///
    /// # Errors
    /// That is its errors.
    pub async fn check(&mut self) -> Result<(), String> {
        for (node, home) in &mut self.nodes {
            let Some(running) = &mut home.running else { continue };
            tokio::select! {
                biased;
                failure = running.node.failed() => return Err(format!("{node}: {failure}")),
                () = ready(()) => {}
            }
        }
        self.watch().broken().map_or(Ok(()), |broken| Err(broken.to_owned()))
    }

    /// What the disks hold when no node runs any more, checked once more.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub fn check_disks(&self) -> Result<(), String> {
        for (node, home) in &self.nodes {
            let recovered = read(*node, &home.disk)?;
            self.watch().starts(*node, &recovered);
        }
        self.watch().broken().map_or(Ok(()), |broken| Err(broken.to_owned()))
    }
}

/// Where a node is.
fn address_of(node: NodeId) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, node.0 as u8))
}

/// Where the client of a number is.
fn address_of_client(number: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, number as u8))
}

/// What a start would read, from a copy of the disk.
fn read(node: NodeId, disk: &Mutex<MemoryDisk>) -> Result<Recovered, String> {
    let copy = Box::new(lock(disk).clone().shared());
    let options = LogOptions { segment_bytes: SEGMENT_BYTES, ..LogOptions::default() };
    let opened = Log::open(copy, CLUSTER, node, options);
    opened.map(|(_, recovered, _)| recovered).map_err(|error| format!("{node}: {error}"))
}

/// Shows what happens in a node to trace and checkers, for as long as it is observed.
fn observer(
    node: NodeId,
    trace: &Trace,
    watch: &Arc<Mutex<Watch>>,
    observed: &Arc<AtomicBool>,
) -> Observer {
    let (trace, watch, observed) = (trace.clone(), watch.clone(), observed.clone());
    let name = node.to_string();
    Arc::new(move |shown: &Shown<'_>| {
        if observed.load(Ordering::Relaxed) {
            trace.event(&name, shown, || words(shown));
            lock(&watch).sees(node, shown);
        }
    })
}

fn words(shown: &Shown<'_>) -> String {
    match shown {
        Shown::Received { from, message } => format!("hears {from}: {message}"),
        Shown::Sent(envelope) => format!("tells {}: {}", envelope.to, envelope.message),
        Shown::Written(records) => {
            let records: Vec<_> = records.iter().map(ToString::to_string).collect();
            format!("has written {}", records.join(", "))
        }
        Shown::Applied { slot, value } => format!("applies {slot} {value}"),
        Shown::Led(change) => format!("sees {change}"),
        other => format!("{other:?}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
