//! What is searched: the cluster, and the bounds that make its histories finite.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use paxos_core::{
    AcceptorMessage, Configurations, Envelope, Member, MemberRole, Membership, Message, NodeId,
    Origin, Proposal, ProposerMessage, Quorums, Reconfigure, RoleKind, SessionLimits, Slot,
    receivers,
};

use super::change::Change;

/// Two rival proposers, some acceptors, and the bounds of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// What the table calls it.
    pub name: &'static str,
    /// How many acceptors, under all memberships together.
    pub acceptors: u64,
    /// How many of the first ones make a phase 1 quorum.
    pub phase1: u64,
    /// How many of them make a phase 2 quorum.
    pub phase2: u64,
    /// Where the proposers are.
    pub placement: Placement,
    /// The last slot: what is proposed for a slot beyond it is lost on the way. Also the window, if
    /// the membership does not change.
    pub slots: u64,
    /// Values in a page of a promise.
    pub page_values: usize,
    /// Campaigns of each proposer, counted over its runs.
    pub campaigns: u64,
    /// Commands that clients ask each proposer to propose: the first as soon as it campaigns, the
    /// others at any time.
    pub commands: usize,
    /// Whether acceptors crash and come back, any number of times and keeping any part of what was
    /// not synced.
    pub crashes: bool,
    /// How often each node with a proposer does so.
    pub restarts: u64,
    /// Whether a refusal reaches its proposer; without, all are lost.
    pub nacks: bool,
    /// Whether there are learners.
    pub learners: bool,
    /// Drains that may wait for a disk; an acceptor with so many drops what it is sent. With 0 all
    /// is synced at once: while nothing crashes, a wait for a disk and one in the network are the
    /// same.
    pub unsynced: usize,
    /// Whether what roles of one node tell each other arrives at once.
    pub prompt: bool,
    /// A change of membership, which goes before the commands.
    pub change: Option<Change>,
}

/// Which roles live together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Every acceptor on a node of its own; proposer and learner on two nodes behind them.
    Separate,
    /// The first two acceptors share their nodes with proposer and learner.
    Collapsed,
}

impl Configuration {
    /// Three acceptors, majorities, one slot, proposers on nodes of their own with one campaign
    /// and one command each; refusals are lost, nothing crashes and nobody learns.
    pub const SMALL: Configuration = Configuration {
        name: "majority of 3",
        acceptors: 3,
        phase1: 2,
        phase2: 2,
        placement: Placement::Separate,
        slots: 1,
        page_values: 1,
        campaigns: 1,
        commands: 1,
        crashes: false,
        restarts: 0,
        nacks: false,
        learners: false,
        unsynced: 0,
        prompt: false,
        change: None,
    };

    /// Three acceptors; phase 1 asks all, phase 2 one. Few states, and every acceptor matters.
    pub const FLEXIBLE: Configuration = Configuration { phase1: 3, phase2: 1, ..Self::SMALL };

    /// The same of two acceptors.
    pub const PAIR: Configuration = Configuration { acceptors: 2, phase1: 2, ..Self::FLEXIBLE };

    /// One acceptor, then another one.
    pub const REPLACED: Configuration = Self::changing("replaced", &[1], [&[2], &[]], 1);

    /// One acceptor, then two.
    pub const JOINED: Configuration = Self::changing("joined", &[1], [&[1, 2], &[]], 1);

    /// The same as `replaced`, with a slot between the change and what it governs.
    pub const AHEAD: Configuration = Self::changing("ahead", &[1], [&[2], &[]], 2);

    /// One acceptor, and a quarrel about who comes then.
    pub const RIVALS: Configuration = Self::changing("rivals", &[1], [&[2], &[1, 2]], 1);

