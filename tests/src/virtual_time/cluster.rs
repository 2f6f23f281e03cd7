//! A cluster whose nodes can be started, crashed, cut off and healed.

use std::collections::BTreeMap;
use std::future::{poll_fn, ready};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use paxos_actors::clock::{Clock, RuntimeClock};
use paxos_actors::log::{
    self, DataIdentity, Faults, Log, LogError, LogOptions, MemoryDisk, Operation, SECTOR,
    SnapshotError,
};
use paxos_actors::observer::{Observer, Shown};
use paxos_actors::{Failure, Ground, Node, NodeConfig, StartError, Writes};
use paxos_core::{Membership, NodeId, Random, Recovered, Time};
use paxos_net::{Client, ClientConfig, ClusterFile, Credentials, Entropy, Network};
use tokio::time::{Instant, timeout_at};

use super::plan::Setup;
use super::switch::{Host, Switch};
use super::syncs::Syncs;
use super::trace::Trace;
use super::vault::{self, CLIENTS_MAX, CLUSTER};
use super::watch::Watch;
use crate::simulation::{DRIFT_PPM, Sum, Trouble};

/// The port of all nodes.
const PORT: u16 = 7400;

/// The place of the operator's client.
const ADMIN: u64 = CLIENTS_MAX;

/// Small, so that the log goes through many segments.
const SEGMENT_BYTES: u64 = 64 << 10;

/// Small, so that snapshots are made, and what a node missed may be in a snapshot only.
const SNAPSHOT_BYTES: u64 = 2 << 10;

/// Clocks of different epochs differ by up to this, about twelve days.
const EPOCHS: Duration = Duration::from_secs(1 << 20);

/// A cluster on a switch of its own.
pub struct Cluster {
    /// The network.
    pub switch: Switch,
    /// What happened.
    pub trace: Trace,
    file: ClusterFile,
    genesis: Membership,
    watch: Arc<Mutex<Watch>>,
    nodes: BTreeMap<NodeId, Home>,
    random: Random,
    syncs: Syncs,
    torn: u64,
    /// An operator's client, once there is one.
    admin: Option<Client>,
    /// How often leadership was moved on demand.
    moved: Arc<AtomicU64>,
    listener: Option<Listener>,
}

