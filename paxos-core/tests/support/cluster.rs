//! A small cluster to tell stories with: messages wait until the story delivers, copies or loses
//! them, disks sync when it says so, and time passes only when it lets it.
//!
//! Messages are named by the beginning of their trace: `"n1 -> n2 accept"`. Three promises are
//! checked all the time, whatever the story is about: one chosen value per slot, computed from the
//! disks; one value per ballot and slot; no proposal under a ballot before phase 1 for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Configurations, Effect, Elector, Envelope,
    Input, Inside, LeadershipOptions, Learner, LearnerOptions, Membership, Message, NodeId,
    Persist, Policy, Proposal, Proposer, ProposerMessage, ProposerOptions, Random, ReadLevel,
    Record, Recovered, Restored, Role, RoleKind, Rule, Slot, Status, Time, Value, receivers,
};

/// A story that makes more events than this in one go is stuck in one moment.
const EVENTS_MAX: u64 = 1_000_000;

/// What became of a ticket so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing is known.
    Silent,
    /// It was given this slot.
    Proposed(Slot),
    /// It was not taken.
    Refused,
    /// The read may be answered here.
    Readable(Slot),
}

pub struct Cluster {
    pub now: Time,
    genesis: Configurations,
    /// Every membership that there ever was.
    governing: BTreeMap<Slot, Membership>,
    nodes: BTreeMap<NodeId, Node>,
    flying: Vec<Envelope>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// Everything that ever left a node.
    sent: Vec<Envelope>,
    pub chosen: BTreeMap<Slot, Value>,
    votes: BTreeMap<(Slot, Ballot), (Value, BTreeSet<NodeId>)>,
    promised: BTreeMap<Ballot, BTreeSet<NodeId>>,
    tickets: BTreeMap<u64, (Fate, Bytes)>,
    acceptors: AcceptorOptions,
}

#[derive(Default)]
struct Node {
    roles: Option<Roles>,
    /// The rule of its leadership, if it has one; else only the story campaigns.
    governed: Option<Rule>,
    incarnation: u64,
    synced: Vec<Record>,
    unsynced: VecDeque<Persist>,
    stalled: bool,
    applied: Vec<Value>,
}

struct Roles {
    acceptor: Acceptor,
    proposer: Proposer,
    learner: Learner,
    elector: Option<Elector>,
}

impl Roles {
    fn all(&mut self) -> Vec<(RoleKind, &mut dyn Role)> {
        let mut all: Vec<(RoleKind, &mut dyn Role)> = vec![
            (RoleKind::Acceptor, &mut self.acceptor),
            (RoleKind::Proposer, &mut self.proposer),
            (RoleKind::Learner, &mut self.learner),
        ];
        if let Some(elector) = &mut self.elector {
            all.push((RoleKind::Leadership, elector));
        }
        all
    }
}

impl Cluster {
    /// Voters 1 to `n`. Nobody campaigns unless the story says so.
    pub fn of(n: u64) -> Self {
        Self::with(n, None, AcceptorOptions::default())
    }

    /// The same with promises of pages with so many values.
    pub fn paged(n: u64, values: usize) -> Self {
        let acceptors = AcceptorOptions { page_values: values, ..AcceptorOptions::default() };
        Self::with(n, None, acceptors)
    }

    /// The same with the policy `heartbeat`.
    pub fn governed(n: u64) -> Self {
        Self::governed_by(n, Rule::Heartbeat)
    }

    /// The same with leaderships by this rule.
    pub fn governed_by(n: u64, rule: Rule) -> Self {
        Self::with(n, Some(rule), AcceptorOptions::default())
    }

    fn with(n: u64, governed: Option<Rule>, acceptors: AcceptorOptions) -> Self {
        let nodes = (1..=n).map(NodeId);
        let addresses = nodes.clone().map(|node| (node, String::new()));
        let membership = Membership::of_voters(addresses).unwrap().with_alpha(16).unwrap();
        let mut cluster = Cluster {
            now: Time(0),
            governing: BTreeMap::from([(Slot::FIRST, membership.clone())]),
            genesis: Configurations::genesis(membership),
            nodes: nodes
                .clone()
                .map(|node| (node, Node { governed: governed.clone(), ..Node::default() }))
                .collect(),
            flying: Vec::new(),
            cuts: BTreeSet::new(),
            sent: Vec::new(),
            chosen: BTreeMap::new(),
            votes: BTreeMap::new(),
            promised: BTreeMap::new(),
            tickets: BTreeMap::new(),
            acceptors,
        };
        nodes.for_each(|node| cluster.restart(node.0));
        cluster
    }

