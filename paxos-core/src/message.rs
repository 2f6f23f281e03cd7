//! What roles say to each other, and which role hears what.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::Configurations;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::{Proposal, Value, payload};

/// A message on its way. Roles of one node talk in envelopes too, from a node to itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// The node whose role sent it; the transport vouches for it.
    pub from: NodeId,
    /// The node that shall receive it.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

/// Every message, by the role it is addressed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To an acceptor.
    Acceptor(AcceptorMessage),
    /// To a proposer.
    Proposer(ProposerMessage),
    /// To a learner.
    Learner(LearnerMessage),
    /// To a leadership.
    Leadership(LeadershipMessage),
    /// To an archive.
    Archive(ArchiveMessage),
    /// Between roles of one node. It has no form on the wire: a peer cannot say it.
    #[serde(skip)]
    Inside(Inside),
}

/// What an acceptor hears. All of it is repeated by the proposer's timer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AcceptorMessage {
    /// Phase 1a: asks for a promise, and for what was accepted from `first` on.
    Prepare {
        /// The ballot to promise.
        ballot: Ballot,
        /// The first slot to report.
        first: Slot,
        /// The ballot whose lease this campaign may pass: its leader handed over.
        after: Option<Ballot>,
    },
    /// Phase 2a: asks to accept a value. The learner of the node hears it too.
    Accept {
        /// The ballot it is proposed under.
        ballot: Ballot,
        /// The slot it is proposed for.
        slot: Slot,
        /// What is proposed.
        value: Value,
    },
    /// The leader's periodic question: have you promised anything higher?
    Confirm {
        /// The asking leadership.
        ballot: Ballot,
        /// Which of its questions this is.
        round: u64,
    },
    /// Enough replicas hold a synced snapshot of every slot below: an acceptor without a replica
    /// beside it may cut them.
    Cut {
        /// The first slot to keep.
        below: Slot,
    },
}

/// What a proposer hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProposerMessage {
    /// Phase 1b; asked for again by the proposer's `Prepare` timer.
    Promise(Promise),
    /// A refusal; comes again with every repetition of what was refused.
    Nack {
        /// The ballot that was refused.
        ballot: Ballot,
        /// The higher one that is promised.
        promised: Ballot,
    },
    /// "I have promised nothing higher"; asked for again by the next `Confirm`.
    Confirmed {
        /// The asking leadership.
        ballot: Ballot,
        /// Which of its questions this answers.
        round: u64,
        /// Whether a lease was given with the answer.
        granted: bool,
    },
}

/// One page of a promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The ballot that is promised.
    pub ballot: Ballot,
    /// This page reports the slots from here,
    pub first: Slot,
    /// up to but not including this one; `None`: to the end of the log.
    pub next: Option<Slot>,
    /// Slots below are chosen and not reported any more: they are learned, never proposed.
    pub trimmed: Slot,
    /// Everything accepted in those slots, in order.
    pub accepted: Vec<AcceptedValue>,
}

/// A value that an acceptor accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AcceptedValue {
    /// Where.
    pub slot: Slot,
    /// Under which ballot, the highest so far.
    pub ballot: Ballot,
    /// What.
    pub value: Value,
}

/// What a learner hears.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LearnerMessage {
    /// Phase 2b, a vote. It goes to the learner of `ballot.node` and to nobody else; the leader's
    /// repeated `Accept` brings it again.
    Accepted {
        /// The ballot that was accepted.
        ballot: Ballot,
        /// The slot it was accepted in.
        slot: Slot,
    },
    /// A slot is chosen. What is missed is fetched.
    Chosen {
        /// A ballot under which it was chosen.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
        /// The value, for those who are not acceptors of the slot.
        value: Option<Value>,
    },
    /// Asks for the chosen values from `first` on; repeated by the asking learner's timer.
    Fetch {
        /// The first slot that is missing.
        first: Slot,
    },
    /// The answer.
    Fill {
        /// The slot of the first value.
        first: Slot,
        /// Chosen values of consecutive slots, each with a ballot at which it was chosen or later
        /// accepted.
        chosen: Vec<(Ballot, Value)>,
        /// The first slot that the answering learner does not know to be chosen.
        upto: Slot,
        /// The slots asked for are gone; take a snapshot that covers every slot below this one.
        snapshot: Option<Slot>,
    },
}

