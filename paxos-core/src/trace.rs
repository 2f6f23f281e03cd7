//! One line of plain text for everything that a trace shows: messages, records, inputs, effects.
//!
//! What a reader of a trace does not need is left out: clocks on batches and heartbeats, and the
//! memberships that messages inside a node carry.

use std::fmt::{self, Display, Formatter};

use crate::effect::{Change, Effect, Governance, Input, Persist, Took};
use crate::message::{
    AcceptedValue, AcceptorMessage, ArchiveMessage, Envelope, Heartbeat, Inside, LeadershipMessage,
    LearnerMessage, Manifest, Message, Promise, ProposerMessage, ReadLevel, Resignation,
};
use crate::record::{PeerRun, Record};
use crate::types::{Ballot, Slot, Time};

/// `[a, b, c]`.
struct List<I>(I);

impl<I: Iterator<Item = impl Display> + Clone> Display for List<I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, item) in self.0.clone().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        f.write_str("]")
    }
}

/// ` word item`, or nothing.
struct Maybe<'a, T>(&'a str, Option<T>);

impl<T: Display> Display for Maybe<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Maybe(word, Some(item)) = self else { return Ok(()) };
        write!(f, "{word} {item}")
    }
}

impl Display for Envelope {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.from, self.to, self.message)
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Message::Acceptor(message) => message.fmt(f),
            Message::Proposer(message) => message.fmt(f),
            Message::Learner(message) => message.fmt(f),
            Message::Leadership(message) => message.fmt(f),
            Message::Archive(message) => message.fmt(f),
            Message::Inside(message) => message.fmt(f),
        }
    }
}

impl Display for AcceptorMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            AcceptorMessage::Prepare { ballot, first, after } => {
                write!(f, "prepare {ballot} from {first}{}", Maybe(" after", *after))
            }
            AcceptorMessage::Accept { ballot, slot, value } => {
                write!(f, "accept {ballot} {slot} {value}")
            }
            AcceptorMessage::Confirm { ballot, round } => {
                write!(f, "confirm {ballot} round {round}")
            }
            AcceptorMessage::Cut { below } => write!(f, "cut below {below}"),
        }
    }
}

impl Display for ProposerMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ProposerMessage::Promise(page) => page.fmt(f),
            ProposerMessage::Nack { ballot, promised } => {
                write!(f, "nack {ballot} promised {promised}")
            }
            ProposerMessage::Confirmed { ballot, round, granted } => {
                let granted = if *granted { " granted" } else { "" };
                write!(f, "confirmed {ballot} round {round}{granted}")
            }
        }
    }
}

impl Display for Promise {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Promise { ballot, first, next, trimmed, accepted } = self;
        write!(f, "promise {ballot} {first}..")?;
        match next {
            Some(next) => next.fmt(f)?,
            None => f.write_str("end")?,
        }
        let trimmed = Some(trimmed).filter(|trimmed| **trimmed > Slot(0));
        write!(f, "{} {}", Maybe(" trimmed", trimmed), List(accepted.iter()))
    }
}

impl Display for AcceptedValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.slot, self.ballot, self.value)
    }
}

impl Display for LearnerMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LearnerMessage::Accepted { ballot, slot } => write!(f, "accepted {ballot} {slot}"),
            LearnerMessage::Chosen { ballot, slot, value } => {
                write!(f, "chosen {ballot} {slot}{}", Maybe("", value.as_ref()))
            }
            LearnerMessage::Fetch { first } => write!(f, "fetch from {first}"),
            LearnerMessage::Fill { first, chosen, upto, snapshot } => {
                let chosen = chosen.iter().map(|(ballot, value)| format!("{ballot} {value}"));
                let snapshot = Maybe(" snapshot", *snapshot);
                write!(f, "fill from {first} {} upto {upto}{snapshot}", List(chosen))
            }
        }
    }
}

impl Display for LeadershipMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LeadershipMessage::Heartbeat(heartbeat) => heartbeat.fmt(f),
            LeadershipMessage::Succeed { ballot } => write!(f, "succeed {ballot}"),
        }
    }
}

impl Display for Heartbeat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Heartbeat { incarnation, sequence, leading, hears, next, saved, campaigns, .. } = self;
        write!(f, "heartbeat {sequence} of run {incarnation}{}", Maybe(" leading", *leading))?;
        write!(f, " hears {} next {next}", hears.unwrap_or_default())?;
        write!(f, "{}", Maybe(" saved", Some(saved).filter(|saved| **saved > Slot(0))))?;
        f.write_str(if *campaigns { "" } else { ", never leads" })
    }
}

impl Display for ArchiveMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveMessage::Pull { upto, offset } => write!(f, "pull {upto} from {offset}"),
            ArchiveMessage::Piece { snapshot, offset, bytes } => {
                write!(f, "piece of {snapshot} from {offset}, {} bytes", bytes.len())
            }
        }
    }
}