    /// The membership that governs a slot.
    fn membership(&self, slot: Slot) -> &Membership {
        let governing = self.governing.range(..=slot).next_back();
        governing.map(|(_, membership)| membership).expect("genesis governs")
    }

    fn node(&mut self, node: u64) -> &mut Node {
        self.nodes.get_mut(&NodeId(node)).expect("the story names a node of the cluster")
    }

    fn roles(&self, node: u64) -> &Roles {
        self.nodes[&NodeId(node)].roles.as_ref().expect("the node runs")
    }

    // What the story does to a node.

    /// The process ends; what is not synced is gone, and with it every answer that waited for it.
    pub fn crash(&mut self, node: u64) {
        let node = self.node(node);
        node.roles = None;
        node.unsynced.clear();
        node.stalled = false;
    }

    pub fn restart(&mut self, node: u64) {
        let (me, now, genesis) = (NodeId(node), self.now, self.genesis.clone());
        let acceptors = self.acceptors.clone();
        let this = self.node(node);
        this.incarnation += 1;
        let mut log = Recovered::default();
        this.synced.iter().for_each(|record| log.absorb(record.clone()));
        let (run, to) = (this.incarnation, || genesis.clone());
        let learner =
            Learner::recover(me, LearnerOptions::default(), Restored::nothing(to()), &log);
        this.applied = learner.chosen(Slot::FIRST).map(|(_, value)| value.clone()).collect();
        let elector = this.governed.clone().map(|rule| {
            let options = LeadershipOptions { rule, ..LeadershipOptions::default() };
            Elector::new(me, Policy::new(me, run, options, to(), node + 100 * run, now))
        });
        let hello = learner.advanced();
        this.roles = Some(Roles {
            acceptor: Acceptor::recover(me, acceptors, &log, now),
            proposer: Proposer::new(me, run, ProposerOptions::default(), to()),
            learner,
            elector,
        });
        self.tell(node, hello);
    }

    /// From now on the disk of the node takes records but syncs none.
    pub fn stall_disk(&mut self, node: u64) {
        self.node(node).stalled = true;
    }

    /// The disk syncs all that waits, and goes on syncing.
    pub fn sync(&mut self, node: u64) {
        self.node(node).stalled = false;
        while self.sync_one(node) {}
    }

    /// The disk syncs the oldest write that waits, if one does, and no other.
    pub fn sync_one(&mut self, node: u64) -> bool {
        let Some(Persist { records, then }) = self.node(node).unsynced.pop_front() else {
            return false;
        };
        for record in records {
            self.watch(NodeId(node), &record);
            self.node(node).synced.push(record);
        }
        then.into_iter().for_each(|envelope| self.leave(envelope));
        true
    }

    pub fn campaign(&mut self, node: u64) {
        self.tell(node, Inside::Campaign { after: None });
    }

    /// Asks the node to propose a batch. The ticket is never used again.
    pub fn propose(&mut self, node: u64, batch: &str) -> u64 {
        let bytes = Bytes::copy_from_slice(batch.as_bytes());
        let ticket = self.ticket(bytes.clone());
        let proposal = Proposal::Commands(bytes);
        self.tell(node, Inside::Propose { ticket, proposal });
        ticket
    }

    /// Asks the node for a linearizable read.
    pub fn read(&mut self, node: u64) -> u64 {
        let ticket = self.ticket(Bytes::new());
        self.tell(node, Inside::Read { ticket, level: ReadLevel::Linearizable });
        ticket
    }

    fn ticket(&mut self, bytes: Bytes) -> u64 {
        let ticket = self.tickets.len() as u64 + 1;
        self.tickets.insert(ticket, (Fate::Silent, bytes));
        ticket
    }

    pub fn tell(&mut self, node: u64, message: Inside) {
        let (from, message) = (NodeId(node), Message::Inside(message));
        self.arrive(&Envelope { from, to: from, message });
    }

    // What the story does to the network.

