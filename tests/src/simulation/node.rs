//! One simulated node: its disk, its clock and, while it runs, its roles and the production log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use paxos_actors::log::{self, DataIdentity, Log, LogError, LogOptions, MemoryDisk, Snapshots};
use paxos_core::{
    Acceptor, AcceptorOptions, Archive, Backlog, ClusterId, Configurations, Effect, Elector,
    Envelope, Governance, Hosting, Input, Inside, LeadershipOptions, Learner, MemberRole, NodeId,
    Persist, Policy, Proposer, Recent, RecentOptions, Record, Recovered, Replica, Role, RoleKind,
    Slot, Status, Time, Value,
};

use super::clock::Clock;
use super::plan::Plan;
use super::plant::{Actor, Plant};
use super::services::Services;

/// The cluster that every simulated disk belongs to.
pub const CLUSTER: ClusterId = ClusterId(7);
const SEGMENT: u64 = 32 << 10;

/// A node keeps so few of the events that it told that who is slow misses some.
const EVENTS_MAX: usize = 12;

/// What is left of a node when it does not run.
#[derive(Debug)]
pub struct Host {
    /// The node.
    pub me: NodeId,
    /// Whether it has a replica, and so a learner and an archive.
    pub keeps_state: bool,
    /// Whether its processes could lead, and so have a proposer.
    pub may_lead: bool,
    /// Its disk.
    pub disk: Arc<Mutex<MemoryDisk>>,
    /// Its clock.
    pub clock: Clock,
    /// The fold of everything that was ever synced on the disk.
    pub durable: Recovered,
    /// Its disk was damaged, or is gone: it must not come back.
    pub damaged: bool,
    /// It has refused to start, for good.
    pub lost: bool,
    /// It stands still until then.
    pub paused_until: Time,
}

impl Host {
    /// A host with a formatted disk, for a member of this role.
    pub fn new(me: NodeId, role: MemberRole, plan: &Plan, clock: Clock) -> Self {
        let genesis = &plan.membership;
        let mut disk = MemoryDisk::new().shared();
        let identity = DataIdentity {
            cluster: CLUSTER,
            node: me,
            genesis: genesis.clone(),
            witness: !role.learns(),
        };
        log::format(&mut disk, &identity).expect("a new disk has no faults");
        let (durable, paused_until) = (Recovered::default(), Time(0));
        let (keeps_state, may_lead) = (role.learns(), !plan.read_replicas.contains(&me));
        let (damaged, lost) = (false, false);
        Host { me, keeps_state, may_lead, disk, clock, durable, damaged, lost, paused_until }
    }

    /// Its disk, for whoever plays fate.
    pub fn disk(&self) -> MutexGuard<'_, MemoryDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the node from its disk.
    ///
    /// # Errors
    /// Why its log says that it must not.
    pub fn start(
        &self,
        plan: &Plan,
        seed: u64,
        now: Time,
        plant: &mut dyn Plant,
    ) -> Result<(Running, Recovered), String> {
        let options = LogOptions { segment_bytes: SEGMENT, ..LogOptions::default() };
        let disk = plant.disk(self.me, &self.disk);
        let (log, mut recovered, _) =
            Log::open(disk, CLUSTER, self.me, options).map_err(|error| error.to_string())?;
        let shelf = plant.disk(self.me, &self.disk);
        let snapshots = Snapshots::open(shelf, CLUSTER, plan.settings.snapshots.keep)
            .map_err(|error| error.to_string())?;
        plant.recovered(self.me, &mut recovered);
        let now = self.clock.shows(now);
        let stored = (log, snapshots, &recovered);
        let running = Running::new(self, stored, plan, seed, now, plant)?;
        Ok((running, recovered))
    }
}

/// Every role, in the order of its timer's place.
pub const ROLE_KINDS: [RoleKind; 5] = [
    RoleKind::Acceptor,
    RoleKind::Proposer,
    RoleKind::Learner,
    RoleKind::Leadership,
    RoleKind::Archive,
];

/// When a role wants to be called, and when the world calls next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer {
    /// The role's deadline, by the node's clock.
    pub deadline: Option<Time>,
    /// The next ring that is on its way, in the time of the world.
    pub rings: Option<Time>,
}