    /// What `cargo run --release -p paxos-tests --bin model` searches.
    pub fn every() -> Vec<Configuration> {
        let (majority, flexible, pair) = (Self::SMALL, Self::FLEXIBLE, Self::PAIR);
        let pages = Configuration { commands: 2, ..pair.with_two_slots() };
        vec![
            majority.refusing().named("nacks"),
            majority.crashing(1).named("crashes"),
            pair.crashing(2).named("tail"),
            flexible.crashing(0).restarting().shared().named("synced"),
            pair.crashing(1).restarting().shared().named("restarts"),
            flexible.learning().shared().named("inside"),
            flexible.with_two_slots().named("slots"),
            pages.crashing(1).named("pages"),
            pair.with_two_rounds().crashing(1).named("rounds"),
            Self::REPLACED,
            Self::JOINED,
            Self::changing("moved", &[1, 2], [&[2, 3], &[]], 1),
            Self::RIVALS,
            Self::AHEAD,
            Self::RIVALS.refusing().named("refused"),
            Self::RIVALS.restarting().named("resumed"),
            Self::RIVALS.crashing(1).named("unsynced"),
        ]
    }

    /// What takes too long for every commit.
    pub fn large() -> Vec<Configuration> {
        let (majority, flexible) = (Self::SMALL, Self::FLEXIBLE);
        vec![
            flexible.learning().refusing().named("learners-3"),
            flexible.crashing(2).named("tail-3"),
            flexible.with_two_rounds().named("rounds-3"),
            flexible.with_two_slots().crashing(1).named("slots-3"),
            flexible.crashing(1).restarting().shared().named("restarts-3"),
            majority.learning().named("learners-majority"),
            majority.with_two_slots().named("slots-majority"),
            Self::JOINED.refusing().named("joined-refused"),
        ]
    }

