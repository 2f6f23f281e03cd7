//! What nodes and clients say to each other beside the messages of the protocol itself.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use paxos_core::event::{FILTER_BYTES_MAX, FILTERS_MAX};
use paxos_core::value::payload;
use paxos_core::{
    Change, ClusterId, Manifest, MemberRole, Membership, NodeId, Operation, Outcome, Page,
    Position, ReadLevel, Rejection, RoleKind, Slot, Status, TopicFilter,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 2;

/// The first frame between nodes, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster that the sender belongs to.
    pub cluster: ClusterId,
    /// A hash of the membership that the sender's cluster was bootstrapped with.
    pub genesis: u64,
    /// The sender; its certificate must say the same.
    pub node: NodeId,
    /// How often that node has started.
    pub incarnation: u64,
    /// Drawn anew at every start: tells two processes of one incarnation apart.
    pub nonce: u64,
    /// The newest version that the sender speaks.
    pub version: u32,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// The connection is up.
    Welcome {
        /// The answering node's own.
        hello: Hello,
    },
    /// The connection will be closed.
    Refused(PeerRefusal),
}

/// Why a node refused another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum PeerRefusal {
    /// The two belong to different clusters.
    #[error(
        "this is cluster {ours}, not {theirs}: is an address in a cluster file that of another \
         cluster?"
    )]
    ForeignCluster {
        /// The refusing node's.
        ours: ClusterId,
        /// The refused node's.
        theirs: ClusterId,
    },
    /// The two were bootstrapped with different memberships.
    #[error(
        "the nodes were formatted with different memberships (genesis {ours:016x} here, \
         {theirs:016x} there): format one of them anew with the cluster file of the other"
    )]
    OtherGenesis {
        /// The refusing node's.
        ours: u64,
        /// The refused node's.
        theirs: u64,
    },
    /// A node says it is another than its certificate says.
    #[error("the certificate is that of node {certified}, not {claimed}: give each node its own")]
    WrongNode {
        /// By the certificate.
        certified: NodeId,
        /// By the Hello.
        claimed: NodeId,
    },
    /// A later run of the same node was met before.
    #[error(
        "node {node} was met in run {known} before and is in run {found} now: its data directory \
         is older than what it already promised, or a copy of it runs elsewhere; use the newest \
         one only, or remove the node and add a new one"
    )]
    OlderIncarnation {
        /// The refused node.
        node: NodeId,
        /// Its latest run that was met.
        known: u64,
        /// The run it claims.
        found: u64,
    },
    /// Another process was this node in the same run.
    #[error(
        "node {node} was met in run {incarnation} before, as another process: stop that one if it \
         runs; if it does not, this data directory is older than what the node already promised: \
         use the newest one only, or remove the node and add a new one"
    )]
    IdentityTaken {
        /// The node.
        node: NodeId,
        /// The run that both claim.
        incarnation: u64,
    },
    /// The node was removed from the cluster.
    #[error(
        "node {} was removed from the cluster, and its id is never used again: delete its folder, \
         or add a new node with `members add`", node.0
    )]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The two speak no common version.
    #[error(
        "this node speaks version {ours} of the protocol, the other {theirs}: upgrade the older"
    )]
    Version {
        /// The refusing node's.
        ours: u32,
        /// The refused node's.
        theirs: u32,
    },
    /// The node could not decide.
    #[error("the node is not ready to meet others: it starts or stops; try again")]
    NotReady,
}

/// The first frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// The newest version that the client speaks.
    pub version: u32,
}

/// The answer to it: the connection is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientWelcome {
    /// The version that is spoken from here on.
    pub version: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// The answering node.
    pub node: NodeId,
    /// The leader, as that node knows.
    pub leader: Option<NodeId>,
    /// Where the nodes of the cluster can be reached, as that node knows.
    pub addresses: BTreeMap<NodeId, String>,
    /// Requests that the node takes in progress on this connection; more are refused as busy.
    pub requests: u64,
}

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    /// The asker's own name for it, unique among its requests in flight; the response carries it.
    pub id: u64,
    /// For how long the asker waits, in milliseconds.
    pub timeout_ms: u64,
    /// What is asked.
    pub call: Call,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// To have something logged.
    Operate(Operation),
    /// To read the state.
    Query {
        /// The encoded query.
        #[serde(with = "payload")]
        query: Bytes,
        /// How new the state must be.
        consistency: Consistency,
    },
    /// How the node is.
    Status,
    /// Nothing: whether the node is there. Its endpoint answers at once.
    Ping,
    /// Up to which slot a state must be applied that contains everything answered before this was
    /// asked. A gateway asks that of the leader's and then reads its own state.
    ReadIndex {
        /// What shall make it certain.
        level: ReadLevel,
    },
    /// To have another node lead. For admins only.
    Transfer {
        /// The node that leads, as far as the asker knows; if it does not any more, nothing is
        /// done. So the same request twice moves leadership once.
        from: NodeId,
        /// Which shall lead; `None`: whichever voter is level first.
        to: Option<NodeId>,
    },
    /// To have the membership changed. Only an admin may ask so.
    Reconfigure {
        /// From where the membership governs that the change was made from.
        base: Slot,
        /// What shall govern.
        membership: Box<Membership>,
    },
    /// The next events behind a position, as soon as there are some; if there is none for as long
    /// as the asker waits, none. The node that is asked answers from what it has applied itself.
    Watch {
        /// About these topics.
        topics: Vec<TopicFilter>,
        /// The position.
        after: Position,
        /// So many at most.
        max: u64,
    },
    /// Who takes part.
    Members,
    /// What changes of leadership the node remembers.
    Changes,
    /// To have the node that is asked make a snapshot. Only an admin may ask so.
    Save,
    /// A piece of a snapshot of the node that is asked. Only an admin may ask so.
    Piece {
        /// The first slot that the snapshot does not cover; `None`: of the newest.
        upto: Option<Slot>,
        /// Where the piece begins, in bytes.
        offset: u64,
    },
}