/// The volatile part of a node.
#[derive(Debug)]
pub struct Running {
    me: NodeId,
    /// The roles it has.
    pub hosting: Hosting,
    acceptor: Option<Acceptor>,
    proposer: Option<Proposer>,
    learner: Option<Learner>,
    elector: Elector,
    archive: Option<Archive>,
    /// The service.
    pub replica: Replica<Services>,
    /// What the service told of late.
    pub recent: Recent,
    /// What is in no snapshot yet.
    pub backlog: Backlog,
    /// What the next snapshot is being made of.
    pub making: Option<Vec<(Slot, Value)>>,
    /// Its snapshots.
    pub snapshots: Snapshots,
    /// Which snapshot of a peer the last piece was of.
    pub fetching: Option<Slot>,
    /// States that came as snapshots, by the first slot that they do not cover, and wait until the
    /// learner goes on from them.
    pub restored: BTreeMap<Slot, Replica<Services>>,
    log: Log,
    queue: VecDeque<Persist>,
    writing: Vec<Persist>,
    timers: [Timer; 5],
    /// What its roles must hear first.
    pub hello: Vec<Inside>,
    /// Who takes part, as it knows; a witness does not.
    pub governance: Option<Governance>,
}

impl Running {
    fn new(
        host: &Host,
        (log, mut snapshots, recovered): (Log, Snapshots, &Recovered),
        plan: &Plan,
        seed: u64,
        now: Time,
        plant: &mut dyn Plant,
    ) -> Result<Self, String> {
        let (me, run) = (host.me, log.incarnation());
        let (genesis, settings) = (&plan.membership, plan.settings.clone());
        let known = || Configurations::genesis(genesis.clone());
        let mut newest = snapshots.newest().map_err(|error| error.to_string())?;
        newest.iter_mut().for_each(|state| plant.snapshot(me, state));
        let mut replica =
            Replica::behind(newest.as_deref(), known()).map_err(|error| error.to_string())?;
        if host.keeps_state {
            snapshots.reaches(recovered.trimmed).map_err(|error| error.to_string())?;
        }
        let restored = replica.restored();
        let next = restored.next;
        let options = settings.learner;
        let learner = host.keeps_state.then(|| Learner::recover(me, options, restored, recovered));
        let governance = learner.as_ref().map(Learner::governance);
        let configurations = governance.as_ref().map_or_else(known, |it| it.configurations.clone());
        let hosting = Hosting::of(me, host.keeps_state, host.may_lead, &configurations);
        let learner = learner.map(|learner| learner.beside_acceptor(hosting.accepts));
        let leadership = LeadershipOptions { campaigns: hosting.leads, ..settings.leadership };
        let policy = Policy::new(me, run, leadership, known(), seed, now);
        let mut backlog = Backlog::new(settings.snapshots.every_bytes, 0);
        let keeps = RecentOptions { events_max: EVENTS_MAX, ..RecentOptions::default() };
        let mut recent = Recent::new(keeps, replica.applied());
        for (slot, value) in learner.iter().flat_map(|learner| learner.chosen(next)) {
            recent.add(slot, plant.apply(me, &mut replica, slot, value).events);
            backlog.add(slot, value, replica.configurations());
        }
        let beside_replica = hosting.learns;
        let acceptor = || {
            let lease = genesis.lease;
            let options = AcceptorOptions { beside_replica, lease, ..settings.acceptor.clone() };
            Acceptor::recover(me, options, recovered, now)
        };
        let proposer = || Proposer::new(me, run, settings.proposer.clone(), known());
        let archive = || Archive::new(me, settings.archive.clone());
        let shelved = snapshots.told();
        let advanced = learner.as_ref().map(Learner::advanced);
        Ok(Running {
            me,
            hosting,
            acceptor: hosting.accepts.then(acceptor),
            proposer: hosting.leads.then(proposer),
            archive: hosting.learns.then(archive),
            hello: advanced.into_iter().chain(shelved).collect(),
            governance,
            learner,
            elector: Elector::new(me, policy),
            replica,
            recent,
            backlog,
            making: None,
            snapshots,
            fetching: None,
            restored: BTreeMap::new(),
            log,
            queue: VecDeque::new(),
            writing: Vec::new(),
            timers: Default::default(),
        })
    }

    /// Whether a snapshot is due with the slot that was just applied.
    pub fn is_snapshot_due(&mut self) -> bool {
        let due = self.backlog.due();
        let is_due = due.is_some();
        self.making = due.or(self.making.take());
        is_due
    }

    /// Makes the snapshot that is due and stores it.
    ///
    /// # Errors
    /// Those of the disk, in words; the node must then stop.
    pub fn make_snapshot(
        &mut self,
        genesis: Configurations,
        plant: &mut dyn Plant,
    ) -> Result<Option<(Slot, Bytes)>, String> {
        let Some(values) = self.making.take() else { return Ok(None) };
        let previous = self.snapshots.newest().map_err(|error| error.to_string())?;
        let me = self.me;
        let made = Replica::next_snapshot(previous, genesis, &values, |replica, slot, value| {
            plant.apply(me, replica, slot, value);
        });
        let (upto, state) = made.map_err(|error| error.to_string())?;
        self.snapshots.save(upto, &state).map_err(|error| error.to_string())?;
        // As often as the plan says, however much of it is the state.
        self.backlog.made(0);
        Ok(Some((upto, state)))
    }

