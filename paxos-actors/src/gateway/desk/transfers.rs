//! Those who want another node to lead.

use paxos_core::NodeId;
use paxos_net::protocol::{Call, Refused, Response};

use super::{Desk, Order};
use crate::gateway::pending::Pending;

impl Desk {
    /// Has this node hand over, if it leads; else the wish stays with what is relayed. Where the
    /// node named does not lead any more, nothing is left to do.
    pub(super) fn transfer(&mut self, leader: NodeId) {
        let queries = std::mem::take(&mut self.queries);
        for pending in queries {
            let Call::Transfer { from, to } = pending.call else {
                self.queries.push_back(pending);
                continue;
            };
            if leader != from || to == Some(leader) {
                self.settle(pending, Response::Led { leader });
            } else if leader == self.me {
                self.orders.push(Order::Transfer(to));
                self.transfers.push(pending);
            } else {
                self.queries.push_back(pending);
            }
        }
    }

    /// The view of the leader has changed, or what led leads on, for the reason given.
    pub(super) fn handed_over(&mut self, why: String) {
        let Some(leader) = self.leader else { return };
        let settled: Vec<Pending> = self.transfers.drain(..).collect();
        for pending in settled {
            let response = if leader == self.me {
                Response::Refused(Refused::NotHandedOver { why: why.clone() })
            } else {
                Response::Led { leader }
            };
            self.settle(pending, response);
        }
    }
}
