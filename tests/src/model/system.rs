//! The whole cluster as a state machine: every node, and the set of messages ever sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use paxos_core::{Envelope, Membership, Message, NodeId, RoleKind, receivers};
use stateright::{Model, Property};

use super::bug::Bug;
use super::configuration::Configuration;
use super::interner::Interner;
use super::node::{Known, Node, Step};
use super::properties::{self, Rule};

/// A state of the cluster. Numbers stand for nodes and envelopes that [`System`] keeps: each for
/// one, and equal ones for equal ones.
///
/// The network is the set of all messages ever sent, and nothing leaves it. So a message may come
/// late, in any order, any number of times, or never: loss, duplication and reordering without
/// bounds, and without an action of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) nodes: Vec<u32>,
    /// In ascending order.
    pub(super) sent: Vec<u32>,
}

/// A step: something happens to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// The place of the node in the state.
    pub(super) place: usize,
    /// What happens.
    pub event: Event,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A message that was sent reaches one of the roles that it is for.
    Deliver {
        /// The number of the message.
        envelope: u32,
        /// The role.
        to: RoleKind,
    },
    /// Its leadership wants it to lead.
    Campaign,
    /// A client gives it a command.
    Propose,
    /// Its oldest drain is written and synced.
    Sync,
    /// It crashes and comes back.
    Crash {
        /// How many of the records that were not synced are on its disk all the same.
        kept: usize,
    },
}

/// What follows from an event at a node.
#[derive(Debug)]
struct Outcome {
    node: u32,
    sent: Vec<u32>,
}

/// The model: a configuration, and all nodes and envelopes seen so far.
pub struct System {
    pub(super) configuration: Configuration,
    pub(super) genesis: Membership,
    pub(super) nodes: Interner<Known>,
    pub(super) envelopes: Interner<Envelope>,
    pub(super) found: AtomicU32,
    pub(super) broken: AtomicBool,
    pub(super) tail_lost: AtomicBool,
    bug: Arc<dyn Bug>,
    rules: Vec<Rule>,
    /// What a node does depends on nothing but the node: it is stepped once for each event, however
    /// many states of the cluster it is a part of.
    outcomes: RwLock<HashMap<(u32, Event), Outcome>>,
}

impl System {
    /// The cluster of a configuration with a bug planted around its roles ([`super::Faithful`] for
    /// none), which must keep these rules.
    pub fn new(configuration: Configuration, bug: Arc<dyn Bug>, rules: Vec<Rule>) -> Self {
        System {
            genesis: configuration.membership(),
            configuration,
            nodes: Interner::new(),
            envelopes: Interner::new(),
            found: AtomicU32::new(0),
            broken: AtomicBool::new(false),
            tail_lost: AtomicBool::new(false),
            bug,
            rules,
            outcomes: RwLock::new(HashMap::new()),
        }
    }

    /// One step in words: what happens, and what follows.
    pub fn describe(&self, state: &State, action: Action) -> String {
        let before = self.nodes.at(state.nodes[action.place]);
        let step = self.step(&before.node, action.event);
        let what = match action.event {
            Event::Deliver { envelope, to } => {
                let Envelope { from, message, .. } = &*self.envelopes.at(envelope);
                format!("{to:?} hears from {from}: {message}").to_lowercase()
            }
            Event::Campaign => "campaigns".to_owned(),
            Event::Propose => format!("is asked to propose command {}", before.node.commands.len()),
            Event::Sync => "syncs".to_owned(),
            Event::Crash { kept } => {
                format!("crashes with {kept} of {} loose records kept", before.node.loose())
            }
        };
        let mut line = format!("{} {what}", before.node.me);
        for record in step.node.synced.iter().skip(before.node.synced.len()) {
            line += &format!("; on disk: {record}");
        }
        for persist in step.node.unsynced.iter().skip(before.node.unsynced.len()) {
            line += &format!("; {persist}");
        }
        for Envelope { to, message, .. } in &step.sent {
            line += &format!("; to {to}: {message}");
        }
        line
    }

