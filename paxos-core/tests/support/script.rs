//! Reads what traces print: the words of a script.

use std::time::Duration;

use bytes::Bytes;
use paxos_core::message::{AcceptedValue, Resignation};
use paxos_core::{
    AcceptorMessage, ArchiveMessage, Ballot, Batch, Configurations, Heartbeat, Inside,
    LeadershipMessage, LearnerMessage, Manifest, Message, NodeId, Promise, Proposal,
    ProposerMessage, ReadLevel, Record, Restored, Slot, Time, Value,
};

/// The words of one line, taken one after the other.
pub struct Words<'a> {
    line: &'a str,
    words: std::iter::Peekable<std::vec::IntoIter<String>>,
}

impl<'a> Words<'a> {
    pub fn of(line: &'a str) -> Self {
        let mut spaced = String::new();
        for letter in line.chars() {
            match letter {
                '[' | ']' | ',' => spaced.extend([' ', letter, ' ']),
                ':' => spaced.push(' '),
                letter => spaced.push(letter),
            }
        }
        let words: Vec<_> = spaced.split_whitespace().map(str::to_owned).collect();
        Words { line, words: words.into_iter().peekable() }
    }

    pub fn word(&mut self) -> String {
        self.words.next().unwrap_or_else(|| panic!("too short: {}", self.line))
    }

    pub fn ends(&mut self) -> bool {
        self.words.peek().is_none()
    }

    /// Takes the word if it comes next.
    pub fn has(&mut self, word: &str) -> bool {
        self.words.next_if(|next| next == word).is_some()
    }

    fn skip(&mut self, word: &str) {
        let found = self.word();
        assert_eq!(found, word, "in: {}", self.line);
    }

    pub fn number(&mut self) -> u64 {
        let word = self.word();
        word.parse().unwrap_or_else(|_| panic!("{word} is not a number, in: {}", self.line))
    }

    pub fn node(&mut self) -> NodeId {
        NodeId(parse_after(&self.word(), 'n'))
    }

    pub fn slot(&mut self) -> Slot {
        Slot(parse_after(&self.word(), '#'))
    }

    /// `0.3`: seconds.
    pub fn time(&mut self) -> Time {
        let seconds: f64 = self.word().parse().expect("a time in seconds");
        Time((seconds * 1_000_000.0).round() as u64)
    }

    pub fn ballot(&mut self) -> Ballot {
        let word = self.word();
        let parts: Vec<_> = word.split('.').collect();
        let [round, node, incarnation] = parts[..] else { return Ballot::ZERO };
        let number = |text: &str| text.parse().expect("a number in a ballot");
        let node = NodeId(parse_after(node, 'n'));
        Ballot { round: number(round), node, incarnation: number(incarnation) }
    }

