//! What must hold in every state, and what must happen in some, or the search was of nothing.
//!
//! What is chosen is computed from the disks and what is proposed from the network, never from what
//! a role believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use paxos_core::{
    AcceptorMessage, Ballot, Envelope, Message, NodeId, Proposal, Proposer, ProposerMessage, Slot,
    Value,
};
use stateright::Property;

use super::change::Chain;
use super::configuration::Configuration;
use super::node::{Fate, Known};
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
    /// A value is proposed only once a phase 1 quorum of its slot's own membership has promised
    /// the ballot.
    Promised,
    /// Nothing is proposed the window or more beyond the first slot that is not chosen.
    Window,
    /// What a node goes by is a membership that counts: chosen, made from the newest in force.
    Memberships,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 8] = [
        Rule::Agreement,
        Rule::Learned,
        Rule::Validity,
        Rule::OneValue,
        Rule::Durability,
        Rule::Promised,
        Rule::Window,
        Rule::Memberships,
    ];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Agreement => "agreement",
            Rule::Learned => "what is learned is chosen",
            Rule::Validity => "validity",
            Rule::OneValue => "one value for ballot and slot",
            Rule::Durability => "durable before it leaves",
            Rule::Promised => "promised before it is proposed",
            Rule::Window => "within the window",
            Rule::Memberships => "memberships form one chain",
        }
    }

    /// Whether it can be broken within these bounds by what the other rules do not show already.
    fn says_something(self, bounds: &Configuration) -> bool {
        let of_changes = matches!(self, Rule::Promised | Rule::Window | Rule::Memberships);
        bounds.change.is_some() || !of_changes
    }

    fn holds(self, system: &System, state: &State) -> bool {
        let nodes = system.nodes.all();
        let nodes: Vec<_> = known(&nodes, state).collect();
        match self {
            Rule::Agreement => agreement(system, &nodes),
            Rule::Learned => learned(system, &nodes),
            Rule::Validity => validity(&system.configuration, &nodes),
            Rule::OneValue => one_value(system, state),
            Rule::Durability => durability(system, state, &nodes),
            Rule::Promised => promised(system, state, &chain(system, &nodes)),
            Rule::Window => window(system, state, &chain(system, &nodes)),
            Rule::Memberships => memberships(&chain(system, &nodes), &nodes),
        }
    }
}

/// What must be reached in some state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Chosen,
    Competition,
    TakenOver,
    AllLearned,
    GivenUp,
    TailLost,
    LaterRun,
    Paged,
    GapFilled,
    ChosenUnderNew,
    Voided,
    Unaware,
    RefusedByNew,
}

impl Goal {
    const ALL: [Goal; 13] = [
        Goal::Chosen,
        Goal::Competition,
        Goal::TakenOver,
        Goal::AllLearned,
        Goal::GivenUp,
        Goal::TailLost,
        Goal::LaterRun,
        Goal::Paged,
        Goal::GapFilled,
        Goal::ChosenUnderNew,
        Goal::Voided,
        Goal::Unaware,
        Goal::RefusedByNew,
    ];

