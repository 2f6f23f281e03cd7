//! Where a bug can be planted from outside: between the roles of a node and the simulated world.

use std::fmt;
use std::sync::{Arc, Mutex};

use paxos_actors::log::{Disk, MemoryDisk};
use paxos_core::{
    Acceptor, Applied, Archive, Effect, Elector, Input, Learner, Membership, NodeId, Page,
    Position, Proposer, Recent, Recovered, Replica, Role, RoleKind, Slot, Status, Time,
    TopicFilter, Value,
};

use super::services::Services;

/// A bug, planted. Every method does what is right unless it is overridden.
pub trait Plant {
    /// A run begins, of a cluster of these members.
    fn begins(&mut self, _: &Membership) {}

    /// A node starts: the disk as its log sees it.
    fn disk(&mut self, _: NodeId, disk: &Arc<Mutex<MemoryDisk>>) -> Box<dyn Disk + Send> {
        Box::new(disk.clone())
    }

    /// What the log of a starting node says, before anybody hears it.
    fn recovered(&mut self, _: NodeId, _: &mut Recovered) {}

    /// The state of a snapshot from which a node goes on.
    fn snapshot(&mut self, _: NodeId, _: &mut Vec<u8>) {}

    /// A role of a node is handed an input.
    fn handle(
        &mut self,
        _: NodeId,
        role: &mut Actor<'_>,
        now: Time,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        role.handle(now, input, out);
    }

    /// A node applies a slot, after a start once more.
    fn apply(
        &mut self,
        _: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        replica.apply(slot, value)
    }

    /// A node answers somebody who watches.
    fn watched(&mut self, _: NodeId, recent: &Recent, question: &Question<'_>) -> Page {
        recent.page(question.topics, question.after, question.max)
    }
}

/// What somebody asks who watches.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub watcher: usize,
    /// About these topics,
    pub topics: &'a [TopicFilter],
    /// behind this position,
    pub after: Position,
    /// so many events at most.
    pub max: usize,
}

impl fmt::Debug for dyn Plant + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plant")
    }
}

/// No bug.
#[derive(Clone, Copy, Debug)]
pub struct Sound;

impl Plant for Sound {}

/// One role of one node, with the state that a bug may have to touch.
#[derive(Debug)]
pub enum Actor<'a> {
    /// Its acceptor.
    Acceptor(&'a mut Acceptor),
    /// Its proposer.
    Proposer(&'a mut Proposer),
    /// Its learner.
    Learner(&'a mut Learner),
    /// Its leadership.
    Leadership(&'a mut Elector),
    /// Its archive.
    Archive(&'a mut Archive),
}

impl Actor<'_> {
    /// Which role it is.
    pub fn kind(&self) -> RoleKind {
        match self {
            Actor::Acceptor(_) => RoleKind::Acceptor,
            Actor::Proposer(_) => RoleKind::Proposer,
            Actor::Learner(_) => RoleKind::Learner,
            Actor::Leadership(_) => RoleKind::Leadership,
            Actor::Archive(_) => RoleKind::Archive,
        }
    }
}

impl Role for Actor<'_> {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        match self {
            Actor::Acceptor(role) => role.handle(now, input, out),
            Actor::Proposer(role) => role.handle(now, input, out),
            Actor::Learner(role) => role.handle(now, input, out),
            Actor::Leadership(role) => role.handle(now, input, out),
            Actor::Archive(role) => role.handle(now, input, out),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Actor::Acceptor(role) => role.next_deadline(),
            Actor::Proposer(role) => role.next_deadline(),
            Actor::Learner(role) => role.next_deadline(),
            Actor::Leadership(role) => role.next_deadline(),
            Actor::Archive(role) => role.next_deadline(),
        }
    }

    fn describe(&self, status: &mut Status) {
        match self {
            Actor::Acceptor(role) => role.describe(status),
            Actor::Proposer(role) => role.describe(status),
            Actor::Learner(role) => role.describe(status),
            Actor::Leadership(role) => role.describe(status),
            Actor::Archive(role) => role.describe(status),
        }
    }
}
