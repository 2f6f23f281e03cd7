//! What must hold in every state, and what must happen in some, or the search was of nothing.
//!
//! What is chosen is computed from the disks and what is proposed from the network, never from what
//! a role believes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use paxos_core::{AcceptorMessage, Envelope, Message, Value};
use stateright::Property;

use super::configuration::Configuration;
use super::node::{Fate, Known, Vote};
use super::system::{State, System};
use crate::checkers::durability::covered;

/// What must hold in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// At most one value of a slot is ever accepted, synced, by a phase 2 quorum under one ballot.
    Agreement,
    /// What a learner says is chosen is.
    Learned,
    /// What is accepted was proposed: a no-op, or a command that a client asked for, that was not
    /// refused, in the slot that its proposer named.
    Validity,
    /// Under one ballot one value is proposed for a slot.
    OneValue,
    /// Every promise and every vote is covered by what its sender has synced.
    Durability,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 5] =
        [Rule::Agreement, Rule::Learned, Rule::Validity, Rule::OneValue, Rule::Durability];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Agreement => "agreement",
            Rule::Learned => "what is learned is chosen",
            Rule::Validity => "validity",
            Rule::OneValue => "one value for ballot and slot",
            Rule::Durability => "durable before it leaves",
        }
    }

    fn holds(self, system: &System, state: &State) -> bool {
        let nodes = nodes(system, state);
        match self {
            Rule::Agreement => agreement(system, &nodes),
            Rule::Learned => learned(system, &nodes),
            Rule::Validity => validity(&nodes),
            Rule::OneValue => one_value(system, state),
            Rule::Durability => durability(system, state, &nodes),
        }
    }
}

/// The properties of a configuration: these rules, and what has to be reached.
pub(super) fn of(configuration: &Configuration, rules: &[Rule]) -> Vec<Property<System>> {
    let mut properties: Vec<_> = rules.iter().map(|rule| always(*rule)).collect();
    properties.extend([
        Property::sometimes("a command is chosen", |system, state| {
            let command = |vote: &Vote| vote.value != Value::Noop;
            first(system, 8, || chosen(system, &nodes(system, state)).any(command))
        }),
        Property::sometimes("two ballots compete", |system, state| {
            first(system, 9, || {
                accepts_meet(system, state, |one, other| one.ballot != other.ballot)
            })
        }),
        Property::sometimes("a command is taken over", |system, state| {
            first(system, 10, || {
                let taken = |one: &Vote, other: &Vote| {
                    one.ballot.node != other.ballot.node
                        && one.value == other.value
                        && one.value != Value::Noop
                };
                accepts_meet(system, state, taken)
            })
        }),
        Property::sometimes("every learner knows every slot", |system, state| {
            let slots = system.configuration.slots as usize;
            let all =
                |known: &Arc<Known>| known.node.learner.is_none() || known.learned.len() >= slots;
            first(system, 11, || nodes(system, state).iter().all(all))
        }),
    ]);
    if configuration.crashes || configuration.restarts > 0 {
        properties.push(Property::sometimes("a crash loses a tail", |system, _| {
            first(system, 12, || system.tail_lost.load(Ordering::Relaxed))
        }));
    }
    properties
}

fn always(rule: Rule) -> Property<System> {
    let condition = match rule {
        Rule::Agreement => |system: &System, state: &State| keeps(system, state, Rule::Agreement),
        Rule::Learned => |system: &System, state: &State| keeps(system, state, Rule::Learned),
        Rule::Validity => |system: &System, state: &State| keeps(system, state, Rule::Validity),
        Rule::OneValue => |system: &System, state: &State| keeps(system, state, Rule::OneValue),
        Rule::Durability => |system: &System, state: &State| keeps(system, state, Rule::Durability),
    };
    Property::always(rule.name(), condition)
}

fn keeps(system: &System, state: &State, rule: Rule) -> bool {
    let broken = first(system, rule as u32, || !rule.holds(system, state));
    system.broken.fetch_or(broken, Ordering::Relaxed);
    !broken
}

/// Whether something is so for the first time. The checker keeps the last trace to a discovery; a
/// breadth-first search has the shortest one first.
fn first(system: &System, bit: u32, is_so: impl FnOnce() -> bool) -> bool {
    let mark = 1 << bit;
    system.found.load(Ordering::Relaxed) & mark == 0
        && is_so()
        && system.found.fetch_or(mark, Ordering::Relaxed) & mark == 0
}

fn nodes(system: &System, state: &State) -> Vec<Arc<Known>> {
    state.nodes.iter().map(|id| system.nodes.at(*id)).collect()
}

/// What the disks say is chosen; each as often as it was voted for.
fn chosen<'a>(system: &'a System, nodes: &'a [Arc<Known>]) -> impl Iterator<Item = &'a Vote> {
    let votes = nodes.iter().flat_map(|known| &known.votes);
    votes.filter(|vote| {
        let voters = nodes.iter().filter(|known| known.votes.contains(vote));
        system.quorums.is_phase2(voters.map(|known| &known.node.me))
    })
}

fn agreement(system: &System, nodes: &[Arc<Known>]) -> bool {
    let mut known = BTreeMap::new();
    chosen(system, nodes)
        .all(|Vote { slot, value, .. }| *known.entry(slot).or_insert(value) == value)
}

fn learned(system: &System, nodes: &[Arc<Known>]) -> bool {
    let mut learned = nodes.iter().flat_map(|known| &known.learned);
    learned.all(|(slot, value)| {
        chosen(system, nodes).any(|vote| vote.slot == *slot && vote.value == *value)
    })
}

fn validity(nodes: &[Arc<Known>]) -> bool {
    let mut votes = nodes.iter().flat_map(|known| &known.votes);
    votes.all(|vote| {
        let Value::Commands(batch) = &vote.value else { return vote.value == Value::Noop };
        nodes.iter().any(|known| {
            let mut fates = known.node.commands.iter().enumerate();
            fates.any(|(ticket, fate)| {
                *fate == Fate::Proposed(vote.slot) && known.node.command(ticket) == batch.bytes
            })
        })
    })
}

fn one_value(system: &System, state: &State) -> bool {
    !accepts_meet(system, state, |one, other| {
        one.ballot == other.ballot && one.value != other.value
    })
}

fn durability(system: &System, state: &State, nodes: &[Arc<Known>]) -> bool {
    state.sent.iter().all(|id| {
        let envelope = system.envelopes.at(*id);
        let sender = nodes.iter().find(|known| known.node.me == envelope.from);
        sender.is_some_and(|known| covered(&envelope.message, &known.durable).is_ok())
    })
}

/// Whether two proposals for one slot were sent that are so.
fn accepts_meet(system: &System, state: &State, so: impl Fn(&Vote, &Vote) -> bool) -> bool {
    let accepts: Vec<_> =
        state.sent.iter().filter_map(|id| accept(&system.envelopes.at(*id))).collect();
    let mut pairs = accepts.iter().flat_map(|one| accepts.iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| one.slot == other.slot && so(one, other))
}

fn accept(envelope: &Envelope) -> Option<Vote> {
    match &envelope.message {
        Message::Acceptor(AcceptorMessage::Accept { slot, ballot, value }) => {
            Some(Vote { slot: *slot, ballot: *ballot, value: value.clone() })
        }
        _ => None,
    }
}
