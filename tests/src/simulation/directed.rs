//! A cluster that a story directs: it says who crashes or stands still, which links carry what, and
//! for how long. World, nodes, disks, clients and checkers are those of every simulated run; a
//! promise that is broken ends the story at once, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use paxos_core::membership::MembershipError;
use paxos_core::{Envelope, Membership, NodeId, Random, ReadLevel, Replica, Rule, Time};

use super::client::{Client, Present, Wish};
use super::ending::Report;
use super::events::Event;
use super::plan::{Faults, Plan, Settings};
use super::plant::Sound;
use super::services::{Service, Services};
use super::world::{PROGRESS_WITHIN, World};

/// The name under which the world keeps the cuts of a story.
const CUTS: u64 = u64::MAX;

/// The length of a lease, as by default.
const LEASE: Duration = Duration::from_millis(200);

/// Bytes that wait for a slow link at most; what comes on top is dropped.
const QUEUE_MAX: u64 = 64 << 10;

/// A simulated cluster with clients that never stop asking.
pub struct Cluster {
    world: World<'static>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a cluster at {}, led by {:?}", self.world.now, self.leader())
    }
}

impl Cluster {
    /// So many voters on a quiet network, and four clients with one operation each outstanding.
    pub fn of(voters: u64) -> Self {
        Self::planned(voters, 1, |plan| plan)
    }

    /// The same with leaderships by this rule.
    pub fn under(voters: u64, rule: &Rule) -> Self {
        Self::planned(voters, 1, |plan| plan.under(rule))
    }

    /// The same with a seed, and with the plan of its network, disks and clients changed.
    pub fn planned(voters: u64, seed: u64, change: impl FnOnce(Plan) -> Plan) -> Self {
        let calm = |plan: Plan| Plan {
            clients: 4,
            operations: u64::MAX,
            think: Duration::from_millis(100),
            latency: Duration::from_millis(2),
            loss: 0,
            loss_to: BTreeMap::new(),
            duplication: 0,
            reordering: 0,
            sync: Duration::from_millis(1),
            drift: false,
            roles_change: true,
            troubles: BTreeMap::new(),
            faults_for: Duration::from_secs(1 << 30),
            alarms: false,
            settings: Settings::default(),
            ..plan.with_window(64).of_voters(voters).with_lease(LEASE, 50_000)
        };
        let mut world =
            World::new(seed, |plan| change(calm(plan)), None, Box::leak(Box::new(Sound)));
        let nodes: Vec<_> = world.hosts.keys().copied().collect();
        nodes.into_iter().for_each(|node| world.at(Duration::ZERO, Event::Restart(node)));
        (0..world.clients.len()).for_each(|id| world.at(Duration::ZERO, Event::Begin(id)));
        Cluster { world }
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<u64> {
        self.world.hosts.keys().map(|node| node.0).collect()
    }

    // What the story does.

    /// Lets time pass.
    ///
    /// # Panics
    /// If a promise is broken.
    #[track_caller]
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.world.now.after(duration);
        if let Err(broken) = self.world.pass(until) {
            panic!("{broken}");
        }
    }

