//! Watches all nodes of a run: each promise is checked as it is kept or broken.

use std::collections::{BTreeMap, BTreeSet};

use paxos_actors::observer::Shown;
use paxos_core::{Ballot, Envelope, Membership, NodeId, Record, Recovered, Slot, Time};

use crate::checkers::agreement::Agreement;
use crate::checkers::leadership::Leadership;
use crate::checkers::{durability, recovery};

/// The checkers of a run, and the first promise that was broken.
#[derive(Debug)]
pub struct Watch {
    agreement: Agreement,
    leadership: Leadership,
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
}

impl Watch {
    /// A watch over a cluster that begins with this membership.
    pub fn new(genesis: Membership) -> Self {
        Watch {
            leadership: Leadership::new(genesis.quorums.clone()),
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
                self.leadership.sent(now, envelope)?;
                if envelope.to == node {
                    self.leadership.delivered(envelope);
                }
                Ok(())
            }
            Shown::Received { from, message } => {
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

    /// How many ballots led.
    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }
}
