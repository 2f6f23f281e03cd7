//! The simulated world: events in order of virtual time, and the driver's contract around the
//! roles.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use paxos_core::{
    Applied, Effect, Envelope, Input, Membership, NodeId, Outcome, Persist, Random, RoleKind, Slot,
    Time, Value, receivers,
};
use rustc_hash::FxHasher;

use super::client::Client;
use super::clock::Clock;
use super::directed::Conditions;
use super::ending::Report;
use super::events::{Event, Events};
use super::followers::Follower;
use super::leases;
use super::network::Cuts;
use super::node::{Host, Running};
use super::plan::{Faults, Plan};
use super::plant::{Plant, Sound};
use crate::checkers::agreement::Agreement;
use crate::checkers::followers::Followers;
use crate::checkers::holders::Holders;
use crate::checkers::leadership::Leadership;
use crate::checkers::leases::Leases;
use crate::checkers::locks::Locks;
use crate::checkers::memory;
use crate::checkers::replication::Replication;
use crate::checkers::snapshots::Snapshots;
use crate::checkers::watches::Watches;
use crate::checkers::{durability, window};

/// Virtual time that a healed cluster may take to answer everything and to agree.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(120);

/// Virtual time that is added, second by second, until every planned fault has happened.
pub(super) const FAULTS_LATE_BY: Duration = Duration::from_secs(30);

/// A run that makes more events than this is stuck in one moment.
const EVENTS_MAX: u64 = 20_000_000;

/// The state hash is compared at every so many slots.
const STATE_EVERY: u64 = 16;

/// What roles hold is measured so often.
const MEASURED_EVERY: Duration = Duration::from_secs(20);

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

/// Runs a seed and hands every event to `tell`, as one aligned line. Answers the trace hash too,
/// of a run that failed as well.
pub fn run_telling(
    seed: u64,
    change: impl FnOnce(Plan) -> Plan,
    tell: &mut dyn FnMut(&str),
) -> (u64, Result<Report, String>) {
    let mut sound = Sound;
    let mut world = World::new(seed, change, Some(tell), &mut sound);
    let ran = world.run();
    (world.hash.finish(), ran)
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

pub(super) struct World<'a> {
    pub(super) now: Time,
    pub(super) random: Random,
    pub(super) plan: Plan,
    pub(super) events: Events,
    effects: Vec<Effect>,
    pub(super) hosts: BTreeMap<NodeId, Host>,
    pub(super) running: BTreeMap<NodeId, Running>,
    pub(super) cuts: BTreeMap<u64, Cuts>,
    pub(super) clients: Vec<Client>,
    pub(super) fronts: Vec<NodeId>,
    pub(super) waiting_reads: BTreeMap<(NodeId, Slot), Vec<u64>>,
    pub(super) agreement: Agreement,
    /// Memberships that were proposed and may yet be chosen, each with its base.
    pub(super) proposed: Vec<(Slot, Membership)>,
    /// The newest membership that has settled governs from here.
    pub(super) settled: Slot,
    pub(super) leadership: Leadership,
    pub(super) leases: Leases,
    /// Reads that a lease made certain.
    pub(super) by_lease: u64,
    /// Reads that each node made certain.
    pub(super) certified: BTreeMap<NodeId, u64>,
    /// Snapshots made, and those of others that a node went on from.
    pub(super) made: u64,
    pub(super) restored: u64,
    /// Fetches gone on with after a restart.
    pub(super) resumed: u64,
    pub(super) replication: Replication,
    pub(super) snapshots: Snapshots,
    pub(super) followers: Vec<Follower>,
    /// What they heard.
    pub(super) checked: Followers,
    /// What they were told.
    pub(super) watches: Watches,
    /// How often one went to another node, and how often one was told that it has missed some.
    pub(super) moved: u64,
    pub(super) lagged: u64,
    /// Locks, and what those who hold them are sure of.
    pub(super) locks: Locks,
    pub(super) holders: Holders,
    pub(super) faults: Faults,
    pub(super) leaders: BTreeSet<paxos_core::Ballot>,
    /// What a story does beside; see [`super::directed`].
    pub(super) conditions: Conditions,
    /// When faults ended.
    pub(super) healed: Option<Time>,
    measured: Time,
    pub(super) hash: FxHasher,
    tell: Option<&'a mut dyn FnMut(&str)>,
    pub(super) plant: &'a mut dyn Plant,
}