    fn step(&self, node: &Node, event: Event) -> Step<'_> {
        let mut step = Step::new(node, &self.configuration, &*self.bug);
        match event {
            Event::Deliver { envelope, to } => step.deliver(&self.envelopes.at(envelope), to),
            Event::Campaign => step.campaign(),
            Event::Propose => step.propose(),
            Event::Sync => step.sync(),
            Event::Crash { kept } => step.crash(kept),
        }
        step
    }

    /// Steps a node for the first time with such an event.
    fn explore(&self, node: u32, event: Event) {
        let Step { node: after, sent, .. } = self.step(&self.nodes.at(node).node, event);
        let sent = sent.into_iter().map(|envelope| self.envelopes.id(envelope)).collect();
        let outcome = Outcome { node: self.nodes.id(Known::new(after)), sent };
        let mut known = self.outcomes.write().unwrap_or_else(PoisonError::into_inner);
        known.insert((node, event), outcome);
    }

    /// The state of the cluster after an event at a node; `None` if nothing is new.
    fn follow(&self, state: &State, action: Action, outcome: &Outcome) -> Option<State> {
        let place = action.place;
        let known = |id: &u32| state.sent.binary_search(id).is_ok();
        if outcome.node == state.nodes[place] && outcome.sent.iter().all(known) {
            return None;
        }
        let mut next = state.clone();
        next.nodes[place] = outcome.node;
        if let Event::Crash { kept } = action.event {
            let before = self.nodes.at(state.nodes[place]);
            self.tail_lost.fetch_or(kept < before.node.loose(), Ordering::Relaxed);
            self.forget_inside(&mut next.sent, before.node.me);
        }
        for id in &outcome.sent {
            if let Err(at) = next.sent.binary_search(id) {
                next.sent.insert(at, *id);
            }
        }
        Some(next)
    }

    /// What can happen to a node of its own accord.
    fn own_events(&self, node: &Node, mut happens: impl FnMut(Event)) {
        let bounds = &self.configuration;
        if node.proposer.is_some() && node.campaigns < bounds.campaigns {
            happens(Event::Campaign);
        }
        if node.ballot().is_some() && node.commands.len() < bounds.commands {
            happens(Event::Propose);
        }
        if !node.unsynced.is_empty() {
            happens(Event::Sync);
        }
        if bounds.crashes(node.me, node.incarnation) {
            (0..=node.loose()).for_each(|kept| happens(Event::Crash { kept }));
        }
    }

    /// Messages between the roles of a node do not outlive its crash.
    fn forget_inside(&self, sent: &mut Vec<u32>, node: NodeId) {
        let envelopes = self.envelopes.all();
        sent.retain(|id| {
            let envelope = &envelopes[*id as usize];
            envelope.to != node || !matches!(envelope.message, Message::Inside(_))
        });
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |id| self.nodes.id(Known::new(Node::new(id, &self.configuration)));
        vec![State { nodes: self.configuration.nodes().map(node).collect(), sent: Vec::new() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a violation is of no interest, and a role may notice and panic.
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        let (nodes, envelopes) = (self.nodes.all(), self.envelopes.all());
        for (place, id) in state.nodes.iter().enumerate() {
            let node = &nodes[*id as usize].node;
            self.own_events(node, |event| actions.push(Action { place, event }));
        }
        for id in &state.sent {
            let envelope = &envelopes[*id as usize];
            let place = envelope.to.0 as usize - 1;
            for kind in receivers(&envelope.message) {
                if self.configuration.hosts(envelope.to, *kind) {
                    let event = Event::Deliver { envelope: *id, to: *kind };
                    actions.push(Action { place, event });
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let key = (state.nodes[action.place], action.event);
        loop {
            let outcomes = self.outcomes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = outcomes.get(&key) {
                return self.follow(state, action, outcome);
            }
            drop(outcomes);
            self.explore(key.0, key.1);
        }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(&self.configuration, &self.rules)
    }
}
