//! Multi-Paxos as pure state machines, and the one trait that a replicated service implements. This
//! crate never touches a network, a disk, a clock, a thread or a source of randomness: time, seeds
//! and messages are arguments, and what must be done about them is returned.
//!
//! # What it does
//!
//! A cluster agrees on a *log*: for each *slot* 1, 2, 3, ... one *value* is *chosen*, the same for
//! everybody for ever, although messages are lost, doubled and late and nodes stop and come back. A
//! service that applies the chosen values in order is then replicated.
//!
//! Four roles share that work, each a state machine of its own, and a fifth keeps the log short:
//!
//! - An [`Acceptor`] promises ballots and accepts values. Whatever it says of itself is on its disk
//!   first. A value is chosen once a *phase 2 quorum* of acceptors has accepted it under one
//!   ballot.
//! - A [`Proposer`] campaigns with a ballot (phase 1) and, once a *phase 1 quorum* has promised it,
//!   leads: it proposes a value for slot after slot (phase 2), many of them at once.
//! - A [`Learner`] counts the votes for the ballots of its own node, says what is chosen, and
//!   fetches what it missed.
//! - A [`Leadership`] decides when to campaign and when to resign. It matters for progress only; no
//!   policy can make two nodes disagree.
//! - An [`Archive`] knows the snapshots of a node's state, below which its log is *cut*, and
//!   fetches one when a peer has cut what is missing here.
//!
//! ```text
//!   proposer of n1         acceptors n1 n2 n3           learner of n1        learners n2 n3
//!       | -- Prepare(b, from u) ----> |                      |                    |
//!       | <-- Promise(b, accepted) -- |   (synced first)     |                    |
//!       |  a quorum of promises: propose what they report, no-ops in the gaps,    |
//!       |  then new commands                                 |                    |
//!       | -- Accept(b, slot, v) ----> | -------------------> | (every node's      |
//!       |                             | -- Accepted(b, s) -> |  learner holds v)  |
//!       |                             |   (synced first)     | a quorum: chosen   |
//!       | <------------------------------------- Advanced -- | -- Chosen(b, s) -> |
//! ```
//!
//! Why it is safe, in three sentences. Any phase 1 quorum meets any phase 2 quorum ([`Quorums`]
//! cannot be built otherwise). So a proposer whose ballot a phase 1 quorum has promised hears of
//! every value that may have been chosen under a lower ballot, and proposes the one of the highest
//! ballot for its slot. And whoever promised it accepts nothing lower any more, so nothing else can
//! be chosen behind its back.
//!
//! # Words
//!
//! | word | meaning |
//! |---|---|
//! | slot | a position in the log |
//! | command, value | a *command* is a client's; a *value* is a slot's: a batch of commands, a no-op, or a change of membership |
//! | ballot | a numbered attempt to lead: round, node, incarnation; one for each leadership |
//! | proposed, accepted, chosen, applied | the life of a value, in this order |
//! | promise, nack | "nothing lower from now on"; "I have promised something higher" |
//! | quorum | enough acceptors for a phase; by number or by weight |
//! | campaign, lead, resign | try for a phase 1 quorum; have one; give the ballot up |
//! | u (`next`) | the first slot that a node does not know to be chosen |
//! | window (alpha) | nothing is proposed `alpha` slots or more beyond u |
//! | snapshot, cut (trim) | the state behind a slot, with sessions and time; to forget the log below a snapshot |
//! | record, effect | what is written to the log; what a role asks its driver to do |
//! | hand over | give leading up in favour of a named successor, which may campaign at once |
//! | lease | an acceptor's word to promise nothing to other nodes for a while; of a quorum: reads without asking |
//! | session | a client's name in the replicated state: makes each of its commands run once |
//!
//! # How a driver uses it
//!
//! Every role is a [`Role`]: `handle` takes an input and appends [`Effect`]s, `next_deadline` says
//! when to call again. The whole contract stands at [`Role`]; its heart is [`Persist`]: *write,
//! sync, only then send*. Roles of one node talk by messages like all others, and [`receivers`]
//! says which role hears which; the simulator of the tests and the actors of `paxos-actors` route
//! by it.
//!
//! [`Replica`] applies what is chosen to a [`StateMachine`], each command of a session once.
//!
//! Roles work one at a time too. Single-decree Paxos is the same roles on one slot:
//!
//! ```
//! use paxos_core::acceptor::Answer;
//! use paxos_core::{Acceptor, AcceptorMessage, Ballot, NodeId, Slot, Time, Value};
//!
//! let (n1, n2) = (NodeId(1), NodeId(2));
//! let mut acceptor = Acceptor::new(n1);
//! let ballot = |round, node| Ballot { round, node, incarnation: 1 };
//!
//! let slot = Slot::FIRST;
//! let prepare = AcceptorMessage::Prepare { ballot: ballot(2, n2), first: slot, after: None };
//! let Answer::After(persist) = acceptor.step(Time(0), n2, prepare) else { panic!() };
//! // The promise leaves only behind its record.
//! assert_eq!((persist.records.len(), persist.then.len()), (1, 1));
//!
//! let low = AcceptorMessage::Accept { ballot: ballot(1, n1), slot, value: Value::Noop };
//! assert!(matches!(acceptor.step(Time(0), n1, low), Answer::Now(_)), "a nack");
//! assert_eq!(acceptor.accepted(slot), None);
//! ```
//!
//! # Reading order
//!
//! This page, `types`, `message`, `acceptor` (a page), `proposer` and `term`, `learner`, `effect`,
//! `lease`, `leadership`, `policy` and `detector`, `archive`. What every rule is for stands where
//! the code keeps it, as a sentence that begins "Invariant:".
//!
//! # Changes of membership and leases
//!
//! Roles may have processes of their own ([`Hosting`]): acceptors without a replica (*witnesses*),
//! replicas that do not accept and may lead (*front ends*) or never do (*read replicas*).
//!
//! Who takes part is a value of the log too: a change that is chosen in slot s governs from slot
//! s + alpha on ([`Configurations`]), so that whoever may propose for a slot knows its quorums. A
//! leader that has a *lease* answers reads without asking anybody.

