//! The acceptor: promises ballots and accepts values (Lamport, *Paxos Made Simple*, 2001, phases
//! 1b and 2b). It fits on a page; everything else in this crate is there to feed it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Input, Persist, Role};
use crate::lease::Lent;
use crate::message::{
    AcceptedValue, AcceptorMessage, Envelope, Inside, LearnerMessage, Message, Promise,
    ProposerMessage,
};
use crate::record::{Record, Recovered};
use crate::status::Status;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::Value;

/// Limits of an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcceptorOptions {
    /// A page of a promise ends with the value that reaches this many bytes. Default: 1 MiB.
    pub page_bytes: usize,
    /// A page of a promise holds at most this many values. Default: 1024.
    pub page_values: usize,
    /// Whether a replica of the same node saves snapshots, which alone say what may be cut; one
    /// without it believes the leader. Default: true.
    pub beside_replica: bool,
    /// For how long it promises nothing to others once it has confirmed a leader, and to anybody
    /// once it has started: the length of a leader lease in the membership. Zero: it lends none.
    /// Default: zero.
    pub lease: Duration,
}

impl Default for AcceptorOptions {
    fn default() -> Self {
        AcceptorOptions {
            page_bytes: 1 << 20,
            page_values: 1024,
            beside_replica: true,
            lease: Duration::ZERO,
        }
    }
}

/// An acceptor.
///
/// Invariant: it accepts and promises nothing below `promised`, and `promised` never falls.
/// Invariant: a lease is lent in the step that answers the question, only when nothing higher is
/// promised, and until it is over no other node is promised or lent anything.
/// Invariant: whatever it says of its state leaves inside a [`Persist`], behind the records that
/// make it true.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acceptor {
    me: NodeId,
    options: AcceptorOptions,
    promised: Ballot,
    trimmed: Slot,
    accepted: BTreeMap<Slot, (Ballot, Value)>,
    lent: Lent,
    dropped: u64,
    alarms: u64,
}

/// What an acceptor answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Write and sync, then send.
    After(Persist),
    /// Send at once: it says nothing that a crash could take back.
    Now(Unsynced),
    /// Nothing: the message was nonsense, its slot is trimmed, or it is a campaign against a lease,
    /// which is repeated.
    Dropped,
}

/// The only messages that leave an acceptor without a sync. A stalled disk must not look like a
/// lost leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unsynced {
    /// A higher ballot is promised.
    Nack {
        /// The refused proposer.
        to: NodeId,
        /// Its ballot.
        ballot: Ballot,
        /// The higher one.
        promised: Ballot,
    },
    /// No higher ballot is promised.
    Confirmed {
        /// The asking leader.
        to: NodeId,
        /// Its ballot.
        ballot: Ballot,
        /// Its question.
        round: u64,
        /// Whether a lease comes with it.
        granted: bool,
    },
}

impl Acceptor {
    /// An acceptor with the state that its log says, empty for a new one, which starts now.
    pub fn recover(me: NodeId, options: AcceptorOptions, recovered: &Recovered, now: Time) -> Self {
        let lent = Lent::at_start(options.lease, now);
        Acceptor {
            me,
            options,
            promised: recovered.promised,
            trimmed: recovered.trimmed,
            accepted: recovered.accepted.clone(),
            lent,
            dropped: 0,
            alarms: 0,
        }
    }

    /// An acceptor that has promised and accepted nothing.
    pub fn new(me: NodeId) -> Self {
        Self::recover(me, AcceptorOptions::default(), &Recovered::default(), Time(0))
    }

    /// The highest ballot promised; [`Ballot::ZERO`] at first.
    pub fn promised(&self) -> Ballot {
        self.promised
    }

    /// What is accepted in a slot.
    pub fn accepted(&self, slot: Slot) -> Option<(Ballot, &Value)> {
        self.accepted.get(&slot).map(|(ballot, value)| (*ballot, value))
    }

