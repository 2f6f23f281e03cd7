//! What befalls nodes, links, disks and clocks, and how they come back.

use std::time::Duration;

use paxos_core::{Envelope, Input, Message, NodeId, RoleKind, Time};

use super::events::Event;
use super::network;
use super::node::{Host, ROLE_KINDS, Running};
use super::plan::Trouble;
use super::world::{FAULTS_LATE_BY, World};
use crate::checkers::recovery;

impl World<'_> {
    /// Plans the next of a kind. The first comes within the first half of the time for faults.
    pub(super) fn plan_trouble(&mut self, trouble: Trouble) {
        if let Some(rhythm) = self.plan.troubles.get(&trouble).copied() {
            let delay = self.upto(rhythm.every * 2);
            self.at(delay, Event::Befall(trouble));
        }
    }

    pub(super) fn befall(&mut self, trouble: Trouble) -> Result<(), String> {
        if self.healed.is_some() || self.is_over(trouble) {
            return Ok(());
        }
        let lasts = self.plan.troubles.get(&trouble).map(|rhythm| rhythm.lasts);
        let lasts = lasts.unwrap_or_default();
        let nodes: Vec<_> = self.hosts.keys().copied().collect();
        let victim = nodes[self.random.below(nodes.len() as u64) as usize];
        let happened = match trouble {
            Trouble::Crash => self.crash(victim, lasts),
            Trouble::Storm => {
                let crashed = nodes.iter().map(|node| self.crash(*node, lasts)).collect::<Vec<_>>();
                crashed.contains(&true)
            }
            Trouble::Pause => self.pause(victim, lasts),
            Trouble::Cut => self.cut(&nodes, lasts),
            Trouble::Flap => self.flap(&nodes),
            Trouble::SyncFails => self.fault(victim, |faults| faults.fail_next_sync = true),
            Trouble::DiskFull => self.fault(victim, |faults| faults.no_space = true),
            Trouble::Rot | Trouble::Misdirected | Trouble::DiskLost => self.damage(victim, trouble),
            Trouble::Jump => self.jump(victim, lasts),
            Trouble::Change => self.change_membership(),
            Trouble::Transfer => self.transfer(),
        };
        if happened {
            // A change of membership has happened when it is chosen.
            let counted = u64::from(trouble != Trouble::Change);
            *self.faults.troubles.entry(trouble).or_default() += counted;
            self.told(victim, || format!("-- {trouble:?}"));
            self.plan_trouble(trouble);
        } else {
            // The victim was down already, say: soon again.
            let delay = self.upto(Duration::from_secs(1));
            self.at(delay, Event::Befall(trouble));
        }
        Ok(())
    }

    /// Once the time for faults is up, only those strike that have not happened yet: a leader whom
    /// the operator can move, say, is not to be had under storms that never end.
    fn is_over(&self, trouble: Trouble) -> bool {
        let late = self.now >= Time(0).after(self.plan.faults_for);
        late && self.faults.troubles.contains_key(&trouble)
    }

    /// Ends a node's run. Whether it does so in peace decides what its disk keeps.
    pub(super) fn stop(&mut self, node: NodeId, in_peace: bool) {
        let genesis = self.genesis();
        let Some(mut running) = self.running.remove(&node) else { return };
        self.waiting_reads.retain(|(reader, _), _| *reader != node);
        let Some(host) = self.hosts.get_mut(&node) else { return };
        let busy = running.waiting() > 0;
        if in_peace {
            running.rest();
        } else if self.random.below(2) == 0 {
            // The power fails while the last write is on its way.
            host.disk().faults.fail_next_sync = true;
            running.written().ok();
        }
        if !in_peace && self.random.below(2) == 0 {
            // So it does while a snapshot is being made.
            host.disk().faults.fail_next_sync = true;
            running.make_snapshot(genesis, self.plant).ok();
        }
        drop(running);
        let mut disk = host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        disk.faults.fail_next_sync = false;
        disk.faults.no_space = false;
        disk.crash(|bound| self.random.below(bound));
        drop(disk);
        self.faults.torn += u64::from(busy && !in_peace);
        if !host.lost {
            let delay = Duration::from_millis(1 + self.random.below(200));
            self.at(delay, Event::Restart(node));
        }
    }

    fn crash(&mut self, node: NodeId, lasts: Duration) -> bool {
        if !self.running.contains_key(&node) {
            return false;
        }
        // It is down at first, and the restart that `stop` plans finds it so.
        let until = self.now.after(self.random.duration_below(lasts));
        self.stop(node, false);
        if let Some(host) = self.hosts.get_mut(&node) {
            host.paused_until = until;
        }
        true
    }

    fn pause(&mut self, node: NodeId, lasts: Duration) -> bool {
        let until = self.now.after(self.random.duration_below(lasts * 2));
        match self.hosts.get_mut(&node) {
            Some(host) if self.running.contains_key(&node) => {
                host.paused_until = host.paused_until.max(until);
                true
            }
            _ => false,
        }
    }

    fn cut(&mut self, nodes: &[NodeId], lasts: Duration) -> bool {
        let (shape, cuts) = network::draw(&mut self.random, nodes);
        if cuts.is_empty() {
            return false;
        }
        self.told(nodes[0], || format!("-- {shape:?}"));
        let name = self.random.draw();
        self.cuts.insert(name, cuts);
        let delay = Duration::from_millis(100) + self.upto(lasts * 2);
        self.at(delay, Event::Mend(name));
        true
    }

    /// A link goes and comes a few times, half, once or twice the time of an election.
    fn flap(&mut self, nodes: &[NodeId]) -> bool {
        let period = Duration::from_millis([125, 250, 500][self.random.below(3) as usize]);
        let from = nodes[self.random.below(nodes.len() as u64) as usize];
        let cuts: network::Cuts =
            nodes.iter().filter(|to| **to != from).map(|to| (from, *to)).collect();
        let name = self.random.draw();
        self.cuts.insert(name, cuts);
        self.at(period, Event::Mend(name));
        true
    }

    fn fault(&mut self, node: NodeId, switch: impl FnOnce(&mut paxos_actors::log::Faults)) -> bool {
        let Some(host) = self.hosts.get(&node).filter(|_| self.running.contains_key(&node)) else {
            return false;
        };
        switch(&mut host.disk().faults);
        true
    }

    /// Damages the disk of a node for good, if the others can go on without it.
    fn damage(&mut self, node: NodeId, trouble: Trouble) -> bool {
        if !self.is_expendable(node) || !self.running.contains_key(&node) {
            return false;
        }
        // Everything is marked as synced, so that what is lost now is seen to be lost.
        self.stop(node, true);
        let random = &mut self.random;
        let Some(host) = self.hosts.get_mut(&node) else { return false };
        let mut disk = host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let names = disk.names();
        let mut segments = names.iter().filter(|name| name.ends_with(".seg"));
        let newest = names.iter().rfind(|name| name.ends_with(".snap"));
        let newest = newest.filter(|_| trouble == Trouble::Rot && random.below(2) == 0);
        let Some(name) = newest.or_else(|| segments.next()) else { return false };
        match trouble {
            Trouble::DiskLost => names.iter().for_each(|name| disk.delete(name)),
            Trouble::Misdirected => {
                let bytes = disk.contents(name).map(<[u8]>::to_vec).unwrap_or_default();
                let mut wrong = bytes.clone();
                let sector = 513 + random.below(256) as usize;
                if let Some(first) = wrong.get_mut(512..544) {
                    first.copy_from_slice(&bytes[sector..sector + 32]);
                }
                disk.overwrite(name, wrong);
            }
            _ => {
                // The first frame of a segment begins behind its seal; its header is never zero.
                let from = if newest.is_some() { 0 } else { 512 };
                disk.flip(name, from + random.below(32) as usize, random.below(8) as u32);
            }
        }
        drop(disk);
        host.damaged = true;
        true
    }

    /// Whether the nodes that are not lost for good can go on without this one.
    fn is_expendable(&self, node: NodeId) -> bool {
        let left = |host: &&Host| !host.damaged && host.me != node;
        let left: Vec<_> = self.hosts.values().filter(left).map(|host| host.me).collect();
        // One alone would have no network left to suffer from.
        left.len() > 1 && self.open_memberships().all(|open| self.is_livable(open, &left))
    }

    fn jump(&mut self, node: NodeId, by: Duration) -> bool {
        let Some(host) = self.hosts.get_mut(&node) else { return false };
        host.clock.jump(by);
        ROLE_KINDS.into_iter().for_each(|kind| self.arm(node, kind));
        true
    }

    pub(super) fn restart(&mut self, node: NodeId) -> Result<(), String> {
        let (now, seed) = (self.now, self.random.draw());
        let Some(host) = self.hosts.get_mut(&node) else { return Ok(()) };
        let off = self.conditions.down.contains(&node);
        if off || host.lost || self.running.contains_key(&node) {
            return Ok(());
        }
        if host.paused_until > now {
            let delay = host.paused_until.since(now);
            self.at(delay, Event::Restart(node));
            return Ok(());
        }
        let (running, recovered) = match host.start(&self.plan, seed, now, self.plant) {
            Ok(started) => started,
            Err(words) => {
                host.lost = true;
                let damaged = host.damaged;
                self.told(node, || format!("does not start: {words}"));
                let refusal =
                    format!("recovery: {node} refuses a disk that nobody damaged: {words}");
                return if damaged { Ok(()) } else { Err(refusal) };
            }
        };
        if host.damaged {
            return Err(format!("recovery: {node} starts from a damaged disk"));
        }
        recovery::remembers(&host.durable, &recovered).map_err(|why| format!("{node}: {why}"))?;
        if let Some(newest) = running.snapshots.stored().last() {
            self.snapshots.stored(node, newest.upto);
        }
        self.snapshots.cut(node, recovered.trimmed)?;
        for (slot, (ballot, value)) in &recovered.accepted {
            let (slot, ballot, value) = (*slot, *ballot, value.clone());
            let record = paxos_core::Record::Accepted { slot, ballot, value };
            self.agreement.synced(node, &record)?;
        }
        host.durable = recovered;
        self.replication.started(node, running.replica.applied());
        self.told(node, || format!("starts, run {}", running.incarnation()));
        self.begin(node, running)
    }

    fn begin(&mut self, node: NodeId, mut running: Running) -> Result<(), String> {
        let hello = std::mem::take(&mut running.hello);
        let due = running.is_snapshot_due();
        self.running.insert(node, running);
        for inside in hello {
            let message = Message::Inside(inside);
            self.post(Duration::ZERO, Envelope { from: node, to: node, message });
        }
        if due {
            self.plan_snapshot(node);
        }
        self.tell_due(node);
        self.input(node, RoleKind::Leadership, Input::Timeout)
    }

    /// Faults end, once all that were planned have happened: links carry, disks have room, nodes
    /// start. Who stands still sleeps on: its timers and its mail are put off until it would wake,
    /// and must not come later than it does.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        let late = self.now.since(Time(0).after(self.plan.faults_for));
        if late < FAULTS_LATE_BY && !self.faults.missing(&self.plan).is_empty() {
            self.at(Duration::from_secs(1), Event::Heal);
            return Ok(());
        }
        self.healed = Some(self.now);
        self.cuts.clear();
        for host in self.hosts.values_mut() {
            let mut disk = host.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            disk.faults = paxos_actors::log::Faults::default();
        }
        let down: Vec<_> =
            self.hosts.keys().filter(|node| !self.running.contains_key(node)).copied().collect();
        down.into_iter().for_each(|node| self.at(Duration::ZERO, Event::Restart(node)));
        Ok(())
    }
}