/// What a leadership hears from other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeadershipMessage {
    /// A sign of life; the learner of the node hears it too. Repeats itself.
    Heartbeat(Heartbeat),
    /// "Campaign now, after my ballot": a leader hands over. If it is lost, anyone campaigns.
    Succeed {
        /// The ballot whose leader stood down.
        ballot: Ballot,
    },
}

/// A sign of life, sent by every node to every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender's run.
    pub incarnation: u64,
    /// Counts up by one with each round of heartbeats of this run.
    pub sequence: u64,
    /// The sender's clock when it sent.
    pub sent: Time,
    /// The ballot the sender leads under, if it leads.
    pub leading: Option<Ballot>,
    /// The ballot of the leader the sender hears (itself, if it leads); `None`: "I hear no leader".
    pub hears: Option<Ballot>,
    /// The first slot that the sender does not know to be chosen.
    pub next: Slot,
    /// The first slot that the sender's newest synced snapshot does not cover; 0: it has none.
    pub saved: Slot,
    /// Whether the sender could lead: its process hosts a proposer.
    pub campaigns: bool,
}

/// What an archive hears from other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ArchiveMessage {
    /// Asks for a piece of a snapshot; repeated by the asking archive's timer.
    Pull {
        /// The first slot that the snapshot does not cover.
        upto: Slot,
        /// Where the piece begins, in bytes.
        offset: u64,
    },
    /// The answer: a piece of that snapshot, or the first piece of a newer one.
    Piece {
        /// The snapshot.
        snapshot: Manifest,
        /// Where the piece begins, in bytes.
        offset: u64,
        /// The piece.
        #[serde(with = "payload")]
        bytes: Bytes,
    },
}

/// Names a snapshot: two of one manifest are the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The first slot that it does not cover.
    pub upto: Slot,
    /// Its length.
    pub bytes: u64,
    /// The CRC-32C of all of it.
    pub crc32c: u32,
}

/// What roles of one node tell each other. Never lost but in a crash; order is not relied on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Inside {
    /// Gateway to proposer: propose this.
    Propose {
        /// The gateway's name for it.
        ticket: u64,
        /// What.
        proposal: Proposal,
    },
    /// Gateway to learner: a read wants to contain everything that was answered before it.
    Read {
        /// The gateway's name for it.
        ticket: u64,
        /// What shall make it certain.
        level: ReadLevel,
    },
    /// Learner to proposer: the same read, stamped.
    Stamped {
        /// The gateway's name for it.
        ticket: u64,
        /// The first slot not known to be chosen when the read passed.
        next: Slot,
        /// What shall make it certain.
        level: ReadLevel,
    },
    /// Learner to proposer and leadership: how far the log is known.
    Advanced {
        /// The first slot not known to be chosen.
        next: Slot,
        /// The memberships that govern from there.
        configurations: Configurations,
        /// Replicated time: the greatest stamp below `next`.
        clock: Time,
    },
    /// Learner to archive: a peer has cut what is missing here and offers a snapshot.
    Behind {
        /// The peer.
        peer: NodeId,
        /// The first slot that the snapshot does not cover.
        upto: Slot,
    },
    /// Driver to archive: these snapshots are stored, synced, oldest first.
    Stored {
        /// The snapshots.
        snapshots: Vec<Manifest>,
    },
    /// Driver to archive, at the start: so much of a peer's snapshot came before it, and is sound.
    Partly {
        /// The snapshot.
        snapshot: Manifest,
        /// How many bytes from its beginning on.
        offset: u64,
    },
    /// Driver to archive: so much of a fetched snapshot is written; 0: it was spoiled.
    Kept {
        /// The first slot that the snapshot does not cover.
        upto: Slot,
        /// How many bytes from its beginning on.
        offset: u64,
    },
    /// Driver to proposer: the state machine and its sessions have applied so much, and something
    /// in them is due.
    Due {
        /// The last slot applied.
        applied: Slot,
        /// When, in replicated time: [`crate::Replica::due`].
        at: Option<Time>,
    },
    /// Driver to learner: a fetched snapshot is stored, synced; go on behind it.
    Restored(Restored),
    /// Archive to acceptor, learner and leadership: synced snapshots cover these slots.
    Saved {
        /// The first slot that the newest does not cover.
        upto: Slot,
        /// The same of the oldest that is kept: slots below may be cut.
        oldest: Slot,
    },
    /// Learner to proposer: enough replicas hold a synced snapshot of every slot below.
    Safe {
        /// The slot.
        below: Slot,
    },
    /// Learner to leadership: the newest membership governs, and holds everything from before it in
    /// snapshots. Whoever it leaves out is needed no more.
    Settled {
        /// The first slot that it governs.
        from: Slot,
    },
    /// Acceptor to proposer and leadership: this ballot is promised now.
    Seen {
        /// The ballot.
        ballot: Ballot,
    },
    /// Leadership to proposer: try to lead.
    Campaign {
        /// The ballot that was handed over, if one was.
        after: Option<Ballot>,
    },
    /// Leadership to proposer: stop leading under this ballot.
    Resign {
        /// The ballot.
        ballot: Ballot,
    },
    /// Gateway to leadership: have another node lead, if this one does.
    Transfer {
        /// Which; `None`: whoever is level first.
        to: Option<NodeId>,
    },
    /// Leadership to proposer: take no more commands, and say when nothing is in flight.
    Yield {
        /// The ballot it leads under.
        ballot: Ballot,
        /// When it takes commands again, if nothing has come of it.
        until: Time,
    },
    /// Leadership to proposer: give the ballot up for good, and tell the successor.
    HandOver {
        /// The ballot.
        ballot: Ballot,
        /// The successor.
        to: NodeId,
    },
    /// Proposer to leadership: what this leadership has proposed is chosen, and no more will be.
    Drained {
        /// The ballot it leads under.
        ballot: Ballot,
        /// The first slot without a value.
        next: Slot,
    },
    /// Proposer to leadership: a phase 1 quorum has promised.
    Elected {
        /// The ballot it leads under.
        ballot: Ballot,
    },
    /// Proposer to leadership: the ballot is given up, won or not.
    Resigned {
        /// The ballot.
        ballot: Ballot,
        /// Why.
        reason: Resignation,
    },
    /// Proposer to leadership: the first slot of this leadership is chosen, applied or not yet.
    Ready {
        /// The ballot.
        ballot: Ballot,
    },
    /// Outside detector to leadership: this node is suspected.
    Suspected {
        /// Which.
        node: NodeId,
        /// Why, in words.
        why: String,
    },
    /// Outside detector to leadership: this node is trusted.
    Trusted {
        /// Which.
        node: NodeId,
    },
}

