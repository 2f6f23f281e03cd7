//! One simulated node: its roles, its disk, and the driver's contract between them.

use std::collections::{BTreeMap, VecDeque};

use paxos_core::{
    Acceptor, AcceptorOptions, Configurations, Effect, Elector, HeartbeatOptions, HeartbeatPolicy,
    Input, Inside, Learner, LearnerOptions, NodeId, Persist, Proposer, ProposerOptions, Random,
    Record, Recovered, Replica, Role, RoleKind, Slot, Time,
};

use super::client::Sum;

/// What survives a crash: the records, those at the front synced.
#[derive(Debug, Default)]
pub struct Disk {
    records: Vec<Record>,
    synced: usize,
    /// The fold of the synced records.
    pub durable: Recovered,
    /// How often the node has started.
    pub incarnation: u64,
}

impl Disk {
    /// Appends a drain; the answer says which records are now synced that were not before.
    pub fn append(&mut self, records: Vec<Record>) -> &[Record] {
        let sync = records.iter().any(Record::needs_sync);
        self.records.extend(records);
        let before = self.synced;
        if sync {
            self.synced = self.records.len();
        }
        for record in &self.records[before..self.synced] {
            self.durable.absorb(record.clone());
        }
        &self.records[before..self.synced]
    }

    /// A crash while `writing` was on its way: of what is not synced any prefix may remain. Says
    /// whether anything is gone.
    pub fn crash(&mut self, writing: Vec<Record>, random: &mut Random) -> bool {
        self.records.extend(writing);
        let loose = (self.records.len() - self.synced) as u64;
        let kept = self.synced + random.below(loose + 1) as usize;
        let torn = kept < self.records.len();
        self.records.truncate(kept);
        torn
    }

    /// A restart reads everything and syncs it before anything leaves; the answer is what became
    /// synced by that.
    pub fn restart(&mut self) -> Vec<Record> {
        let newly = self.records[self.synced..].to_vec();
        newly.iter().for_each(|record| self.durable.absorb(record.clone()));
        self.synced = self.records.len();
        self.incarnation += 1;
        newly
    }
}

/// The volatile part of a node.
#[derive(Debug)]
pub struct Running {
    roles: Roles,
    /// The service.
    pub replica: Replica<Sum>,
    /// Drains that wait for the disk, and the one being written.
    pub queue: VecDeque<Persist>,
    /// The drain being written.
    pub writing: Vec<Persist>,
    /// When each role's timer rings.
    pub armed: BTreeMap<RoleKind, Time>,
}

#[derive(Debug)]
struct Roles {
    acceptor: Acceptor,
    proposer: Proposer,
    learner: Learner,
    elector: Elector<HeartbeatPolicy>,
}

impl Running {
    /// Starts a node from its disk. The first message is what its other roles must hear.
    pub fn start(
        me: NodeId,
        disk: &Disk,
        genesis: &Configurations,
        seed: u64,
        now: Time,
    ) -> (Self, Inside) {
        let mut recovered = Recovered::default();
        disk.records.iter().for_each(|record| recovered.absorb(record.clone()));
        let (run, to) = (disk.incarnation, || genesis.clone());
        let heartbeat = HeartbeatOptions::default();
        let policy = HeartbeatPolicy::new(me, run, heartbeat, to(), seed, now);
        let learner = Learner::recover(me, LearnerOptions::default(), to(), &recovered);
        let mut replica = Replica::new();
        for (slot, value) in learner.chosen(Slot::FIRST) {
            replica.apply(slot, value, SESSIONS_MAX);
        }
        let hello = learner.advanced();
        let roles = Roles {
            acceptor: Acceptor::recover(me, AcceptorOptions::default(), &recovered),
            proposer: Proposer::new(me, run, ProposerOptions::default(), to()),
            learner,
            elector: Elector::new(me, policy),
        };
        let (queue, writing, armed) = Default::default();
        (Running { roles, replica, queue, writing, armed }, hello)
    }

    /// Hands an input to a role; answers its effects, and when its timer must ring if that changed.
    pub fn handle(
        &mut self,
        kind: RoleKind,
        now: Time,
        input: Input,
    ) -> (Vec<Effect>, Option<Time>) {
        let role: &mut dyn Role = match kind {
            RoleKind::Acceptor => &mut self.roles.acceptor,
            RoleKind::Proposer => &mut self.roles.proposer,
            RoleKind::Learner => &mut self.roles.learner,
            RoleKind::Leadership => &mut self.roles.elector,
        };
        let mut effects = Vec::new();
        role.handle(now, input, &mut effects);
        let deadline = role.next_deadline();
        let before = match deadline {
            Some(deadline) => self.armed.insert(kind, deadline),
            None => self.armed.remove(&kind),
        };
        (effects, deadline.filter(|deadline| before != Some(*deadline)))
    }

    /// The first slot that the learner does not know to be chosen.
    pub fn next(&self) -> Slot {
        self.roles.learner.next()
    }
}

/// Sessions in the simulated clusters.
pub const SESSIONS_MAX: u64 = 1000;