    /// Its run.
    pub fn incarnation(&self) -> u64 {
        self.log.incarnation()
    }

    fn role(&mut self, kind: RoleKind) -> Option<Actor<'_>> {
        match kind {
            RoleKind::Acceptor => self.acceptor.as_mut().map(Actor::Acceptor),
            RoleKind::Proposer => self.proposer.as_mut().map(Actor::Proposer),
            RoleKind::Learner => self.learner.as_mut().map(Actor::Learner),
            RoleKind::Leadership => Some(Actor::Leadership(&mut self.elector)),
            RoleKind::Archive => self.archive.as_mut().map(Actor::Archive),
        }
    }

    /// Hands an input to a role, which adds its effects.
    pub fn handle(
        &mut self,
        kind: RoleKind,
        now: Time,
        input: Input,
        effects: &mut Vec<Effect>,
        plant: &mut dyn Plant,
    ) {
        let me = self.me;
        let Some(mut role) = self.role(kind) else { return };
        plant.handle(me, &mut role, now, input, effects);
        self.timers[kind as usize].deadline = role.next_deadline();
    }

    /// The timer of a role.
    pub fn timer(&mut self, kind: RoleKind) -> &mut Timer {
        &mut self.timers[kind as usize]
    }

    /// Whether its proposer holds a lease at this moment of its clock.
    pub fn has_lease(&self, now: Time) -> bool {
        self.proposer.as_ref().is_some_and(|proposer| proposer.has_lease(now))
    }

    /// The first slot that the learner does not know to be chosen; `None` for a witness.
    pub fn next(&self) -> Option<Slot> {
        self.learner.as_ref().map(Learner::next)
    }

    /// What its roles know.
    pub fn status(&self) -> Status {
        let mut status = Status::default();
        let roles: [Option<&dyn Role>; 5] = [
            self.acceptor.as_ref().map(|role| role as _),
            self.proposer.as_ref().map(|role| role as _),
            self.learner.as_ref().map(|role| role as _),
            Some(&self.elector),
            self.archive.as_ref().map(|role| role as _),
        ];
        roles.into_iter().flatten().for_each(|role| role.describe(&mut status));
        status
    }

    /// The encoded size of each role's state, in bytes.
    pub fn sizes(&self) -> Vec<(RoleKind, usize)> {
        fn size(role: &impl serde::Serialize) -> usize {
            postcard::to_stdvec(role).map_or(usize::MAX, |bytes| bytes.len())
        }
        let acceptor = self.acceptor.iter().map(|role| (RoleKind::Acceptor, size(role)));
        let proposer = self.proposer.iter().map(|role| (RoleKind::Proposer, size(role)));
        let learner = self.learner.iter().map(|role| (RoleKind::Learner, size(role)));
        acceptor.chain(proposer).chain(learner).collect()
    }

    /// Queues a write; whether the disk has to be told.
    pub fn write(&mut self, persist: Persist) -> bool {
        self.queue.push_back(persist);
        self.writing.is_empty() && self.begin()
    }

    /// Begins to write everything that waits; false if nothing does.
    pub fn begin(&mut self) -> bool {
        self.writing = self.queue.drain(..).collect();
        !self.writing.is_empty()
    }

    /// The disk is done with what was begun: appends, syncs, and answers what was written and what
    /// may now leave.
    ///
    /// # Errors
    /// Those of the log; the node must then stop.
    pub fn written(&mut self) -> Result<(Vec<Record>, Vec<Envelope>), LogError> {
        let written = std::mem::take(&mut self.writing);
        let (records, then): (Vec<_>, Vec<_>) =
            written.into_iter().map(|persist| (persist.records, persist.then)).unzip();
        let records = records.concat();
        self.log.append(&records)?;
        self.log.release()?;
        let synced = records.iter().any(Record::needs_sync);
        Ok((if synced { records } else { Vec::new() }, then.concat()))
    }

    /// How many values of the log its learner holds.
    pub fn held(&self) -> usize {
        self.learner.iter().flat_map(|learner| learner.chosen(Slot::FIRST)).count()
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.writing.len()
    }

    /// Marks everything as synced, as a node does that stops in peace.
    pub fn rest(&mut self) {
        // A log that has failed before has nothing to mark.
        self.log.idle().ok();
    }
}
