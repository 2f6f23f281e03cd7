//! What an endpoint hands what it receives to.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use paxos_core::{Message, NodeId};
use tokio::sync::oneshot;

use crate::protocol::{ClientRequest, ClientResponse, Hello, PeerRefusal, Relay};

/// The node behind an endpoint. Every method must return at once: it is called by the tasks that
/// read from the network.
pub trait Service: Send + Sync + 'static {
    /// Decides on a peer whose certificate, cluster, genesis and version are right, and which has
    /// dialed from this address. What the decision must remember is durable before it is sent; if
    /// the sender is dropped, the peer is told to try again.
    fn meet(&self, hello: Hello, from: SocketAddr) -> oneshot::Receiver<Result<(), PeerRefusal>>;

    /// Messages of a peer, in the order in which they arrived on one lane.
    fn messages(&self, from: NodeId, messages: Vec<Message>);

    /// What the gateway of a peer relays.
    fn relayed(&self, from: NodeId, relay: Relay);

    /// Requests of a client. Each is answered once, by [`Caller::replies`].
    fn requests(&self, caller: Caller, requests: Vec<ClientRequest>);

    /// The leader as known now, which a client is told first.
    fn welcome(&self) -> Option<NodeId>;

    /// Our link to a peer came up or went down.
    fn link_changed(&self, peer: NodeId, up: bool);

    /// A peer refused us. Of the reasons, [`PeerRefusal::OlderIncarnation`],
    /// [`PeerRefusal::IdentityTaken`] and [`PeerRefusal::Removed`] mean that this node must not go
    /// on.
    fn refused(&self, by: NodeId, refusal: PeerRefusal);
}

/// Who sent requests.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the certificate says: `client/ada`. Sessions are bound to it.
    pub identity: String,
    /// Whether it is a node rather than a client.
    pub peer: bool,
    /// Where the answers go.
    pub replies: Replies,
}

/// The way back to a caller. It never blocks; if the caller is gone, answers go nowhere.
#[derive(Clone)]
pub struct Replies(Arc<dyn Fn(Vec<ClientResponse>) + Send + Sync>);

impl Replies {
    /// Replies that are handed to a function, which must return at once.
    pub fn to(take: impl Fn(Vec<ClientResponse>) + Send + Sync + 'static) -> Self {
        Replies(Arc::new(take))
    }

    /// Sends some answers.
    pub fn send(&self, responses: Vec<ClientResponse>) {
        (self.0)(responses);
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replies")
    }
}