    fn name(self) -> &'static str {
        match self {
            Goal::Chosen => "a command is chosen",
            Goal::Competition => "two ballots compete",
            Goal::TakenOver => "a command is taken over",
            Goal::AllLearned => "every learner knows every slot",
            Goal::GivenUp => "refusals end a leadership",
            Goal::TailLost => "a crash loses a tail",
            Goal::LaterRun => "a later run of a proposer campaigns",
            Goal::Paged => "a promise has a second page",
            Goal::GapFilled => "a gap is filled",
            Goal::ChosenUnderNew => "a command is chosen under a new membership",
            Goal::Voided => "of two changes one is void",
            Goal::Unaware => "one leads who does not know of the change",
            Goal::RefusedByNew => "a new acceptor has promised more than a leader of before asks",
        }
    }

    /// Whether a history within the bounds can get there.
    fn is_within(self, bounds: &Configuration) -> bool {
        match self {
            Goal::Chosen | Goal::Competition | Goal::TakenOver => true,
            Goal::AllLearned => bounds.learners,
            Goal::GivenUp => bounds.nacks && bounds.restarts == 0,
            Goal::TailLost => bounds.unsynced > 0 && (bounds.crashes || bounds.restarts > 0),
            Goal::LaterRun => bounds.restarts > 0,
            Goal::Paged => bounds.slots > bounds.page_values as u64 && bounds.commands > 1,
            Goal::GapFilled => bounds.slots > 1 && bounds.commands > 1 && bounds.change.is_none(),
            Goal::ChosenUnderNew | Goal::Unaware => bounds.change.is_some(),
            Goal::Voided => {
                bounds.change.is_some_and(|change| change.into.iter().all(|into| !into.is_empty()))
            }
            Goal::RefusedByNew => {
                bounds.change.is_some_and(|change| change.acceptors() > change.before.len() as u64)
            }
        }
    }

    fn is_reached(self, system: &System, state: &State) -> bool {
        let nodes = system.nodes.all();
        let mut nodes = known(&nodes, state);
        match self {
            Goal::Chosen => {
                let nodes: Vec<_> = nodes.collect();
                chain(system, &nodes).chosen.iter().any(|vote| vote.value != Value::Noop)
            }
            Goal::Competition => {
                accepts_meet(system, state, |one, other| one.ballot != other.ballot)
            }
            Goal::TakenOver => accepts_meet(system, state, |one, other| {
                one.ballot.node != other.ballot.node
                    && one.value == other.value
                    && *one.value != Value::Noop
            }),
            Goal::AllLearned => {
                let slots = system.configuration.slots as usize;
                nodes.all(|known| known.node.learner.is_none() || known.learned.len() >= slots)
            }
            Goal::GivenUp => {
                nodes.any(|known| known.node.campaigns > 0 && known.node.ballot().is_none())
            }
            Goal::TailLost => system.tail_lost.load(Ordering::Relaxed),
            Goal::Paged => is_sent(system, state, |envelope| {
                let Message::Proposer(ProposerMessage::Promise(page)) = &envelope.message else {
                    return false;
                };
                page.next.is_some()
            }),
            Goal::GapFilled => is_sent(system, state, |envelope| {
                proposed(&envelope.message).is_some_and(|proposed| *proposed.value == Value::Noop)
            }),
            Goal::LaterRun => {
                nodes.any(|known| known.node.ballot().is_some_and(|ballot| ballot.incarnation > 1))
            }
            Goal::ChosenUnderNew | Goal::Voided | Goal::Unaware | Goal::RefusedByNew => {
                let nodes: Vec<_> = nodes.collect();
                self.is_changed(system, state, &nodes)
            }
        }
    }

    /// What can be reached once a change of membership is chosen.
    fn is_changed(self, system: &System, state: &State, nodes: &[&Known]) -> bool {
        let chain = chain(system, nodes);
        let (from, newest) = chain.newest();
        match self {
            Goal::Voided => chain.has_void(),
            _ if from == Slot::FIRST => false,
            Goal::ChosenUnderNew => chain
                .chosen
                .iter()
                .any(|vote| vote.slot >= from && matches!(vote.value, Value::Commands(_))),
            Goal::Unaware => nodes.iter().any(|Known { node, .. }| {
                let leads = node.proposer.as_ref().is_some_and(Proposer::leads);
                let knows = node.learner.as_ref().map(|learner| learner.configurations().newest());
                leads && knows.is_some_and(|(known, _)| *known == Slot::FIRST)
            }),
            _ => is_sent(system, state, |envelope| {
                let Some(proposed) = proposed(&envelope.message) else { return false };
                let is_new = !system.genesis.quorums.contains(envelope.to)
                    && newest.quorums.contains(envelope.to);
                let receiver = nodes.iter().find(|known| known.node.me == envelope.to);
                is_new && receiver.is_some_and(|it| it.durable.promised > proposed.ballot)
            }),
        }
    }
}

