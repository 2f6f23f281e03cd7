//! Who takes part, as this node knows, and how it reaches the others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use paxos_core::handover::heirs;
use paxos_core::{Governance, Hosting, NodeId, Slot};
use paxos_net::Links;
use paxos_net::protocol::PeerRefusal;

use crate::failure::Failure;

/// The members of the cluster, and the links to them.
pub struct Roster {
    me: NodeId,
    hosting: Hosting,
    /// The links to the other nodes.
    pub links: Links,
    governance: Mutex<Governance>,
}

impl Roster {
    /// The roster of a node that hosts these roles and begins with these memberships. Beside their
    /// members it links to the nodes of its cluster file, who may know of a newer one.
    pub fn new(
        me: NodeId,
        hosting: Hosting,
        links: Links,
        file: &BTreeMap<NodeId, String>,
        governance: Governance,
    ) -> Self {
        let known = addresses(&governance);
        let is_needed = |node: &NodeId| !governance.configurations.newest().1.has_removed(*node);
        let mut others: BTreeMap<_, _> = file.clone();
        others.retain(|node, _| is_needed(node));
        others.extend(known);
        links.name(governance.configurations.newest().0, &others);
        Roster { me, hosting, links, governance: Mutex::new(governance) }
    }

    fn governance(&self) -> MutexGuard<'_, Governance> {
        self.governance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who takes part.
    pub fn known(&self) -> Governance {
        self.governance().clone()
    }

    /// The memberships have changed, or the newest has settled.
    ///
    /// # Errors
    /// [`Failure::Removed`] if this node is needed no more; [`Failure::Promoted`] if it is needed
    /// for more than its process hosts.
    pub fn govern(&self, governance: Governance) -> Result<(), Failure> {
        let (from, newest) = governance.configurations.newest().clone();
        let members: Vec<_> = newest.members.keys().map(ToString::to_string).collect();
        let settled = governance.settled;
        tracing::info!(node = %self.me, %from, settled, members = members.join(" "), "membership");
        let suits = self.hosting.suits(self.me, &governance.configurations);
        self.links.name(from, &addresses(&governance));
        *self.governance() = governance;
        if !suits {
            return Err(Failure::Promoted { node: self.me, from });
        }
        if settled {
            let gone = |peer: &NodeId| newest.has_removed(*peer);
            self.links.peers().into_iter().filter(gone).for_each(|peer| self.links.expel(peer));
            if newest.has_removed(self.me) {
                return Err(Failure::Removed { node: self.me, from });
            }
        }
        Ok(())
    }

    /// Whether somebody is reached who could lead when this node does not.
    pub fn has_heirs(&self) -> bool {
        let known = self.known();
        let heirs = heirs(&known.configurations.newest().1, self.me);
        self.links.report().iter().any(|(peer, link)| heirs.contains(peer) && link.up)
    }

    /// Whether a peer that has dialed from there may take part, as far as is known here.
    ///
    /// # Errors
    /// [`PeerRefusal::Removed`].
    pub fn meet(&self, node: NodeId, from: SocketAddr) -> Result<(), PeerRefusal> {
        let governance = self.governance();
        if governance.settled && governance.configurations.newest().1.has_removed(node) {
            return Err(PeerRefusal::Removed { node });
        }
        drop(governance);
        self.links.met(node, from);
        Ok(())
    }
}

/// Where everybody can be reached who is needed.
fn addresses(governance: &Governance) -> BTreeMap<NodeId, String> {
    let mut addresses = BTreeMap::new();
    for membership in governance.configurations.from(Slot(0)) {
        for (node, member) in &membership.members {
            addresses.insert(*node, member.address.clone());
        }
    }
    let (_, newest) = governance.configurations.newest();
    if governance.settled {
        addresses.retain(|node, _| newest.members.contains_key(node));
    }
    addresses
}
