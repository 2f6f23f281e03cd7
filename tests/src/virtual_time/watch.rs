//! Watches all nodes of a run: each promise is checked as it is kept or broken.

use std::collections::{BTreeMap, BTreeSet};

use paxos_actors::clock::Clock;
use paxos_actors::observer::Shown;
use paxos_core::{
    AcceptorMessage, Ballot, Configurations, Envelope, Inside, Membership, Message, NodeId,
    ProposerMessage, Record, Recovered, Replica, Slot, Time, Value,
};

use crate::checkers::agreement::Agreement;
use crate::checkers::leadership::Leadership;
use crate::checkers::leases::Leases;
use crate::checkers::snapshots::Snapshots;
use crate::checkers::{durability, recovery, window};
use crate::simulation::{Sum, holds};

/// The checkers of a run, and the first promise that was broken.
#[derive(Debug)]
pub struct Watch {
    agreement: Agreement,
    leadership: Leadership,
    /// `None`: clocks do what leases do not allow for.
    leases: Option<Leases>,
    snapshots: Snapshots,
    states: States,
    alpha: u64,
    clocks: BTreeMap<NodeId, Clock>,
    nodes: BTreeMap<NodeId, Seen>,
    leaders: BTreeSet<Ballot>,
    broken: Option<String>,
}

/// What is known of one node's disk.
#[derive(Debug, Default)]
struct Seen {
    /// The fold of what is synced.
    synced: Recovered,
    /// What is written and not synced.
    loose: Vec<Record>,
    /// The next slot to be applied, if the node has applied one in this run.
    next: Option<Slot>,
    /// The first slot that its learner does not know to be chosen, if it has said so in this run.
    known: Option<Slot>,
    /// The run in which it has led, if it has.
    led: Option<u64>,
}

/// What the counter was behind each slot that any node has applied.
#[derive(Debug)]
struct States {
    replica: Replica<Sum>,
    /// Values behind one that no node was seen to apply yet.
    waiting: BTreeMap<Slot, Value>,
    after: BTreeMap<Slot, u64>,
}

impl States {
    fn applied(&mut self, slot: Slot, value: &Value) {
        if slot > self.replica.applied() {
            self.waiting.entry(slot).or_insert_with(|| value.clone());
        }
        while let Some(value) = self.waiting.remove(&self.replica.applied().next()) {
            let slot = self.replica.applied().next();
            self.replica.apply(slot, &value);
            self.after.insert(slot, self.replica.machine().0);
        }
    }
}

impl Watch {
    /// A watch over a cluster that begins with this membership, and whose nodes have these clocks.
    pub fn new(genesis: Membership, clocks: BTreeMap<NodeId, Clock>, leases_hold: bool) -> Self {
        let replica = Replica::new(Configurations::genesis(genesis.clone()));
        Watch {
            leadership: Leadership::new(genesis.quorums.clone()),
            leases: leases_hold.then(|| Leases::new(holds(&genesis))),
            snapshots: Snapshots::new(genesis.clone()),
            states: States { replica, waiting: BTreeMap::new(), after: BTreeMap::new() },
            alpha: genesis.alpha,
            clocks,
            agreement: Agreement::new(genesis),
            nodes: BTreeMap::new(),
            leaders: BTreeSet::new(),
            broken: None,
        }
    }

    /// A node starts with this on its disk: nothing of what was synced before may be missing.
    pub fn starts(&mut self, node: NodeId, recovered: &Recovered) {
        let before = &self.nodes.entry(node).or_default().synced;
        let verdict =
            recovery::remembers(before, recovered).map_err(|what| format!("{node}: {what}"));
        self.note(verdict);
        for (slot, (ballot, value)) in &recovered.accepted {
            let (slot, ballot, value) = (*slot, *ballot, value.clone());
            let verdict = self.agreement.synced(node, &Record::Accepted { slot, ballot, value });
            self.note(verdict);
        }
        let seen = Seen { synced: recovered.clone(), ..Seen::default() };
        self.nodes.insert(node, seen);
    }

    /// A node does not run any more.
    pub fn stops(&mut self, node: NodeId) {
        if let Some(seen) = self.nodes.get_mut(&node) {
            (seen.led, seen.known) = (None, None);
        }
    }

    /// Something happens in a node.
    pub fn sees(&mut self, now: Time, node: NodeId, shown: &Shown<'_>) {
        let verdict = self.checked(now, node, shown);
        self.note(verdict);
    }

