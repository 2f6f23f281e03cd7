//! What a seed decides: the cluster, its faults and its work.
//!
//! Each seed leaves some kinds of faults out and draws the rates of the others (a "swarm"; Groce et
//! al., *Swarm Testing*, 2012): a bug that one fault hides from another shows in some seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_core::{
    AcceptorOptions, ArchiveOptions, DetectorOptions, LeadershipOptions, LearnerOptions, Member,
    MemberRole, Membership, NodeId, PhiOptions, ProposerOptions, Quorums, Random, Rule,
    SessionLimits,
};

use super::services::Service;

/// One run, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who takes part, with which quorums and window.
    pub membership: Membership,
    /// What the clients use: the counter, unless somebody says otherwise.
    pub service: Service,
    /// Clients, each with one operation outstanding.
    pub clients: u64,
    /// Operations of each client.
    pub operations: u64,
    /// A client pauses for up to this between two operations.
    pub think: Duration,
    /// A message between nodes takes up to this.
    pub latency: Duration,
    /// Parts per thousand of the messages between nodes that are lost while faults are on.
    pub loss: u64,
    /// The same for what is sent to a node, where it differs.
    pub loss_to: BTreeMap<NodeId, u64>,
    /// Parts per thousand that come twice.
    pub duplication: u64,
    /// Parts per thousand that are held back long enough to be overtaken.
    pub reordering: u64,
    /// A sync takes up to this; now and then ten times as long.
    pub sync: Duration,
    /// What befalls nodes, links, disks and clocks: how often, on average, and for how long.
    pub troubles: BTreeMap<Trouble, Rhythm>,
    /// Members may get other roles.
    pub roles_change: bool,
    /// Learners that never lead: read replicas.
    pub read_replicas: BTreeSet<NodeId>,
    /// Clocks run at rates between half and one and a half.
    pub drift: bool,
    /// Proposers are told what is due; all of it must have happened when the run ends.
    pub alarms: bool,
    /// Faults are on for this long; then the world is healed.
    pub faults_for: Duration,
    /// What every node is set to.
    pub settings: Settings,
}

/// The options of a node's roles.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of its acceptor.
    pub acceptor: AcceptorOptions,
    /// Of its proposer.
    pub proposer: ProposerOptions,
    /// Of its learner.
    pub learner: LearnerOptions,
    /// Of its leadership.
    pub leadership: LeadershipOptions,
    /// Of its archive.
    pub archive: ArchiveOptions,
    /// When it makes snapshots, and how many it keeps.
    pub snapshots: SnapshotSettings,
}

/// When a node makes snapshots, and how many it keeps.
#[derive(Clone, Debug)]
pub struct SnapshotSettings {
    /// One is made of every so many bytes of values.
    pub every_bytes: u64,
    /// So many are kept.
    pub keep: usize,
}

impl Default for SnapshotSettings {
    fn default() -> Self {
        SnapshotSettings { every_bytes: 4096, keep: 2 }
    }
}

impl Settings {
    /// Time-outs as by default in half of the plans, and up to four times as long, as between far
    /// places; limits as by default in half of the plans, and so tight that they matter.
    fn draw(random: &mut Random) -> Self {
        let mut settings = Settings::default();
        let slower = 1 + random.below(7).saturating_sub(3) as u32;
        let Settings { acceptor, proposer, learner, leadership, archive, snapshots } =
            &mut settings;
        for time in [
            &mut proposer.retransmit,
            &mut proposer.confirm_every,
            &mut proposer.patience,
            &mut learner.fetch_after,
            &mut learner.fetch_timeout,
            &mut leadership.interval,
            &mut leadership.suspect_after,
            &mut leadership.spread,
            &mut archive.retry,
        ] {
            *time *= slower;
        }
        let (tight, in_flight) = (random.below(2) == 0, 1 + random.below(8));
        let (queue, values) = (1 + random.below(8), 1 + random.below(8));
        if tight {
            proposer.in_flight_max = in_flight as usize;
            proposer.queue_max = queue as usize;
            learner.fill_values = values as usize;
            acceptor.page_values = values as usize;
        }
        archive.piece_bytes = 32 + random.below(1024);
        // In every other plan a fetch takes so long that something may happen meanwhile.
        if archive.piece_bytes.is_multiple_of(2) {
            archive.piece_bytes = 32 + archive.piece_bytes / 32;
            archive.bytes_per_second = archive.piece_bytes * 8;
        }
        snapshots.every_bytes = 64 << random.below(9);
        snapshots.keep = 1 + random.below(3) as usize;
        settings
    }
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The average time from one to the next.
    pub every: Duration,
    /// It lasts up to this.
    pub lasts: Duration,
}