    /// Takes one message. `from` is the node it came from: a ballot speaks for its own node only.
    pub fn step(&mut self, now: Time, from: NodeId, message: AcceptorMessage) -> Answer {
        match message {
            AcceptorMessage::Prepare { ballot, .. }
            | AcceptorMessage::Accept { ballot, .. }
            | AcceptorMessage::Confirm { ballot, .. }
                if !ballot.is_sound() || ballot.node != from =>
            {
                self.drop_it()
            }
            AcceptorMessage::Prepare { ballot, .. }
            | AcceptorMessage::Accept { ballot, .. }
            | AcceptorMessage::Confirm { ballot, .. }
                if ballot < self.promised =>
            {
                Answer::Now(Unsynced::Nack { to: from, ballot, promised: self.promised })
            }
            AcceptorMessage::Prepare { ballot, after, .. }
                if self.lent.bars(now, ballot, after) =>
            {
                Answer::Dropped
            }
            AcceptorMessage::Prepare { ballot, first, .. } => {
                let news = (ballot > self.promised).then_some(Record::Promised(ballot));
                self.promised = ballot;
                self.lent.promised(ballot);
                let promise = Message::Proposer(ProposerMessage::Promise(self.promise(first)));
                self.answer(from, news, promise)
            }
            AcceptorMessage::Accept { slot, .. } if slot < self.trimmed => Answer::Dropped,
            AcceptorMessage::Accept { ballot, slot, value } => {
                let news = match self.accepted.get(&slot) {
                    Some((held, known)) if *held == ballot && *known == value => None,
                    Some((held, _)) if *held == ballot => return self.raise_alarm(),
                    _ => Some(Record::Accepted { slot, ballot, value: value.clone() }),
                };
                if news.is_some() {
                    self.promised = ballot;
                    self.accepted.insert(slot, (ballot, value));
                }
                let vote = Message::Learner(LearnerMessage::Accepted { ballot, slot });
                self.answer(from, news, vote)
            }
            AcceptorMessage::Confirm { ballot, round } => {
                let granted = self.lent.lend(now, ballot);
                Answer::Now(Unsynced::Confirmed { to: from, ballot, round, granted })
            }
            AcceptorMessage::Cut { below } if !self.options.beside_replica => self.cut(below),
            AcceptorMessage::Cut { .. } => self.drop_it(),
        }
    }

    /// Forgets what is chosen and saved in snapshots.
    fn cut(&mut self, below: Slot) -> Answer {
        if below <= self.trimmed {
            return Answer::Dropped;
        }
        self.trimmed = below;
        self.accepted = self.accepted.split_off(&below);
        Answer::After(Persist { records: vec![Record::Trimmed(below)], then: Vec::new() })
    }

    fn answer(&self, to: NodeId, news: Option<Record>, message: Message) -> Answer {
        let then = vec![Envelope { from: self.me, to, message }];
        Answer::After(Persist { records: news.into_iter().collect(), then })
    }

    /// One page of everything accepted from `first` on.
    fn promise(&self, first: Slot) -> Promise {
        let (mut bytes, mut accepted, mut next) = (0, Vec::new(), None);
        for (slot, (ballot, value)) in self.accepted.range(first..) {
            if bytes >= self.options.page_bytes || accepted.len() >= self.options.page_values {
                next = Some(*slot);
                break;
            }
            bytes += value.size();
            let (slot, ballot, value) = (*slot, *ballot, value.clone());
            accepted.push(AcceptedValue { slot, ballot, value });
        }
        Promise { ballot: self.promised, first, next, trimmed: self.trimmed, accepted }
    }

    fn drop_it(&mut self) -> Answer {
        self.dropped += 1;
        Answer::Dropped
    }

    /// One ballot proposed two values for one slot: two nodes have one id.
    fn raise_alarm(&mut self) -> Answer {
        self.alarms += 1;
        Answer::Dropped
    }
}

impl Role for Acceptor {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        let before = self.promised;
        let answer = match input {
            Input::Message(from, Message::Acceptor(message)) => self.step(now, from, message),
            Input::Message(_, Message::Inside(Inside::Saved { oldest, .. })) => self.cut(oldest),
            Input::Message(..) | Input::Timeout => return,
        };
        match answer {
            Answer::After(persist) => out.push(Effect::Persist(persist)),
            Answer::Now(unsynced) => out.push(Effect::Send(unsynced.envelope(self.me))),
            Answer::Dropped => {}
        }
        if self.promised > before {
            let message = Message::Inside(Inside::Seen { ballot: self.promised });
            out.push(Effect::Send(Envelope { from: self.me, to: self.me, message }));
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn describe(&self, status: &mut Status) {
        status.promised = self.promised;
        status.dropped += self.dropped;
        status.alarms += self.alarms;
    }
}

impl Unsynced {
    fn envelope(self, from: NodeId) -> Envelope {
        let (to, message) = match self {
            Unsynced::Nack { to, ballot, promised } => {
                (to, ProposerMessage::Nack { ballot, promised })
            }
            Unsynced::Confirmed { to, ballot, round, granted } => {
                (to, ProposerMessage::Confirmed { ballot, round, granted })
            }
        };
        Envelope { from, to, message: Message::Proposer(message) }
    }
}
