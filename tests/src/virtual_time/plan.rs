//! What a seed decides: the cluster, its weather, its faults and its work.
//!
//! As in the simulator each seed leaves some kinds of faults out (a "swarm").

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_core::{Member, MemberRole, Membership, NodeId, Quorums, Random};
use paxos_net::Codec;
use paxos_net::settings::{DetectorKind, LeadershipSettings, Policy};

use super::switch::{Traffic, Weather};
use crate::simulation::{TROUBLES, Trouble, aside, quorums};

/// One run, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster.
    pub setup: Setup,
    /// Clients, each with one operation outstanding.
    pub clients: u64,
    /// Operations of each client, at least; it works for as long as faults are on.
    pub operations: u64,
    /// Between two operations of a client, at most.
    pub pause: Duration,
    /// How datagrams fare while faults are on.
    pub weather: Weather,
    /// What befalls nodes, links, disks and clocks.
    pub troubles: BTreeSet<Trouble>,
    /// From one of them to the next, at most.
    pub calm: Duration,
    /// It is undone after this at most.
    pub lasts: Duration,
    /// Faults are on for this long, and until every kind has happened; then everything is healed.
    pub faults_for: Duration,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its acceptors, and what they need to agree.
    pub quorums: Quorums,
    /// Whether they are witnesses; else they are voters.
    pub witnesses: bool,
    /// Learners beside them, numbered on from there.
    pub learners: u64,
    /// Whether the last of these never leads: a read replica.
    pub read_replica: bool,
    /// How nodes and clients talk.
    pub codec: Codec,
    /// A sync takes up to this.
    pub sync: Duration,
    /// Now and then some syncs in a row take ten times as long.
    pub slow_syncs: bool,
    /// Each node's clock has an epoch of its own and runs at half to one and a half of the rate.
    pub drift: bool,
    /// Whether leases may be relied on: no clock does what the membership does not allow for.
    pub leases_hold: bool,
    /// How the nodes choose their leader.
    pub leadership: LeadershipSettings,
}

impl Setup {
    /// Majorities of so many voters, with good clocks and disks.
    ///
    /// # Errors
    /// In words; only if there are none.
    pub fn of_voters(count: u64, sync: Duration) -> Result<Self, String> {
        let quorums = Quorums::majority((1..=count).map(NodeId));
        let quorums = quorums.map_err(|error| error.to_string())?;
        Ok(Setup {
            quorums,
            witnesses: false,
            learners: 0,
            read_replica: false,
            codec: Codec::Binary,
            sync,
            slow_syncs: false,
            drift: false,
            leases_hold: true,
            leadership: LeadershipSettings::default(),
        })
    }

    /// The membership of nodes that are reached there, and those of them that never lead.
    ///
    /// # Errors
    /// In words; only if nobody accepts.
    pub fn membership(
        &self,
        address: impl Fn(NodeId) -> String,
    ) -> Result<(Membership, BTreeSet<NodeId>), String> {
        let accepts = if self.witnesses { MemberRole::Witness } else { MemberRole::Voter };
        let acceptors: Vec<_> = self.quorums.acceptors().collect();
        let first = acceptors.len() as u64 + 1;
        let learners = (first..first + self.learners).map(NodeId);
        let members = acceptors.into_iter().map(|node| (node, accepts));
        let members = members.chain(learners.clone().map(|node| (node, MemberRole::Learner)));
        let members = members.map(|(node, role)| (node, Member { role, address: address(node) }));
        let membership = Membership::of(members.collect()).map_err(|error| error.to_string())?;
        let quorums = self.quorums.clone();
        let silent = { learners }.next_back().filter(|_| self.read_replica);
        Ok((Membership { quorums, ..membership }, silent.into_iter().collect()))
    }

    /// Some are apart, drawn from what comes next without taking it: the others stay as they are.
    fn apart(self, random: &Random) -> Self {
        let mut random = random.clone();
        match (random.below(6), self.quorums.acceptors().count()) {
            // One learner is a read replica, since voters lead.
            (0, 2..=5) => Setup { learners: 1, read_replica: random.below(2) == 0, ..self },
            (1 | 2, 2..=4) => {
                let read_replica = random.below(2) == 0;
                let learners = 2 + u64::from(read_replica);
                Setup { witnesses: true, learners, read_replica, ..self }
            }
            _ => self,
        }
    }