/// What makes a leader certain that nobody has led since, and a read linearizable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadLevel {
    /// A quorum has answered that it promised nothing higher, asked after the read.
    Linearizable,
    /// A lease: the same as long as clocks keep to the drift bound of the membership.
    Lease,
}

/// What a snapshot says to whoever goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Restored {
    /// The first slot that it does not cover.
    pub next: Slot,
    /// Replicated time: the greatest stamp below `next`.
    pub clock: Time,
    /// The memberships that govern from there.
    pub configurations: Configurations,
}

impl Restored {
    /// Nothing was restored: a log from its first slot on.
    pub fn nothing(genesis: Configurations) -> Self {
        Restored { next: Slot::FIRST, clock: Time(0), configurations: genesis }
    }
}

/// Why a proposer gave up a ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Resignation {
    /// Acceptors that promised this higher ballot leave no quorum.
    Outvoted(Ballot),
    /// No quorum answered for this long.
    NoQuorum(Duration),
    /// An acceptor has cut the slots below, and they could not be learned in time.
    Behind(Slot),
    /// The leadership said so.
    Told,
    /// This node leads next.
    HandedOver(NodeId),
}

/// A role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RoleKind {
    /// Promises and accepts.
    Acceptor,
    /// Campaigns and proposes.
    Proposer,
    /// Counts votes and keeps what is chosen.
    Learner,
    /// Decides when to campaign and when to resign.
    Leadership,
    /// Hands out and fetches snapshots.
    Archive,
}

