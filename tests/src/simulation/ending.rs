//! What is measured on the way, and when and how a run ends.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use paxos_core::{NodeId, Time};

use super::node::{Host, Running};
use super::plan::{Faults, SnapshotSettings};
use super::world::World;
use crate::checkers::counter_history;
use crate::checkers::locks::Tally;
use crate::checkers::memory::{self, Limits};
use crate::checkers::positions;

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
    /// Reads that a lease made certain.
    pub by_lease: u64,
    /// Messages of a chat that followers heard,
    pub heard: usize,
    /// how often one of them went to another node,
    pub moved: u64,
    /// and how often one was told that it has missed some.
    pub lagged: u64,
    /// What there was of locks.
    pub locks: Tally,
    /// Snapshots that nodes made.
    pub snapshots: u64,
    /// Snapshots that nodes took from others and went on from.
    pub restored: u64,
    /// Fetches that nodes went on with after a restart.
    pub resumed: u64,
    /// Virtual time that passed.
    pub lasted: Duration,
}

impl World<'_> {
    pub(super) fn measure(&self) -> Result<(), String> {
        memory::events(self.events.waiting())?;
        let proposer = &self.plan.settings.proposer;
        let limits = Limits {
            decided: self.agreement.chosen() as u64,
            alpha: self.plan.membership.alpha,
            waiting: (proposer.queue_max + proposer.reads_max.min(self.clients.len() * 64)) as u64,
            nodes: self.hosts.len() as u64,
        };
        self.running.iter().try_for_each(|(node, running)| {
            let mut sizes = running.sizes().into_iter();
            sizes.try_for_each(|(kind, bytes)| limits.role(*node, kind, bytes))
        })
    }

    /// Whether everybody is answered, and every node that can be there knows all that is chosen.
    pub(super) fn is_done(&self) -> bool {
        let there = |host: &Host| host.lost || self.running.contains_key(&host.me);
        let mut nexts = self.running.values().filter_map(Running::next);
        let behind = self.agreement.behind();
        self.clients.iter().all(|client| client.left == 0)
            && self.hosts.values().all(there)
            && self.is_heard()
            && nexts.all(|next| next == behind)
            && (!self.plan.alarms || self.running.values().all(is_idle))
    }

    pub(super) fn stuck(&self) -> String {
        let node = |(node, running): (&NodeId, &Running)| {
            let status = running.status();
            let leader = status.leader.map_or("nobody".to_owned(), |ballot| ballot.to_string());
            let due = running.replica.due().map(|due| format!(", due at {due}"));
            format!("{node} at {} hears {leader}{}", status.chosen, due.unwrap_or_default())
        };
        let nodes: Vec<_> = self.running.iter().map(node).collect();
        let left = self.clients.iter().fold(0u64, |sum, client| sum.saturating_add(client.left));
        format!("{left} operations left; {}", nodes.join(", "))
    }

    /// Holds what clients were told of their messages against each other and against what followers
    /// heard; answers how many messages that were.
    fn check_said(&self) -> Result<usize, String> {
        let mut rooms: BTreeMap<u64, Vec<positions::Call>> = BTreeMap::new();
        for (room, call) in self.clients.iter().flat_map(|client| &client.said) {
            rooms.entry(*room).or_default().push(*call);
            if let positions::Action::Append { value, position: Some(position) } = call.action {
                self.checked.acknowledged(*room, position, &value.to_string())?;
            }
        }
        rooms.values().try_for_each(|calls| positions::check(calls))?;
        Ok(rooms.values().map(Vec::len).sum())
    }

    pub(super) fn finish(&mut self) -> Result<Report, String> {
        self.measure()?;
        let SnapshotSettings { every_bytes, keep } = self.plan.settings.snapshots;
        for (node, running) in &self.running {
            memory::log(*node, running.held(), every_bytes, keep)?;
        }
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
        let said = self.check_said()?;
        let (locks, demands) = self.check_locks()?;
        let missing = self.faults.missing(&self.plan);
        if !missing.is_empty() {
            return Err(format!("faults: planned and never happened: {}", missing.join(", ")));
        }
        first.hash(&mut self.hash);
        Ok(Report {
            hash: self.hash.finish(),
            nodes: self.plan.membership.members.len(),
            slots: self.agreement.chosen(),
            answered: history.len() + said + demands,
            heard: self.checked.said(),
            moved: self.moved,
            lagged: self.lagged,
            locks,
            faults: self.faults.clone(),
            leaders: self.leaders.len(),
            by_lease: self.by_lease,
            snapshots: self.made,
            restored: self.restored,
            resumed: self.resumed,
            lasted: self.now.since(Time(0)),
        })
    }
}

/// What is due so much later need not have happened when a run ends.
const DUE_WITHIN: Duration = Duration::from_secs(3600);

/// Whether nothing is due that would happen by itself soon.
fn is_idle(running: &Running) -> bool {
    let soon = running.replica.time().after(DUE_WITHIN);
    running.replica.due().is_none_or(|due| due > soon)
}