    fn draw(random: &mut Random) -> Self {
        let count = [1, 3, 3, 3, 3, 4, 5, 5][random.below(8) as usize];
        let setup = Setup {
            quorums: quorums(random, count),
            witnesses: false,
            learners: 0,
            read_replica: false,
            codec: if random.below(4) == 0 { Codec::Json } else { Codec::Binary },
            sync: Duration::from_micros(500 + random.below(11_500)),
            slow_syncs: random.below(3) == 0,
            drift: random.below(3) == 0,
            leases_hold: true,
            leadership: leadership(random),
        };
        setup.apart(random)
    }

    /// The slowest that a clock may be, in thousandths of the rate of time.
    pub fn slowest(&self) -> u64 {
        if self.drift { 500 } else { 1000 }
    }
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &mut Random) -> Self {
        let mut setup = Setup::draw(random);
        let alone = setup.quorums.acceptors().count() as u64 + setup.learners == 1;
        let mut troubles = BTreeSet::new();
        // Nobody changes the membership here.
        for trouble in TROUBLES.into_iter().filter(|trouble| *trouble != Trouble::Change) {
            // The draw is made for every kind, so that leaving one out changes no other.
            let likely = if matches!(trouble, Trouble::Crash | Trouble::Cut) { 7 } else { 3 };
            let chosen = random.below(10) < likely;
            let possible = match trouble {
                Trouble::Cut | Trouble::Flap | Trouble::Transfer => !alone,
                _ => true,
            };
            if chosen && possible {
                troubles.insert(trouble);
            }
        }
        setup.leases_hold = !troubles.contains(&Trouble::Jump);
        let mut between = |low: u64, high: u64| low + random.below(high - low + 1);
        let millis = Duration::from_millis;
        let mut rate = || if between(0, 3) == 0 { 0 } else { between(10, 60) };
        let (loss, duplication, reordering) = (rate(), rate(), rate());
        Plan {
            setup,
            clients: between(2, 4),
            operations: between(15, 40),
            pause: millis(between(100, 600)),
            weather: Weather {
                delay: millis(between(1, 8)),
                jitter: millis(between(0, 12)),
                loss,
                duplication,
                reordering,
            },
            troubles,
            calm: millis(between(300, 2000)),
            lasts: millis(between(500, 4000)),
            faults_for: millis(between(5000, 10_000)),
        }
    }
}

/// Either policy, with either detector; drawn aside, so that no other draw changes.
fn leadership(random: &Random) -> LeadershipSettings {
    let (policy, detector) = match aside(random).below(4) {
        0 => (Policy::FailureDetector, Some(DetectorKind::Fixed)),
        1 => (Policy::FailureDetector, Some(DetectorKind::Phi)),
        _ => (Policy::Heartbeat, None),
    };
    LeadershipSettings { policy, detector, ..LeadershipSettings::default() }
}

/// What happened, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What became of datagrams.
    pub traffic: Traffic,
    /// Crashes that lost something which was not synced.
    pub torn: u64,
    /// Syncs that took ten times as long.
    pub slowed: u64,
    /// Troubles, by kind.
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Faults {
    /// Every kind, and how often it happened.
    pub fn by_kind(&self) -> impl Iterator<Item = (String, u64)> {
        let Traffic { lost, doubled, held, cut, .. } = self.traffic;
        let counts = [
            ("datagrams lost", lost),
            ("datagrams cut off", cut),
            ("datagrams doubled", doubled),
            ("datagrams held back", held),
            ("writes torn", self.torn),
            ("syncs slowed", self.slowed),
        ];
        let counts = counts.into_iter().map(|(kind, count)| (kind.to_owned(), count));
        counts.chain(self.troubles.iter().map(|(kind, count)| (format!("{kind:?}"), *count)))
    }

    /// Troubles that were planned and have not happened. Where no node can be spared for good, none
    /// is.
    pub fn overdue(&self, plan: &Plan) -> Vec<Trouble> {
        let happened = |kind: &&Trouble| !kind.is_for_good() && !self.troubles.contains_key(kind);
        plan.troubles.iter().filter(happened).copied().collect()
    }

    /// All that was planned and has not happened, in words.
    pub fn missing(&self, plan: &Plan) -> Vec<String> {
        let Weather { loss, duplication, reordering, .. } = plan.weather;
        let counts = [
            ("loss", loss > 0 && self.traffic.lost == 0),
            ("duplication", duplication > 0 && self.traffic.doubled == 0),
            ("reordering", reordering > 0 && self.traffic.held == 0),
            ("slow syncs", plan.setup.slow_syncs && self.slowed == 0),
        ];
        let counts = counts.into_iter().filter(|(_, missing)| *missing);
        let troubles = self.overdue(plan).into_iter().map(|kind| format!("{kind:?}"));
        counts.map(|(kind, _)| kind.to_owned()).chain(troubles).collect()
    }
}
