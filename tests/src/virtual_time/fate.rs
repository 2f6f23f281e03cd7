//! What befalls the nodes, links, disks and clocks of a cluster, and how they come back.

use std::collections::BTreeMap;
use std::time::Duration;

use paxos_core::{NodeId, Random};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::plan::{Faults, Plan};
use crate::simulation::Trouble;
use crate::simulation::network::{self, Cuts};

/// Troubles that have not happened in their time may come so much later.
const LATE_BY: Duration = Duration::from_secs(30);

/// A link that flaps is gone for half, once or twice the time of an election, in milliseconds.
const FLAPS: [u64; 3] = [125, 250, 500];

/// Plays fate by plan.
pub struct Fate<'a> {
    plan: &'a Plan,
    cluster: &'a mut Cluster,
    random: &'a mut Random,
    faults: &'a mut Faults,
    undo: BTreeMap<(Instant, u64), Undo>,
    number: u64,
}

/// How a trouble ends.
enum Undo {
    /// A node that is down is started.
    Start(NodeId),
    /// Links carry again.
    Mend(Cuts),
}

impl<'a> Fate<'a> {
    /// Fate over a cluster; it counts what it does.
    pub fn new(
        plan: &'a Plan,
        cluster: &'a mut Cluster,
        random: &'a mut Random,
        faults: &'a mut Faults,
    ) -> Self {
        Fate { plan, cluster, random, faults, undo: BTreeMap::new(), number: 0 }
    }

    /// Troubles, each undone after a while, until their time is over and each kind has happened;
    /// then everybody runs again who can.
    ///
    /// # Errors
    /// The first promise that was broken, in words.
    pub async fn strikes(mut self) -> Result<(), String> {
        let end = Instant::now() + self.plan.faults_for;
        let mut next = Instant::now() + self.random.duration_below(self.plan.calm);
        loop {
            let first = self.undo.keys().next().map_or(next, |(at, _)| next.min(*at));
            if let Some((node, trouble)) = self.cluster.pass(first).await? {
                self.count(trouble);
                self.start_later(node);
                continue;
            }
            if let Some(entry) = self.undo.first_entry().filter(|entry| entry.key().0 <= first) {
                let undo = entry.remove();
                self.mend(undo)?;
                continue;
            }
            self.faults.traffic = self.cluster.switch.traffic();
            (self.faults.torn, self.faults.slowed) = (self.cluster.torn(), self.cluster.slowed());
            if let moved @ 1.. = self.cluster.moved() {
                self.faults.troubles.insert(Trouble::Transfer, moved);
            }
            let over = first >= end;
            if over && (first >= end + LATE_BY || self.faults.missing(self.plan).is_empty()) {
                break;
            }
            let kinds = if over {
                self.faults.overdue(self.plan)
            } else {
                self.plan.troubles.iter().copied().collect()
            };
            if !kinds.is_empty() {
                let trouble = kinds[self.random.below(kinds.len() as u64) as usize];
                self.befall(trouble).await?;
            }
            next = Instant::now() + self.random.duration_below(self.plan.calm);
        }
        self.cluster.heal();
        for node in self.cluster.nodes() {
            if !self.cluster.runs(node) {
                self.cluster.start(node)?;
            }
        }
        Ok(())
    }

    async fn befall(&mut self, trouble: Trouble) -> Result<(), String> {
        let nodes = self.cluster.nodes();
        let victim = nodes[self.random.below(nodes.len() as u64) as usize];
        let happened = match trouble {
            Trouble::Crash => self.crash(victim),
            Trouble::Storm => {
                let crashed: Vec<_> = nodes.into_iter().map(|node| self.crash(node)).collect();
                crashed.contains(&true)
            }
            Trouble::Pause => {
                let runs = self.cluster.runs(victim);
                let lasts = self.upto(self.plan.lasts);
                self.cluster.pause(victim, lasts);
                runs
            }
            Trouble::Cut => {
                let (_, cuts) = network::draw(self.random, &nodes);
                let lasts = Duration::from_millis(100) + self.upto(self.plan.lasts);
                self.cut(cuts, lasts)
            }
            Trouble::Flap => {
                let others = nodes.iter().filter(|node| **node != victim);
                let cuts = others.map(|node| (victim, *node)).collect();
                let lasts = FLAPS[self.random.below(FLAPS.len() as u64) as usize];
                self.cut(cuts, Duration::from_millis(lasts))
            }
            Trouble::SyncFails | Trouble::DiskFull => {
                // It has happened once the node has stopped because of it.
                self.cluster.spoil(victim, trouble);
                false
            }
            Trouble::Rot | Trouble::Misdirected | Trouble::DiskLost => {
                self.damage(victim, trouble).await
            }
            Trouble::Change => unreachable!("no plan has it"),
            Trouble::Jump => {
                let by = self.upto(self.plan.lasts);
                self.cluster.jump(victim, by);
                true
            }
            Trouble::Transfer => {
                // It has happened once the operator is told so.
                let to = (self.random.below(2) == 0).then_some(victim);
                self.cluster.transfer(to)?;
                false
            }
        };
        if happened {
            self.count(trouble);
        }
        Ok(())
    }

    fn count(&mut self, trouble: Trouble) {
        *self.faults.troubles.entry(trouble).or_default() += 1;
    }

    fn crash(&mut self, node: NodeId) -> bool {
        let runs = self.cluster.runs(node);
        if runs {
            self.cluster.crash(node);
            self.start_later(node);
        }
        runs
    }

    fn cut(&mut self, cuts: Cuts, lasts: Duration) -> bool {
        let happened = !cuts.is_empty();
        cuts.iter().for_each(|(from, to)| self.cluster.cut(*from, *to));
        self.later(lasts, Undo::Mend(cuts));
        happened
    }

    /// Damages the disk of a node for good, if the others can go on without it.
    async fn damage(&mut self, node: NodeId, trouble: Trouble) -> bool {
        let sound = self.cluster.sound();
        let left: Vec<_> = sound.iter().copied().filter(|other| *other != node).collect();
        let expendable = left.len() > 1 && self.cluster.is_livable(&left);
        if !expendable || !self.cluster.runs(node) {
            return false;
        }
        self.cluster.damage(node, trouble, self.random).await;
        self.start_later(node);
        true
    }

    fn start_later(&mut self, node: NodeId) {
        let delay = self.upto(self.plan.lasts);
        self.later(delay, Undo::Start(node));
    }

    fn later(&mut self, delay: Duration, undo: Undo) {
        self.number += 1;
        self.undo.insert((Instant::now() + delay, self.number), undo);
    }

    fn upto(&mut self, most: Duration) -> Duration {
        self.random.duration_below(most)
    }

    fn mend(&mut self, undo: Undo) -> Result<(), String> {
        match undo {
            Undo::Start(node) if self.cluster.runs(node) => {}
            Undo::Start(node) => self.cluster.start(node)?,
            Undo::Mend(cuts) => cuts.iter().for_each(|(from, to)| self.cluster.mend(*from, *to)),
        }
        Ok(())
    }
}
