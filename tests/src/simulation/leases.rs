//! What the world sees of leases, and how it has leadership moved.

use std::time::Duration;

use paxos_core::{
    AcceptorMessage, Ballot, Envelope, Inside, Membership, Message, NodeId, ProposerMessage, Slot,
    Time,
};

use super::node::Running;
use super::world::World;

/// For how long a leader of this membership may hold a lease, by its own clock.
pub fn holds(membership: &Membership) -> Duration {
    let whole = 1_000_000 + u128::from(membership.drift_ppm);
    Duration::from_micros((membership.lease.as_micros() * 1_000_000 / whole) as u64)
}

impl World<'_> {
    /// A message is sent.
    pub(super) fn lease_asked(&mut self, envelope: &Envelope) {
        match &envelope.message {
            Message::Acceptor(AcceptorMessage::Confirm { ballot, round }) => {
                if let Some(host) = self.hosts.get(&ballot.node) {
                    let (clock, chosen) = (host.clock.shows(self.now), self.agreement.behind());
                    self.leases.asked(*ballot, *round, clock, chosen);
                }
            }
            Message::Inside(Inside::Resigned { ballot, .. }) => self.leases.ended(*ballot),
            _ => {}
        }
    }

    /// A message arrives.
    pub(super) fn lease_lent(&mut self, envelope: &Envelope) -> Result<(), String> {
        if let Message::Proposer(ProposerMessage::Promise(page)) = &envelope.message
            && page.next.is_none()
            && page.ballot.node == envelope.to
        {
            self.leases.reported(envelope.from, page.ballot);
        }
        let Message::Proposer(ProposerMessage::Confirmed { ballot, round, granted: true }) =
            envelope.message
        else {
            return Ok(());
        };
        let watched = self.plan.leases_hold() && !self.conditions.leases_unwatched;
        if !watched || ballot.node != envelope.to {
            return Ok(());
        }
        let (hosts, running, now) = (&self.hosts, &self.running, self.now);
        let shows = |ballot: Ballot| {
            let runs = running.get(&ballot.node)?.incarnation() == ballot.incarnation;
            hosts.get(&ballot.node).filter(|_| runs).map(|host| host.clock.shows(now))
        };
        let memberships = self.agreement.memberships();
        let governs = |node: NodeId, least: Slot| {
            let next = running.get(&node).and_then(Running::next).unwrap_or_default();
            (next >= least).then(|| memberships.at(next).quorums.clone())
        };
        self.leases.lent(envelope.from, ballot, round, shows, governs)
    }

    /// Has whoever leads hand over: to one of the others, or to whom it likes.
    pub(super) fn transfer(&mut self) -> bool {
        let leads = |node: &NodeId| {
            let leader = self.running.get(node).and_then(|running| running.status().leader);
            leader.is_some_and(|ballot| ballot.node == *node)
        };
        let Some(leader) = self.fronts.iter().copied().find(leads) else { return false };
        let place = self.random.below(self.fronts.len() as u64 + 1) as usize;
        let to = self.fronts.get(place).copied();
        self.transfer_to(leader, to);
        true
    }

    pub(super) fn transfer_to(&mut self, leader: NodeId, to: Option<NodeId>) {
        let message = Message::Inside(Inside::Transfer { to });
        self.post(Duration::ZERO, Envelope { from: leader, to: leader, message });
    }

    /// Whether the node holds a lease, as it believes itself.
    pub(super) fn has_lease(&self, node: NodeId) -> bool {
        let shows = self.hosts.get(&node).map_or(Time(0), |host| host.clock.shows(self.now));
        self.running.get(&node).is_some_and(|running| running.has_lease(shows))
    }
}
