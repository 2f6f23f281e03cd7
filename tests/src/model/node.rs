//! One node: its roles, its disk, and the driver's contract between them.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use paxos_core::{
    Acceptor, AcceptorOptions, Ballot, Effect, Envelope, Input, Inside, Learner, LearnerOptions,
    Message, NodeId, Persist, Proposer, ProposerOptions, Record, Recovered, Restored, Role,
    RoleKind, Slot, Time, Value, receivers,
};

use super::bug::Bug;
use super::configuration::Configuration;

/// The clock stands still: no role's safety rests on it.
const NOW: Time = Time(0);

/// A node, with all that decides what it does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its id.
    pub me: NodeId,
    /// How often it has started.
    pub incarnation: u64,
    /// Its acceptor, if it hosts one.
    pub acceptor: Option<Acceptor>,
    /// Its proposer, if it hosts one.
    pub proposer: Option<Proposer>,
    /// Its learner, if it hosts one.
    pub learner: Option<Learner>,
    /// What is synced on its disk, oldest first.
    pub synced: Vec<Record>,
    /// What waits to be written and synced, and the answers behind it.
    pub unsynced: VecDeque<Persist>,
    /// Campaigns that it has begun.
    pub campaigns: u64,
    /// What became of the commands that clients gave it; a command's place is its ticket.
    pub commands: Vec<Fate>,
}

/// What a proposer said of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It waits for a slot.
    Waiting,
    /// It was given this one.
    Proposed(Slot),
    /// It was refused, or forgotten in a crash before it had a slot.
    Refused,
}

impl Node {
    /// A node that starts for the first time.
    pub fn new(me: NodeId, configuration: &Configuration) -> Self {
        Self::start(me, 1, Vec::new(), configuration)
    }

    fn start(me: NodeId, incarnation: u64, synced: Vec<Record>, of: &Configuration) -> Self {
        let recovered = recover(&synced);
        let hosts = |kind| of.hosts(me, kind).then_some(());
        let proposer = ProposerOptions::default();
        let beside_acceptor = of.hosts(me, RoleKind::Acceptor);
        let learner = LearnerOptions { beside_acceptor, ..LearnerOptions::default() };
        let acceptor =
            AcceptorOptions { page_values: of.page_values, ..AcceptorOptions::default() };
        Node {
            me,
            incarnation,
            acceptor: hosts(RoleKind::Acceptor)
                .map(|()| Acceptor::recover(me, acceptor, &recovered, Time(0))),
            proposer: hosts(RoleKind::Proposer)
                .map(|()| Proposer::new(me, incarnation, proposer, of.genesis())),
            learner: hosts(RoleKind::Learner).map(|()| {
                Learner::recover(me, learner, Restored::nothing(of.genesis()), &recovered)
            }),
            synced,
            unsynced: VecDeque::new(),
            campaigns: 0,
            commands: Vec::new(),
        }
    }

    /// The ballot that its proposer campaigns or leads with.
    pub fn ballot(&self) -> Option<Ballot> {
        self.proposer.as_ref().and_then(Proposer::ballot)
    }

    /// Records not synced yet.
    pub fn loose(&self) -> usize {
        self.unsynced.iter().map(|persist| persist.records.len()).sum()
    }
}

/// A node that something happens to, and what it says meanwhile.
pub(super) struct Step<'a> {
    pub(super) node: Node,
    pub(super) sent: Vec<Envelope>,
    configuration: &'a Configuration,
    bug: &'a dyn Bug,
}

impl<'a> Step<'a> {
    pub(super) fn new(node: &Node, configuration: &'a Configuration, bug: &'a dyn Bug) -> Self {
        Step { node: node.clone(), sent: Vec::new(), configuration, bug }
    }

    /// A message reaches one of the roles that it is for. An acceptor behind a full queue misses
    /// it.
    pub(super) fn deliver(&mut self, envelope: &Envelope, kind: RoleKind) {
        let waiting = self.node.unsynced.len();
        let full = waiting > 0 && waiting >= self.configuration.unsynced;
        if kind != RoleKind::Acceptor || !full {
            self.handle(kind, Input::Message(envelope.from, envelope.message.clone()));
        }
    }

    /// The leadership has the proposer campaign, and give up first what it has.
    pub(super) fn campaign(&mut self) {
        self.node.campaigns += 1;
        if let Some(ballot) = self.node.ballot() {
            self.tell(Inside::Resign { ballot });
        }
        self.tell(Inside::Campaign { after: None });
        if self.node.commands.is_empty() && self.configuration.commands > 0 {
            self.propose();
        }
    }

    /// A client has a command proposed.
    pub(super) fn propose(&mut self) {
        let ticket = self.node.commands.len();
        let proposal = self.configuration.asked(self.node.me, ticket);
        self.node.commands.push(Fate::Waiting);
        self.tell(Inside::Propose { ticket: ticket as u64, proposal });
    }

    /// The oldest drain reaches the disk, and its answers leave.
    pub(super) fn sync(&mut self) {
        let Some(persist) = self.node.unsynced.pop_front() else { return };
        append(&mut self.node.synced, persist.records);
        persist.then.into_iter().for_each(|envelope| self.send(envelope));
    }