    /// Rivals that change the membership, and propose a command each.
    const fn changing(
        name: &'static str,
        before: &'static [u64],
        into: [&'static [u64]; 2],
        alpha: u64,
    ) -> Configuration {
        let (change, majority) = (Change { before, into, alpha }, before.len() as u64 / 2 + 1);
        Configuration {
            name,
            acceptors: change.acceptors(),
            phase1: majority,
            phase2: majority,
            slots: 1 + change.alpha,
            page_values: 8,
            commands: 2,
            learners: true,
            prompt: true,
            change: Some(change),
            ..Self::SMALL
        }
    }

    fn named(self, name: &'static str) -> Self {
        Configuration { name, ..self }
    }

    fn refusing(self) -> Self {
        Configuration { nacks: true, ..self }
    }

    fn learning(self) -> Self {
        Configuration { learners: true, ..self }
    }

    fn crashing(self, unsynced: usize) -> Self {
        Configuration { crashes: true, unsynced, ..self }
    }

    fn restarting(self) -> Self {
        Configuration { restarts: 1, ..self }
    }

    fn shared(self) -> Self {
        Configuration { placement: Placement::Collapsed, ..self }
    }

    fn with_two_slots(self) -> Self {
        Configuration { slots: 2, ..self }
    }

    fn with_two_rounds(self) -> Self {
        Configuration { campaigns: 2, ..self }
    }

    /// Crashes at most, of a node without a proposer, and of one with.
    pub fn crash_bounds(&self) -> String {
        let acceptors = if self.crashes { "any" } else { "none" };
        match self.restarts {
            0 => acceptors.to_owned(),
            restarts => format!("{acceptors}, {restarts}"),
        }
    }

    /// What else happens.
    pub fn also(&self) -> String {
        let also = [
            (self.change.is_some(), "change"),
            (self.placement == Placement::Collapsed, "shared"),
            (self.nacks, "nacks"),
            (self.learners, "learners"),
        ];
        let words: Vec<_> = also.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        words.join(", ")
    }

    /// The nodes, from 1 on; those with an acceptor come first.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let front_ends = match self.placement {
            Placement::Separate => 2,
            Placement::Collapsed => 0,
        };
        (1..=self.acceptors + front_ends).map(NodeId)
    }

    /// Whether the role is on the node.
    pub fn hosts(&self, node: NodeId, kind: RoleKind) -> bool {
        let accepts = node.0 <= self.acceptors;
        let proposes = match self.placement {
            Placement::Separate => !accepts,
            Placement::Collapsed => node.0 <= 2,
        };
        match kind {
            RoleKind::Acceptor => accepts,
            RoleKind::Proposer => proposes,
            RoleKind::Learner => proposes && self.learners,
            RoleKind::Leadership | RoleKind::Archive => false,
        }
    }

    /// Whether a node in its `incarnation`-th run may crash.
    pub fn crashes(&self, node: NodeId, incarnation: u64) -> bool {
        match self.hosts(node, RoleKind::Proposer) {
            true => incarnation <= self.restarts,
            false => self.crashes,
        }
    }

    /// Whether what the node writes can ever be read again.
    pub fn has_disk(&self, node: NodeId) -> bool {
        self.hosts(node, RoleKind::Acceptor) || self.restarts > 0
    }

    /// Whether a message has a role to go to and stays within the bounds.
    pub fn carries(&self, envelope: &Envelope) -> bool {
        let within = match &envelope.message {
            Message::Acceptor(AcceptorMessage::Accept { slot, .. }) => *slot <= Slot(self.slots),
            Message::Proposer(ProposerMessage::Nack { .. }) => self.nacks,
            _ => true,
        };
        within && receivers(&envelope.message).iter().any(|kind| self.hosts(envelope.to, *kind))
    }

    /// The quorums of the first membership.
    ///
    /// # Panics
    /// If they need not meet.
    pub fn quorums(&self) -> Quorums {
        let every: Vec<u64> = (1..=self.acceptors).collect();
        let acceptors = self.change.map_or(&every[..], |change| change.before);
        Quorums::flexible(acceptors.iter().copied().map(NodeId), self.phase1, self.phase2)
            .expect("a configuration of the model has quorums that meet")
    }

    /// The first membership.
    pub fn membership(&self) -> Membership {
        self.membership_of(self.quorums())
    }

    /// The membership that every role begins with.
    pub fn genesis(&self) -> Configurations {
        Configurations::genesis(self.membership())
    }

    /// What a client asks of the proposer of a node: the change of membership first, if the
    /// proposer has one to make.
    ///
    /// # Panics
    /// If the quorums of the new membership need not meet.
    pub fn asked(&self, node: NodeId, ticket: usize) -> Proposal {
        let rivals = self.nodes().filter(|node| self.hosts(*node, RoleKind::Proposer));
        let into = self.change.and_then(|change| {
            let place = rivals.take_while(|rival| *rival != node).count();
            change.into.get(place).copied().filter(|into| ticket == 0 && !into.is_empty())
        });
        let Some(into) = into else {
            return Proposal::Commands(Bytes::from(format!("{node}/{ticket}")));
        };
        let quorums = self.quorums().of(into.iter().copied().map(NodeId));
        let membership = self.membership_of(quorums.expect("they meet as those of before do"));
        let origin = Origin { node, incarnation: 1, number: 1 };
        let (base, by) = (Slot::FIRST, String::new());
        Proposal::Reconfigure(Box::new(Reconfigure { base, membership, origin, by }))
    }

    fn membership_of(&self, quorums: Quorums) -> Membership {
        let member = |node| {
            let accepts = quorums.contains(node);
            let learns = self.hosts(node, RoleKind::Learner) || self.change.is_some();
            let role = match (accepts, learns) {
                (true, true) => MemberRole::Voter,
                (true, false) => MemberRole::Witness,
                (false, _) => MemberRole::Learner,
            };
            (node, Member { role, address: String::new() })
        };
        let members: BTreeMap<_, _> = self.nodes().map(member).collect();
        Membership {
            next_id: NodeId(members.len() as u64 + 1),
            members,
            quorums,
            alpha: self.change.map_or(self.slots, |change| change.alpha),
            lease: Duration::ZERO,
            drift_ppm: 0,
            sessions: SessionLimits::default(),
            snapshot_replicas: 1,
        }
    }
}