/// Hears what happens in every node: since when the run began, where, what.
pub type Listener = Arc<Mutex<dyn FnMut(Duration, NodeId, &Shown<'_>) + Send>>;

/// A node's machine: what is left when the node is not running.
struct Home {
    disk: Arc<Mutex<MemoryDisk>>,
    clock: RuntimeClock,
    /// What its disk will do wrong at the next write or sync: the node must then stop.
    spoilt: Option<Trouble>,
    /// Its disk was damaged, or is gone: the node must not come back.
    damaged: bool,
    running: Option<Running>,
}

struct Running {
    node: Node<Sum>,
    host: Host,
    observed: Arc<AtomicBool>,
}

impl Cluster {
    /// Formats the disks of `count` voters, none of which runs yet. A sync takes up to `sync`.
    ///
    /// # Errors
    /// In words; only if there are more nodes than certificates, or none.
    pub fn new(count: u64, seed: u64, sync: Duration, trace: Trace) -> Result<Self, String> {
        Self::of(&Setup::of_voters(count, sync)?, seed, trace)
    }

    /// Formats the disks of the nodes, none of which runs yet.
    ///
    /// # Errors
    /// In words; only if there are more nodes than certificates, or nobody accepts.
    pub fn of(setup: &Setup, seed: u64, trace: Trace) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let address = |node| format!("{}:{PORT}", address_of(node));
        let (genesis, never_lead) = setup.membership(address)?;
        let nodes = genesis.members.keys().map(|node| (*node, address(*node))).collect();
        let mut file = ClusterFile { never_lead, ..ClusterFile::new(CLUSTER, nodes) };
        file.log.segment_bytes = SEGMENT_BYTES;
        file.snapshots.every_bytes = SNAPSHOT_BYTES;
        file.net.codec = setup.codec;
        file.leadership = setup.leadership.clone();
        let drift_ppm = if setup.drift { DRIFT_PPM } else { genesis.drift_ppm };
        let genesis = Membership { drift_ppm, ..genesis };
        let mut homes = BTreeMap::new();
        for (node, member) in genesis.members.clone() {
            let mut disk = MemoryDisk::new().shared();
            let (cluster, witness) = (CLUSTER, !member.role.learns());
            let identity = DataIdentity { cluster, node, genesis: genesis.clone(), witness };
            log::format(&mut disk, &identity).map_err(|error| error.to_string())?;
            let rate = if setup.drift { 500 + random.below(1001) } else { 1000 };
            let clock = RuntimeClock::new(trace.since(), rate);
            if setup.drift {
                clock.jump(random.duration_below(EPOCHS));
            }
            let home = Home { disk, clock, spoilt: None, damaged: false, running: None };
            homes.insert(node, home);
        }
        let clock = |home: &Home| Clock::Runtime(home.clock.clone());
        let clocks = homes.iter().map(|(node, home)| (*node, clock(home))).collect();
        Ok(Cluster {
            switch: Switch::new(random.draw(), trace.clone()),
            trace,
            file,
            watch: Arc::new(Mutex::new(Watch::new(genesis.clone(), clocks, setup.leases_hold))),
            genesis,
            nodes: homes,
            random,
            syncs: Syncs::new(setup.sync, setup.slow_syncs),
            torn: 0,
            admin: None,
            moved: Arc::default(),
            listener: None,
        })
    }

    /// Nodes that are started from now on are heard by this one too.
    pub fn overhear(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The nodes whose disks nobody has damaged.
    pub fn sound(&self) -> Vec<NodeId> {
        let sound = self.nodes.iter().filter(|(_, home)| !home.damaged);
        sound.map(|(node, _)| *node).collect()
    }

    /// Those of them that keep the state.
    pub fn replicas(&self) -> Vec<NodeId> {
        let sound = self.sound().into_iter();
        sound.filter(|node| self.genesis.learners().any(|learner| learner == *node)).collect()
    }

    /// Whether the cluster gets on with these nodes alone: they have quorums and somebody who could
    /// lead, and to whom that one could hand over; and no more replicas are lost than snapshots are
    /// made for.
    pub fn is_livable(&self, left: &[NodeId]) -> bool {
        let quorums = &self.genesis.quorums;
        let (there, lost): (Vec<_>, Vec<_>) =
            self.genesis.learners().partition(|node| left.contains(node));
        let leads = |node: &NodeId| !self.file.never_lead.contains(node);
        let bounded = self.genesis.replicas_needed().is_none();
        quorums.is_phase1(left)
            && quorums.is_phase2(left)
            && there.into_iter().filter(leads).count() > 1
            && (bounded || lost.len() <= quorums.expendable())
    }

    /// How many crashes lost something that was not synced.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// How many syncs took much longer than they should.
    pub fn slowed(&self) -> u64 {
        self.syncs.slowed()
    }

    /// How often leadership was moved on demand.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// An operator has whoever leads hand over, to this node or to whom it likes.
    ///
    /// # Errors
    /// In words.
    pub fn transfer(&mut self, to: Option<NodeId>) -> Result<(), String> {
        let Some(leader) = self.watch().leader() else { return Ok(()) };
        let admin = match self.admin.take() {
            Some(admin) => admin,
            None => self.client_of(ADMIN, vault::of_admin(), None)?,
        };
        self.admin = Some(admin.clone());
        let (moved, trace) = (self.moved.clone(), self.trace.clone());
        trace.event("admin", &(leader.node, to), || format!("asks {leader} to hand over"));
        tokio::spawn(async move {
            let told = admin.transfer(leader.node, to).await;
            moved.fetch_add(u64::from(told.is_ok()), Ordering::Relaxed);
            let told = told.map_or_else(|error| error.to_string(), |node| format!("{node} leads"));
            trace.event("admin", &told, || format!("is told: {told}"));
        });
        Ok(())
    }

    /// Whether a node runs.
    pub fn runs(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|home| home.running.is_some())
    }

    /// The checkers.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }

    /// Starts a node that is not running. One whose disk was damaged must refuse to start, and
    /// stays down.
    ///
    /// # Errors
    /// Why it did not start, or that it should not have, in words.
    pub fn start(&mut self, node: NodeId) -> Result<(), String> {
        self.trace.event(&node.to_string(), &"start", || "starts".to_owned());
        let host = self.switch.host(address_of(node));
        let home = self.nodes.get_mut(&node).ok_or("there is no such node")?;
        if !home.damaged {
            let recovered = read(node, &home.disk)?;
            lock(&self.watch).starts(node, &recovered);
        }
        let observed = Arc::new(AtomicBool::new(true));
        let observer = self.observer(node, &observed);
        let home = self.nodes.get_mut(&node).ok_or("there is no such node")?;
        let ground = Ground {
            credentials: vault::of_node(node),
            disk: Box::new(home.disk.clone()),
            snapshots: Box::new(home.disk.clone()),
            lock: None,
            writes: Writes::Delayed(self.syncs.of_a_disk(self.random.draw())),
            clock: Clock::Runtime(home.clock.clone()),
            network: Network {
                sockets: Arc::new(host.clone()),
                entropy: Entropy::seeded(self.random.draw()),
            },
            observer: Some(observer),
        };
        let config =
            NodeConfig { cluster: self.file.clone(), node, folder: PathBuf::new(), bind: None };
        match Node::start_on(ground, config) {
            Ok(_) if home.damaged => Err(format!("recovery: {node} starts from a damaged disk")),
            Ok(started) => {
                home.running = Some(Running { node: started, host, observed });
                Ok(())
            }
            Err(StartError::Open(refusal)) if home.damaged => {
                let refusal = refusal.to_string();
                let words = || format!("does not start: {refusal}");
                self.trace.event(&node.to_string(), &refusal, words);
                host.unplug();
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes a node's power: not a word leaves it, and its disk keeps what was synced, and of the
    /// rest what chance decides. The disk works again when the node is started.
    pub fn crash(&mut self, node: NodeId) {
        let Some(home) = self.nodes.get_mut(&node) else { return };
        let Some(Running { node: actors, host, observed }) = home.running.take() else { return };
        self.trace.event(&node.to_string(), &"crash", || "crashes".to_owned());
        observed.store(false, Ordering::Relaxed);
        home.clock.go_on();
        lock(&self.watch).stops(node);
        host.unplug();
        // What still runs of the node writes to a disk that nobody will read.
        let before = lock(&home.disk).clone();
        let mut survivor = before.clone();
        survivor.faults = Faults::default();
        survivor.crash(|bound| self.random.below(bound));
        let lost = |name: &String| before.contents(name) != survivor.contents(name);
        self.torn += u64::from(before.names().iter().any(lost));
        home.spoilt = None;
        home.disk = survivor.shared();
        drop(actors);
    }

    /// From now on the disk of a running node has no room, or fails its next sync: the node must
    /// stop at once when it finds out.
    pub fn spoil(&mut self, node: NodeId, trouble: Trouble) {
        let Some(home) = self.nodes.get_mut(&node) else { return };
        if home.running.is_none() || home.spoilt.is_some() {
            return;
        }
        self.trace.event(&node.to_string(), &trouble, || format!("-- {trouble:?}"));
        home.spoilt = Some(trouble);
        lock(&home.disk).faults = Faults {
            fail_next_sync: trouble == Trouble::SyncFails,
            no_space: trouble == Trouble::DiskFull,
            ..Faults::default()
        };
    }

    /// Stops a node in peace, with everything marked as synced, and damages its disk for good.
    pub async fn damage(&mut self, node: NodeId, trouble: Trouble, random: &mut Random) {
        if let Some(home) = self.nodes.get_mut(&node) {
            home.spoilt = None;
            lock(&home.disk).faults = Faults::default();
        }
        self.stop(node).await;
        self.trace.event(&node.to_string(), &trouble, || format!("-- {trouble:?}"));
        let Some(home) = self.nodes.get_mut(&node) else { return };
        home.damaged = true;
        let mut disk = lock(&home.disk);
        let names = disk.names();
        let Some(name) = names.iter().find(|name| name.ends_with(".seg")) else { return };
        // The first frame of a segment begins behind its seal; its header is never zero.
        let header = SECTOR..SECTOR + 32;
        match trouble {
            Trouble::DiskLost => names.iter().for_each(|name| disk.delete(name)),
            Trouble::Misdirected => {
                let mut bytes = disk.contents(name).map(<[u8]>::to_vec).unwrap_or_default();
                let from = header.start + 1 + random.below(256) as usize;
                bytes.copy_within(from..from + header.len(), header.start);
                disk.overwrite(name, bytes);
            }
            _ => {
                let at = header.start + random.below(header.len() as u64) as usize;
                disk.flip(name, at, random.below(8) as u32);
            }
        }
    }

    /// A node's clock jumps ahead.
    pub fn jump(&mut self, node: NodeId, by: Duration) {
        if let Some(home) = self.nodes.get(&node) {
            let words = || format!("-- its clock jumps by {by:?}");
            self.trace.event(&node.to_string(), &("jump", by), words);
            home.clock.jump(by);
        }
    }

    /// A node that runs stands still for so long: the timers of its roles do not ring, and its mail
    /// waits. What was on its way inside of it, a sync say, comes to its end, and nobody hears of
    /// it before.
    pub fn pause(&mut self, node: NodeId, lasts: Duration) {
        let Some(home) = self.nodes.get(&node).filter(|home| home.running.is_some()) else {
            return;
        };
        self.trace
            .event(&node.to_string(), &("pause", lasts), || format!("stands still for {lasts:?}"));
        home.clock.stand_still(lasts);
        self.switch.stand_still(address_of(node), Instant::now() + lasts);
    }

    /// What a detector outside of the nodes, if they listen to one, says of a node to all others
    /// that run and do not stand still: that it is suspected, and why; or that it is trusted.
    pub fn judge(&self, node: NodeId, suspected: Option<&str>) {
        self.trace.event(&node.to_string(), &suspected, || format!("is judged: {suspected:?}"));
        let others = self.nodes.iter().filter(|(other, _)| **other != node);
        let awake = others.map(|(_, home)| home).filter(|home| !home.clock.stands_still());
        for running in awake.filter_map(|home| home.running.as_ref()) {
            let verdicts = running.node.verdicts();
            // Who has a detector of its own does not listen.
            suspected.map_or_else(|| verdicts.trust(node), |why| verdicts.suspect(node, why)).ok();
        }
    }

    /// Shows what happens in a node to trace, checkers and listener, for as long as it is observed.
    fn observer(&self, node: NodeId, observed: &Arc<AtomicBool>) -> Observer {
        let (trace, watch) = (self.trace.clone(), self.watch.clone());
        let (observed, listener) = (observed.clone(), self.listener.clone());
        let name = node.to_string();
        Arc::new(move |shown: &Shown<'_>| {
            if observed.load(Ordering::Relaxed) {
                trace.event(&name, shown, || words(shown));
                let elapsed = trace.elapsed();
                lock(&watch).sees(Time(elapsed.as_micros() as u64), node, shown);
                if let Some(listener) = &listener {
                    listener.lock().unwrap_or_else(PoisonError::into_inner)(elapsed, node, shown);
                }
            }
        })
    }

    /// Stops a node as an operator does.
    pub async fn stop(&mut self, node: NodeId) {
        let Some(running) = self.nodes.get_mut(&node).and_then(|home| home.running.take()) else {
            return;
        };
        self.trace.event(&node.to_string(), &"stop", || "is stopped".to_owned());
        running.node.stop().await;
        running.observed.store(false, Ordering::Relaxed);
        lock(&self.watch).stops(node);
        running.host.unplug();
        if let Some(home) = self.nodes.get(&node) {
            home.clock.go_on();
        }
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

    /// Undoes every cut, the weather is fair, and disks work that are not damaged.
    pub fn heal(&mut self) {
        self.trace.event("network", &"heal", || "is healed".to_owned());
        self.switch.heal();
        self.syncs.heal();
        for home in self.nodes.values_mut() {
            home.spoilt = None;
            lock(&home.disk).faults = Faults::default();
        }
    }

    /// A light client on a host of its own; `via`: that talks to one node only.
    ///
    /// # Errors
    /// In words.
    pub fn client(&mut self, number: u64, via: Option<NodeId>) -> Result<Client, String> {
        self.client_of(number, vault::of_client(number), via)
    }

    fn client_of(
        &mut self,
        number: u64,
        credentials: Credentials,
        via: Option<NodeId>,
    ) -> Result<Client, String> {
        let network = Network {
            sockets: Arc::new(self.switch.host(address_of_client(number))),
            entropy: Entropy::seeded(self.random.draw()),
        };
        let config = ClientConfig {
            via: via.and_then(|node| self.file.address(node)).map(str::to_owned),
            ..ClientConfig::new(self.file.clone(), credentials)
        };
        Client::new_on(config, &network).map_err(|error| error.to_string())
    }

    /// Lets time pass, or less of it: until a node stops by itself because its disk failed, as it
    /// must. That node is then down.
    ///
    /// # Errors
    /// The first promise that was broken, or the first node that stopped for no such reason.
    pub async fn pass(&mut self, until: Instant) -> Result<Option<(NodeId, Trouble)>, String> {
        let stopped = timeout_at(until, self.failure()).await;
        self.verdict()?;
        let Ok((node, failure)) = stopped else { return Ok(None) };
        let expected = self.nodes.get(&node).and_then(|home| home.spoilt);
        let found = match &failure {
            Failure::Log(LogError::Sync { .. }) => Some(Trouble::SyncFails),
            Failure::Log(LogError::NoSpace { .. }) => Some(Trouble::DiskFull),
            Failure::Snapshot(SnapshotError::Disk(error)) if error.is_no_space() => {
                Some(Trouble::DiskFull)
            }
            Failure::Snapshot(SnapshotError::Disk(error)) if error.operation == Operation::Sync => {
                Some(Trouble::SyncFails)
            }
            _ => None,
        };
        let Some(trouble) = found.filter(|_| found == expected) else {
            return Err(format!("{node}: {failure}"));
        };
        let words = || format!("stops: {failure}");
        self.trace.event(&node.to_string(), &failure.to_string(), words);
        self.crash(node);
        Ok(Some((node, trouble)))
    }

    /// Waits for the first node that stops by itself.
    async fn failure(&mut self) -> (NodeId, Failure) {
        poll_fn(|context| {
            for (node, home) in &mut self.nodes {
                let Some(running) = &mut home.running else { continue };
                if let Poll::Ready(failure) = pin!(running.node.failed()).poll(context) {
                    return Poll::Ready((*node, failure));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The first promise that was broken, or the first node that gave up by itself.
    ///
    /// # Errors
    /// That is its errors.
    pub async fn check(&mut self) -> Result<(), String> {
        let failed = tokio::select! {
            biased;
            failed = self.failure() => Some(failed),
            () = ready(()) => None,
        };
        let failed = failed.map(|(node, failure)| format!("{node}: {failure}"));
        failed.map_or_else(|| self.verdict(), Err)
    }

    fn verdict(&self) -> Result<(), String> {
        self.watch().broken().map_or(Ok(()), |broken| Err(broken.to_owned()))
    }

    /// What the sound disks hold when no node runs any more, checked once more.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub fn check_disks(&self) -> Result<(), String> {
        for (node, home) in self.nodes.iter().filter(|(_, home)| !home.damaged) {
            let recovered = read(*node, &home.disk)?;
            self.watch().starts(*node, &recovered);
        }
        self.verdict()
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