impl Display for Manifest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {} of {} bytes", self.upto, self.bytes)
    }
}

impl Display for Inside {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Inside::Propose { ticket, proposal } => {
                write!(f, "propose {ticket} {}", proposal.clone().stamped(Time(0), Ballot::ZERO))
            }
            Inside::Read { ticket, level } => write!(f, "read {ticket}{}", By(*level)),
            Inside::Stamped { ticket, next, level } => {
                write!(f, "stamped {ticket} {next}{}", By(*level))
            }
            Inside::Advanced { next, configurations: _, clock } => {
                let clock = Some(clock).filter(|clock| **clock > Time(0));
                write!(f, "advanced to {next}{}", Maybe(" clock", clock))
            }
            Inside::Due { applied, at } => {
                write!(f, "due behind {applied}{}", Maybe(" at", *at))
            }
            Inside::Behind { peer, upto } => write!(f, "behind {peer} snapshot {upto}"),
            Inside::Stored { snapshots } => write!(f, "stored {}", List(snapshots.iter())),
            Inside::Partly { snapshot, offset } => write!(f, "partly {snapshot} to {offset}"),
            Inside::Kept { upto, offset } => write!(f, "kept {upto} to {offset}"),
            Inside::Restored(restored) => write!(f, "restored to {}", restored.next),
            Inside::Saved { upto, oldest } => write!(f, "saved {upto} oldest {oldest}"),
            Inside::Safe { below } => write!(f, "safe {below}"),
            Inside::Settled { from } => write!(f, "settled from {from}"),
            Inside::Seen { ballot } => write!(f, "seen {ballot}"),
            Inside::Campaign { after } => write!(f, "campaign{}", Maybe(" after", *after)),
            Inside::Resign { ballot } => write!(f, "resign {ballot}"),
            Inside::Transfer { to } => write!(f, "transfer{}", Maybe(" to", *to)),
            Inside::Yield { ballot, until } => write!(f, "yield {ballot} until {until}"),
            Inside::HandOver { ballot, to } => write!(f, "hand over {ballot} to {to}"),
            Inside::Drained { ballot, next } => write!(f, "drained {ballot} at {next}"),
            Inside::Elected { ballot } => write!(f, "elected {ballot}"),
            Inside::Resigned { ballot, reason } => write!(f, "resigned {ballot} {reason}"),
            Inside::Ready { ballot } => write!(f, "ready {ballot}"),
            Inside::Suspected { node, why } => write!(f, "suspected {node} {why}"),
            Inside::Trusted { node } => write!(f, "trusted {node}"),
        }
    }
}

impl Display for Resignation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Resignation::Outvoted(by) => write!(f, "outvoted by {by}"),
            Resignation::NoQuorum(silence) => write!(f, "unheard for {} ms", silence.as_millis()),
            Resignation::Behind(cut) => write!(f, "behind {cut}"),
            Resignation::Told => f.write_str("told"),
            Resignation::HandedOver(to) => write!(f, "handed over to {to}"),
        }
    }
}

/// What follows the words of a read.
struct By(ReadLevel);

impl Display for By {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ReadLevel::Linearizable => "",
            ReadLevel::Lease => " by lease",
        })
    }
}

impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Record::Head { promised, trimmed, incarnation, peers } => {
                let peers = peers.iter().map(|(node, run)| format!("{node} {run}"));
                let peers = List(peers);
                write!(f, "head {promised} trimmed {trimmed} run {incarnation} peers {peers}")
            }
            Record::Promised(ballot) => write!(f, "promised {ballot}"),
            Record::Accepted { slot, ballot, value } => {
                write!(f, "accepted {ballot} {slot} {value}")
            }
            Record::Chosen { slot, ballot, value } => {
                write!(f, "chosen {ballot} {slot}{}", Maybe("", value.as_ref()))
            }
            Record::Trimmed(slot) => write!(f, "trimmed {slot}"),
            Record::Peer { node, run } => write!(f, "peer {node} {run}"),
        }
    }
}

impl Display for PeerRun {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "run {} nonce {}", self.incarnation, self.nonce)
    }
}

impl Display for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Input::Message(from, message) => write!(f, "from {from}: {message}"),
            Input::Timeout => f.write_str("timeout"),
        }
    }
}