    /// What is sent between the two from now on is lost, in both directions.
    pub fn cut(&mut self, one: u64, other: u64) {
        self.cuts.extend([(NodeId(one), NodeId(other)), (NodeId(other), NodeId(one))]);
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Delivers every message that is on its way now and begins like this; there must be one.
    pub fn deliver(&mut self, name: &str) {
        let found = self.take(name);
        assert!(!found.is_empty(), "nothing to deliver like {name:?}: {:#?}", self.in_flight(""));
        found.iter().for_each(|envelope| self.arrive(envelope));
    }

    /// Delivers a copy of each; the messages stay on their way.
    pub fn deliver_copy(&mut self, name: &str) {
        let found = self.take(name);
        assert!(!found.is_empty(), "nothing to copy like {name:?}: {:#?}", self.in_flight(""));
        found.iter().for_each(|envelope| self.arrive(envelope));
        self.flying.extend(found);
    }

    /// Loses every message that is on its way now and begins like this; there must be one.
    pub fn lose(&mut self, name: &str) {
        let found = self.take(name);
        assert!(!found.is_empty(), "nothing to lose like {name:?}: {:#?}", self.in_flight(""));
    }

    fn take(&mut self, name: &str) -> Vec<Envelope> {
        let flying = std::mem::take(&mut self.flying);
        let matching = |envelope: &Envelope| envelope.to_string().starts_with(name);
        let (found, rest) = flying.into_iter().partition(matching);
        self.flying = rest;
        found
    }

    /// Puts a message on its way that nobody sent just now.
    pub fn inject(&mut self, from: u64, to: u64, message: Message) {
        self.flying.push(Envelope { from: NodeId(from), to: NodeId(to), message });
    }

    /// Puts everything that was ever sent on its way once more, in random order.
    pub fn replay(&mut self, random: &mut Random) {
        let mut again = self.sent.clone();
        while !again.is_empty() {
            let index = random.below(again.len() as u64) as usize;
            self.flying.push(again.swap_remove(index));
        }
    }

    /// The messages on their way that begin like this.
    pub fn in_flight(&self, name: &str) -> Vec<String> {
        let flying = self.flying.iter().map(Envelope::to_string);
        flying.filter(|text| text.starts_with(name)).collect()
    }

    /// Delivers everything, and what follows from it, until nothing is on its way.
    pub fn settle(&mut self) {
        while !self.flying.is_empty() {
            let next = self.flying.remove(0);
            self.arrive(&next);
        }
    }

    // Time.

    /// Lets time pass: everything on its way arrives at once, timers ring when they are due.
    pub fn run_for(&mut self, duration: Duration) {
        self.pass(duration, &mut |_, count| (count > 0).then_some(0));
    }

    /// The same with messages in random order.
    pub fn run_shuffled(&mut self, duration: Duration, random: &mut Random) {
        let mut pick = |_: Time, count: usize| {
            (count > 0 && random.below(4) > 0).then(|| random.below(count as u64) as usize)
        };
        self.pass(duration, &mut pick);
    }

    /// `pick` says which message arrives next; none: first a timer rings.
    fn pass(&mut self, duration: Duration, pick: &mut dyn FnMut(Time, usize) -> Option<usize>) {
        let end = self.now.after(duration);
        for _ in 0..EVENTS_MAX {
            if let Some(index) = pick(self.now, self.flying.len()) {
                let next = self.flying.remove(index);
                self.arrive(&next);
                continue;
            }
            let due = self.next_timer().filter(|(due, ..)| *due <= end);
            let Some((due, node, kind)) = due else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.input(node, kind, Input::Timeout);
        }
        panic!("a timer rings for ever");
    }

    fn next_timer(&mut self) -> Option<(Time, NodeId, RoleKind)> {
        let mut timers = Vec::new();
        for (id, node) in &mut self.nodes {
            let Some(roles) = &mut node.roles else { continue };
            for (kind, role) in roles.all() {
                timers.extend(role.next_deadline().map(|due| (due, *id, kind)));
            }
        }
        timers.into_iter().min()
    }

    // What the story may ask.

    /// What the node has applied, as text.
    pub fn applied(&self, node: u64) -> Vec<String> {
        self.nodes[&NodeId(node)].applied.iter().map(Value::to_string).collect()
    }

    pub fn leads(&self, node: u64) -> bool {
        self.roles(node).proposer.leads()
    }

    pub fn ballot(&self, node: u64) -> Option<Ballot> {
        self.roles(node).proposer.ballot()
    }

    pub fn promised(&self, node: u64) -> Ballot {
        self.roles(node).acceptor.promised()
    }

    /// What the node's acceptor holds in the slot, as text.
    pub fn accepted(&self, node: u64, slot: u64) -> Option<String> {
        let held = self.roles(node).acceptor.accepted(Slot(slot));
        held.map(|(ballot, value)| format!("{ballot} {value}"))
    }

    /// How often the node has seen one ballot propose two values.
    pub fn alarms(&self, node: u64) -> u64 {
        let mut status = Status::default();
        self.roles(node).acceptor.describe(&mut status);
        self.roles(node).learner.describe(&mut status);
        status.alarms
    }

    pub fn fate(&self, ticket: u64) -> Fate {
        self.tickets[&ticket].0.clone()
    }

    /// Whether the ticket's batch is chosen, in whatever slot.
    pub fn is_chosen(&self, ticket: u64) -> bool {
        let bytes = &self.tickets[&ticket].1;
        let holds = |value: &Value| matches!(value, Value::Commands(batch) if batch.bytes == bytes);
        self.chosen.values().any(holds)
    }

    /// How often a message that begins like this left a node.
    pub fn times_sent(&self, name: &str) -> usize {
        self.sent.iter().filter(|envelope| envelope.to_string().starts_with(name)).count()
    }

    // The driver's contract, and the checks.

    fn leave(&mut self, envelope: Envelope) {
        if let Message::Inside(_) = envelope.message {
            return self.arrive(&envelope);
        }
        self.sent.push(envelope.clone());
        if let Message::Acceptor(AcceptorMessage::Accept { ballot, slot, .. }) = envelope.message {
            let promises = self.promised.get(&ballot).into_iter().flatten();
            let quorums = &self.membership(slot).quorums;
            assert!(quorums.is_phase1(promises), "phase 1 was skipped: {envelope}");
        }
        if !self.cuts.contains(&(envelope.from, envelope.to)) {
            self.flying.push(envelope);
        }
    }

    fn arrive(&mut self, envelope: &Envelope) {
        let Envelope { from, to, message } = envelope;
        if self.nodes[to].roles.is_none() {
            return;
        }
        if let Message::Proposer(ProposerMessage::Promise(page)) = message {
            self.promised.entry(page.ballot).or_default().insert(*from);
        }
        for kind in receivers(message) {
            self.input(*to, *kind, Input::Message(*from, message.clone()));
        }
    }

    fn input(&mut self, node: NodeId, kind: RoleKind, input: Input) {
        let now = self.now;
        let Some(roles) = &mut self.node(node.0).roles else { return };
        let mut all = roles.all();
        let Some((_, role)) = all.iter_mut().find(|(this, _)| *this == kind) else { return };
        let mut effects = Vec::new();
        role.handle(now, input, &mut effects);
        effects.into_iter().for_each(|effect| self.perform(node, effect));
    }

    fn perform(&mut self, node: NodeId, effect: Effect) {
        let tell = |ticket, fate, tickets: &mut BTreeMap<u64, (Fate, Bytes)>| {
            tickets.get_mut(&ticket).expect("a ticket of the story").0 = fate;
        };
        match effect {
            Effect::Send(envelope) => self.leave(envelope),
            Effect::Persist(persist) => {
                let this = self.node(node.0);
                this.unsynced.push_back(persist);
                if !this.stalled {
                    self.sync(node.0);
                }
            }
            Effect::Apply { slot, value } => {
                let known = self.chosen.get(&slot);
                assert_eq!(known, Some(&value), "{node} applies {slot}, which is not chosen");
                let this = self.node(node.0);
                this.applied.push(value);
                assert_eq!(this.applied.len() as u64, slot.0, "{node} leaves a gap or repeats");
            }
            Effect::Proposed { ticket, slot } => {
                tell(ticket, Fate::Proposed(slot), &mut self.tickets);
            }
            Effect::Refuse { ticket, .. } => tell(ticket, Fate::Refused, &mut self.tickets),
            Effect::ReadReady { ticket, next, .. } => {
                tell(ticket, Fate::Readable(next), &mut self.tickets);
            }
            Effect::Restore { .. } | Effect::ReadPiece { .. } | Effect::KeepPiece { .. } => {
                panic!("{node} has a snapshot, and these stories have none");
            }
            Effect::Governed(governance) => {
                let (from, newest) = governance.configurations.newest();
                let known = self.governing.entry(*from).or_insert_with(|| newest.clone());
                assert_eq!(known, newest, "{node} has another membership from {from} on");
            }
            Effect::Led(_) => {}
        }
    }

    /// A record is synced: what do the disks say is chosen?
    fn watch(&mut self, node: NodeId, record: &Record) {
        let Record::Accepted { slot, ballot, value } = record else { return };
        let empty = || (value.clone(), BTreeSet::new());
        let (known, voters) = self.votes.entry((*slot, *ballot)).or_insert_with(empty);
        assert_eq!(known, value, "{ballot} proposed two values for {slot}");
        voters.insert(node);
        let voters = voters.clone();
        if self.membership(*slot).quorums.is_phase2(&voters) {
            let first = self.chosen.entry(*slot).or_insert_with(|| value.clone());
            assert_eq!(first, value, "{slot} has two chosen values");
        }
    }
}