    fn value(&mut self) -> Value {
        let word = self.word();
        if word == "noop" {
            return Value::Noop;
        }
        let text = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\''));
        let text = text.unwrap_or_else(|| panic!("{word} is not a value, in: {}", self.line));
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Value::Commands(Batch { stamp: Time(0), by: paxos_core::Ballot::ZERO, bytes })
    }

    fn maybe<T>(&mut self, word: &str, read: impl Fn(&mut Self) -> T) -> Option<T> {
        self.has(word).then(|| read(self))
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        self.skip("[");
        let mut items = Vec::new();
        while !self.has("]") {
            items.push(item(self));
            self.has(",");
        }
        items
    }

    pub fn record(&mut self) -> Record {
        match self.word().as_str() {
            "promised" => Record::Promised(self.ballot()),
            "accepted" => {
                let (ballot, slot, value) = (self.ballot(), self.slot(), self.value());
                Record::Accepted { slot, ballot, value }
            }
            "chosen" => {
                let (ballot, slot) = (self.ballot(), self.slot());
                let value = (!self.ends()).then(|| self.value());
                Record::Chosen { slot, ballot, value }
            }
            "trimmed" => Record::Trimmed(self.slot()),
            other => panic!("no record is called {other}, in: {}", self.line),
        }
    }

    /// A message; `configurations` are what an `advanced` carries.
    pub fn message(&mut self, configurations: &Configurations) -> Message {
        let word = self.word();
        let message = self
            .acceptors(&word)
            .or_else(|| self.proposers(&word))
            .or_else(|| self.learners(&word))
            .or_else(|| self.leaderships(&word))
            .or_else(|| self.archives(&word))
            .or_else(|| self.inside(&word, configurations));
        message.unwrap_or_else(|| panic!("no message is called {word}, in: {}", self.line))
    }

    fn acceptors(&mut self, word: &str) -> Option<Message> {
        Some(Message::Acceptor(match word {
            "prepare" => {
                let ballot = self.ballot();
                self.skip("from");
                let (first, after) = (self.slot(), self.maybe("after", Self::ballot));
                AcceptorMessage::Prepare { ballot, first, after }
            }
            "accept" => {
                let (ballot, slot, value) = (self.ballot(), self.slot(), self.value());
                AcceptorMessage::Accept { ballot, slot, value }
            }
            "confirm" => {
                let ballot = self.ballot();
                self.skip("round");
                AcceptorMessage::Confirm { ballot, round: self.number() }
            }
            "cut" => {
                self.skip("below");
                AcceptorMessage::Cut { below: self.slot() }
            }
            _ => return None,
        }))
    }

    fn proposers(&mut self, word: &str) -> Option<Message> {
        Some(Message::Proposer(match word {
            "promise" => ProposerMessage::Promise(self.page()),
            "nack" => {
                let ballot = self.ballot();
                self.skip("promised");
                ProposerMessage::Nack { ballot, promised: self.ballot() }
            }
            "confirmed" => {
                let ballot = self.ballot();
                self.skip("round");
                let (round, granted) = (self.number(), self.has("granted"));
                ProposerMessage::Confirmed { ballot, round, granted }
            }
            _ => return None,
        }))
    }

    fn page(&mut self) -> Promise {
        let (ballot, range) = (self.ballot(), self.word());
        let (first, next) = range.split_once("..").expect("slots as in #1..#4 or #1..end");
        let first = Slot(parse_after(first, '#'));
        let next = (next != "end").then(|| Slot(parse_after(next, '#')));
        let trimmed = self.maybe("trimmed", Self::slot).unwrap_or_default();
        let accepted = self.list(|words| {
            let (slot, ballot, value) = (words.slot(), words.ballot(), words.value());
            AcceptedValue { slot, ballot, value }
        });
        Promise { ballot, first, next, trimmed, accepted }
    }

    fn learners(&mut self, word: &str) -> Option<Message> {
        Some(Message::Learner(match word {
            "accepted" => LearnerMessage::Accepted { ballot: self.ballot(), slot: self.slot() },
            "chosen" => {
                let (ballot, slot) = (self.ballot(), self.slot());
                let value = (!self.ends()).then(|| self.value());
                LearnerMessage::Chosen { ballot, slot, value }
            }
            "fetch" => {
                self.skip("from");
                LearnerMessage::Fetch { first: self.slot() }
            }
            "fill" => {
                self.skip("from");
                let first = self.slot();
                let chosen = self.list(|words| (words.ballot(), words.value()));
                self.skip("upto");
                let (upto, snapshot) = (self.slot(), self.maybe("snapshot", Self::slot));
                LearnerMessage::Fill { first, chosen, upto, snapshot }
            }
            _ => return None,
        }))
    }

    fn leaderships(&mut self, word: &str) -> Option<Message> {
        Some(Message::Leadership(match word {
            "heartbeat" => {
                let sequence = self.number();
                self.skip("of");
                self.skip("run");
                let (incarnation, leading) = (self.number(), self.maybe("leading", Self::ballot));
                self.skip("hears");
                let hears = Some(self.ballot()).filter(|ballot| *ballot != Ballot::ZERO);
                self.skip("next");
                // Sent in turn, as with the default interval.
                let (sent, next) = (Time(sequence * 50_000), self.slot());
                let saved = self.maybe("saved", Self::slot).unwrap_or_default();
                let campaigns = true;
                let beat = Heartbeat {
                    incarnation,
                    sequence,
                    sent,
                    leading,
                    hears,
                    next,
                    saved,
                    campaigns,
                };
                LeadershipMessage::Heartbeat(beat)
            }
            "succeed" => LeadershipMessage::Succeed { ballot: self.ballot() },
            _ => return None,
        }))
    }

    fn archives(&mut self, word: &str) -> Option<Message> {
        Some(Message::Archive(match word {
            "pull" => {
                let upto = self.slot();
                self.skip("from");
                ArchiveMessage::Pull { upto, offset: self.number() }
            }
            "piece" => {
                self.skip("of");
                let snapshot = self.manifest();
                self.skip("from");
                let offset = self.number();
                self.skip(",");
                let bytes = vec![0; self.number() as usize].into();
                self.skip("bytes");
                ArchiveMessage::Piece { snapshot, offset, bytes }
            }
            _ => return None,
        }))
    }

    fn manifest(&mut self) -> Manifest {
        self.skip("snapshot");
        let upto = self.slot();
        self.skip("of");
        let bytes = self.number();
        self.skip("bytes");
        Manifest { upto, bytes, crc32c: 0 }
    }

    fn inside(&mut self, word: &str, configurations: &Configurations) -> Option<Message> {
        Some(Message::Inside(match word {
            "propose" => {
                let (ticket, value) = (self.number(), self.value());
                let Value::Commands(Batch { bytes, .. }) = value else {
                    panic!("only batches are proposed, in: {}", self.line);
                };
                Inside::Propose { ticket, proposal: Proposal::Commands(bytes) }
            }
            "read" => Inside::Read { ticket: self.number(), level: self.level() },
            "stamped" => {
                let (ticket, next) = (self.number(), self.slot());
                Inside::Stamped { ticket, next, level: self.level() }
            }
            "advanced" => {
                self.skip("to");
                let next = self.slot();
                let clock = self.maybe("clock", Self::time).unwrap_or_default();
                Inside::Advanced { next, configurations: configurations.clone(), clock }
            }
            "due" => {
                self.skip("behind");
                Inside::Due { applied: self.slot(), at: self.maybe("at", Self::time) }
            }
            "behind" => {
                let peer = self.node();
                self.skip("snapshot");
                Inside::Behind { peer, upto: self.slot() }
            }
            "stored" => Inside::Stored { snapshots: self.list(Self::manifest) },
            "partly" => {
                let snapshot = self.manifest();
                self.skip("to");
                Inside::Partly { snapshot, offset: self.number() }
            }
            "kept" => {
                let upto = self.slot();
                self.skip("to");
                Inside::Kept { upto, offset: self.number() }
            }
            "restored" => {
                self.skip("to");
                let (next, configurations) = (self.slot(), configurations.clone());
                Inside::Restored(Restored { next, clock: Time(0), configurations })
            }
            "saved" => {
                let upto = self.slot();
                self.skip("oldest");
                Inside::Saved { upto, oldest: self.slot() }
            }
            "safe" => Inside::Safe { below: self.slot() },
            "seen" => Inside::Seen { ballot: self.ballot() },
            "campaign" => Inside::Campaign { after: self.maybe("after", Self::ballot) },
            "resign" => Inside::Resign { ballot: self.ballot() },
            "elected" => Inside::Elected { ballot: self.ballot() },
            "resigned" => Inside::Resigned { ballot: self.ballot(), reason: self.reason() },
            "transfer" => Inside::Transfer { to: self.maybe("to", Self::node) },
            "yield" => {
                let ballot = self.ballot();
                self.skip("until");
                Inside::Yield { ballot, until: self.time() }
            }
            "hand" => {
                self.skip("over");
                let ballot = self.ballot();
                self.skip("to");
                Inside::HandOver { ballot, to: self.node() }
            }
            "drained" => {
                let ballot = self.ballot();
                self.skip("at");
                Inside::Drained { ballot, next: self.slot() }
            }
            "ready" => Inside::Ready { ballot: self.ballot() },
            "suspected" => {
                let node = self.node();
                let words = std::iter::from_fn(|| (!self.ends()).then(|| self.word()));
                let words: Vec<_> = words.collect();
                Inside::Suspected { node, why: words.join(" ") }
            }
            "trusted" => Inside::Trusted { node: self.node() },
            _ => return None,
        }))
    }

    fn level(&mut self) -> ReadLevel {
        if !self.has("by") {
            return ReadLevel::Linearizable;
        }
        self.skip("lease");
        ReadLevel::Lease
    }

    fn reason(&mut self) -> Resignation {
        match self.word().as_str() {
            "told" => Resignation::Told,
            "behind" => Resignation::Behind(self.slot()),
            "handed" => {
                self.skip("over");
                self.skip("to");
                Resignation::HandedOver(self.node())
            }
            "outvoted" => {
                self.skip("by");
                Resignation::Outvoted(self.ballot())
            }
            "unheard" => {
                self.skip("for");
                let silence = Duration::from_millis(self.number());
                self.has("ms");
                Resignation::NoQuorum(silence)
            }
            other => panic!("no reason is called {other}, in: {}", self.line),
        }
    }
}

fn parse_after(word: &str, sign: char) -> u64 {
    let number = word.strip_prefix(sign).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{word} should be a number after {sign}"))
}
