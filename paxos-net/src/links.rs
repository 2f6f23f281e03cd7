//! The links of a node to all others, made and dropped as it learns who takes part.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};

use paxos_core::{Message, NodeId, Slot};
use tokio::sync::Notify;

use crate::close::Close;
use crate::endpoint::Shared;
use crate::link::Link;
use crate::lock::lock;
use crate::protocol::{LinkReport, Relay};

/// One link a peer. It does not keep its endpoint from closing.
pub struct Links {
    shared: Weak<Shared>,
    open: Mutex<BTreeMap<NodeId, Open>>,
}

struct Open {
    address: String,
    link: Link,
}

impl Links {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Links { shared: Arc::downgrade(shared), open: Mutex::default() }
    }

    /// These nodes take part from a slot on, and can be reached there; clients are told so. Links
    /// to others stay: they may know of a membership that is not known here yet.
    pub fn name(&self, from: Slot, members: &BTreeMap<NodeId, String>) {
        let Some(shared) = self.shared.upgrade() else { return };
        for (peer, address) in members.iter().filter(|(peer, _)| **peer != shared.hello.node) {
            let mut open = lock(&self.open);
            if open.get(peer).is_none_or(|known| known.address != *address) {
                let link = dial(&shared, *peer, address.clone());
                open.insert(*peer, Open { address: address.clone(), link });
            }
        }
        shared.advertise(from, members.clone());
    }

    /// A peer has dialed us from there. If it is not known how to reach it, that is how.
    pub fn met(&self, peer: NodeId, from: SocketAddr) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut open = lock(&self.open);
        open.entry(peer).or_insert_with(|| {
            let address = from.to_string();
            Open { link: dial(&shared, peer, address.clone()), address }
        });
    }

    /// A peer was removed: nothing more is sent to it or taken from it.
    pub fn expel(&self, peer: NodeId) {
        lock(&self.open).remove(&peer);
        if let Some(shared) = self.shared.upgrade() {
            shared.hang_up(peer, Close::REMOVED);
        }
    }

    /// The peers to which there are links.
    pub fn peers(&self) -> Vec<NodeId> {
        lock(&self.open).keys().copied().collect()
    }

    /// Sends a message, or drops it: there is no link, it is down, or the message's lane is full.
    ///
    /// # Panics
    /// For a message between roles of one node: it has no form on the wire.
    pub fn send(&self, to: NodeId, message: &Message) {
        if let Some(open) = lock(&self.open).get(&to) {
            open.link.send(message);
        }
    }

    /// Sends to the gateway of a peer; false if it was dropped, so that the clients can be told.
    #[must_use = "the requests in a relay that was dropped are never answered"]
    pub fn relay(&self, to: NodeId, relay: &Relay) -> bool {
        lock(&self.open).get(&to).is_some_and(|open| open.link.relay(relay))
    }

    /// How the links are.
    pub fn report(&self) -> BTreeMap<NodeId, LinkReport> {
        lock(&self.open).iter().map(|(peer, open)| (*peer, open.link.report())).collect()
    }
}

/// Dials a peer and keeps dialing.
pub(crate) fn dial(shared: &Arc<Shared>, peer: NodeId, address: String) -> Link {
    let nudge = Arc::new(Notify::new());
    shared.expect(peer, nudge.clone());
    Link::open(shared.clone(), peer, address, nudge)
}