impl Call {
    /// Whether only an admin may ask it.
    pub fn needs_admin(&self) -> bool {
        matches!(
            self,
            Call::Reconfigure { .. } | Call::Transfer { .. } | Call::Save | Call::Piece { .. }
        )
    }

    /// Whether only a node can answer that keeps the state, and no other for it.
    pub fn needs_state_here(&self) -> bool {
        match self {
            Call::Query { consistency, .. } => matches!(consistency, Consistency::Stale { .. }),
            Call::Save | Call::Piece { .. } | Call::Watch { .. } => true,
            _ => false,
        }
    }

    /// Whether it asks for a place in the log.
    pub fn is_logged(&self) -> bool {
        matches!(self, Call::Operate(_) | Call::Reconfigure { .. })
    }
}

/// How new the state must be that a query reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Consistency {
    /// It contains everything that was answered before the query was asked.
    Linearizable,
    /// The same, by the lease of the leader and without asking the others: certain as long as
    /// clocks keep to the drift bound. Without a lease it is asked as if it were linearizable.
    Lease,
    /// It is that of the node that is asked, as soon as that has applied this slot; 0: at once.
    Stale {
        /// The slot.
        at_least: Slot,
    },
}

/// How new the state certainly was that a query read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Served {
    /// It contains everything that was answered before the query was asked: a quorum said so.
    Linearizable,
    /// The same, by the leader's lease.
    Lease,
    /// It may lack the newest.
    Stale {
        /// It contains everything that was answered until so long ago, in milliseconds, by the
        /// clock of the node that answered; `None`: unknown.
        behind_ms: Option<u64>,
    },
}

impl From<ReadLevel> for Served {
    fn from(level: ReadLevel) -> Served {
        match level {
            ReadLevel::Linearizable => Served::Linearizable,
            ReadLevel::Lease => Served::Lease,
        }
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Served::Linearizable => f.write_str("linearizable: confirmed by a quorum"),
            Served::Lease => f.write_str("linearizable by the leader's lease"),
            Served::Stale { behind_ms: Some(ms) } => write!(f, "stale: up to date {ms} ms ago"),
            Served::Stale { behind_ms: None } => {
                f.write_str("stale: it is not known when this node was last up to date")
            }
        }
    }
}

/// The response to a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientResponse {
    /// That of the request.
    pub id: u64,
    /// The leader, as the answering node knows.
    pub leader: Option<NodeId>,
    /// What became of it.
    pub response: Response,
}

/// The id of what nobody has asked for; those of requests begin at 1.
pub const NEWS: u64 = 0;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It is logged and applied.
    Done(Outcome),
    /// A query's answer.
    Answer {
        /// The last slot applied in the state that was read.
        slot: Slot,
        /// The encoded answer.
        #[serde(with = "payload")]
        answer: Bytes,
        /// How new that state certainly was.
        served: Served,
    },
    /// How the node is.
    Status(Box<NodeReport>),
    /// It certainly had no effect.
    Refused(Refused),
    /// It may yet have an effect, or have had one.
    Unknown {
        /// Why nothing better is known.
        why: Unavailable,
    },
    /// The node is there.
    Pong,
    /// A state that has applied so much is as new as was asked.
    Index {
        /// The last slot that must be applied.
        applied: Slot,
        /// What makes it certain.
        level: ReadLevel,
    },
    /// The node that was to hand over does not lead any more.
    Led {
        /// The one that does.
        leader: NodeId,
    },
    /// A snapshot that covers every slot below this one is made, or is there.
    Saving {
        /// The slot.
        upto: Slot,
    },
    /// A piece of a snapshot.
    Piece {
        /// The snapshot.
        snapshot: Manifest,
        /// The piece, from where it was asked for; empty at the end.
        #[serde(with = "payload")]
        bytes: Bytes,
    },
    /// Events.
    Watched(Page),
    /// Who takes part.
    Members(Box<MembersReport>),
    /// The latest changes of leadership, as the node saw them, the oldest first.
    Changes(Vec<ChangeRecord>),
    /// Not asked for, under the id [`NEWS`]: the nodes can be reached there from now on.
    News {
        /// From this slot on; who has heard of a later one knows better.
        from: Slot,
        /// Where.
        addresses: BTreeMap<NodeId, String>,
    },
}