impl<'a> World<'a> {
    pub(super) fn new(
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
            hosts.insert(*node, Host::new(*node, member.role, &plan, clock));
        }
        let agreement = Agreement::new(genesis.clone());
        let leases = plan.leases_hold();
        let client = |id| Client::new(id, plan.operations, plan.service, leases);
        let clients = (0..plan.clients).map(client).collect();
        World {
            now: Time(0),
            random,
            events: Events::default(),
            effects: Vec::new(),
            hosts,
            running: BTreeMap::new(),
            cuts: BTreeMap::new(),
            clients,
            fronts: plan.fronts(),
            waiting_reads: BTreeMap::new(),
            agreement,
            proposed: Vec::new(),
            settled: Slot::FIRST,
            made: 0,
            restored: 0,
            resumed: 0,
            leadership: Leadership::new(plan.membership.quorums.clone()),
            leases: Leases::new(leases::holds(&plan.membership)),
            by_lease: 0,
            certified: BTreeMap::new(),
            replication: Replication::default(),
            snapshots: Snapshots::new(plan.membership.clone()),
            followers: Vec::new(),
            checked: Followers::default(),
            watches: Watches::default(),
            moved: 0,
            lagged: 0,
            locks: Locks::default(),
            holders: Holders::new(plan.clocks_are_fair()),
            faults: Faults::default(),
            leaders: BTreeSet::new(),
            conditions: Conditions::default(),
            healed: None,
            measured: Time(0),
            hash: FxHasher::default(),
            tell,
            plant,
            plan,
        }
    }

    fn run(&mut self) -> Result<Report, String> {
        let nodes: Vec<_> = self.hosts.keys().copied().collect();
        nodes.iter().for_each(|node| self.at(Duration::ZERO, Event::Restart(*node)));
        (0..self.clients.len()).for_each(|id| self.at(Duration::ZERO, Event::Begin(id)));
        self.begin_following();
        self.at(self.plan.faults_for, Event::Heal);
        let troubles: Vec<_> = self.plan.troubles.keys().copied().collect();
        troubles.into_iter().for_each(|trouble| self.plan_trouble(trouble));
        while self.go_on(Time(u64::MAX))? {
            if self.now > self.measured.after(MEASURED_EVERY) {
                self.measured = self.now;
                self.measure().map_err(|broken| format!("at {}: {broken}", self.now))?;
            }
            if self.healed.is_some() && self.is_done() {
                return self.finish();
            }
            if self.healed.is_some_and(|healed| self.now > healed.after(PROGRESS_WITHIN)) {
                return Err(format!("progress: nothing new after healing: {}", self.stuck()));
            }
        }
        Err("progress: nothing left to happen".to_owned())
    }

    /// Lets the next event happen, if one does by then; whether there was one.
    fn go_on(&mut self, until: Time) -> Result<bool, String> {
        let Some((time, order, event)) = self.events.next_by(until) else { return Ok(false) };
        if order > EVENTS_MAX {
            return Err(format!("progress: events without end, the last: {event:?}"));
        }
        self.now = time;
        if let Some(event) = self.unless_paused(event) {
            (time, order).hash(&mut self.hash);
            self.happen(event).map_err(|broken| format!("at {time}: {broken}"))?;
        }
        Ok(true)
    }

    /// Lets everything happen that happens until then.
    pub(super) fn pass(&mut self, until: Time) -> Result<(), String> {
        while self.go_on(until)? {}
        self.now = until;
        Ok(())
    }

    pub(super) fn at(&mut self, delay: Duration, event: Event) {
        self.events.add(self.now.after(delay), event);
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
    fn unless_paused(&mut self, event: Event) -> Option<Event> {
        let node = match &event {
            Event::Deliver(envelope, _) => envelope.to,
            Event::Ring(node, _) | Event::Synced(node, _) | Event::Snapshot(node, _) => *node,
            _ => return Some(event),
        };
        match self.hosts.get(&node) {
            Some(host) if host.paused_until > self.now => {
                self.at(host.paused_until.since(self.now), event);
                None
            }
            _ => Some(event),
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver(envelope, run) => self.deliver(*envelope, run),
            Event::Ring(node, kind) => self.ring(node, kind),
            Event::Synced(node, incarnation) => self.synced(node, incarnation),
            Event::Snapshot(node, run) => self.make_snapshot(node, run),
            Event::Befall(trouble) => self.befall(trouble),
            Event::Restart(node) => self.restart(node),
            Event::Anew(node, run) => {
                if self.running.get(&node).is_some_and(|it| it.incarnation() == run) {
                    self.stop(node, true);
                }
                Ok(())
            }
            Event::Mend(cut) => {
                self.cuts.remove(&cut);
                Ok(())
            }
            Event::Begin(id) => {
                self.told(NodeId(0), || format!("client {id} begins"));
                self.use_lock(id)?;
                let hurried = self.healed.is_some();
                if self.clients[id].begin(self.now, &mut self.random, hurried) {
                    self.ask(id);
                }
                self.mind_belief(id)
            }
            Event::Impatient(id, attempt) => {
                self.told(NodeId(0), || format!("client {id} is impatient of attempt {attempt}"));
                if self.clients[id].attempts == attempt && self.clients[id].present.is_some() {
                    self.try_another(id);
                }
                Ok(())
            }
            Event::Listen(id) => self.listen(id),
            Event::Heal => self.heal(),
        }
    }

    fn deliver(&mut self, envelope: Envelope, run: u64) -> Result<(), String> {
        let Some(running) = self.running.get(&envelope.to) else { return Ok(()) };
        if envelope.from == envelope.to && running.incarnation() != run {
            return Ok(());
        }
        envelope.hash(&mut self.hash);
        self.told(envelope.to, || envelope.to_string());
        self.leadership.delivered(&envelope);
        self.lease_lent(&envelope)?;
        if self.is_refused(&envelope) {
            return Ok(());
        }
        let Envelope { from, to, message } = envelope;
        let [others @ .., last] = receivers(&message) else { return Ok(()) };
        for kind in others {
            self.input(to, *kind, Input::Message(from, message.clone()))?;
        }
        self.input(to, *last, Input::Message(from, message))
    }

    fn ring(&mut self, node: NodeId, kind: RoleKind) -> Result<(), String> {
        let (now, Some(host)) = (self.now, self.hosts.get(&node)) else { return Ok(()) };
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let timer = running.timer(kind);
        timer.rings = timer.rings.filter(|rings| *rings > now);
        match timer.deadline {
            Some(deadline) if host.clock.shows(now) >= deadline => {
                timer.deadline = None;
                self.told(node, || format!("{kind:?} timer"));
                self.input(node, kind, Input::Timeout)
            }
            _ => {
                self.arm(node, kind);
                Ok(())
            }
        }
    }

    /// Sees to it that a ring comes in time for a role's deadline. One that comes too early is
    /// cheaper than one for every change of the deadline.
    pub(super) fn arm(&mut self, node: NodeId, kind: RoleKind) {
        let (Some(host), Some(running)) = (self.hosts.get(&node), self.running.get_mut(&node))
        else {
            return;
        };
        let timer = running.timer(kind);
        let Some(deadline) = timer.deadline else { return };
        let delay = host.clock.until(deadline, self.now);
        let due = self.now.after(delay);
        if timer.rings.is_none_or(|rings| rings > due) {
            timer.rings = Some(due);
            self.at(delay, Event::Ring(node, kind));
        }
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
        let mut effects = std::mem::take(&mut self.effects);
        running.handle(kind, host.clock.shows(self.now), input, &mut effects, self.plant);
        self.arm(node, kind);
        let done = effects.drain(..).try_for_each(|effect| self.perform(node, effect));
        self.effects = effects;
        done
    }

    fn perform(&mut self, node: NodeId, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Send(envelope) => self.send(envelope),
            Effect::Persist(persist) => self.write(node, persist),
            Effect::Apply { slot, value } => self.apply(node, slot, &value),
            Effect::Restore { next } => self.go_on_from(node, next),
            Effect::ReadPiece { to, snapshot, offset, bytes } => {
                self.read_piece(node, to, (snapshot, offset), bytes)
            }
            Effect::KeepPiece { snapshot, offset, bytes } => {
                self.keep_piece(node, &snapshot, offset, &bytes)
            }
            Effect::Proposed { .. } => Ok(()),
            Effect::Refuse { ticket, .. } => {
                let (id, attempt) = Client::of_ticket(ticket);
                let client = self.clients.get(id);
                if client.is_some_and(|it| it.attempts == attempt && it.node == node) {
                    self.at(Duration::from_millis(20), Event::Impatient(id, attempt));
                }
                Ok(())
            }
            Effect::ReadReady { ticket, next, level } => self.read_ready(node, ticket, next, level),
            Effect::Led(change) => {
                self.told(node, || match change.leader {
                    Some(ballot) => format!("hears the leader of {ballot}: {}", change.why),
                    None => format!("hears no leader: {}", change.why),
                });
                self.leaders.extend(change.leader);
                Ok(())
            }
            Effect::Governed(governance) => self.governed(node, governance),
        }
    }

    pub(super) fn send(&mut self, envelope: Envelope) -> Result<(), String> {
        if let Some(host) = self.hosts.get(&envelope.from) {
            durability::covered(&envelope.message, &host.durable)?;
        }
        let applied = self.replication.applied(envelope.from);
        window::within(&envelope, applied, self.plan.membership.alpha)?;
        self.leadership.sent(self.now, &envelope)?;
        self.lease_asked(&envelope);
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
        let Some(waits) = self.conditions.wait(&envelope, self.now) else {
            self.faults.lost += 1;
            return Ok(());
        };
        let mut delay = waits + Duration::from_micros(50) + self.upto(self.plan.latency);
        if self.chance(self.plan.reordering, self.faults.reordered) {
            self.faults.reordered += 1;
            delay += self.upto(Duration::from_millis(300));
        }
        self.post(delay, envelope);
        Ok(())
    }

    /// Messages inside a node end with its run.
    pub(super) fn post(&mut self, delay: Duration, envelope: Envelope) {
        let run = self.running.get(&envelope.from).map_or(0, Running::incarnation);
        self.at(delay, Event::Deliver(Box::new(envelope), run));
    }

    fn write(&mut self, node: NodeId, persist: Persist) -> Result<(), String> {
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if running.write(persist) {
            self.spin(node);
        }
        memory::writes(node, self.running.get(&node).map_or(0, Running::waiting))
    }

    /// The disk takes its time.
    fn spin(&mut self, node: NodeId) {
        let slow = if self.random.below(50) == 0 && self.healed.is_none() { 10 } else { 1 };
        let delay = self.upto(self.plan.sync) * slow;
        let delay = delay.max(self.conditions.stall(node, self.now));
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
            self.mind_changes();
            self.snapshots.synced(node, &record)?;
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
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let Applied { origin, outcomes, events } =
            self.plant.apply(node, &mut running.replica, slot, value);
        running.backlog.add(slot, value, running.replica.configurations());
        self.watches.applied(slot, &events)?;
        running.recent.add(slot, events.clone());
        let due = running.is_snapshot_due();
        if due || slot.0.is_multiple_of(STATE_EVERY) {
            self.replication.state(node, slot, &running.replica.snapshot())?;
        }
        if due {
            self.plan_snapshot(node);
        }
        self.tell_due(node);
        self.answer_reads(node)?;
        self.hear_locks(node, slot, value, (&outcomes, &events))?;
        let (Some(origin), [outcome]) = (origin, outcomes.as_slice()) else { return Ok(()) };
        let (id, _) = Client::of_ticket(origin.number);
        let client = self.clients.get(id);
        if origin.node != node || client.is_none_or(|it| it.ticket() != origin.number) {
            return Ok(());
        }
        let value = match outcome {
            Outcome::Opened(session) => session.0,
            Outcome::Replied(reply) => postcard::from_bytes(reply)
                .map_err(|error| format!("answers: no reply: {error}"))?,
            other => return Err(format!("answers: client {id} was answered {other:?}")),
        };
        self.answer(id, value)
    }
}