/// Which roles of the addressed node receive a message. This is the only place where roles are
/// joined: simulator and actor graph both route by it.
pub fn receivers(message: &Message) -> &'static [RoleKind] {
    use RoleKind::{Acceptor, Archive, Leadership, Learner, Proposer};
    match message {
        Message::Acceptor(AcceptorMessage::Accept { .. }) => &[Acceptor, Learner],
        Message::Acceptor(_) => &[Acceptor],
        Message::Proposer(_) => &[Proposer],
        Message::Learner(_) => &[Learner],
        Message::Leadership(LeadershipMessage::Heartbeat(_)) => &[Leadership, Learner],
        Message::Leadership(_) => &[Leadership],
        Message::Archive(_) => &[Archive],
        Message::Inside(inside) => match inside {
            Inside::Propose { .. } | Inside::Stamped { .. } | Inside::Due { .. } => &[Proposer],
            Inside::Read { .. } | Inside::Restored(_) => &[Learner],
            Inside::Behind { .. } | Inside::Stored { .. } => &[Archive],
            Inside::Partly { .. } | Inside::Kept { .. } => &[Archive],
            Inside::Saved { .. } => &[Acceptor, Learner, Leadership],
            Inside::Safe { .. } => &[Proposer],
            Inside::Advanced { .. } => &[Proposer, Leadership, Archive],
            Inside::Seen { .. } => &[Proposer, Leadership],
            Inside::Campaign { .. } | Inside::Resign { .. } => &[Proposer],
            Inside::Yield { .. } | Inside::HandOver { .. } => &[Proposer],
            Inside::Transfer { .. } | Inside::Drained { .. } => &[Leadership],
            Inside::Elected { .. }
            | Inside::Resigned { .. }
            | Inside::Ready { .. }
            | Inside::Suspected { .. }
            | Inside::Trusted { .. }
            | Inside::Settled { .. } => &[Leadership],
        },
    }
}

/// Which of a peer link's ways a message takes: small control messages are never behind values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Late is useless: a datagram.
    Datagram,
    /// Small and urgent.
    Control,
    /// Carries values.
    Values,
    /// Carries snapshots: it has time.
    Snapshots,
}

impl Message {
    /// The lane that it takes to another node.
    pub fn lane(&self) -> Lane {
        match self {
            Message::Leadership(LeadershipMessage::Heartbeat(_)) => Lane::Datagram,
            Message::Acceptor(AcceptorMessage::Accept { .. })
            | Message::Learner(LearnerMessage::Fill { .. })
            | Message::Learner(LearnerMessage::Chosen { value: Some(_), .. }) => Lane::Values,
            Message::Proposer(ProposerMessage::Promise(promise))
                if !promise.accepted.is_empty() =>
            {
                Lane::Values
            }
            Message::Archive(ArchiveMessage::Piece { .. }) => Lane::Snapshots,
            _ => Lane::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_values_waits_behind_values() {
        let (ballot, slot) = (Ballot::default(), Slot::FIRST);
        let promise = |accepted: Vec<AcceptedValue>| {
            let (first, next, trimmed) = (slot, None, Slot(0));
            Message::Proposer(ProposerMessage::Promise(Promise {
                ballot,
                first,
                next,
                trimmed,
                accepted,
            }))
        };
        let chosen = |value| Message::Learner(LearnerMessage::Chosen { ballot, slot, value });
        let accept = AcceptorMessage::Accept { ballot, slot, value: Value::Noop };
        let (chosen_none, upto, snapshot) = (Vec::new(), slot, None);
        let fill = LearnerMessage::Fill { first: slot, chosen: chosen_none, upto, snapshot };
        let heartbeat = Heartbeat {
            incarnation: 1,
            sequence: 1,
            sent: Time(0),
            leading: None,
            hears: None,
            next: slot,
            saved: Slot(0),
            campaigns: true,
        };
        let snapshot = Manifest { upto: slot, bytes: 1, crc32c: 0 };
        let piece = ArchiveMessage::Piece { snapshot, offset: 0, bytes: Bytes::new() };
        let reported = AcceptedValue { slot, ballot, value: Value::Noop };
        for (message, lane) in [
            (Message::Leadership(LeadershipMessage::Heartbeat(heartbeat)), Lane::Datagram),
            (Message::Leadership(LeadershipMessage::Succeed { ballot }), Lane::Control),
            (Message::Acceptor(accept), Lane::Values),
            (Message::Learner(fill), Lane::Values),
            (chosen(Some(Value::Noop)), Lane::Values),
            (chosen(None), Lane::Control),
            (Message::Archive(piece), Lane::Snapshots),
            (Message::Archive(ArchiveMessage::Pull { upto: slot, offset: 0 }), Lane::Control),
            (promise(vec![reported]), Lane::Values),
            (promise(vec![]), Lane::Control),
            (Message::Learner(LearnerMessage::Accepted { ballot, slot }), Lane::Control),
        ] {
            assert_eq!(message.lane(), lane, "{message}");
        }
    }
}