    fn checked(&mut self, now: Time, node: NodeId, shown: &Shown<'_>) -> Result<(), String> {
        let seen = self.nodes.entry(node).or_default();
        match shown {
            Shown::Sent(envelope) => {
                durability::covered(&envelope.message, &seen.synced)
                    .map_err(|what| format!("{node}: {what}"))?;
                if let Some(known) = seen.known {
                    window::within(envelope, Slot(known.0 - 1), self.alpha)?;
                }
                self.leadership.sent(now, envelope)?;
                self.says(node, &envelope.message)?;
                if envelope.to == node {
                    self.leadership.delivered(envelope);
                    self.hears(node, node, &envelope.message)?;
                }
                Ok(())
            }
            Shown::Received { from, message } => {
                self.hears(*from, node, message)?;
                let message = (*message).clone();
                self.leadership.delivered(&Envelope { from: *from, to: node, message });
                Ok(())
            }
            Shown::Written(records) => {
                seen.loose.extend_from_slice(records);
                if !records.iter().any(Record::needs_sync) {
                    return Ok(());
                }
                for record in std::mem::take(&mut seen.loose) {
                    self.agreement.synced(node, &record)?;
                    self.snapshots.synced(node, &record)?;
                    seen.synced.absorb(record);
                }
                Ok(())
            }
            Shown::Applied { slot, value } => {
                if let Some(next) = seen.next
                    && next != *slot
                {
                    return Err(format!("{node} applies {slot} after the one before {next}"));
                }
                seen.next = Some(slot.next());
                self.states.applied(*slot, value);
                self.agreement.applied(node, *slot, value)
            }
            Shown::Restored { next } => {
                seen.next = Some(*next);
                Ok(())
            }
            Shown::Led(change) => {
                self.leaders.extend(change.leader);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A role of a node says something, to whomever.
    fn says(&mut self, node: NodeId, message: &Message) -> Result<(), String> {
        let seen = self.nodes.entry(node).or_default();
        match message {
            Message::Inside(Inside::Advanced { next, configurations, .. }) => {
                seen.known = Some(*next);
                self.agreement.memberships().believed(configurations)
            }
            Message::Inside(Inside::Saved { upto, .. }) => {
                self.snapshots.stored(node, *upto);
                Ok(())
            }
            Message::Inside(Inside::Resigned { ballot, .. }) => {
                self.leases.iter_mut().for_each(|leases| leases.ended(*ballot));
                Ok(())
            }
            Message::Acceptor(AcceptorMessage::Confirm { ballot, round }) => {
                seen.led = Some(ballot.incarnation);
                let clock = self.clocks.get(&node).map(Clock::now);
                if let Some((leases, clock)) = self.leases.as_mut().zip(clock) {
                    leases.asked(*ballot, *round, clock, self.agreement.behind());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A node hears something.
    fn hears(&mut self, from: NodeId, node: NodeId, message: &Message) -> Result<(), String> {
        if let Message::Proposer(ProposerMessage::Promise(page)) = message
            && let Some(leases) = &mut self.leases
            && (page.next.is_none() && page.ballot.node == node)
        {
            leases.reported(from, page.ballot);
        }
        let Message::Proposer(ProposerMessage::Confirmed { ballot, round, granted: true }) =
            message
        else {
            return Ok(());
        };
        let (Some(leases), true) = (&mut self.leases, ballot.node == node) else { return Ok(()) };
        let (nodes, clocks) = (&self.nodes, &self.clocks);
        let shows = |ballot: Ballot| {
            let runs = nodes.get(&ballot.node)?.led == Some(ballot.incarnation);
            clocks.get(&ballot.node).filter(|_| runs).map(Clock::now)
        };
        let memberships = self.agreement.memberships();
        let governs = |node: NodeId, least: Slot| {
            let next = nodes.get(&node).and_then(|seen| seen.known).unwrap_or_default();
            (next >= least).then(|| memberships.at(next).quorums.clone())
        };
        leases.lent(from, *ballot, *round, shows, governs)
    }

    /// Remembers the first promise that was broken.
    pub fn note(&mut self, verdict: Result<(), String>) {
        if let Err(broken) = verdict {
            self.broken.get_or_insert(broken);
        }
    }

    /// The first promise that was broken, if one was.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// How many slots are chosen.
    pub fn chosen(&self) -> usize {
        self.agreement.chosen()
    }

    /// The highest ballot that led.
    pub fn leader(&self) -> Option<Ballot> {
        self.leaders.last().copied()
    }

    /// What the counter was behind each slot.
    pub fn states(&self) -> &BTreeMap<Slot, u64> {
        &self.states.after
    }

    /// How many ballots led.
    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }
}
