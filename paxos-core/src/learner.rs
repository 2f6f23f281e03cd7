//! The learner: counts the votes for its own node's ballots, keeps what is chosen, and fetches what
//! it missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Governance, Input, Persist, Role};
use crate::membership::{Configurations, Membership};
use crate::message::{
    AcceptorMessage, Envelope, Inside, LeadershipMessage, LearnerMessage, Message, Restored,
};
use crate::record::{Record, Recovered};
use crate::status::Status;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::Value;

/// Limits and time-outs of a learner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LearnerOptions {
    /// Whether an acceptor of the same node keeps the values too, so that a record of a chosen slot
    /// need not repeat them. Default: true.
    pub beside_acceptor: bool,
    /// How long a gap may stand before it is fetched. Default: 20 ms.
    pub fetch_after: Duration,
    /// How long an answer may take before another peer is asked. Default: 200 ms.
    pub fetch_timeout: Duration,
    /// An answer to a fetch ends with the value that reaches this many bytes. Default: 1 MiB.
    pub fill_bytes: usize,
    /// An answer to a fetch holds at most this many values. Default: 1024.
    pub fill_values: usize,
}

impl Default for LearnerOptions {
    fn default() -> Self {
        LearnerOptions {
            beside_acceptor: true,
            fetch_after: Duration::from_millis(20),
            fetch_timeout: Duration::from_millis(200),
            fill_bytes: 1 << 20,
            fill_values: 1024,
        }
    }
}

/// A learner.
///
/// Invariant: it calls a slot chosen only when a phase 2 quorum of that slot's membership voted for
/// a ballot of its own node and it holds the value, or when the learner of the ballot's node said
/// so and it holds a value at that ballot or a higher one, or by a `Fill`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Learner {
    me: NodeId,
    options: LearnerOptions,
    configurations: Configurations,
    next: Slot,
    clock: Time,
    chosen: BTreeMap<Slot, (Ballot, Value)>,
    /// The first slot of which `chosen` has the value, if it has any.
    kept: Slot,
    /// Slots below are cut from the log that this learner alone writes, if it does.
    cut: Slot,
    ahead: BTreeMap<Slot, Candidate>,
    peers: BTreeMap<NodeId, Slot>,
    /// The first slot that the newest snapshot of each node does not cover, this one included.
    saved: BTreeMap<NodeId, Slot>,
    safe: Slot,
    /// The newest membership that has settled governs from here.
    settled: Slot,
    gap_since: Option<Time>,
    fetching: Option<Fetching>,
    asked: NodeId,
    dropped: u64,
    alarms: u64,
}

/// What is known of a slot that is not yet handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Candidate {
    /// The value of the highest ballot seen, and whether it came without an `Accept`.
    held: Option<(Ballot, Value)>,
    learned: bool,
    /// Votes for the highest ballot of this node.
    votes: Option<(Ballot, BTreeSet<NodeId>)>,
    /// The lowest ballot at which it is known to be chosen.
    chosen: Option<Ballot>,
}