/// The properties of a configuration: these rules, and what has to be reached.
pub(super) fn of(configuration: &Configuration, rules: &[Rule]) -> Vec<Property<System>> {
    let goals = Goal::ALL.into_iter().filter(|goal| goal.is_within(configuration));
    let rules = rules.iter().filter(|rule| rule.says_something(configuration));
    rules.map(|rule| always(*rule)).chain(goals.map(sometimes)).collect()
}

// The checker takes functions, which know nothing but what they are handed.

fn always(rule: Rule) -> Property<System> {
    let condition = match rule {
        Rule::Agreement => |system: &System, state: &State| keeps(system, state, Rule::Agreement),
        Rule::Learned => |system: &System, state: &State| keeps(system, state, Rule::Learned),
        Rule::Validity => |system: &System, state: &State| keeps(system, state, Rule::Validity),
        Rule::OneValue => |system: &System, state: &State| keeps(system, state, Rule::OneValue),
        Rule::Durability => |system: &System, state: &State| keeps(system, state, Rule::Durability),
        Rule::Promised => |system: &System, state: &State| keeps(system, state, Rule::Promised),
        Rule::Window => |system: &System, state: &State| keeps(system, state, Rule::Window),
        Rule::Memberships => {
            |system: &System, state: &State| keeps(system, state, Rule::Memberships)
        }
    };
    Property::always(rule.name(), condition)
}

fn sometimes(goal: Goal) -> Property<System> {
    let condition = match goal {
        Goal::Chosen => |system: &System, state: &State| reaches(system, state, Goal::Chosen),
        Goal::Competition => {
            |system: &System, state: &State| reaches(system, state, Goal::Competition)
        }
        Goal::TakenOver => |system: &System, state: &State| reaches(system, state, Goal::TakenOver),
        Goal::AllLearned => {
            |system: &System, state: &State| reaches(system, state, Goal::AllLearned)
        }
        Goal::GivenUp => |system: &System, state: &State| reaches(system, state, Goal::GivenUp),
        Goal::TailLost => |system: &System, state: &State| reaches(system, state, Goal::TailLost),
        Goal::Paged => |system: &System, state: &State| reaches(system, state, Goal::Paged),
        Goal::GapFilled => |system: &System, state: &State| reaches(system, state, Goal::GapFilled),
        Goal::LaterRun => |system: &System, state: &State| reaches(system, state, Goal::LaterRun),
        Goal::ChosenUnderNew => {
            |system: &System, state: &State| reaches(system, state, Goal::ChosenUnderNew)
        }
        Goal::Voided => |system: &System, state: &State| reaches(system, state, Goal::Voided),
        Goal::Unaware => |system: &System, state: &State| reaches(system, state, Goal::Unaware),
        Goal::RefusedByNew => {
            |system: &System, state: &State| reaches(system, state, Goal::RefusedByNew)
        }
    };
    Property::sometimes(goal.name(), condition)
}

