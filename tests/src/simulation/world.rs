//! The simulated world: events in order of virtual time, and the driver's contract around the
//! roles.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use paxos_core::{
    Applied, Effect, Envelope, Input, Message, NodeId, Outcome, Persist, Random, RoleKind, Slot,
    Time, Value, receivers,
};

use super::client::{Client, Wish};
use super::clock::Clock;
use super::network::Cuts;
use super::node::{Host, Running};
use super::plan::{Faults, Plan, Trouble};
use super::plant::{Plant, Sound};
use crate::checkers::agreement::Agreement;
use crate::checkers::counter_history;
use crate::checkers::leadership::Leadership;
use crate::checkers::replication::Replication;
use crate::checkers::{durability, window};

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The same for the same seed and build.
    pub hash: u64,
    /// Members of the cluster.
    pub nodes: usize,
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
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(120);

/// Virtual time that is added, second by second, until every planned fault has happened.
pub(super) const FAULTS_LATE_BY: Duration = Duration::from_secs(30);

/// A run that makes more events than this is stuck in one moment.
const EVENTS_MAX: u64 = 20_000_000;

/// A client asks another node after this.
const CLIENT_PATIENCE: Duration = Duration::from_millis(400);

/// The state hash is compared at every so many slots.
const STATE_EVERY: u64 = 16;

/// Writes that may wait for one disk: each role repeats itself by timers only.
const WRITES_MAX: usize = 20_000;

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
    World::new(seed, change, None, &mut Sound).run()
}

/// Runs a seed and hands every event to `tell`, as one aligned line.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn run_telling(
    seed: u64,
    change: impl FnOnce(Plan) -> Plan,
    tell: &mut dyn FnMut(&str),
) -> Result<Report, String> {
    World::new(seed, change, Some(tell), &mut Sound).run()
}

/// Runs a seed of a cluster with a planted bug.
///
/// # Errors
/// The first promise that was broken, in words.
pub fn run_planted(
    seed: u64,
    change: impl FnOnce(Plan) -> Plan,
    plant: &mut dyn Plant,
) -> Result<Report, String> {
    World::new(seed, change, None, plant).run()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Event {
    Deliver(u64),
    Ring(NodeId, RoleKind),
    Synced(NodeId, u64),
    Befall(Trouble),
    Restart(NodeId),
    Mend(u64),
    Begin(usize),
    Impatient(usize, u64),
    Heal,
}

pub(super) struct World<'a> {
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) plan: Plan,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    events_made: u64,
    mail: BTreeMap<u64, Envelope>,
    pub(super) hosts: BTreeMap<NodeId, Host>,
    pub(super) running: BTreeMap<NodeId, Running>,
    pub(super) cuts: BTreeMap<u64, Cuts>,
    clients: Vec<Client>,
    fronts: Vec<NodeId>,
    pub(super) waiting_reads: BTreeMap<(NodeId, Slot), Vec<u64>>,
    pub(super) agreement: Agreement,
    leadership: Leadership,
    pub(super) replication: Replication,
    pub(super) faults: Faults,
    leaders: BTreeSet<paxos_core::Ballot>,
    /// When faults ended.
    pub(super) healed: Option<Time>,
    hash: DefaultHasher,
    tell: Option<&'a mut dyn FnMut(&str)>,
    pub(super) plant: &'a mut dyn Plant,
}

impl<'a> World<'a> {
    fn new(
        seed: u64,
        change: impl FnOnce(Plan) -> Plan,
        tell: Option<&'a mut dyn FnMut(&str)>,
        plant: &'a mut dyn Plant,
    ) -> Self {
        let mut random = Random::new(seed);
        let plan = change(Plan::draw(&mut random));
        let genesis = &plan.membership;
        plant.begins(genesis);
        let mut hosts = BTreeMap::new();
        for (node, member) in &genesis.members {
            let clock = Clock::draw(&mut random, plan.drift);
            hosts.insert(*node, Host::new(*node, member.role, genesis, clock));
        }
        let agreement = Agreement::new(genesis.quorums.clone());
        let clients = (0..plan.clients).map(|id| Client::new(id, plan.operations)).collect();
        World {
            now: Time(0),
            random,
            events: BinaryHeap::new(),
            events_made: 0,
            mail: BTreeMap::new(),
            hosts,
            running: BTreeMap::new(),
            cuts: BTreeMap::new(),
            clients,
            fronts: plan.fronts(),
            waiting_reads: BTreeMap::new(),
            agreement,
            leadership: Leadership::new(plan.membership.quorums.clone()),
            replication: Replication::default(),
            faults: Faults::default(),
            leaders: BTreeSet::new(),
            healed: None,
            hash: DefaultHasher::new(),
            tell,
            plant,
            plan,
        }
    }

