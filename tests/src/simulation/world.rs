//! The simulated world: events in order of virtual time, and the faults among them.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use paxos_core::{
    Applied, Configurations, Effect, Envelope, Input, Inside, Membership, Message, NodeId, Outcome,
    Persist, Random, RoleKind, Slot, Time, Value, receivers,
};

use super::client::{Client, Wish};
use super::node::{Disk, Running, SESSIONS_MAX};
use super::plan::{Faults, Plan};
use crate::checkers::agreement::Agreement;
use crate::checkers::counter_history;
use crate::checkers::durability;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The same for the same seed and build.
    pub hash: u64,
    /// Slots chosen.
    pub slots: usize,
    /// Client operations answered.
    pub answered: usize,
    /// Faults that happened.
    pub faults: Faults,
    /// Ballots that led.
    pub leaders: usize,
    /// Virtual time that passed.
    pub lasted: Duration,
}

/// Virtual time that a healed cluster may take to answer everything and to agree.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// A run that makes more events than this is stuck in one moment.
const EVENTS_MAX: u64 = 5_000_000;

/// A client asks another node after this.
const CLIENT_PATIENCE: Duration = Duration::from_millis(400);

/// Runs a seed.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn run(seed: u64) -> Result<Report, String> {
    run_as(seed, |plan| plan)
}

/// Runs a seed with its plan changed.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn run_as(seed: u64, change: impl FnOnce(Plan) -> Plan) -> Result<Report, String> {
    World::new(seed, change).run()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Event {
    Deliver(u64),
    Ring(NodeId, RoleKind),
    Synced(NodeId, u64),
    Crash,
    Restart(NodeId),
    Begin(usize),
    Impatient(usize, u64),
    Heal,
}

struct World {
    now: Time,
    random: Random,
    plan: Plan,
    genesis: Configurations,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    events_made: u64,
    mail: BTreeMap<u64, Envelope>,
    disks: BTreeMap<NodeId, Disk>,
    running: BTreeMap<NodeId, Running>,
    clients: Vec<Client>,
    waiting_reads: BTreeMap<(NodeId, Slot), Vec<u64>>,
    agreement: Agreement,
    faults: Faults,
    leaders: usize,
    healed: bool,
    hash: DefaultHasher,
}

impl World {
    fn new(seed: u64, change: impl FnOnce(Plan) -> Plan) -> Self {
        let mut random = Random::new(seed);
        let plan = change(Plan::draw(&mut random));
        let addresses = (1..=plan.nodes).map(|id| (NodeId(id), format!("n{id}:1")));
        let membership = Membership::of_voters(addresses)
            .and_then(|membership| membership.with_alpha(8))
            .expect("a plan has nodes");
        let agreement = Agreement::new(membership.quorums.clone());
        let clients = (0..plan.clients).map(|id| Client::new(id, plan.operations)).collect();
        World {
            now: Time(0),
            random,
            genesis: Configurations::genesis(membership),
            events: BinaryHeap::new(),
            events_made: 0,
            mail: BTreeMap::new(),
            disks: (1..=plan.nodes).map(|id| (NodeId(id), Disk::default())).collect(),
            running: BTreeMap::new(),
            clients,
            waiting_reads: BTreeMap::new(),
            agreement,
            faults: Faults::default(),
            leaders: 0,
            healed: false,
            hash: DefaultHasher::new(),
            plan,
        }
    }

    fn run(mut self) -> Result<Report, String> {
        let nodes: Vec<_> = self.disks.keys().copied().collect();
        nodes.iter().for_each(|node| self.at(Duration::ZERO, Event::Restart(*node)));
        (0..self.clients.len()).for_each(|id| self.at(Duration::ZERO, Event::Begin(id)));
        self.at(self.plan.faults_for, Event::Heal);
        self.plan_crash();
        let end = Time(0).after(self.plan.faults_for + PROGRESS_WITHIN);
        while let Some(Reverse((time, order, event))) = self.events.pop() {
            if order > EVENTS_MAX {
                return Err(format!("events without end, the last: {event:?}"));
            }
            self.now = time;
            (time, order, &event).hash(&mut self.hash);
            self.happen(event).map_err(|broken| format!("at {time}: {broken}"))?;
            if self.healed && self.is_done() {
                return self.finish();
            }
            if time > end {
                return Err(format!("no progress: {}", self.stuck()));
            }
        }
        Err("nothing left to happen".to_owned())
    }