fn reaches(system: &System, state: &State, goal: Goal) -> bool {
    first(system, 8 + goal as u32, || goal.is_reached(system, state))
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

fn known<'a>(all: &'a [Arc<Known>], state: &'a State) -> impl Iterator<Item = &'a Known> {
    state.nodes.iter().map(|id| &*all[*id as usize])
}

/// What the disks say is chosen, and the memberships that follow.
fn chain<'a>(system: &'a System, nodes: &[&'a Known]) -> Chain<'a> {
    Chain::of(&system.genesis, nodes)
}

fn agreement(system: &System, nodes: &[&Known]) -> bool {
    let mut known = BTreeMap::new();
    let chosen = chain(system, nodes).chosen;
    chosen.iter().all(|vote| *known.entry(vote.slot).or_insert(&vote.value) == &vote.value)
}

fn learned(system: &System, nodes: &[&Known]) -> bool {
    let chosen = chain(system, nodes).chosen;
    let mut learned = nodes.iter().flat_map(|known| &known.learned);
    learned
        .all(|(slot, value)| chosen.iter().any(|vote| vote.slot == *slot && vote.value == *value))
}

fn validity(configuration: &Configuration, nodes: &[&Known]) -> bool {
    let mut votes = nodes.iter().flat_map(|known| &known.votes);
    votes.all(|vote| {
        vote.value == Value::Noop
            || nodes.iter().any(|Known { node, .. }| {
                let mut fates = node.commands.iter().enumerate();
                fates.any(|(ticket, fate)| {
                    *fate == Fate::Proposed(vote.slot)
                        && is_of(&vote.value, &configuration.asked(node.me, ticket))
                })
            })
    })
}

/// Whether a value is what a client asked for.
fn is_of(value: &Value, asked: &Proposal) -> bool {
    match (value, asked) {
        (Value::Commands(batch), Proposal::Commands(bytes)) => batch.bytes == *bytes,
        (Value::Reconfigure(change), Proposal::Reconfigure(asked)) => change == asked,
        _ => false,
    }
}

fn promised(system: &System, state: &State, chain: &Chain<'_>) -> bool {
    let envelopes = system.envelopes.all();
    let sent = || state.sent.iter().map(|id| &*envelopes[*id as usize]);
    let promise = |envelope: &Envelope| match &envelope.message {
        Message::Proposer(ProposerMessage::Promise(page)) => Some((page.ballot, envelope.from)),
        _ => None,
    };
    let promises: BTreeSet<(Ballot, NodeId)> = sent().filter_map(promise).collect();
    sent().filter_map(|envelope| proposed(&envelope.message)).all(|proposed| {
        let of = promises.iter().filter(|(ballot, _)| *ballot == proposed.ballot);
        chain.at(proposed.slot).quorums.is_phase1(of.map(|(_, from)| from))
    })
}

fn window(system: &System, state: &State, chain: &Chain<'_>) -> bool {
    let end = chain.next.plus(system.genesis.alpha);
    !is_sent(system, state, |envelope| {
        proposed(&envelope.message).is_some_and(|proposed| proposed.slot >= end)
    })
}

fn memberships(chain: &Chain<'_>, nodes: &[&Known]) -> bool {
    let mut learners = nodes.iter().filter_map(|known| known.node.learner.as_ref());
    learners.all(|learner| {
        let (from, membership) = learner.configurations().newest();
        chain.links.contains(&(*from, membership))
    })
}

fn one_value(system: &System, state: &State) -> bool {
    !accepts_meet(system, state, |one, other| {
        one.ballot == other.ballot && one.value != other.value
    })
}

fn durability(system: &System, state: &State, nodes: &[&Known]) -> bool {
    let envelopes = system.envelopes.all();
    state.sent.iter().all(|id| {
        let envelope = &envelopes[*id as usize];
        let sender = nodes.iter().find(|known| known.node.me == envelope.from);
        sender.is_some_and(|known| covered(&envelope.message, &known.durable).is_ok())
    })
}

/// Whether such a message was sent.
fn is_sent(system: &System, state: &State, such: impl Fn(&Envelope) -> bool) -> bool {
    let envelopes = system.envelopes.all();
    state.sent.iter().any(|id| such(&envelopes[*id as usize]))
}

/// A proposal on the wire.
struct Proposed<'a> {
    slot: Slot,
    ballot: Ballot,
    value: &'a Value,
}

/// Whether two proposals for one slot were sent that are so.
fn accepts_meet(
    system: &System,
    state: &State,
    so: impl Fn(&Proposed<'_>, &Proposed<'_>) -> bool,
) -> bool {
    let envelopes = system.envelopes.all();
    let sent = state.sent.iter().map(|id| &envelopes[*id as usize].message);
    let accepts: Vec<_> = sent.filter_map(proposed).collect();
    let mut pairs = accepts.iter().flat_map(|one| accepts.iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| one.slot == other.slot && so(one, other))
}

fn proposed(message: &Message) -> Option<Proposed<'_>> {
    match message {
        Message::Acceptor(AcceptorMessage::Accept { slot, ballot, value }) => {
            Some(Proposed { slot: *slot, ballot: *ballot, value })
        }
        _ => None,
    }
}
