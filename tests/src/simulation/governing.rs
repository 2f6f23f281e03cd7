//! Changes of membership: an operator who asks for them, nodes that come, and nodes that go.

use std::time::Duration;

use paxos_core::membership::MembershipError;
use paxos_core::{
    Configurations, Envelope, Governance, Inside, MemberRole, Membership, Message, NodeId, Origin,
    Proposal, Reconfigure, Slot,
};

use super::clock::Clock;
use super::events::Event;
use super::node::Host;
use super::plan::Trouble;
use super::world::World;

/// No cluster grows beyond this.
const MEMBERS_MAX: usize = 7;

/// The operator is no client: his tickets name none.
const OPERATOR: u64 = 1 << 62;

impl World<'_> {
    /// What every disk is formatted with.
    pub(super) fn genesis(&self) -> Configurations {
        Configurations::genesis(self.plan.membership.clone())
    }

    /// Memberships that govern, or may yet, and those before them that are needed still.
    pub(super) fn open_memberships(&self) -> impl Iterator<Item = &Membership> {
        let memberships = self.agreement.memberships();
        let (newest, _) = memberships.newest();
        let proposed = self.proposed.iter().filter(move |(base, _)| base == newest);
        memberships.since(self.settled).chain(proposed.map(|(_, membership)| membership))
    }

    /// Whether a membership gets on with these nodes alone: they have quorums, somebody who could
    /// lead, and enough replicas to hold what it needs from before it; and no more replicas are
    /// lost than its snapshots are made for.
    pub(super) fn is_livable(&self, membership: &Membership, left: &[NodeId]) -> bool {
        let quorums = &membership.quorums;
        let replicas: Vec<_> = membership.learners().filter(|node| left.contains(node)).collect();
        let leads = |node: &NodeId| self.hosts.get(node).is_none_or(|host| host.may_lead);
        let lost = membership.learners().count() - replicas.len();
        let bounded = membership.replicas_needed().is_none() || lost <= quorums.expendable();
        quorums.is_phase1(left)
            && quorums.is_phase2(left)
            && replicas.iter().any(leads)
            && bounded
            && (membership.is_held_by(&replicas) || !self.plan.roles_change)
    }

    /// The operator asks some node for a change that the cluster can live with, if he finds one.
    pub(super) fn change_membership(&mut self) -> bool {
        let place = self.random.below(self.fronts.len() as u64) as usize;
        let node = self.fronts[place];
        let Some(governance) = self.running.get(&node).and_then(|it| it.governance.clone()) else {
            return false;
        };
        let (base, newest) = governance.configurations.newest();
        let Ok(next) = self.draw_change(newest) else { return false };
        let mut left: Vec<_> =
            self.hosts.values().filter(|host| !host.damaged).map(|host| host.me).collect();
        left.extend(next.members.keys().filter(|node| !self.hosts.contains_key(node)));
        if next.members.len() > MEMBERS_MAX || !self.is_livable(&next, &left) {
            return false;
        }
        self.ask_for(node, *base, next);
        true
    }

    /// The operator asks a node for a membership, made from the one that governs from `base` on.
    pub(super) fn ask_for(&mut self, node: NodeId, base: Slot, next: Membership) {
        self.told(node, || format!("is asked for {}", members(&next)));
        let number = OPERATOR | self.random.below(1 << 20);
        let run = self.running.get(&node).map_or(0, |running| running.incarnation());
        let origin = Origin { node, incarnation: run, number };
        let (membership, by) = (next.clone(), "admin/ada".to_owned());
        let change = Reconfigure { base, membership, origin, by };
        self.proposed.push((base, next));
        let proposal = Proposal::Reconfigure(Box::new(change));
        self.replication.submitted(&proposal);
        let message = Message::Inside(Inside::Propose { ticket: number, proposal });
        self.post(Duration::ZERO, Envelope { from: node, to: node, message });
    }

    fn draw_change(&mut self, newest: &Membership) -> Result<Membership, MembershipError> {
        let members: Vec<_> = newest.members.keys().copied().collect();
        let node = members[self.random.below(members.len() as u64) as usize];
        let address = format!("{}:1", newest.next_id);
        let roles =
            [MemberRole::Voter, MemberRole::Voter, MemberRole::Learner, MemberRole::Witness];
        let role = roles[self.random.below(roles.len() as u64) as usize];
        match self.random.below(4) {
            0 => newest.added(role, address),
            1 => newest.without(node),
            2 => newest.added(role, address)?.without(node),
            // What has no replica cannot become one, nor the other way.
            _ if newest.members[&node].role == MemberRole::Voter => {
                newest.with_role(node, MemberRole::Learner)
            }
            _ if newest.members[&node].role == MemberRole::Learner => {
                newest.with_role(node, MemberRole::Voter)
            }
            _ => newest.without(node),
        }
    }

    /// If a new membership has been chosen since: its new nodes start.
    pub(super) fn mind_changes(&mut self) {
        let happened = self.faults.troubles.entry(Trouble::Change).or_default();
        let memberships = self.agreement.memberships();
        if memberships.changes() as u64 == *happened {
            return;
        }
        *happened = memberships.changes() as u64;
        let newest = memberships.newest().1.clone();
        self.leadership.govern(newest.quorums.clone());
        self.snapshots.govern(newest.clone());
        let fronts: Vec<_> = newest.learners().collect();
        self.told(NodeId(0), || format!("the membership becomes {}", members(&newest)));
        for (node, member) in &newest.members {
            if !self.hosts.contains_key(node) {
                let clock = Clock::draw(&mut self.random, self.plan.drift);
                self.hosts.insert(*node, Host::new(*node, member.role, &self.plan, clock));
                let delay = self.upto(Duration::from_secs(1));
                self.at(delay, Event::Restart(*node));
            }
        }
        self.fronts = fronts;
    }

    /// A node knows of another membership, or that the newest has settled: whoever that leaves out
    /// is needed no more. Half of the operators then burn its disk at once.
    pub(super) fn governed(&mut self, node: NodeId, governance: Governance) -> Result<(), String> {
        self.agreement.memberships().believed(&governance.configurations)?;
        let (from, newest) = governance.configurations.newest().clone();
        let settled = governance.settled;
        if let Some(running) = self.running.get_mut(&node) {
            let (suits, run) =
                (running.hosting.suits(node, &governance.configurations), running.incarnation());
            running.governance = Some(governance);
            if !suits {
                let delay = self.upto(Duration::from_millis(200));
                self.at(delay, Event::Anew(node, run));
            }
        }
        if !settled {
            return Ok(());
        }
        self.told(node, || format!("says that {} has settled", members(&newest)));
        self.snapshots.settled(node, from, &newest)?;
        self.settled = self.settled.max(from);
        let burns = self.random.below(2) == 0 && !self.conditions.nothing_burns;
        let gone = |host: &&Host| newest.has_removed(host.me) && (burns || host.me == node);
        let gone: Vec<_> = self.hosts.values().filter(gone).map(|host| host.me).collect();
        gone.into_iter().for_each(|node| self.dismiss(node));
        Ok(())
    }

    /// Whether the receiver knows that the sender was removed. It then says so, and that one stops.
    pub(super) fn is_refused(&mut self, envelope: &Envelope) -> bool {
        let receiver = self.running.get(&envelope.to).and_then(|it| it.governance.as_ref());
        let Some(governance) = receiver.filter(|governance| governance.settled) else {
            return false;
        };
        let refused = governance.configurations.newest().1.has_removed(envelope.from);
        if refused && envelope.from != envelope.to {
            self.dismiss(envelope.from);
        }
        refused
    }

    /// A node ends for good, and everything that it had with it.
    fn dismiss(&mut self, node: NodeId) {
        let Some(host) = self.hosts.get_mut(&node).filter(|host| !host.lost) else { return };
        host.lost = true;
        host.damaged = true;
        self.told(node, || "is needed no more".to_owned());
        self.stop(node, true);
    }
}

fn members(membership: &Membership) -> String {
    let members = membership.members.iter();
    let members: Vec<_> = members.map(|(node, it)| format!("{node} {}", it.role)).collect();
    members.join(", ")
}