    fn at(&mut self, delay: Duration, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((self.now.after(delay), self.events_made, event)));
    }

    fn upto(&mut self, bound: Duration) -> Duration {
        self.random.duration_below(bound)
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        !self.healed && self.random.below(1000) < per_mille
    }

    fn plan_crash(&mut self) {
        let delay = self.upto(self.plan.crash_every * 2);
        self.at(delay, Event::Crash);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver(mail) => {
                let Some(envelope) = self.mail.remove(&mail) else { return Ok(()) };
                envelope.hash(&mut self.hash);
                let Envelope { from, to, message } = envelope;
                for kind in receivers(&message) {
                    self.input(to, *kind, Input::Message(from, message.clone()))?;
                }
                Ok(())
            }
            Event::Ring(node, kind) => {
                let now = self.now;
                let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
                if running.armed.get(&kind) != Some(&now) {
                    return Ok(());
                }
                running.armed.remove(&kind);
                self.input(node, kind, Input::Timeout)
            }
            Event::Synced(node, incarnation) => self.synced(node, incarnation),
            Event::Crash => {
                self.crash();
                Ok(())
            }
            Event::Restart(node) => self.restart(node),
            Event::Begin(id) => {
                if self.clients[id].begin(self.now, &mut self.random) {
                    self.ask(id);
                }
                Ok(())
            }
            Event::Impatient(id, attempt) => {
                if self.clients[id].attempts == attempt && self.clients[id].present.is_some() {
                    self.try_another(id);
                }
                Ok(())
            }
            Event::Heal => {
                self.healed = true;
                Ok(())
            }
        }
    }

    fn input(&mut self, node: NodeId, kind: RoleKind, input: Input) -> Result<(), String> {
        let now = self.now;
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let (effects, ring) = running.handle(kind, now, input);
        if let Some(ring) = ring {
            self.at(ring.since(now), Event::Ring(node, kind));
        }
        effects.into_iter().try_for_each(|effect| self.perform(node, effect))
    }

    fn perform(&mut self, node: NodeId, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Send(envelope) => self.send(envelope),
            Effect::Persist(persist) => self.write(node, persist),
            Effect::Apply { slot, value } => self.apply(node, slot, &value),
            Effect::Proposed { .. } => Ok(()),
            Effect::Refuse { ticket, .. } => {
                let (id, attempt) = Client::of_ticket(ticket);
                if self.clients[id].attempts == attempt && self.clients[id].node == node {
                    self.at(Duration::from_millis(20), Event::Impatient(id, attempt));
                }
                Ok(())
            }
            Effect::ReadReady { ticket, next } => {
                self.waiting_reads.entry((node, next)).or_default().push(ticket);
                self.answer_reads(node);
                Ok(())
            }
            Effect::Led(change) => {
                let led = change.leader.is_some_and(|ballot| ballot.node == node);
                self.leaders += usize::from(led);
                Ok(())
            }
        }
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), String> {
        if let Some(disk) = self.disks.get(&envelope.from) {
            durability::covered(&envelope.message, &disk.durable)?;
        }
        if envelope.from == envelope.to {
            let delay = self.upto(Duration::from_micros(50));
            self.post(delay, envelope);
            return Ok(());
        }
        let loss = self.plan.loss_to.get(&envelope.to).copied().unwrap_or(self.plan.loss);
        if self.chance(loss) {
            self.faults.lost += 1;
            return Ok(());
        }
        if self.chance(self.plan.duplication) {
            self.faults.duplicated += 1;
            let delay = self.upto(Duration::from_secs(2));
            self.post(delay, envelope.clone());
        }
        let mut delay = Duration::from_micros(100) + self.upto(Duration::from_millis(2));
        if self.chance(self.plan.reordering) {
            self.faults.reordered += 1;
            delay += self.upto(Duration::from_millis(300));
        }
        self.post(delay, envelope);
        Ok(())
    }

    fn post(&mut self, delay: Duration, envelope: Envelope) {
        self.mail.insert(self.events_made, envelope);
        self.at(delay, Event::Deliver(self.events_made));
    }

    fn write(&mut self, node: NodeId, persist: Persist) -> Result<(), String> {
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        running.queue.push_back(persist);
        if running.writing.is_empty() {
            self.drain(node);
        }
        Ok(())
    }

    fn drain(&mut self, node: NodeId) {
        let delay = self.upto(self.plan.sync);
        let incarnation = self.disks[&node].incarnation;
        let Some(running) = self.running.get_mut(&node) else { return };
        running.writing = running.queue.drain(..).collect();
        if !running.writing.is_empty() {
            self.at(delay, Event::Synced(node, incarnation));
        }
    }

    fn synced(&mut self, node: NodeId, incarnation: u64) -> Result<(), String> {
        let Some(disk) = self.disks.get_mut(&node) else { return Ok(()) };
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if disk.incarnation != incarnation {
            return Ok(());
        }
        let written = std::mem::take(&mut running.writing);
        let (records, then): (Vec<_>, Vec<_>) =
            written.into_iter().map(|persist| (persist.records, persist.then)).unzip();
        for record in disk.append(records.concat()) {
            self.agreement.synced(node, record)?;
        }
        then.concat().into_iter().try_for_each(|envelope| self.send(envelope))?;
        self.drain(node);
        Ok(())
    }

    fn apply(&mut self, node: NodeId, slot: Slot, value: &Value) -> Result<(), String> {
        self.agreement.applied(node, slot, value)?;
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let Applied { origin, outcomes } = running.replica.apply(slot, value, SESSIONS_MAX);
        self.answer_reads(node);
        let (Some(origin), [outcome]) = (origin, outcomes.as_slice()) else { return Ok(()) };
        let (id, _) = Client::of_ticket(origin.number);
        if origin.node != node || self.clients[id].ticket() != origin.number {
            return Ok(());
        }
        let value = match outcome {
            Outcome::Opened(session) => session.0,
            Outcome::Replied(reply) => varint(reply),
            other => return Err(format!("client {id} was answered {other:?}")),
        };
        self.answer(id, value);
        Ok(())
    }

    fn answer(&mut self, id: usize, value: u64) {
        // A restarted node may apply a slot again that it had answered before.
        if self.clients[id].present.is_none() {
            return;
        }
        self.clients[id].end(self.now, value);
        let pause = self.upto(Duration::from_millis(100));
        self.at(pause, Event::Begin(id));
    }

    fn answer_reads(&mut self, node: NodeId) {
        let Some(running) = self.running.get(&node) else { return };
        let applied = running.replica.applied();
        let value = running.replica.machine().value();
        let (first, last) = ((node, Slot(0)), (node, applied.next()));
        let ready: Vec<_> = self.waiting_reads.range(first..=last).map(|(key, _)| *key).collect();
        for key in ready {
            for ticket in self.waiting_reads.remove(&key).unwrap_or_default() {
                let (id, _) = Client::of_ticket(ticket);
                let client = &self.clients[id];
                let reads = client.present.is_some_and(|present| present.wish == Wish::Read);
                if client.ticket() == ticket && client.node == node && reads {
                    self.answer(id, value);
                }
            }
        }
    }

    /// Sends the present operation of a client to its node.
    fn ask(&mut self, id: usize) {
        self.clients[id].attempts += 1;
        let (node, attempt) = (self.clients[id].node, self.clients[id].attempts);
        self.at(CLIENT_PATIENCE, Event::Impatient(id, attempt));
        let ticket = self.clients[id].ticket();
        let message = match self.clients[id].batch(node, self.disks[&node].incarnation) {
            Some(bytes) => Inside::Propose { ticket, bytes },
            None => Inside::Read { ticket },
        };
        if self.running.contains_key(&node) {
            let delay = self.upto(Duration::from_millis(1));
            let message = Message::Inside(message);
            self.post(delay, Envelope { from: node, to: node, message });
        }
    }

    fn try_another(&mut self, id: usize) {
        self.clients[id].node = NodeId(1 + self.random.below(self.plan.nodes));
        self.ask(id);
    }

    fn crash(&mut self) {
        if self.healed {
            return;
        }
        self.plan_crash();
        let victim = NodeId(1 + self.random.below(self.plan.nodes));
        let Some(running) = self.running.remove(&victim) else { return };
        let Some(disk) = self.disks.get_mut(&victim) else { return };
        let writing = running.writing.into_iter().flat_map(|persist| persist.records).collect();
        self.faults.torn += u64::from(disk.crash(writing, &mut self.random));
        self.faults.crashed += 1;
        self.waiting_reads.retain(|(node, _), _| *node != victim);
        self.mail.retain(|_, envelope| envelope.from != victim || envelope.to != victim);
        let delay = self.upto(self.plan.down_for);
        self.at(delay, Event::Restart(victim));
    }

    fn restart(&mut self, node: NodeId) -> Result<(), String> {
        let seed = self.random.draw();
        let Some(disk) = self.disks.get_mut(&node) else { return Ok(()) };
        for record in disk.restart() {
            self.agreement.synced(node, &record)?;
        }
        let (running, hello) = Running::start(node, disk, &self.genesis, seed, self.now);
        self.running.insert(node, running);
        let message = Message::Inside(hello);
        self.post(Duration::ZERO, Envelope { from: node, to: node, message });
        self.input(node, RoleKind::Leadership, Input::Timeout)
    }

    fn is_done(&self) -> bool {
        let mut nexts = self.running.values().map(Running::next);
        let first = nexts.next();
        self.running.len() as u64 == self.plan.nodes
            && self.clients.iter().all(|client| client.left == 0)
            && nexts.all(|next| Some(next) == first)
    }

    fn stuck(&self) -> String {
        let nodes = self.running.iter().map(|(node, running)| format!("{node} {}", running.next()));
        let left: u64 = self.clients.iter().map(|client| client.left).sum();
        format!("{left} operations left; {}", nodes.collect::<Vec<_>>().join(", "))
    }

    fn finish(mut self) -> Result<Report, String> {
        let mut states = self.running.values().map(|running| running.replica.snapshot());
        let first = states.next();
        if !states.all(|state| Some(state) == first) {
            return Err("replicas of the same slots differ".to_owned());
        }
        let history: Vec<_> =
            self.clients.iter().flat_map(|client| client.history.iter().copied()).collect();
        counter_history::check(&history)?;
        first.hash(&mut self.hash);
        Ok(Report {
            hash: self.hash.finish(),
            slots: self.agreement.chosen(),
            answered: history.len(),
            faults: self.faults,
            leaders: self.leaders,
            lasted: self.now.since(Time(0)),
        })
    }
}

fn varint(bytes: &[u8]) -> u64 {
    let low = |(place, byte): (usize, &u8)| u64::from(byte & 0x7f) << (7 * place);
    bytes.iter().enumerate().map(low).sum()
}