    /// The node crashes and starts again. Of the records that were not synced the first `kept` are
    /// on the disk, and synced before anything else; the answers behind them are gone.
    pub(super) fn crash(&mut self, kept: usize) {
        let loose = self.node.unsynced.drain(..).flat_map(|persist| persist.records);
        let mut records = self.node.synced.clone();
        append(&mut records, loose.take(kept));
        let Node { me, incarnation, campaigns, .. } = self.node;
        // The run counts in ballots only.
        let counted = incarnation + u64::from(self.node.proposer.is_some());
        let (run, read) = self.bug.restarts(counted, records.clone());
        let mut node = Node::start(me, run, read, self.configuration);
        (node.synced, node.campaigns) = (records, campaigns);
        node.commands = std::mem::take(&mut self.node.commands);
        for fate in &mut node.commands {
            *fate = if *fate == Fate::Waiting { Fate::Refused } else { *fate };
        }
        self.node = node;
        if let Some(learner) = &self.node.learner {
            let message = Message::Inside(learner.advanced());
            self.send(Envelope { from: me, to: me, message });
        }
    }

    fn tell(&mut self, inside: Inside) {
        let input = Input::Message(self.node.me, Message::Inside(inside));
        self.handle(RoleKind::Proposer, input);
    }

    fn handle(&mut self, kind: RoleKind, input: Input) {
        for input in self.bug.inputs(kind, input) {
            let before = self.node.clone();
            let mut effects = Vec::new();
            let role: Option<&mut dyn Role> = match kind {
                RoleKind::Acceptor => self.node.acceptor.as_mut().map(|role| role as _),
                RoleKind::Proposer => self.node.proposer.as_mut().map(|role| role as _),
                RoleKind::Learner => self.node.learner.as_mut().map(|role| role as _),
                RoleKind::Leadership | RoleKind::Archive => None,
            };
            let Some(role) = role else { return };
            role.handle(NOW, input, &mut effects);
            self.bug.handled(kind, &before, &mut self.node);
            let effects = self.bug.effects(kind, effects);
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
        while self.configuration.unsynced == 0 && !self.node.unsynced.is_empty() {
            self.sync();
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send(envelope) => self.send(envelope),
            Effect::Persist(persist) if self.configuration.has_disk(self.node.me) => {
                self.node.unsynced.push_back(persist);
            }
            Effect::Proposed { ticket, slot } => self.decide(ticket, Fate::Proposed(slot)),
            Effect::Refuse { ticket, .. } => self.decide(ticket, Fate::Refused),
            // What is applied is what the learner says is chosen; that is looked at instead.
            Effect::Persist(_)
            | Effect::Apply { .. }
            | Effect::ReadReady { .. }
            | Effect::Restore { .. }
            | Effect::ReadPiece { .. }
            | Effect::KeepPiece { .. }
            | Effect::Led(_)
            | Effect::Governed(_) => {}
        }
    }

    fn decide(&mut self, ticket: u64, fate: Fate) {
        if let Some(known) = self.node.commands.get_mut(ticket as usize) {
            *known = fate;
        }
    }

    fn send(&mut self, envelope: Envelope) {
        if !self.configuration.carries(&envelope) {
            return;
        }
        if !(self.configuration.prompt && envelope.to == self.node.me) {
            return self.sent.push(envelope);
        }
        for kind in receivers(&envelope.message) {
            self.deliver(&envelope, *kind);
        }
    }
}

/// A value proposed, or accepted, for a slot under a ballot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) slot: Slot,
    pub(super) ballot: Ballot,
    pub(super) value: Value,
}

/// A node, and what the properties want to know of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) node: Node,
    /// What its synced log says.
    pub(super) durable: Recovered,
    /// Every acceptance that was ever synced, also those that later ones cover.
    pub(super) votes: Vec<Vote>,
    /// What its learner says is chosen.
    pub(super) learned: Vec<(Slot, Value)>,
}

impl Known {
    pub(super) fn new(node: Node) -> Self {
        let vote = |record: &Record| match record {
            Record::Accepted { slot, ballot, value } => {
                Some(Vote { slot: *slot, ballot: *ballot, value: value.clone() })
            }
            _ => None,
        };
        let chosen = node.learner.iter().flat_map(|learner| learner.chosen(Slot::FIRST));
        Known {
            durable: recover(&node.synced),
            votes: node.synced.iter().filter_map(vote).collect(),
            learned: chosen.map(|(slot, value)| (slot, value.clone())).collect(),
            node,
        }
    }
}

/// The rest follows from the node.
impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
    }
}

/// A record that is there already says nothing new; leaving it out keeps the states finite.
fn append(log: &mut Vec<Record>, records: impl IntoIterator<Item = Record>) {
    for record in records {
        if !log.contains(&record) {
            log.push(record);
        }
    }
}

fn recover(records: &[Record]) -> Recovered {
    let mut recovered = Recovered::default();
    records.iter().for_each(|record| recovered.absorb(record.clone()));
    recovered
}