impl Candidate {
    /// The value, once it is certain.
    fn settled(&self) -> Option<&(Ballot, Value)> {
        let chosen = self.chosen?;
        self.held.as_ref().filter(|(ballot, _)| *ballot >= chosen)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Fetching {
    peer: NodeId,
    sent: Time,
}

impl Learner {
    /// A learner that knows what its log says, and what the snapshot covers that it goes on from.
    pub fn recover(
        me: NodeId,
        options: LearnerOptions,
        restored: Restored,
        recovered: &Recovered,
    ) -> Self {
        let mut kept = recovered.trimmed.max(Slot::FIRST);
        let mut chosen = recovered.chosen(kept);
        let behind = |chosen: &BTreeMap<Slot, (Ballot, Value)>, first| {
            chosen.last_key_value().map_or(first, |(slot, _): (&Slot, _)| slot.next())
        };
        if behind(&chosen, kept) < restored.next {
            // The log has a hole that the snapshot covers.
            kept = restored.next;
            chosen = recovered.chosen(kept);
        }
        let next = behind(&chosen, kept);
        let mut configurations = restored.configurations;
        for (slot, (_, value)) in chosen.range(restored.next..) {
            configurations = changed(&configurations, *slot, value).unwrap_or(configurations);
        }
        let clock = chosen.values().filter_map(|(_, value)| value.stamp()).max();
        Learner {
            me,
            options,
            configurations,
            next,
            clock: clock.unwrap_or_default().max(restored.clock),
            chosen,
            kept,
            cut: recovered.trimmed,
            ahead: BTreeMap::new(),
            peers: BTreeMap::new(),
            saved: BTreeMap::new(),
            safe: Slot(0),
            settled: Slot::FIRST,
            gap_since: None,
            fetching: None,
            asked: NodeId(0),
            dropped: 0,
            alarms: 0,
        }
    }

    /// The same with or without an acceptor beside it.
    pub fn beside_acceptor(mut self, beside_acceptor: bool) -> Self {
        self.options.beside_acceptor = beside_acceptor;
        self
    }

    /// A learner that knows nothing yet.
    pub fn new(me: NodeId, genesis: Configurations) -> Self {
        let restored = Restored::nothing(genesis);
        Self::recover(me, LearnerOptions::default(), restored, &Recovered::default())
    }

    /// The first slot that it does not know to be chosen.
    pub fn next(&self) -> Slot {
        self.next
    }

    /// The chosen values from `first` on, in order; what a driver applies after a recovery.
    pub fn chosen(&self, first: Slot) -> impl Iterator<Item = (Slot, &Value)> {
        self.chosen.range(first..).map(|(slot, (_, value))| (*slot, value))
    }

    /// The memberships that it knows, from the one that governs `next` on.
    pub fn configurations(&self) -> &Configurations {
        &self.configurations
    }

    /// What the other roles need to know at the start.
    pub fn advanced(&self) -> Inside {
        Inside::Advanced {
            next: self.next,
            configurations: self.configurations.clone(),
            clock: self.clock,
        }
    }

    /// Who takes part, as it knows.
    pub fn governance(&self) -> Governance {
        let configurations = self.configurations.clone();
        let settled = configurations.newest().0 <= self.settled;
        Governance { configurations, settled }
    }

    fn window(&self) -> std::ops::Range<Slot> {
        self.next..self.next.plus(2 * self.configurations.alpha())
    }

    fn inside(&self, message: Inside) -> Effect {
        let message = Message::Inside(message);
        Effect::Send(Envelope { from: self.me, to: self.me, message })
    }

    fn send(&self, to: NodeId, message: LearnerMessage) -> Effect {
        Effect::Send(Envelope { from: self.me, to, message: Message::Learner(message) })
    }

    /// A value that was proposed, or that is chosen.
    fn hold(&mut self, slot: Slot, ballot: Ballot, value: Value, learned: bool) {
        if !self.window().contains(&slot) || !ballot.is_sound() {
            return;
        }
        let candidate = self.ahead.entry(slot).or_default();
        match &candidate.held {
            Some((held, known)) if *held == ballot => {
                self.alarms += u64::from(*known != value);
            }
            Some((held, _)) if *held > ballot => {}
            _ => {
                candidate.held = Some((ballot, value));
                candidate.learned = learned;
            }
        }
    }

    fn vote(&mut self, from: NodeId, ballot: Ballot, slot: Slot) {
        let open = self.next..self.next.plus(self.configurations.alpha());
        if ballot.node != self.me || !open.contains(&slot) {
            return;
        }
        let candidate = self.ahead.entry(slot).or_default();
        let (counted, voters) = candidate.votes.get_or_insert_with(|| (ballot, BTreeSet::new()));
        if *counted < ballot {
            (*counted, *voters) = (ballot, BTreeSet::new());
        }
        if *counted == ballot {
            voters.insert(from);
        }
    }

    /// Declares the slot chosen and tells the others, if the votes say so and the value is here.
    fn count(&mut self, slot: Slot, out: &mut Vec<Effect>) {
        let Some(candidate) = self.ahead.get_mut(&slot) else { return };
        let Some((ballot, voters)) = &candidate.votes else { return };
        let held = candidate.held.as_ref().filter(|(held, _)| held >= ballot);
        let membership = self.configurations.at(slot);
        if candidate.chosen.is_some() || held.is_none() || !membership.quorums.is_phase2(voters) {
            return;
        }
        let ballot = *ballot;
        candidate.chosen = Some(ballot);
        let value = held.map(|(_, value)| value.clone());
        for node in membership.learners().filter(|node| *node != self.me) {
            let value = if membership.quorums.contains(node) { None } else { value.clone() };
            out.push(self.send(node, LearnerMessage::Chosen { ballot, slot, value }));
        }
    }

    fn announced(&mut self, ballot: Ballot, slot: Slot, value: Option<Value>) {
        if !self.window().contains(&slot) || !ballot.is_sound() {
            return;
        }
        if let Some(value) = value {
            self.hold(slot, ballot, value, true);
        }
        let candidate = self.ahead.entry(slot).or_default();
        candidate.chosen = Some(candidate.chosen.map_or(ballot, |known| known.min(ballot)));
    }

    /// Hands out every slot that is settled, in order.
    fn advance(&mut self, now: Time, out: &mut Vec<Effect>) {
        let before = self.next;
        let (mut records, mut changes) = (Vec::new(), false);
        while let Some(candidate) = self.ahead.get(&self.next) {
            let Some((ballot, value)) = candidate.settled().cloned() else { break };
            let kept = self.options.beside_acceptor && !candidate.learned;
            let slot = self.next;
            let repeated = (!kept).then(|| value.clone());
            records.push(Record::Chosen { slot, ballot, value: repeated });
            self.clock = self.clock.max(value.stamp().unwrap_or_default());
            self.ahead.remove(&slot);
            self.chosen.insert(slot, (ballot, value.clone()));
            self.next = slot.next();
            if let Some(changed) = changed(&self.configurations, slot, &value) {
                self.configurations = changed;
                changes = true;
            }
            out.push(Effect::Apply { slot, value });
        }
        if self.next > before {
            self.gap_since = self.gap_since.map(|_| now);
            out.push(Effect::Persist(Persist { records, then: Vec::new() }));
            out.push(self.inside(self.advanced()));
        }
        if changes {
            out.push(Effect::Governed(self.governance()));
        }
    }

    fn fill(&mut self, first: Slot, chosen: Vec<(Ballot, Value)>) {
        for (slot, (ballot, value)) in (0..).map(|distance| first.plus(distance)).zip(chosen) {
            let settled = match self.ahead.get(&slot) {
                Some(candidate) => candidate.settled(),
                None => self.chosen.get(&slot),
            };
            match settled {
                Some((_, known)) => {
                    assert!(*known == value, "{slot} has two chosen values: {known} and {value}");
                }
                None if self.window().contains(&slot) && ballot.is_sound() => {
                    let (held, learned) = (Some((ballot, value)), true);
                    let candidate = Candidate { held, learned, votes: None, chosen: Some(ballot) };
                    self.ahead.insert(slot, candidate);
                }
                None => {}
            }
        }
    }

    fn answer_fetch(&self, to: NodeId, first: Slot, out: &mut Vec<Effect>) {
        // More than its window the asker does not keep.
        let window = 2 * self.configurations.alpha();
        let most = self.options.fill_values.min(window as usize);
        let (mut bytes, mut chosen) = (0, Vec::new());
        let snapshot = self.saved.get(&self.me).copied().filter(|_| first < self.kept);
        let most = if snapshot.is_some() { 0 } else { most };
        // The values are named by the slot of the first of them, which need not be the one asked.
        let first = self.chosen.range(first..).next().map_or(first, |(slot, _)| *slot);
        for (ballot, value) in self.chosen.range(first..).map(|(_, chosen)| chosen) {
            if bytes >= self.options.fill_bytes || chosen.len() >= most {
                break;
            }
            bytes += value.size();
            chosen.push((*ballot, value.clone()));
        }
        let fill = LearnerMessage::Fill { first, chosen, upto: self.next, snapshot };
        out.push(self.send(to, fill));
    }

    /// Whether something is known to be chosen that is not here.
    fn lags(&self) -> bool {
        let known = self.peers.values().max().copied().unwrap_or_default();
        let announced = self.ahead.iter().any(|(_, candidate)| candidate.chosen.is_some());
        known > self.next || announced
    }

    fn fetch(&mut self, now: Time, out: &mut Vec<Effect>) {
        let ahead = || self.peers.iter().filter(|(_, next)| **next > self.next);
        let later = ahead().find(|(peer, _)| **peer > self.asked);
        let peer = later.or_else(|| ahead().next()).map(|(peer, _)| *peer);
        self.gap_since = Some(now);
        self.fetching = None;
        let Some(peer) = peer else { return };
        self.asked = peer;
        self.fetching = Some(Fetching { peer, sent: now });
        out.push(self.send(peer, LearnerMessage::Fetch { first: self.next }));
    }

    fn mind_the_gap(&mut self, now: Time, out: &mut Vec<Effect>) {
        if !self.lags() {
            self.gap_since = None;
            self.fetching = None;
        } else if self.gap_since.is_none() {
            self.gap_since = Some(now);
        } else if self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.fetch(now, out);
        }
    }

    fn hear(&mut self, now: Time, from: NodeId, message: LearnerMessage, out: &mut Vec<Effect>) {
        match message {
            LearnerMessage::Accepted { ballot, slot } => {
                self.vote(from, ballot, slot);
                self.count(slot, out);
            }
            LearnerMessage::Chosen { ballot, slot, value } if ballot.node == from => {
                self.announced(ballot, slot, value);
            }
            LearnerMessage::Chosen { .. } => self.dropped += 1,
            LearnerMessage::Fetch { first } => self.answer_fetch(from, first, out),
            LearnerMessage::Fill { upto, snapshot: Some(saved), .. } => {
                self.knows(from, upto);
                if saved > self.next {
                    // It is asked again when it should have answered, and then says the same, until
                    // the snapshot is here.
                    out.push(self.inside(Inside::Behind { peer: from, upto: saved }));
                }
            }
            LearnerMessage::Fill { first, chosen, upto, snapshot: None } => {
                self.knows(from, upto);
                let before = self.next;
                self.fill(first, chosen);
                self.advance(now, out);
                if self.fetching.as_ref().is_some_and(|fetching| fetching.peer == from) {
                    self.fetching = None;
                    if self.next > before && upto > self.next {
                        self.asked = NodeId(from.0.saturating_sub(1));
                        self.fetch(now, out);
                    }
                }
            }
        }
    }

    /// A synced snapshot is here: goes on behind it, unless the log has led further already.
    fn restored(&mut self, now: Time, restored: Restored, out: &mut Vec<Effect>) {
        let Restored { next, clock, configurations } = restored;
        if next <= self.next {
            return;
        }
        self.next = next;
        self.clock = self.clock.max(clock);
        let changes = self.configurations != configurations;
        self.configurations = configurations;
        self.ahead = self.ahead.split_off(&next);
        self.chosen.clear();
        self.kept = next;
        self.gap_since = self.gap_since.map(|_| now);
        self.fetching = None;
        out.push(Effect::Restore { next });
        out.push(self.inside(self.advanced()));
        if changes {
            out.push(Effect::Governed(self.governance()));
        }
    }

    /// Snapshots of this node cover slots: forgets the values that all of them cover.
    fn saved(&mut self, upto: Slot, oldest: Slot, out: &mut Vec<Effect>) {
        let known = self.saved.entry(self.me).or_default();
        *known = upto.max(*known);
        let below = oldest.min(self.next);
        if below > self.kept {
            self.kept = below;
            self.chosen = self.chosen.split_off(&below);
        }
        if below > self.cut && !self.options.beside_acceptor {
            self.cut = below;
            let records = vec![Record::Trimmed(below)];
            out.push(Effect::Persist(Persist { records, then: Vec::new() }));
        }
        self.be_safe(out);
    }

    /// Says which slots are in the snapshots of enough replicas, and whether the newest membership
    /// has settled by that.
    fn be_safe(&mut self, out: &mut Vec<Effect>) {
        let membership = self.configurations.at(self.next);
        let saved = membership.learners().filter_map(|node| self.saved.get(&node).copied());
        let below = saved.filter(|below| self.is_held(membership, *below)).max();
        if let Some(below) = below.filter(|below| *below > self.safe) {
            self.safe = below;
            out.push(self.inside(Inside::Safe { below }));
        }
        let (from, newest) = self.configurations.newest();
        if *from > self.settled && *from <= self.next && self.is_held(newest, *from) {
            self.settled = *from;
            let members = &newest.members;
            self.peers.retain(|node, _| members.contains_key(node));
            self.saved.retain(|node, _| members.contains_key(node));
            out.push(self.inside(Inside::Settled { from: self.settled }));
            out.push(Effect::Governed(self.governance()));
        }
    }

    /// Whether enough replicas of a membership have every slot below in a snapshot.
    fn is_held(&self, membership: &Membership, below: Slot) -> bool {
        let holds = |(_, saved): &(&NodeId, &Slot)| **saved >= below;
        let holders: Vec<_> = self.saved.iter().filter(holds).map(|(node, _)| *node).collect();
        membership.is_held_by(&holders)
    }

    fn knows(&mut self, peer: NodeId, next: Slot) {
        let known = self.peers.entry(peer).or_default();
        *known = next.max(*known);
    }
}

/// What the value of a slot makes of the memberships; `None`: nothing, as most.
fn changed(known: &Configurations, slot: Slot, value: &Value) -> Option<Configurations> {
    let Value::Reconfigure(change) = value else { return None };
    known.changed(slot, change).ok()
}

impl Role for Learner {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Message(from, Message::Learner(message)) => self.hear(now, from, message, out),
            Input::Message(from, Message::Acceptor(message)) => {
                if let AcceptorMessage::Accept { ballot, slot, value } = message
                    && ballot.node == from
                {
                    self.hold(slot, ballot, value, false);
                    self.count(slot, out);
                }
            }
            Input::Message(from, Message::Leadership(LeadershipMessage::Heartbeat(heartbeat))) => {
                self.knows(from, heartbeat.next);
                let known = self.saved.entry(from).or_default();
                if heartbeat.saved > *known {
                    *known = heartbeat.saved;
                    self.be_safe(out);
                }
            }
            Input::Message(_, Message::Inside(Inside::Read { ticket, level })) => {
                out.push(self.inside(Inside::Stamped { ticket, next: self.next, level }));
            }
            Input::Message(_, Message::Inside(Inside::Restored(restored))) => {
                self.restored(now, restored, out);
            }
            Input::Message(_, Message::Inside(Inside::Saved { upto, oldest })) => {
                self.saved(upto, oldest, out);
            }
            Input::Message(..) | Input::Timeout => {}
        }
        let before = self.next;
        self.advance(now, out);
        if self.next > before && self.configurations.newest().0 > self.settled {
            self.be_safe(out);
        }
        self.mind_the_gap(now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        match &self.fetching {
            Some(fetching) => Some(fetching.sent.after(self.options.fetch_timeout)),
            None => self.gap_since.map(|since| since.after(self.options.fetch_after)),
        }
    }

    fn describe(&self, status: &mut Status) {
        status.chosen = Slot(self.next.0 - 1);
        status.dropped += self.dropped;
        status.alarms += self.alarms;
    }
}