/// What can befall a node, a link, a disk or a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// A node loses everything that is not on its disk, and comes back.
    Crash,
    /// All nodes crash at once, again and again.
    Storm,
    /// A node stands still while time goes on.
    Pause,
    /// Some links carry nothing; see [`super::network::Shape`].
    Cut,
    /// A link goes and comes around the length of an election.
    Flap,
    /// A sync fails; the node stops.
    SyncFails,
    /// Nothing can be written; the node stops, and comes back when there is room.
    DiskFull,
    /// Bits of a stopped node's log change; it must refuse to start, for good.
    Rot,
    /// A sector of a stopped node's log is written over another; the same.
    Misdirected,
    /// A disk is gone; the same.
    DiskLost,
    /// A clock jumps ahead.
    Jump,
    /// The membership changes, if there is a change that the cluster can live with.
    Change,
    /// An operator has another node lead.
    Transfer,
}

impl Trouble {
    /// Whether a node never comes back from it.
    pub fn is_for_good(self) -> bool {
        matches!(self, Trouble::Rot | Trouble::Misdirected | Trouble::DiskLost)
    }

    /// Whether a plan with it is kept though it does not happen: no node can be spared, or no
    /// change of membership lived with.
    pub fn may_be_missing(self) -> bool {
        self.is_for_good() || self == Trouble::Change
    }
}