/// Why a request certainly had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too much is in flight.
    #[error("too much is waiting: try again, or send less at once")]
    Busy,
    /// The command is too long.
    #[error("a command of {size} bytes exceeds the limit of {limit}: split it")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The cluster could not take it.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// Session or command were refused.
    #[error(transparent)]
    Rejected(Rejection),
    /// The disk of the leader is full.
    #[error("no space is left where the log is: free some on the nodes, then try again")]
    NoSpace,
    /// Too many topics, or too long ones, are watched at once.
    #[error(
        "one watch names at most {FILTERS_MAX} topics of {FILTER_BYTES_MAX} bytes each: name \
         fewer, or what they begin with"
    )]
    TooManyTopics,
    /// The node has no such snapshot.
    #[error("the node has no such snapshot, or not any more: have one made, and try again")]
    NoSnapshot,
    /// Only an operator may ask for that.
    #[error("{identity} is no admin's certificate; this needs one: use --identity admin")]
    NotAllowed {
        /// Whose certificate was shown, as [`crate::Role`] prints it.
        identity: String,
    },
    /// The node accepts only.
    #[error("this node keeps no state: ask {}", names(.ask))]
    NoState {
        /// Nodes that keep it, as that node knows.
        ask: Vec<NodeId>,
    },
    /// The leader was asked to hand over, and leads on.
    #[error("leadership stays where it is: {why}; look at status, and try again")]
    NotHandedOver {
        /// Why.
        why: String,
    },
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

/// What stood in the way, by the weight of the acceptors that the answering node hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[error("{}", self.words())]
pub struct Unavailable {
    /// The weight that is heard.
    pub reached: u64,
    /// The weight of all.
    pub total: u64,
    /// The weight that is needed.
    pub needed: u64,
}

impl Unavailable {
    fn words(&self) -> String {
        let Unavailable { reached, total, needed } = self;
        match (total, reached < needed) {
            (0, _) => "the node knows no members yet: try again".to_owned(),
            (_, true) => format!("no quorum: reached {reached} of {total}, need {needed}"),
            (_, false) => {
                format!("no answer in time from a leader: reached {reached} of {total}; try again")
            }
        }
    }
}

/// A change of leadership, as a node saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// When, by the clock of the node's host: milliseconds since 1970.
    pub at_ms: u64,
    /// What, why, and how long it took.
    pub change: Change,
}

/// Who takes part, as a node knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersReport {
    /// The membership that the cluster was bootstrapped with: what a new node is formatted with.
    pub genesis: Membership,
    /// From where the newest membership governs.
    pub from: Slot,
    /// The newest membership.
    pub membership: Membership,
    /// Whether it governs, and its members hold everything from before it in snapshots: nobody else
    /// is needed any more.
    pub settled: bool,
    /// The first slot that the node does not know to be chosen.
    pub next: Slot,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// Where it can be reached, by the membership.
    pub address: String,
    /// What it is, by the newest membership that it knows; `None`: no member.
    pub role: Option<MemberRole>,
    /// The roles that its process hosts.
    pub hosts: Vec<RoleKind>,
    /// What its roles say.
    pub status: Status,
    /// The last slot that its state machine has applied.
    pub applied: Slot,
    /// Its links to the others.
    pub links: BTreeMap<NodeId, LinkReport>,
}

/// How a link to a peer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Whether it is up, by a Hello both ways.
    pub up: bool,
    /// Messages handed to QUIC or to a queue before it.
    pub sent: u64,
    /// Messages dropped: the link was down, or a queue full.
    pub dropped: u64,
    /// Why it is down, or was last.
    pub last_error: Option<String>,
    /// The round-trip time as QUIC estimates it, in microseconds.
    pub rtt_us: Option<u64>,
}

/// Between gateways: requests on their way to the leader, and responses on their way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relay {
    /// Please answer these.
    Ask(Vec<Forwarded>),
    /// Here are answers.
    Tell(Vec<ClientResponse>),
}

/// A request that a gateway passes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// The client, as the first gateway read in its certificate.
    pub identity: String,
    /// What it asks; the id is the passing gateway's.
    pub request: ClientRequest,
}
