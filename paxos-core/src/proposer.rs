//! The proposer: campaigns with a ballot, and as leader proposes a value for slot after slot
//! (Lamport, *Paxos Made Simple*, 2001, phases 1a and 2a, and section 3 for many slots).

mod due;
mod handover;
mod reads;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Input, Refusal, Role};
use crate::membership::Configurations;
use crate::message::{
    AcceptorMessage, Envelope, Inside, Message, Promise, ProposerMessage, ReadLevel, Resignation,
};
use crate::status::Status;
use crate::term::{Flight, Term};
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::{Proposal, Value};

/// Limits and time-outs of a proposer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProposerOptions {
    /// How long an answer to `Prepare` or `Accept` may take before it is sent again; for an
    /// `Accept` doubled with every repetition, eightfold at most. Default: 100 ms.
    pub retransmit: Duration,
    /// How often a leader asks whether it is still confirmed. Default: 50 ms.
    pub confirm_every: Duration,
    /// A leader that no quorum confirms is given up after this; a campaign too, but with every one
    /// that has failed its successor gets twice the time, 64-fold at most: promises wait for disks,
    /// and a slow disk must not keep a cluster without a leader. Default: 300 ms.
    pub patience: Duration,
    /// Slots in flight at most; alpha bounds them too. Default: 64.
    pub in_flight_max: usize,
    /// Where nothing is proposed but something is due in the state, a leader proposes a batch
    /// without commands; no two of them sooner after each other than this. Default: 50 ms.
    pub due_every: Duration,
    /// Batches that may wait for a slot. Default: 64.
    pub queue_max: usize,
    /// Reads that may wait for confirmation. Default: 4096.
    pub reads_max: usize,
}

impl Default for ProposerOptions {
    fn default() -> Self {
        ProposerOptions {
            retransmit: Duration::from_millis(100),
            confirm_every: Duration::from_millis(50),
            patience: Duration::from_millis(300),
            due_every: Duration::from_millis(50),
            in_flight_max: 64,
            queue_max: 64,
            reads_max: 4096,
        }
    }
}