/// Every kind, in the order in which plans draw them.
pub const TROUBLES: [Trouble; 13] = [
    Trouble::Crash,
    Trouble::Storm,
    Trouble::Pause,
    Trouble::Cut,
    Trouble::Flap,
    Trouble::SyncFails,
    Trouble::DiskFull,
    Trouble::Rot,
    Trouble::Misdirected,
    Trouble::DiskLost,
    Trouble::Jump,
    Trouble::Change,
    Trouble::Transfer,
];

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &mut Random) -> Self {
        let membership = membership(random);
        let read_replicas = read_replicas(random, &membership);
        let faults_for = between(random, 20_000, 100_000);
        let mut troubles = BTreeMap::new();
        for trouble in TROUBLES {
            // The draws are made for every kind, so that leaving one out changes no other.
            let (chosen, part) = (random.below(10), 7 + random.below(8));
            let lasts = between(random, 20, 2500);
            let alone = membership.members.len() == 1;
            let likely = if matches!(trouble, Trouble::Crash) { 7 } else { 3 };
            if chosen < likely && !(alone && needs_company(trouble)) {
                let every = faults_for / part as u32;
                troubles.insert(trouble, Rhythm { every, lasts });
            }
        }
        let rate = |random: &mut Random, most: u64| match random.below(4) {
            0 => 0,
            _ => 20 + random.below(most),
        };
        // Some clients are done early, others work until the faults end, or beyond.
        let drift = random.below(3) == 0;
        let mut settings = Settings::draw(random);
        let membership = with_lease(random, membership, &settings, drift);
        let operations = 60 + random.below(80);
        let think = faults_for * (1 + random.below(50)) as u32 / (20 * operations as u32);
        settings.leadership.rule = rule(random, settings.leadership.interval);
        Plan {
            service: Service::default(),
            clients: 3 + random.below(6),
            operations,
            think,
            latency: Duration::from_micros(100 + random.below(20_000)),
            loss: rate(random, 200),
            loss_to: BTreeMap::new(),
            duplication: rate(random, 150),
            reordering: rate(random, 150),
            sync: Duration::from_micros(100 + random.below(20_000)),
            drift,
            alarms: operations.is_multiple_of(2),
            roles_change: troubles.contains_key(&Trouble::Change),
            read_replicas,
            troubles,
            faults_for,
            settings,
            membership,
        }
    }

    /// The same plan with loss, duplication, reordering and crashes, and with company to feel them.
    pub fn with_the_usual(self) -> Self {
        let every = self.faults_for / 6;
        let mut plan = if self.membership.members.len() < 3 { self.of_voters(3) } else { self };
        let usual = Rhythm { every, lasts: Duration::from_millis(800) };
        plan.troubles.entry(Trouble::Crash).or_insert(usual);
        let most = |rate: u64| rate.max(30);
        let (loss, duplication) = (most(plan.loss), most(plan.duplication));
        Plan { loss, duplication, reordering: most(plan.reordering), ..plan }
    }

    /// The same plan with clients of this service. The state of a chat is what was said in it, and
    /// is fetched in pieces that are so much larger.
    pub fn serving(mut self, service: Service) -> Self {
        if service == Service::Chat {
            let archive = &mut self.settings.archive;
            archive.piece_bytes *= 16;
            archive.bytes_per_second *= 16;
        }
        Plan { service, ..self }
    }

    /// The same plan with disks that take seconds to sync, and nothing else to suffer.
    pub fn with_slow_disks(self) -> Self {
        let plan = self.with_the_usual().only_reordering();
        Plan { sync: Duration::from_secs(1), operations: 3, clients: 2, reordering: 20, ..plan }
    }

    /// The same plan on a network that delays and reorders, and does nothing worse.
    pub fn only_reordering(self) -> Self {
        let troubles = BTreeMap::new();
        Plan { loss: 0, duplication: 0, reordering: 700, troubles, drift: false, ..self }
    }

    /// The same plan on a network that loses messages on their way to this node, and to no other,
    /// and nothing else to suffer.
    pub fn losing_to(self, node: NodeId, per_mille: u64) -> Self {
        let loss_to = BTreeMap::from([(node, per_mille)]);
        Plan { loss: 0, loss_to, troubles: BTreeMap::new(), ..self }
    }

    /// The same plan for so many voters with majority quorums.
    pub fn of_voters(self, count: u64) -> Self {
        let addresses = (1..=count).map(|id| (NodeId(id), format!("n{id}:1")));
        let Membership { alpha, lease, drift_ppm, .. } = self.membership;
        let membership =
            Membership::of_voters(addresses).and_then(|membership| membership.with_alpha(alpha));
        let membership = membership.expect("a cluster has nodes");
        let membership = Membership { lease, drift_ppm, ..membership };
        Plan { membership, read_replicas: BTreeSet::new(), ..self }
    }

    /// The same plan for so many witnesses with majority quorums, and so many learners.
    pub fn apart(self, witnesses: u64, learners: u64) -> Self {
        let mut plan = self.of_voters(witnesses);
        separate(&mut plan.membership, learners);
        plan
    }

    /// The same plan with another window of the log.
    pub fn with_window(mut self, alpha: u64) -> Self {
        self.membership.alpha = alpha.max(1);
        self
    }

    /// The same plan with leases of this length, for clocks of which none is faster than another by
    /// more than this, in parts per million.
    pub fn with_lease(mut self, lease: Duration, drift_ppm: u64) -> Self {
        (self.membership.lease, self.membership.drift_ppm) = (lease, drift_ppm);
        self
    }

    /// The same plan with leaderships by another rule.
    pub fn under(mut self, rule: &Rule) -> Self {
        self.settings.leadership.rule = rule.clone();
        self
    }

    /// Whether leases may be relied on: no clock does what the membership does not allow for.
    pub fn leases_hold(&self) -> bool {
        let drift = if self.drift { DRIFT_PPM } else { 0 };
        !self.troubles.contains_key(&Trouble::Jump) && self.membership.drift_ppm >= drift
    }

    /// Whether clocks run at one rate, and do not jump.
    pub fn clocks_are_fair(&self) -> bool {
        !self.drift && !self.troubles.contains_key(&Trouble::Jump)
    }

    /// Nodes that can propose and be asked by clients.
    pub fn fronts(&self) -> Vec<NodeId> {
        self.membership.learners().collect()
    }
}