pub mod acceptor;
pub mod archive;
pub mod backlog;
pub mod batch;
pub mod detector;
pub mod effect;
pub mod event;
pub mod handover;
mod hash;
pub mod hosting;
pub mod leadership;
pub mod learner;
mod lease;
pub mod machine;
pub mod membership;
pub mod message;
pub mod policy;
pub mod proposer;
pub mod quorums;
pub mod random;
pub mod recent;
pub mod record;
pub mod replica;
pub mod sessions;
pub mod status;
mod term;
mod trace;
pub mod types;
pub mod value;
pub mod view;

pub use acceptor::{Acceptor, AcceptorOptions};
pub use archive::{Archive, ArchiveOptions};
pub use backlog::Backlog;
pub use batch::{Operation, Origin, SessionId};
pub use detector::{Detector, DetectorOptions, PhiOptions};
pub use effect::{Change, Effect, Governance, Input, Persist, Refusal, Role, Took};
pub use event::{Event, Position, TopicFilter};
pub use handover::HandOver;
pub use hosting::Hosting;
pub use leadership::{Elector, Leadership};
pub use learner::{Learner, LearnerOptions};
pub use machine::{Context, RestoreError, StateMachine};
pub use membership::{Configurations, Member, MemberRole, Membership};
pub use message::{
    AcceptorMessage, ArchiveMessage, Envelope, Heartbeat, Inside, Lane, LeadershipMessage,
    LearnerMessage, Manifest, Message, Promise, ProposerMessage, ReadLevel, Restored, RoleKind,
    receivers,
};
pub use policy::{LeadershipOptions, Policy, Rule};
pub use proposer::{Proposer, ProposerOptions};
pub use quorums::Quorums;
pub use random::Random;
pub use recent::{Page, Recent, RecentOptions};
pub use record::{PeerRun, Record, Recovered};
pub use replica::{Applied, Outcome, Replica};
pub use sessions::{Rejection, SessionLimits};
pub use status::Status;
pub use types::{Ballot, ClusterId, NodeId, Slot, Time};
pub use value::{Batch, Proposal, Reconfigure, Value};