    fn run(mut self) -> Result<Report, String> {
        let nodes: Vec<_> = self.hosts.keys().copied().collect();
        nodes.iter().for_each(|node| self.at(Duration::ZERO, Event::Restart(*node)));
        (0..self.clients.len()).for_each(|id| self.at(Duration::ZERO, Event::Begin(id)));
        self.at(self.plan.faults_for, Event::Heal);
        let troubles: Vec<_> = self.plan.troubles.keys().copied().collect();
        troubles.into_iter().for_each(|trouble| self.plan_trouble(trouble));
        while let Some(Reverse((time, order, event))) = self.events.pop() {
            if order > EVENTS_MAX {
                return Err(format!("progress: events without end, the last: {event:?}"));
            }
            self.now = time;
            if self.postponed(&event) {
                continue;
            }
            (time, order, &event).hash(&mut self.hash);
            self.happen(event).map_err(|broken| format!("at {time}: {broken}"))?;
            if self.healed.is_some() && self.is_done() {
                return self.finish();
            }
            if self.healed.is_some_and(|healed| time > healed.after(PROGRESS_WITHIN)) {
                return Err(format!("progress: nothing new after healing: {}", self.stuck()));
            }
        }
        Err("progress: nothing left to happen".to_owned())
    }

    pub(super) fn at(&mut self, delay: Duration, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((self.now.after(delay), self.events_made, event)));
    }

    pub(super) fn upto(&mut self, bound: Duration) -> Duration {
        self.random.duration_below(bound)
    }

    /// Whether a message suffers what so many in a thousand suffer and `happened` did so far. When
    /// faults should have ended without one, the next does.
    fn chance(&mut self, per_mille: u64, happened: u64) -> bool {
        let overdue =
            per_mille > 0 && happened == 0 && self.now > Time(0).after(self.plan.faults_for);
        self.healed.is_none() && (self.random.below(1000) < per_mille || overdue)
    }

    /// Tells one line of the trace, if anybody listens.
    pub(super) fn told(&mut self, node: NodeId, words: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(tell) = &mut self.tell {
            tell(&format!("{:>14}  {:<4} {}", now.to_string(), node.to_string(), words()));
        }
    }

    /// A node that stands still does not notice: what concerns it happens when it goes on.
    fn postponed(&mut self, event: &Event) -> bool {
        let node = match event {
            Event::Deliver(mail) => self.mail.get(mail).map(|envelope| envelope.to),
            Event::Ring(node, _) | Event::Synced(node, _) => Some(*node),
            _ => None,
        };
        let host = node.and_then(|node| self.hosts.get(&node));
        let Some(until) = host.map(|host| host.paused_until).filter(|until| *until > self.now)
        else {
            return false;
        };
        self.at(until.since(self.now), event.clone());
        true
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver(mail) => self.deliver(mail),
            Event::Ring(node, kind) => self.ring(node, kind),
            Event::Synced(node, incarnation) => self.synced(node, incarnation),
            Event::Befall(trouble) => self.befall(trouble),
            Event::Restart(node) => self.restart(node),
            Event::Mend(cut) => {
                self.cuts.remove(&cut);
                Ok(())
            }
            Event::Begin(id) => {
                self.told(NodeId(0), || format!("client {id} begins"));
                if self.clients[id].begin(self.now, &mut self.random) {
                    self.ask(id);
                }
                Ok(())
            }
            Event::Impatient(id, attempt) => {
                self.told(NodeId(0), || format!("client {id} is impatient of attempt {attempt}"));
                if self.clients[id].attempts == attempt && self.clients[id].present.is_some() {
                    self.try_another(id);
                }
                Ok(())
            }
            Event::Heal => self.heal(),
        }
    }

    fn deliver(&mut self, mail: u64) -> Result<(), String> {
        let Some(envelope) = self.mail.remove(&mail) else { return Ok(()) };
        envelope.hash(&mut self.hash);
        self.told(envelope.to, || envelope.to_string());
        self.leadership.delivered(&envelope);
        let Envelope { from, to, message } = envelope;
        for kind in receivers(&message) {
            self.input(to, *kind, Input::Message(from, message.clone()))?;
        }
        Ok(())
    }

    fn ring(&mut self, node: NodeId, kind: RoleKind) -> Result<(), String> {
        let (now, Some(host)) = (self.now, self.hosts.get(&node)) else { return Ok(()) };
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let Some(deadline) = running.armed.get(&kind).copied() else { return Ok(()) };
        let early = host.clock.until(deadline, now);
        if early > Duration::ZERO {
            // The ring was for an older deadline, or comes before the clock has got there.
            return Ok(());
        }
        running.armed.remove(&kind);
        self.told(node, || format!("{kind:?} timer"));
        self.input(node, kind, Input::Timeout)
    }

    pub(super) fn input(
        &mut self,
        node: NodeId,
        kind: RoleKind,
        input: Input,
    ) -> Result<(), String> {
        let (Some(host), Some(running)) = (self.hosts.get(&node), self.running.get_mut(&node))
        else {
            return Ok(());
        };
        let clock = host.clock;
        let (effects, ring) = running.handle(kind, clock.shows(self.now), input, self.plant);
        if let Some(deadline) = ring {
            self.at(clock.until(deadline, self.now), Event::Ring(node, kind));
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
                self.told(node, || match change.leader {
                    Some(ballot) => format!("hears the leader of {ballot}: {}", change.why),
                    None => format!("hears no leader: {}", change.why),
                });
                self.leaders.extend(change.leader);
                Ok(())
            }
        }
    }

    fn send(&mut self, envelope: Envelope) -> Result<(), String> {
        if let Some(host) = self.hosts.get(&envelope.from) {
            durability::covered(&envelope.message, &host.durable)?;
        }
        let applied = self.replication.applied(envelope.from);
        window::within(&envelope, applied, self.plan.membership.alpha)?;
        self.leadership.sent(self.now, &envelope)?;
        if envelope.from == envelope.to {
            let delay = self.upto(Duration::from_micros(50));
            self.post(delay, envelope);
            return Ok(());
        }
        let link = (envelope.from, envelope.to);
        if self.cuts.values().any(|cuts| cuts.contains(&link)) {
            self.faults.cut += 1;
            return Ok(());
        }
        let loss = self.plan.loss_to.get(&envelope.to).copied().unwrap_or(self.plan.loss);
        if self.chance(loss, self.faults.lost) {
            self.faults.lost += 1;
            return Ok(());
        }
        if self.chance(self.plan.duplication, self.faults.duplicated) {
            self.faults.duplicated += 1;
            let bound = if self.random.below(10) == 0 { 60 } else { 2 };
            let delay = self.upto(Duration::from_secs(bound));
            self.post(delay, envelope.clone());
        }
        let mut delay = Duration::from_micros(50) + self.upto(self.plan.latency);
        if self.chance(self.plan.reordering, self.faults.reordered) {
            self.faults.reordered += 1;
            delay += self.upto(Duration::from_millis(300));
        }
        self.post(delay, envelope);
        Ok(())
    }

    pub(super) fn post(&mut self, delay: Duration, envelope: Envelope) {
        self.mail.insert(self.events_made, envelope);
        self.at(delay, Event::Deliver(self.events_made));
    }

    /// Messages inside a node end with it.
    pub(super) fn forget_inside(&mut self, node: NodeId) {
        self.mail.retain(|_, envelope| envelope.from != node || envelope.to != node);
        self.waiting_reads.retain(|(reader, _), _| *reader != node);
    }

    fn write(&mut self, node: NodeId, persist: Persist) -> Result<(), String> {
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if running.write(persist) {
            self.spin(node);
        }
        match self.running.get(&node) {
            Some(running) if running.waiting() > WRITES_MAX => {
                Err(format!("memory: {node} has {} writes waiting", running.waiting()))
            }
            _ => Ok(()),
        }
    }

    /// The disk takes its time.
    fn spin(&mut self, node: NodeId) {
        let slow = if self.random.below(50) == 0 && self.healed.is_none() { 10 } else { 1 };
        let delay = self.upto(self.plan.sync) * slow;
        if let Some(running) = self.running.get(&node) {
            self.at(delay, Event::Synced(node, running.incarnation()));
        }
    }

    fn synced(&mut self, node: NodeId, incarnation: u64) -> Result<(), String> {
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if running.incarnation() != incarnation {
            return Ok(());
        }
        let (records, then) = match running.written() {
            Ok(written) => written,
            Err(error) => {
                self.told(node, || format!("stops: {error}"));
                self.stop(node, false);
                return Ok(());
            }
        };
        for record in records {
            self.agreement.synced(node, &record)?;
            if let Some(host) = self.hosts.get_mut(&node) {
                host.durable.absorb(record);
            }
        }
        then.into_iter().try_for_each(|envelope| self.send(envelope))?;
        if self.running.get_mut(&node).is_some_and(Running::begin) {
            self.spin(node);
        }
        Ok(())
    }

    fn apply(&mut self, node: NodeId, slot: Slot, value: &Value) -> Result<(), String> {
        self.told(node, || format!("applies {slot} {value}"));
        self.agreement.applied(node, slot, value)?;
        self.replication.applies(node, slot, value)?;
        let sessions_max = self.plan.membership.sessions_max;
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let Applied { origin, outcomes } =
            self.plant.apply(node, &mut running.replica, slot, value, sessions_max);
        if slot.0.is_multiple_of(STATE_EVERY) {
            self.replication.state(node, slot, &running.replica.snapshot())?;
        }
        self.answer_reads(node);
        let (Some(origin), [outcome]) = (origin, outcomes.as_slice()) else { return Ok(()) };
        let (id, _) = Client::of_ticket(origin.number);
        if origin.node != node || self.clients[id].ticket() != origin.number {
            return Ok(());
        }
        let value = match outcome {
            Outcome::Opened(session) => session.0,
            Outcome::Replied(reply) => postcard::from_bytes(reply)
                .map_err(|error| format!("answers: no reply: {error}"))?,
            other => return Err(format!("answers: client {id} was answered {other:?}")),
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
        let pause = self.upto(self.plan.think);
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
        let Some(running) = self.running.get(&node) else {
            // Nobody is there, and that is soon noticed.
            return self.at(Duration::from_millis(50), Event::Impatient(id, attempt));
        };
        let incarnation = running.incarnation();
        // Each attempt gets more time, or a slow cluster would never be in time.
        let patience = CLIENT_PATIENCE * (1 << self.clients[id].tries.min(4));
        self.clients[id].tries += 1;
        self.at(patience, Event::Impatient(id, attempt));
        let ticket = self.clients[id].ticket();
        let message = match self.clients[id].batch(node, incarnation) {
            Some(bytes) => {
                self.replication.submitted(&bytes);
                paxos_core::Inside::Propose { ticket, bytes }
            }
            None => paxos_core::Inside::Read { ticket },
        };
        let delay = self.upto(Duration::from_millis(1));
        let message = Message::Inside(message);
        self.post(delay, Envelope { from: node, to: node, message });
    }

    fn try_another(&mut self, id: usize) {
        let place = self.random.below(self.fronts.len() as u64) as usize;
        self.clients[id].node = self.fronts[place];
        self.ask(id);
    }

    fn is_done(&self) -> bool {
        let there = |host: &Host| host.lost || self.running.contains_key(&host.me);
        let mut nexts = self.running.values().filter_map(Running::next);
        let first = nexts.next();
        self.clients.iter().all(|client| client.left == 0)
            && self.hosts.values().all(there)
            && nexts.all(|next| Some(next) == first)
    }

    fn stuck(&self) -> String {
        let node = |(node, running): (&NodeId, &Running)| {
            let status = running.status();
            let leader = status.leader.map_or("nobody".to_owned(), |ballot| ballot.to_string());
            format!("{node} at {} hears {leader}", status.chosen)
        };
        let nodes: Vec<_> = self.running.iter().map(node).collect();
        let left: u64 = self.clients.iter().map(|client| client.left).sum();
        format!("{left} operations left; {}", nodes.join(", "))
    }

    fn finish(mut self) -> Result<Report, String> {
        let learners = self.running.values().filter(|running| running.next().is_some());
        let mut states = learners.map(|running| running.replica.snapshot());
        let first = states.next();
        if !states.all(|state| Some(state) == first) {
            return Err("replication: replicas of the same slots differ".to_owned());
        }
        if let Some(alarmed) = self.running.values().find(|node| node.status().alarms > 0) {
            return Err(format!("alarms: one without reason: {:?}", alarmed.status()));
        }
        let history: Vec<_> =
            self.clients.iter().flat_map(|client| client.history.iter().copied()).collect();
        counter_history::check(&history)?;
        let missing = self.faults.missing(&self.plan);
        if !missing.is_empty() {
            return Err(format!("faults: planned and never happened: {}", missing.join(", ")));
        }
        first.hash(&mut self.hash);
        Ok(Report {
            hash: self.hash.finish(),
            nodes: self.plan.membership.members.len(),
            slots: self.agreement.chosen(),
            answered: history.len(),
            faults: self.faults,
            leaders: self.leaders.len(),
            lasted: self.now.since(Time(0)),
        })
    }
}