fn between(random: &mut Random, low: u64, high: u64) -> Duration {
    Duration::from_millis(low + random.below(high - low + 1))
}

/// Half of the plans have the policy `heartbeat`, and a quarter each of the two detectors.
fn rule(random: &Random, interval: Duration) -> Rule {
    let phi = PhiOptions { floor: interval / 2, ..PhiOptions::default() };
    match aside(random).below(4) {
        0 => Rule::FailureDetector(DetectorOptions::Fixed),
        1 => Rule::FailureDetector(DetectorOptions::Phi(phi)),
        _ => Rule::Heartbeat,
    }
}

/// Draws that change none of those that follow.
pub(crate) fn aside(random: &Random) -> Random {
    Random::new(!random.clone().draw())
}

/// Of clocks at rates between half and one and a half, one runs three times as fast as another.
pub const DRIFT_PPM: u64 = 2_000_000;

fn needs_company(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Cut | Trouble::Flap | Trouble::Transfer)
}

/// Leases of a quarter of the silence after which a leader is missed, up to somewhat more than all
/// of it; none in a quarter of the plans.
fn with_lease(
    random: &mut Random,
    membership: Membership,
    settings: &Settings,
    drift: bool,
) -> Membership {
    let part = [0, 0, 2, 4, 6, 7, 8, 9][random.below(8) as usize];
    let lease = settings.leadership.suspect_after * part / 8;
    Membership { lease, drift_ppm: if drift { DRIFT_PPM } else { 50_000 }, ..membership }
}

/// One to seven acceptors, most often three or five, some of them witnesses in a third of the
/// plans, some learners beside them; majority, flexible or weighted quorums.
fn membership(random: &mut Random) -> Membership {
    let count = [3, 3, 3, 5, 5, 1, 2, 4, 6, 7][random.below(10) as usize];
    let apart = random.below(3) == 0;
    let mut members = BTreeMap::new();
    for id in 1..=count {
        // The first always proposes: there must be somebody.
        let witness = apart && id > 1 && random.below(2) == 0;
        let role = if witness { MemberRole::Witness } else { MemberRole::Voter };
        members.insert(NodeId(id), Member { role, address: format!("n{id}:1") });
    }
    if apart {
        for id in count + 1..=count + 1 + random.below(2) {
            let role = MemberRole::Learner;
            members.insert(NodeId(id), Member { role, address: format!("n{id}:1") });
        }
    }
    let learners = members.values().filter(|member| member.role.learns()).count() as u64;
    let mut membership = Membership {
        members,
        next_id: NodeId(0),
        quorums: quorums(random, count),
        alpha: 1 + random.below(32),
        lease: Duration::ZERO,
        drift_ppm: 0,
        sessions: SessionLimits::default(),
        snapshot_replicas: 1 + random.below(learners),
    };
    // Drawn from what comes next without taking it: whoever is not separated stays as it is.
    let mut apart_from_all = random.clone();
    if apart && apart_from_all.below(2) == 0 {
        // Most often so many learners that witnesses cut their logs.
        let enough = membership.quorums.expendable() as u64 + 1;
        let more = (enough + apart_from_all.below(2)).clamp(2, 5);
        let learners = if apart_from_all.below(4) == 0 { 2 } else { more };
        separate(&mut membership, learners);
        membership.snapshot_replicas = 1 + apart_from_all.below(learners);
    }
    membership.next_id = NodeId(membership.members.len() as u64 + 1);
    membership
}