    /// Lets time pass until that holds.
    ///
    /// # Panics
    /// If it does not within the limit, or if a promise is broken.
    #[track_caller]
    pub fn run_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Cluster) -> bool,
    ) {
        let end = self.world.now.after(limit);
        while !holds(self) {
            assert!(self.world.now < end, "not within {limit:?}: {what}; {}", self.world.stuck());
            self.run_for(Duration::from_millis(10));
        }
    }

    /// Lets time pass until one node leads and operations are answered.
    ///
    /// # Panics
    /// If that takes unreasonably long.
    #[track_caller]
    pub fn run_until_led(&mut self) -> u64 {
        self.run_until("a node leads", PROGRESS_WITHIN, |cluster| cluster.leader().is_some());
        self.run_until_more(10);
        self.leader().expect("the leader of a quiet cluster stays")
    }

    /// Lets time pass until so many more operations are answered.
    ///
    /// # Panics
    /// If that takes unreasonably long.
    #[track_caller]
    pub fn run_until_more(&mut self, operations: usize) {
        let enough = self.answered() + operations;
        let what = format!("{operations} more operations are answered");
        self.run_until(&what, PROGRESS_WITHIN, |cluster| cluster.answered() >= enough);
    }

    /// The power of a node fails; it stays off until [`Cluster::restart`].
    pub fn crash(&mut self, node: u64) {
        self.world.conditions.down.insert(NodeId(node));
        self.world.stop(NodeId(node), false);
    }

    /// A node is started that is off.
    ///
    /// # Panics
    /// If it forgot something, or refuses to start.
    #[track_caller]
    pub fn restart(&mut self, node: u64) {
        self.world.conditions.down.remove(&NodeId(node));
        if let Err(broken) = self.world.restart(NodeId(node)) {
            panic!("{broken}");
        }
    }

    /// A node stands still for so long, and does not notice.
    pub fn pause(&mut self, node: u64, duration: Duration) {
        let until = self.world.now.after(duration);
        if let Some(host) = self.world.hosts.get_mut(&NodeId(node)) {
            host.paused_until = until;
        }
    }

    /// Syncs of a node that begin from now on are not done before so much time has passed.
    pub fn stall_disk(&mut self, node: u64, duration: Duration) {
        let until = self.world.now.after(duration);
        self.world.conditions.stalled.insert(NodeId(node), until);
    }

    /// Nothing gets from the one to the other, nor back.
    pub fn cut(&mut self, one: u64, other: u64) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing gets from the one to the other; the way back stays.
    pub fn cut_one_way(&mut self, from: u64, to: u64) {
        let cuts = self.world.cuts.entry(CUTS).or_default();
        cuts.insert((NodeId(from), NodeId(to)));
    }

    /// Nothing gets to the node or from it.
    pub fn isolate(&mut self, node: u64) {
        let others = self.nodes().into_iter().filter(|other| *other != node);
        others.collect::<Vec<_>>().into_iter().for_each(|other| self.cut(node, other));
    }

    /// Only these links are left, each in both directions.
    pub fn keep_only(&mut self, links: &[(u64, u64)]) {
        self.heal();
        let nodes = self.nodes();
        for (place, one) in nodes.iter().enumerate() {
            for other in &nodes[place + 1..] {
                if !links.contains(&(*one, *other)) && !links.contains(&(*other, *one)) {
                    self.cut(*one, *other);
                }
            }
        }
    }

    /// All links carry again.
    pub fn heal(&mut self) {
        self.world.cuts.clear();
    }

    /// From now on messages between nodes fare like this, in parts per thousand.
    pub fn weather(&mut self, loss: u64, duplication: u64, reordering: u64) {
        let plan = &mut self.world.plan;
        (plan.loss, plan.duplication, plan.reordering) = (loss, duplication, reordering);
    }

    /// Parts per thousand are lost on the way to this node.
    pub fn loss_to(&mut self, node: u64, per_mille: u64) {
        self.world.plan.loss_to.insert(NodeId(node), per_mille);
    }

    /// From the one to the other no more than so many bytes a second get through; what waits for
    /// the link is bounded.
    pub fn slow(&mut self, from: u64, to: u64, bytes_per_second: u64) {
        let pipe = Pipe { bytes_per_second, free_at: self.world.now };
        self.world.conditions.pipes.insert((NodeId(from), NodeId(to)), pipe);
    }

    /// What is sent from the one to the other arrives only after so much time, all together.
    pub fn clog(&mut self, from: u64, to: u64, duration: Duration) {
        let free_at = self.world.now.after(duration);
        let pipe = Pipe { bytes_per_second: u64::MAX, free_at };
        self.world.conditions.pipes.insert((NodeId(from), NodeId(to)), pipe);
    }

    /// Has a node campaign, whatever its leadership thinks of it.
    pub fn campaign(&mut self, node: u64) {
        let message = paxos_core::Message::Inside(paxos_core::Inside::Campaign { after: None });
        let (from, to) = (NodeId(node), NodeId(node));
        self.world.post(Duration::ZERO, Envelope { from, to, message });
    }

    /// Asks a node to have the membership changed, from the newest that it knows. Nodes that are
    /// new start when the change is chosen.
    ///
    /// # Panics
    /// If the node does not run, or the membership would not do.
    #[track_caller]
    pub fn change(
        &mut self,
        node: u64,
        plan: impl FnOnce(&Membership) -> Result<Membership, MembershipError>,
    ) {
        let running = self.world.running.get(&NodeId(node)).expect("the node runs");
        let known = running.governance.as_ref().expect("it has a learner");
        let (base, newest) = known.configurations.newest().clone();
        let next = plan(&newest).expect("the story asks for what can be");
        self.world.ask_for(NodeId(node), base, next);
    }

    /// Lets time pass until so many changes of membership have been made, and the last has settled.
    ///
    /// # Panics
    /// If that takes unreasonably long.
    #[track_caller]
    pub fn run_until_settled(&mut self, changes: usize) {
        let what = format!("change {changes} of the membership has settled");
        self.run_until(&what, PROGRESS_WITHIN, |cluster| {
            let memberships = cluster.world.agreement.memberships();
            cluster.changes() >= changes && *memberships.newest().0 <= cluster.world.settled
        });
    }

    /// An operator has a node that leads hand over.
    pub fn transfer(&mut self, from: u64, to: Option<u64>) {
        self.world.transfer_to(NodeId(from), to.map(NodeId));
    }

    /// From now on nodes that are needed no more are left running.
    pub fn burn_no_disks(&mut self) {
        self.world.conditions.nothing_burns = true;
    }

    /// From now on leases may overlap: clocks do what they must not.
    pub fn watch_no_leases(&mut self) {
        self.world.conditions.leases_unwatched = true;
    }

    /// A client of its own reads at this node, and at others if it gets no answer. Its number.
    pub fn read_at(&mut self, node: u64, level: ReadLevel) -> usize {
        let id = self.world.clients.len();
        let mut client = Client::new(id as u64, 1, Service::default(), true);
        client.node = NodeId(node);
        let (invoked, wish) = (self.world.now, Wish::Read(level));
        client.present = Some(Present { invoked, wish });
        self.world.clients.push(client);
        self.world.ask(id);
        id
    }

    /// From now on the clock of a node runs at this rate: so many of its milliseconds a second.
    pub fn clock_rate(&mut self, node: u64, rate: u64) {
        let now = self.world.now;
        if let Some(host) = self.world.hosts.get_mut(&NodeId(node)) {
            host.clock.run_at(rate, now);
        }
    }

    /// One bit of a node's state changes, as if its state machine depended on chance.
    ///
    /// # Panics
    /// If the node does not run.
    pub fn spoil_state(&mut self, node: u64) {
        let running = self.world.running.get_mut(&NodeId(node)).expect("the node runs");
        let mut state = running.replica.snapshot().to_vec();
        // The machine's number comes last.
        if let Some(last) = state.last_mut() {
            *last ^= 1;
        }
        running.replica = Replica::restore(&state).expect("another number is a state too");
    }

    /// Clients want nothing more, once they have the answers that they wait for.
    pub fn rest(&mut self) {
        self.world.clients.iter_mut().for_each(|client| client.left = client.left.min(1));
    }

    /// Everything is healed, everybody runs; every client gets its last answer, and all nodes must
    /// agree.
    ///
    /// # Panics
    /// If a promise is broken, or if that takes unreasonably long.
    #[track_caller]
    pub fn finish(mut self) -> Report {
        self.heal();
        self.weather(0, 0, 0);
        self.world.plan.loss_to.clear();
        self.world.conditions.pipes.clear();
        for node in self.nodes() {
            if !self.world.running.contains_key(&NodeId(node)) && !self.is_gone(node) {
                self.restart(node);
            }
        }
        self.rest();
        self.run_until("everybody is answered and level", PROGRESS_WITHIN, |cluster| {
            cluster.world.is_done()
        });
        self.world.finish().unwrap_or_else(|broken| panic!("{broken}"))
    }

    // What the story may ask.

    /// Replicated time, as a running node has applied it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn time_of(&self, node: u64) -> Time {
        self.replica(node).time()
    }

    /// How many sessions are open by the state of a running node.
    ///
    /// # Panics
    /// If it does not run.
    pub fn sessions(&self, node: u64) -> usize {
        self.replica(node).sessions()
    }

    fn replica(&self, node: u64) -> &Replica<Services> {
        let running = self.world.running.get(&NodeId(node));
        &running.expect("who is asked runs").replica
    }

    /// The node that leads by its own word, under the highest ballot.
    pub fn leader(&self) -> Option<u64> {
        self.leading().into_iter().max().map(|ballot| ballot.node.0)
    }

    /// Whether the node leads by its own word.
    pub fn leads(&self, node: u64) -> bool {
        self.leading().iter().any(|ballot| ballot.node == NodeId(node))
    }

    fn leading(&self) -> Vec<paxos_core::Ballot> {
        let leads = |(node, running): (&NodeId, &super::node::Running)| {
            running.status().leader.filter(|ballot| ballot.node == *node)
        };
        self.world.running.iter().filter_map(leads).collect()
    }

    /// Ballots that have led so far, as far as anybody heard.
    pub fn leaders(&self) -> usize {
        self.world.leaders.len()
    }

    /// Whether the node may read by its lease now.
    pub fn has_lease(&self, node: u64) -> bool {
        self.world.has_lease(NodeId(node))
    }

    /// Reads that a lease made certain so far.
    pub fn by_lease(&self) -> u64 {
        self.world.by_lease
    }

    /// How many reads a node has made certain.
    pub fn certified(&self, node: u64) -> u64 {
        self.world.certified.get(&NodeId(node)).copied().unwrap_or_default()
    }

    /// Whether the read of a client of its own has its answer.
    pub fn is_answered(&self, client: usize) -> bool {
        self.world.clients[client].present.is_none()
    }

    /// The highest round that any disk has a promise of.
    pub fn round(&self) -> u64 {
        let rounds = self.world.hosts.values().map(|host| host.durable.promised.round);
        rounds.max().unwrap_or_default()
    }

    /// Changes of membership that were chosen so far.
    pub fn changes(&self) -> usize {
        self.world.agreement.memberships().changes()
    }

    /// The newest membership, in force or not.
    pub fn membership(&self) -> &Membership {
        self.world.agreement.memberships().newest().1
    }

    /// Whether the node has ended for good.
    pub fn is_gone(&self, node: u64) -> bool {
        self.world.hosts.get(&NodeId(node)).is_some_and(|host| host.lost)
    }

    /// Client operations answered so far.
    pub fn answered(&self) -> usize {
        self.world.clients.iter().map(|client| client.history.len()).sum()
    }

    /// The last slot that the node has applied; 0 if it does not run.
    pub fn applied(&self, node: u64) -> u64 {
        let running = self.world.running.get(&NodeId(node));
        running.map_or(0, |running| running.replica.applied().0)
    }

    /// The first slot that the node's log has not cut.
    pub fn trimmed(&self, node: u64) -> u64 {
        self.world.hosts.get(&NodeId(node)).map_or(0, |host| host.durable.trimmed.0)
    }

    /// Bytes that a node has of a snapshot which it fetches; 0 if it does not run.
    pub fn fetched(&self, node: u64) -> u64 {
        let running = self.world.running.get(&NodeId(node));
        running.and_then(|running| running.snapshots.partial()).map_or(0, |(_, bytes)| bytes)
    }

    /// Fetches that nodes have gone on with after a restart.
    pub fn resumed(&self) -> u64 {
        self.world.resumed
    }

    /// What happened to messages so far.
    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// The time of the world.
    pub fn now(&self) -> Time {
        self.world.now
    }

    /// A number below `bound`.
    pub fn draw(&mut self, bound: u64) -> u64 {
        let random: &mut Random = &mut self.world.random;
        random.below(bound)
    }
}