impl Display for Effect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Send(envelope) => envelope.fmt(f),
            Effect::Persist(persist) => persist.fmt(f),
            Effect::Apply { slot, value } => write!(f, "apply {slot} {value}"),
            Effect::Restore { next } => write!(f, "restore to {next}"),
            Effect::ReadPiece { to, snapshot, offset, bytes } => {
                write!(f, "read for {to} {snapshot} from {offset}, {bytes} bytes")
            }
            Effect::KeepPiece { snapshot, offset, bytes } => {
                write!(f, "keep {snapshot} from {offset}, {} bytes", bytes.len())
            }
            Effect::Proposed { ticket, slot } => write!(f, "proposed {ticket} in {slot}"),
            Effect::Refuse { ticket, refusal } => write!(f, "refuse {ticket}: {refusal}"),
            Effect::ReadReady { ticket, next, level } => {
                write!(f, "read {ticket} ready at {next}{}", By(*level))
            }
            Effect::Led(change) => change.fmt(f),
            Effect::Governed(governance) => governance.fmt(f),
        }
    }
}

impl Display for Governance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (from, membership) = self.configurations.newest();
        let members = membership.members.iter();
        let members = members.map(|(node, member)| format!("{node} {}", member.role));
        let settled = if self.settled { " settled" } else { "" };
        write!(f, "governed from {from} by {}{settled}", List(members))
    }
}

impl Display for Persist {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (records, then) = (List(self.records.iter()), List(self.then.iter()));
        write!(f, "persist {records} then {then}")
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(ballot) => write!(f, "led by {ballot}: {}", self.why),
            None => write!(f, "led by nobody: {}", self.why),
        }?;
        write!(f, "{}", Maybe(",", self.took))
    }
}

impl Display for Took {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, took) = match self {
            Took::Detect(took) => ("T_detect", took),
            Took::Elect(took) => ("T_elect", took),
            Took::Ready(took) => ("T_ready", took),
        };
        write!(f, "{name} {} ms", took.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::types::{Ballot, NodeId};
    use crate::value::{Batch, Value};

    #[test]
    fn a_trace_reads_like_a_sentence() {
        let (me, to) = (NodeId(2), NodeId(1));
        let ballot = Ballot { round: 1, node: to, incarnation: 1 };
        let accepted = vec![AcceptedValue { slot: Slot(3), ballot, value: Value::Noop }];
        let page = Promise { ballot, first: Slot(1), next: None, trimmed: Slot(0), accepted };
        let message = Message::Proposer(ProposerMessage::Promise(page));
        let then = vec![Envelope { from: me, to, message }];
        let persist = Persist { records: vec![Record::Promised(ballot)], then };
        assert_eq!(
            Effect::Persist(persist).to_string(),
            "persist [promised 1.n1.1] then [n2 -> n1 promise 1.n1.1 #1..end [#3 1.n1.1 noop]]"
        );
        let batch = Batch { stamp: Time(0), by: Ballot::ZERO, bytes: Bytes::from_static(b"x") };
        let fill = LearnerMessage::Fill {
            first: Slot(1),
            chosen: vec![(ballot, Value::Noop), (ballot, Value::Commands(batch))],
            upto: Slot(9),
            snapshot: Some(Slot(4)),
        };
        let text = "fill from #1 [1.n1.1 noop, 1.n1.1 'x'] upto #9 snapshot #4";
        assert_eq!(Message::Learner(fill).to_string(), text);
        let after = Some(ballot);
        assert_eq!(Inside::Campaign { after }.to_string(), "campaign after 1.n1.1");
        let chosen = Record::Chosen { slot: Slot(1), ballot, value: Some(Value::Noop) };
        assert_eq!(chosen.to_string(), "chosen 1.n1.1 #1 noop");
    }

    #[test]
    fn a_trace_names_the_run_the_clock_and_where_an_input_came_from() {
        let run = PeerRun { incarnation: 3, nonce: 8 };
        let peer = Record::Peer { node: NodeId(2), run };
        assert_eq!(peer.to_string(), "peer n2 run 3 nonce 8");
        let seen = Message::Inside(Inside::Seen { ballot: Ballot::ZERO });
        assert_eq!(Input::Message(NodeId(1), seen).to_string(), "from n1: seen none");
        assert_eq!(Input::Timeout.to_string(), "timeout");
        let voters = [(NodeId(1), String::new())];
        let membership = crate::membership::Membership::of_voters(voters).unwrap();
        let configurations = crate::membership::Configurations::genesis(membership);
        let advanced = |clock| Inside::Advanced {
            next: Slot(3),
            configurations: configurations.clone(),
            clock: Time(clock),
        };
        assert_eq!(advanced(0).to_string(), "advanced to #3");
        assert_eq!(advanced(2_500_000).to_string(), "advanced to #3 clock 2.500000");
        let snapshot = Manifest { upto: Slot(4), bytes: 9, crc32c: 0 };
        let bytes = Bytes::from_static(b"xyz");
        let piece = ArchiveMessage::Piece { snapshot, offset: 6, bytes };
        assert_eq!(piece.to_string(), "piece of snapshot #4 of 9 bytes from 6, 3 bytes");
    }
}