/// No acceptor is a replica any more, and so many learners are beside them.
fn separate(membership: &mut Membership, learners: u64) {
    let acceptors: Vec<_> = membership.quorums.acceptors().collect();
    let member = |role, node: NodeId| (node, Member { role, address: format!("{node}:1") });
    let first = acceptors.len() as u64 + 1;
    let fronts = (first..first + learners).map(NodeId);
    let witnesses = acceptors.into_iter().map(|node| member(MemberRole::Witness, node));
    let fronts = fronts.map(|node| member(MemberRole::Learner, node));
    membership.members = witnesses.chain(fronts).collect();
    membership.next_id = NodeId(first + learners);
}

/// In a third of the plans one learner never leads, if another replica could.
fn read_replicas(random: &Random, membership: &Membership) -> BTreeSet<NodeId> {
    let mut random = random.clone();
    let learners: Vec<_> = membership.learners().collect();
    let last = learners.last().filter(|last| !membership.quorums.contains(**last));
    last.filter(|_| learners.len() > 1 && random.below(3) == 0).copied().into_iter().collect()
}

/// Majorities of so many acceptors in half of the draws, else flexible or weighted quorums.
pub(crate) fn quorums(random: &mut Random, count: u64) -> Quorums {
    let acceptors = (1..=count).map(NodeId);
    let quorums = match random.below(4) {
        0 => {
            let phase2 = 1 + random.below(count);
            Quorums::flexible(acceptors, count + 1 - phase2, phase2)
        }
        1 => {
            let weights: BTreeMap<_, _> =
                acceptors.map(|node| (node, 1 + random.below(3))).collect();
            let total: u64 = weights.values().sum();
            Quorums::weighted(weights, total / 2 + 1, total / 2 + 1)
        }
        _ => Quorums::majority(acceptors),
    };
    quorums.expect("the thresholds exceed the total")
}

/// What happened, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages lost by chance.
    pub lost: u64,
    /// Messages that met a cut link.
    pub cut: u64,
    /// Messages that came twice.
    pub duplicated: u64,
    /// Messages held back.
    pub reordered: u64,
    /// Crashes that lost something which was not synced.
    pub torn: u64,
    /// Troubles, by kind.
    pub troubles: BTreeMap<Trouble, u64>,
}

impl Faults {
    /// All of them, messages aside.
    pub fn total(&self) -> u64 {
        self.troubles.values().sum()
    }

    /// Every kind that happened, and how often.
    pub fn by_kind(&self) -> impl Iterator<Item = (String, u64)> {
        let messages = [
            ("messages lost", self.lost),
            ("messages cut off", self.cut),
            ("messages doubled", self.duplicated),
            ("messages held back", self.reordered),
            ("writes torn", self.torn),
        ];
        let messages = messages.into_iter().map(|(kind, count)| (kind.to_owned(), count));
        messages.chain(self.troubles.iter().map(|(kind, count)| (format!("{kind:?}"), *count)))
    }

    /// The kinds that were planned and did not happen.
    pub fn missing(&self, plan: &Plan) -> Vec<String> {
        let company = plan.membership.members.len() > 1;
        let planned = |rate: u64| rate > 0 && company;
        let loss = plan.loss.max(plan.loss_to.values().max().copied().unwrap_or_default());
        let messages = [
            ("loss", planned(loss) && self.lost == 0),
            ("duplication", planned(plan.duplication) && self.duplicated == 0),
            ("reordering", planned(plan.reordering) && self.reordered == 0),
        ];
        let messages = messages.into_iter().filter(|(_, missing)| *missing);
        // Where no node can be spared for good, none is.
        let happened =
            |kind: &&Trouble| !kind.may_be_missing() && !self.troubles.contains_key(kind);
        let troubles = plan.troubles.keys().filter(happened);
        messages
            .map(|(kind, _)| kind.to_owned())
            .chain(troubles.map(|kind| format!("{kind:?}")))
            .collect()
    }
}