/// What a story does to nodes and links that no plan draws. A run without a story has none of it.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Nodes that are off until they are switched on.
    pub(super) down: BTreeSet<NodeId>,
    pub(super) leases_unwatched: bool,
    pub(super) nothing_burns: bool,
    stalled: BTreeMap<NodeId, Time>,
    pipes: BTreeMap<(NodeId, NodeId), Pipe>,
}

/// A link that is narrower than the others.
#[derive(Debug)]
struct Pipe {
    bytes_per_second: u64,
    free_at: Time,
}

impl Conditions {
    /// How long a sync that begins now takes at least.
    pub(super) fn stall(&self, node: NodeId, now: Time) -> Duration {
        self.stalled.get(&node).map_or(Duration::ZERO, |until| until.since(now))
    }

    /// How long a message waits for its link; `None`: too much waits already.
    pub(super) fn wait(&mut self, envelope: &Envelope, now: Time) -> Option<Duration> {
        let Some(pipe) = self.pipes.get_mut(&(envelope.from, envelope.to)) else {
            return Some(Duration::ZERO);
        };
        let size = postcard::to_stdvec(&envelope.message).map_or(0, |bytes| bytes.len() as u64);
        let free_at = pipe.free_at.max(now);
        let waiting = free_at.since(now).as_micros() * u128::from(pipe.bytes_per_second);
        if pipe.bytes_per_second < u64::MAX && waiting / 1_000_000 > u128::from(QUEUE_MAX) {
            return None;
        }
        pipe.free_at =
            free_at.after(Duration::from_micros(size * 1_000_000 / pipe.bytes_per_second));
        Some(pipe.free_at.since(now))
    }
}