/// A proposer. It alone makes ballots; when to campaign is the leadership's to say.
///
/// Invariant: it proposes for a slot only within the window, at or above every trim point, and only
/// once a phase 1 quorum of that slot's membership has promised its ballot and reported the slot.
/// Invariant: the value that it proposes under a ballot for a slot never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proposer {
    me: NodeId,
    incarnation: u64,
    options: ProposerOptions,
    configurations: Configurations,
    round: u64,
    next: Slot,
    clock: Time,
    term: Option<Term>,
    /// Campaigns that have failed in a row.
    failures: u32,
    queue: VecDeque<Waiting>,
    reads: VecDeque<Stamped>,
    /// Enough replicas hold a synced snapshot of every slot below.
    safe: Slot,
    due: due::Due,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Waiting {
    ticket: u64,
    proposal: Proposal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Stamped {
    ticket: u64,
    next: Slot,
    level: ReadLevel,
}

impl Proposer {
    /// A proposer of a node in its `incarnation`-th run.
    pub fn new(
        me: NodeId,
        incarnation: u64,
        options: ProposerOptions,
        genesis: Configurations,
    ) -> Self {
        Proposer {
            me,
            incarnation,
            options,
            configurations: genesis,
            round: 0,
            next: Slot::FIRST,
            clock: Time(0),
            term: None,
            failures: 0,
            queue: VecDeque::new(),
            reads: VecDeque::new(),
            safe: Slot(0),
            due: due::Due::default(),
        }
    }

    /// The ballot that it campaigns or leads with.
    pub fn ballot(&self) -> Option<Ballot> {
        self.term.as_ref().map(|term| term.ballot)
    }

    /// Whether a phase 1 quorum has promised that ballot.
    pub fn leads(&self) -> bool {
        self.term.as_ref().is_some_and(|term| term.elected)
    }

    fn send(&self, to: NodeId, message: AcceptorMessage) -> Effect {
        Effect::Send(Envelope { from: self.me, to, message: Message::Acceptor(message) })
    }

    fn inside(&self, message: Inside) -> Effect {
        let message = Message::Inside(message);
        Effect::Send(Envelope { from: self.me, to: self.me, message })
    }

    /// Begins a leadership under a ballot higher than any that it has seen.
    fn campaign(&mut self, now: Time, after: Option<Ballot>, out: &mut Vec<Effect>) {
        // The successor need not have promised the ballot that it follows.
        let handed = after.filter(|ballot| ballot.is_sound()).map_or(0, |ballot| ballot.round);
        self.round = self.round.max(handed);
        if self.round >= Ballot::ROUND_MAX {
            return;
        }
        self.round += 1;
        let ballot = Ballot { round: self.round, node: self.me, incarnation: self.incarnation };
        self.term = Some(Term::new(ballot, after, self.next, now));
        self.prepare(now, out);
    }

    /// Asks every acceptor that governs a slot of the window for its next page.
    fn prepare(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        term.prepare_at = now.after(self.options.retransmit);
        let governing = self.configurations.from(self.next);
        let acceptors: std::collections::BTreeSet<_> =
            governing.flat_map(|membership| membership.quorums.acceptors()).collect();
        for acceptor in acceptors {
            self.ask_page(acceptor, out);
        }
    }

    /// Asks for a page unless it lies so far ahead that keeping it would take unbounded memory; it
    /// is asked for again when the log has advanced.
    fn ask_page(&self, acceptor: NodeId, out: &mut Vec<Effect>) {
        let Some(term) = &self.term else { return };
        let far = self.next.plus(2 * self.configurations.alpha());
        if let Some(first) = term.page_wanted(acceptor).filter(|first| *first < far) {
            let (ballot, after) = (term.ballot, term.after);
            out.push(self.send(acceptor, AcceptorMessage::Prepare { ballot, first, after }));
        }
    }

    fn promised(&mut self, now: Time, from: NodeId, page: Promise, out: &mut Vec<Effect>) {
        let Some(term) = self.term.as_mut().filter(|term| term.ballot == page.ballot) else {
            return;
        };
        let wanted = term.page_wanted(from);
        term.promise(from, page);
        if term.trimmed > self.next {
            term.behind_since.get_or_insert(now);
        }
        if term.page_wanted(from).is_some() && term.page_wanted(from) != wanted {
            self.ask_page(from, out);
        }
        self.be_elected(now, out);
        self.pump(now, out);
    }

    fn be_elected(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = self.term.as_mut().filter(|term| !term.elected) else { return };
        if !term.is_promised(&self.configurations.at(self.next).quorums) {
            return;
        }
        term.elected = true;
        self.failures = 0;
        term.clock = (self.clock, now);
        term.rounds.confirmed = now;
        term.rounds.due = now;
        let ballot = term.ballot;
        out.push(self.inside(Inside::Elected { ballot }));
    }

    /// Proposes whatever may be proposed now, slot after slot.
    fn pump(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = &mut self.term else { return };
        let window = self.next..self.next.plus(self.configurations.alpha());
        let mut slot = term.cursor.max(self.next).max(term.trimmed);
        let mut accepts = Vec::new();
        while window.contains(&slot) && term.flights.len() < self.options.in_flight_max {
            let quorums = &self.configurations.at(slot).quorums;
            if !term.covers(slot, quorums) {
                break;
            }
            let value = if let Some(value) = term.bound(slot) {
                value
            } else if !term.reports_end(quorums) {
                break;
            } else if let Some(Waiting { ticket, proposal }) = self.queue.pop_front() {
                out.push(Effect::Proposed { ticket, slot });
                proposal.stamped(term.stamp(now), term.ballot)
            } else if term.opened.is_none() || slot < self.configurations.newest().0 {
                // The first slot of a leadership, or one before a change of membership governs,
                // which nobody shall wait for until there is something to propose.
                Value::Noop
            } else if let Some(value) = term.empty_batch(now) {
                value
            } else {
                break;
            };
            if let Value::Commands(batch) = &value
                && self.due.is_some()
                && batch.by == term.ballot
            {
                term.stamped = Some((slot, batch.stamp));
                term.empty_wanted = false;
            }
            term.opened.get_or_insert(slot);
            if term.flights.is_empty() {
                term.accept_at = now.after(self.options.retransmit);
            }
            let flight = Flight { value: value.clone(), sent: now, attempts: 0 };
            term.flights.insert(slot, flight);
            accepts.push((term.ballot, slot, value));
            slot = slot.next();
        }
        term.cursor = slot;
        for (ballot, slot, value) in accepts {
            self.accept(ballot, slot, &value, out);
        }
    }

    /// Sends one proposal to the acceptors of its slot, and to this node, whose learner counts the
    /// votes and must hold the value.
    fn accept(&self, ballot: Ballot, slot: Slot, value: &Value, out: &mut Vec<Effect>) {
        let quorums = &self.configurations.at(slot).quorums;
        let me = (!quorums.contains(self.me)).then_some(self.me);
        for node in quorums.acceptors().chain(me) {
            let value = value.clone();
            out.push(self.send(node, AcceptorMessage::Accept { ballot, slot, value }));
        }
    }

    /// Sends again what has waited too long.
    fn repeat_accepts(&mut self, now: Time, out: &mut Vec<Effect>) {
        let retransmit = self.options.retransmit;
        let Some(term) = &mut self.term else { return };
        term.accept_at = now.after(retransmit);
        let mut late = Vec::new();
        for (slot, flight) in &mut term.flights {
            if flight.sent.after(retransmit * (1 << flight.attempts.min(3))) <= now {
                flight.sent = now;
                flight.attempts += 1;
                late.push((term.ballot, *slot, flight.value.clone()));
            }
        }
        for (ballot, slot, value) in late {
            self.accept(ballot, slot, &value, out);
        }
    }

    fn refused(&mut self, now: Time, from: NodeId, nack: (Ballot, Ballot), out: &mut Vec<Effect>) {
        let (ballot, promised) = nack;
        if !promised.is_sound() {
            return;
        }
        self.round = self.round.max(promised.round);
        let Some(term) = self.term.as_mut().filter(|term| term.ballot == ballot) else { return };
        term.refused_by.insert(from, promised);
        term.refused_since.get_or_insert(now);
        let quorums = &self.configurations.at(self.next).quorums;
        let left: Vec<_> =
            quorums.acceptors().filter(|node| !term.refused_by.contains_key(node)).collect();
        let lost = !quorums.is_phase2(&left) || (!term.elected && !quorums.is_phase1(&left));
        if lost {
            self.resign(Resignation::Outvoted(promised), out);
        }
    }

    /// A minority has promised a higher ballot for long: takes a higher one still. Not at once: the
    /// first refusal that a leader of the past hears is followed by those of the others, and to
    /// answer it with a campaign would depose the leader of the day.
    fn campaign_again(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = &self.term else { return };
        let Some(promised) = term.refused_by.values().max() else { return };
        if term.refused_since.is_some_and(|since| now >= since.after(self.options.patience)) {
            let reason = Resignation::Outvoted(*promised);
            let reads: Vec<_> = term.rounds.reads().collect();
            let (ballot, next) = (term.ballot, self.next);
            let level = ReadLevel::Linearizable;
            self.reads.extend(reads.into_iter().map(|ticket| Stamped { ticket, next, level }));
            out.push(self.inside(Inside::Resigned { ballot, reason }));
            self.campaign(now, None, out);
        }
    }

    fn resign(&mut self, reason: Resignation, out: &mut Vec<Effect>) {
        let Some(term) = self.term.take() else { return };
        self.failures += u32::from(!term.elected);
        let queued = self.queue.drain(..).map(|waiting| waiting.ticket);
        let reads = self.reads.drain(..).map(|read| read.ticket);
        for ticket in queued.chain(reads).chain(term.rounds.reads()) {
            out.push(Effect::Refuse { ticket, refusal: Refusal::NotLeader });
        }
        out.push(self.inside(Inside::Resigned { ballot: term.ballot, reason }));
    }

    fn propose(&mut self, now: Time, waiting: Waiting, out: &mut Vec<Effect>) {
        let refusal = match &self.term {
            None => Some(Refusal::NotLeader),
            Some(term) if now < term.yields_until => Some(Refusal::NotLeader),
            Some(_) if self.queue.len() >= self.options.queue_max => Some(Refusal::Busy),
            Some(_) => None,
        };
        match refusal {
            Some(refusal) => out.push(Effect::Refuse { ticket: waiting.ticket, refusal }),
            None => {
                self.queue.push_back(waiting);
                self.pump(now, out);
            }
        }
    }

    /// Asks the acceptors whether they have promised anything higher.
    fn confirm(&mut self, now: Time, out: &mut Vec<Effect>) {
        let reads = self.take_ready_reads();
        let pause = self.confirm_pause();
        let Some(term) = self.term.as_mut() else { return };
        term.rounds.due = now.after(pause);
        let round = term.rounds.ask(now, self.next, &self.configurations, reads);
        let ballot = term.ballot;
        let membership = self.configurations.at(self.next);
        for acceptor in membership.quorums.acceptors() {
            out.push(self.send(acceptor, AcceptorMessage::Confirm { ballot, round }));
        }
        if self.safe > Slot::FIRST {
            for witness in membership.witnesses() {
                out.push(self.send(witness, AcceptorMessage::Cut { below: self.safe }));
            }
        }
    }

    fn advanced(
        &mut self,
        now: Time,
        next: Slot,
        configurations: Configurations,
        clock: Time,
        out: &mut Vec<Effect>,
    ) {
        if next <= self.next {
            return;
        }
        self.next = next;
        self.clock = self.clock.max(clock);
        let changed = self.configurations != configurations;
        self.configurations = configurations;
        let Some(term) = &mut self.term else { return };
        term.forget_below(next);
        if term.trimmed <= next {
            term.behind_since = None;
        }
        if clock > term.stamp(now) {
            term.clock = (clock, now);
        }
        if !term.ready && term.opened.is_some_and(|opened| opened < next) {
            term.ready = true;
            let ballot = term.ballot;
            out.push(self.inside(Inside::Ready { ballot }));
        }
        if changed {
            self.prepare(now, out);
        }
        self.be_elected(now, out);
        self.pump(now, out);
        self.serve_reads(now, out);
        self.tell_when_drained(now, out);
    }

    /// When a campaign is given up.
    fn campaign_ends(&self, term: &Term) -> Time {
        term.started.after(self.options.patience * (1 << self.failures.min(6)))
    }

    /// Does what is due.
    fn wake(&mut self, now: Time, out: &mut Vec<Effect>) {
        let patience = self.options.patience;
        let Some(term) = &self.term else { return };
        // A leader that was itself stopped has asked nothing meanwhile: it asks before it despairs.
        let unheard = term.elected
            && term.rounds.confirmed.after(patience) <= now
            && term.rounds.unanswered() >= UNANSWERED_MIN;
        let unelected = !term.elected && self.campaign_ends(term) <= now;
        if unheard || unelected {
            let since = if term.elected { term.rounds.confirmed } else { term.started };
            return self.resign(Resignation::NoQuorum(now.since(since)), out);
        }
        let (prepare_at, accept_at) = (term.prepare_at, term.accept_at);
        let (elected, in_flight, due) = (term.elected, !term.flights.is_empty(), term.rounds.due);
        if self.mind_the_due(now) {
            self.pump(now, out);
        }
        if prepare_at <= now {
            self.prepare(now, out);
        }
        if in_flight && accept_at <= now {
            self.repeat_accepts(now, out);
        }
        if elected && due <= now {
            self.confirm(now, out);
        }
        self.campaign_again(now, out);
        self.despair_of_the_cut(now, out);
    }

    /// An acceptor has cut slots that this leader does not know, and it has not learned them since:
    /// lets somebody lead who does, or, if that acceptor is gone for good with all that it knew, a
    /// quorum without it, which has the values still.
    fn despair_of_the_cut(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(term) = &self.term else { return };
        if self.behind_ends(term).is_some_and(|end| end <= now) {
            self.resign(Resignation::Behind(term.trimmed), out);
        }
    }

    fn behind_ends(&self, term: &Term) -> Option<Time> {
        term.behind_since.map(|since| since.after(self.options.patience * BEHIND_PATIENCE))
    }
}

/// A leader that lacks slots which an acceptor has cut gives up after so many times its patience.
const BEHIND_PATIENCE: u32 = 4;

/// A leader resigns only after so many questions without a quorum of answers.
const UNANSWERED_MIN: usize = 3;

impl Role for Proposer {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Message(from, Message::Proposer(message)) => match message {
                ProposerMessage::Promise(page) => self.promised(now, from, page, out),
                ProposerMessage::Nack { ballot, promised } => {
                    self.refused(now, from, (ballot, promised), out);
                }
                ProposerMessage::Confirmed { ballot, round, granted } => {
                    self.confirmed(now, from, (ballot, round, granted), out);
                }
            },
            Input::Message(_, Message::Inside(message)) => match message {
                Inside::Propose { ticket, proposal } => {
                    self.propose(now, Waiting { ticket, proposal }, out);
                }
                Inside::Stamped { ticket, next, level } => {
                    self.read(now, Stamped { ticket, next, level }, out);
                }
                Inside::Advanced { next, configurations, clock } => {
                    self.advanced(now, next, configurations, clock, out);
                }
                Inside::Due { applied, at } => self.hear_due(applied, at),
                Inside::Safe { below } => self.safe = self.safe.max(below),
                Inside::Seen { ballot } => self.round = self.round.max(ballot.round),
                Inside::Campaign { after } if self.term.is_none() => {
                    self.campaign(now, after, out);
                }
                Inside::Resign { ballot } if self.ballot() == Some(ballot) => {
                    self.resign(Resignation::Told, out);
                }
                Inside::Yield { ballot, until } => self.yields(now, ballot, until, out),
                Inside::HandOver { ballot, to } => self.hand_over(now, ballot, to, out),
                _ => {}
            },
            Input::Timeout => self.wake(now, out),
            Input::Message(..) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let term = self.term.as_ref()?;
        let patience = self.options.patience;
        let mut deadline = term.prepare_at;
        if !term.flights.is_empty() {
            deadline = deadline.min(term.accept_at);
        }
        deadline = deadline.min(match term.elected {
            true => term.rounds.due,
            false => self.campaign_ends(term),
        });
        if let Some(since) = term.refused_since {
            deadline = deadline.min(since.after(patience));
        }
        if let Some(end) = self.behind_ends(term) {
            deadline = deadline.min(end);
        }
        if let Some(due) = self.due_at(term) {
            deadline = deadline.min(due);
        }
        Some(deadline)
    }

    fn describe(&self, status: &mut Status) {
        status.in_flight = self.term.as_ref().map_or(0, |term| term.flights.len() as u64);
    }
}
