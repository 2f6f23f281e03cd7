//! The policies of leadership: a leader that is suspected is replaced.
//!
//! Both beat, hand over, resign and stay with a quorum alike. They differ in who judges that a
//! leader is gone, and in whose turn it is then: see [`Rule`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detector::{AnyDetector, Detector, DetectorOptions};
use crate::effect::Took;
use crate::handover::{self, HandOver};
use crate::leadership::{Event, Leadership, Outbox};
use crate::membership::Configurations;
use crate::message::{Heartbeat, Resignation};
use crate::random::Random;
use crate::status::Status;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::view::View;

/// Who judges that a leader is gone, and whose turn it is then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// The policy `heartbeat`: a leader that was silent for a fixed time is gone, and everybody's
    /// turn comes at a random moment.
    #[default]
    Heartbeat,
    /// The policy `failure-detector`: a detector judges, and turns go by rank, the first at once.
    ///
    /// This is the rule of Omega (Chandra, Hadzilacos & Toueg, *The Weakest Failure Detector for
    /// Solving Consensus*, JACM 1996) without its restlessness: everybody trusts the same node in
    /// the end, but a leader that is trusted is never deposed for one of a better rank. A suspicion
    /// that proves false is taken back, and a campaign that waits for its turn with it.
    FailureDetector(DetectorOptions),
}

/// Time-outs of a leadership, and its rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeadershipOptions {
    /// Who judges, and whose turn it is. Default: the policy `heartbeat`.
    pub rule: Rule,
    /// How often a node says that it lives. Default: 50 ms.
    pub interval: Duration,
    /// A leader silent for this long is no longer heard, unless a detector judges otherwise; what
    /// others say of what they hear counts for so long. Default: 250 ms.
    pub suspect_after: Duration,
    /// By the policy `heartbeat` a campaign begins at a random moment within this time. By
    /// `failure-detector` each leaves so much time to everybody whose turn comes before, and a
    /// random part of it more once a campaign has failed. Doubled after each failed one, 64-fold at
    /// most. Default: 100 ms.
    pub spread: Duration,
    /// For so long a leader that hands over waits for its successor to be level; it takes no
    /// commands meanwhile, and goes on leading afterwards. Default: 1 s.
    pub hand_over: Duration,
    /// Whether a proposer of the same node can campaign; a node without one beats and tells what it
    /// hears. Default: true.
    pub campaigns: bool,
}

impl Default for LeadershipOptions {
    fn default() -> Self {
        LeadershipOptions {
            rule: Rule::default(),
            interval: Duration::from_millis(50),
            suspect_after: Duration::from_millis(250),
            spread: Duration::from_millis(100),
            hand_over: Duration::from_secs(1),
            campaigns: true,
        }
    }
}

/// A leadership by one of the rules; quorum-connected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    me: NodeId,
    incarnation: u64,
    options: LeadershipOptions,
    random: Random,
    view: View,
    detector: AnyDetector,
    /// The length of a leader lease: as long as one may stand, campaigns are in vain, and those of
    /// several nodes would wait together and then chase each other.
    lease: Duration,
    stage: Stage,
    /// The leader that is heard.
    leader: Option<Ballot>,
    /// Leaders of a lower ballot no longer count.
    floor: Ballot,
    /// This node's last ballot that was given up: messages inside a node overtake each other, and
    /// word of its election may come after.
    given_up: Ballot,
    campaign_at: Time,
    beat_at: Time,
    sequence: u64,
    /// The first slot that the newest snapshot here does not cover.
    saved: Slot,
    failures: u32,
    handing: Option<HandOver>,
    begun: Time,
    /// Since when there has been no leader, or one has handed over to this node.
    vacant_since: Time,
    /// When this node was elected last.
    elected_at: Time,
    now: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Stage {
    Following,
    Campaigning,
    Leading(Ballot),
}

impl Policy {
    /// The policy of node `me`, whose `incarnation`-th run begins `now`.
    pub fn new(
        me: NodeId,
        incarnation: u64,
        options: LeadershipOptions,
        genesis: Configurations,
        seed: u64,
        now: Time,
    ) -> Self {
        let lease = genesis.newest().1.lease;
        let view = View::new(me, genesis, options.suspect_after);
        let detector = match &options.rule {
            Rule::Heartbeat => &DetectorOptions::Fixed,
            Rule::FailureDetector(detector) => detector,
        };
        let detector = AnyDetector::new(detector, options.interval, options.suspect_after);
        let mut policy = Policy {
            me,
            incarnation,
            options,
            random: Random::new(seed),
            view,
            detector,
            lease,
            stage: Stage::Following,
            leader: None,
            floor: Ballot::ZERO,
            given_up: Ballot::ZERO,
            campaign_at: now,
            beat_at: now,
            sequence: 0,
            saved: Slot(0),
            failures: 0,
            handing: None,
            begun: now,
            vacant_since: now,
            elected_at: now,
            now,
        };
        // Acceptors that start, too, are silent for so long.
        policy.postpone(now.after(lease));
        policy
    }

    /// Doubles with every failed campaign: where promises take long, so must the pauses.
    fn backoff(&self) -> u32 {
        1 << self.failures.min(6)
    }

    /// Chooses the moment of the next campaign.
    fn postpone(&mut self, earliest: Time) {
        let spread = self.options.spread * self.backoff();
        let pause = match self.options.rule {
            Rule::Heartbeat => self.random.duration_below(spread),
            // Two that have failed must not meet again and again.
            Rule::FailureDetector(_) if self.failures > 0 => {
                spread * self.rank() + self.random.duration_below(spread)
            }
            Rule::FailureDetector(_) => spread * self.rank(),
        };
        self.campaign_at = earliest.after(pause);
    }

    /// How many others come before this node. Who has just begun has not heard all of them yet.
    fn rank(&self) -> u32 {
        let begins = self.now.since(self.begun) < self.options.suspect_after;
        self.view.rank(|peer| begins || !self.detector.suspects(peer, self.now))
    }

    fn beat(&mut self, now: Time, out: &mut Outbox<'_>) {
        self.beat_at = now.after(self.options.interval);
        self.sequence += 1;
        let leading = match self.stage {
            Stage::Leading(ballot) => Some(ballot),
            Stage::Following | Stage::Campaigning => None,
        };
        let heartbeat = Heartbeat {
            incarnation: self.incarnation,
            sequence: self.sequence,
            sent: now,
            leading,
            hears: self.leader,
            next: self.view.next(),
            saved: self.saved,
            campaigns: self.options.campaigns,
        };
        for peer in self.view.others(now) {
            out.heartbeat(peer, heartbeat.clone());
        }
    }

    fn heard(&mut self, now: Time, from: NodeId, heartbeat: &Heartbeat, out: &mut Outbox<'_>) {
        if !self.view.hear(now, from, heartbeat) {
            return;
        }
        let claim = heartbeat
            .leading
            .filter(|ballot| ballot.is_sound() && ballot.node == from && *ballot >= self.floor);
        // A leader of the past must not be trusted for saying so: it would keep everybody waiting.
        if claim.is_some() || heartbeat.leading.is_none() {
            self.detector.heartbeat(from, heartbeat.sequence, heartbeat.sent, now);
        }
        self.hand_over_if_level(from, heartbeat, out);
        let Some(ballot) = claim else {
            return self.lost_if_deposed(now, from, heartbeat, out);
        };
        self.floor = ballot;
        if let Stage::Leading(mine) = self.stage {
            return out.resign(mine);
        }
        if self.leader != Some(ballot) && !self.detector.suspects(from, now) {
            out.led(Some(ballot), format!("{from} leads with {ballot}"));
            self.failures = 0;
            self.leader = Some(ballot);
        }
    }

    /// A leader that says itself that it does not lead any more need not be waited for.
    fn lost_if_deposed(
        &mut self,
        now: Time,
        from: NodeId,
        heartbeat: &Heartbeat,
        out: &mut Outbox<'_>,
    ) {
        let known = self.leader.filter(|ballot| ballot.node == from);
        if known.is_some() && heartbeat.leading.is_none() {
            out.led(None, format!("{from} says that it no longer leads"));
            self.lose(now, out);
            self.postpone(now.after(self.lease));
        }
    }

    /// No leader is heard any more; everybody is told at once.
    fn lose(&mut self, now: Time, out: &mut Outbox<'_>) {
        self.leader = None;
        self.vacant_since = now;
        self.postpone(now);
        self.beat(now, out);
    }

    /// Does what is due.
    fn tick(&mut self, now: Time, out: &mut Outbox<'_>) {
        if let (Some(ballot), Stage::Following | Stage::Campaigning) = (self.leader, &self.stage)
            && self.detector.suspects(ballot.node, now)
        {
            let heard = self.view.heard_at(ballot.node).unwrap_or(now);
            let why = self.detector.evidence(ballot.node, now);
            out.led_after(Took::Detect(now.since(heard)), None, why);
            self.lose(now, out);
            if self.options.rule != Rule::Heartbeat {
                self.postpone(now.max(self.lease_ends(ballot.node)));
            }
        }
        if self.waits_to_campaign() && self.campaign_at <= now {
            if self.view.quorum_hears_no_leader(now) {
                self.stage = Stage::Campaigning;
                out.campaign(None);
            } else if self.options.rule == Rule::Heartbeat {
                self.postpone(now.after(self.options.interval));
            }
            // By a detector it goes on waiting: what is missing comes with a heartbeat.
        }
        self.hand_over_ends(now, out);
        if self.beat_at <= now {
            self.beat(now, out);
        }
    }

    /// When nobody lends to a leader any more that died with its last heartbeat: it asks for leases
    /// as often as it beats. A detector may be faster; a campaign is in vain until then.
    fn lease_ends(&self, leader: NodeId) -> Time {
        match self.view.heard_at(leader) {
            Some(heard) if self.lease > Duration::ZERO => {
                heard.after(self.lease + self.options.interval)
            }
            _ => self.now,
        }
    }

    fn waits_to_campaign(&self) -> bool {
        self.stage == Stage::Following
            && self.leader.is_none()
            && self.options.campaigns
            && self.view.may_lead()
            && !self.is_suspected()
    }

    fn hand_over(&mut self, now: Time, to: Option<NodeId>, out: &mut Outbox<'_>) {
        let Stage::Leading(ballot) = self.stage else { return };
        let others = self.view.others(now);
        let willing = |node: &NodeId| {
            self.view.campaigns(*node)
                && handover::may_lead(*node, self.me, to, self.view.membership())
        };
        if self.handing.is_some() {
            return;
        }
        if others.iter().any(willing) {
            self.handing = Some(HandOver::new(ballot, to, now, self.options.hand_over));
            out.yield_until(ballot, now.after(self.options.hand_over));
        } else if let Some(to) = to.filter(|to| *to != self.me) {
            let why = format!("{} leads on: {to} is not there, or never leads", self.me);
            out.led(Some(ballot), why);
        }
    }

    /// Whether a detector outside says of this node itself that it is suspected.
    fn is_suspected(&self) -> bool {
        self.detector.suspicion(self.me, self.now) > 0.0
    }

    fn hand_over_if_suspected(&mut self, now: Time, out: &mut Outbox<'_>) {
        if self.is_suspected() {
            self.hand_over(now, None, out);
        }
    }

    /// A leader that the membership leaves out hands over to one of its members, or gives up.
    fn leave_if_left_out(&mut self, now: Time, out: &mut Outbox<'_>) {
        if let Stage::Leading(ballot) = self.stage
            && !self.view.may_lead()
            && self.handing.is_none()
        {
            self.hand_over(now, None, out);
            if self.handing.is_none() {
                out.resign(ballot);
            }
        }
    }

    /// The heartbeats of the successor say how far it is. Each asks the proposer anew, which does
    /// it once.
    fn hand_over_if_level(&mut self, from: NodeId, heartbeat: &Heartbeat, out: &mut Outbox<'_>) {
        let Some(handing) = &self.handing else { return };
        let suits = handing.suits(from, heartbeat, self.view.membership());
        if suits && !self.detector.suspects(from, self.now) {
            out.hand_over(handing.ballot, from);
        }
    }

    fn hand_over_ends(&mut self, now: Time, out: &mut Outbox<'_>) {
        let Some(over) = self.handing.take_if(|handing| handing.until <= now) else { return };
        if !self.view.may_lead() {
            return out.resign(over.ballot);
        }
        out.led(Some(over.ballot), format!("{} leads on: {}", self.me, over.failure()));
    }

    fn elected(&mut self, now: Time, ballot: Ballot, out: &mut Outbox<'_>) {
        if ballot <= self.given_up {
            return;
        }
        self.stage = Stage::Leading(ballot);
        self.leader = Some(ballot);
        self.floor = self.floor.max(ballot);
        self.failures = 0;
        self.handing = None;
        let took = Took::Elect(now.since(self.vacant_since));
        out.led_after(took, Some(ballot), "a phase 1 quorum has promised".to_owned());
        self.elected_at = now;
        self.beat(now, out);
    }

    fn resigned(&mut self, now: Time, ballot: Ballot, why: Resignation, out: &mut Outbox<'_>) {
        self.given_up = self.given_up.max(ballot);
        if matches!(self.stage, Stage::Leading(newer) if newer > ballot) {
            return;
        }
        self.stage = Stage::Following;
        self.handing = None;
        self.failures += 1;
        if self.leader == Some(ballot) {
            let pause = match why {
                Resignation::HandedOver(_) => self.lease + self.options.suspect_after,
                _ => self.lease,
            };
            let why = match why {
                Resignation::Outvoted(by) => format!("outvoted by {by}"),
                Resignation::NoQuorum(silence) => {
                    format!("no quorum answered for {} ms", silence.as_millis())
                }
                Resignation::Behind(cut) => {
                    format!("slots below {cut} were cut and could not be learned")
                }
                Resignation::Told => "another leader is heard".to_owned(),
                Resignation::HandedOver(to) => format!("it handed over to {to}"),
            };
            out.led(None, format!("{} resigned: {why}", self.me));
            self.lose(now, out);
            self.postpone(now.after(pause));
        } else {
            self.postpone(now);
        }
    }
}

impl Leadership for Policy {
    fn handle(&mut self, now: Time, event: Event, out: &mut Outbox<'_>) {
        // As long as this node did not run, silence proves nothing. After a standstill mail may
        // come before the timer does.
        let late = self.next_deadline().map_or(Duration::ZERO, |due| now.since(due));
        if late > self.options.interval {
            self.detector.excuse(late, now);
        }
        self.now = now;
        match event {
            Event::Heard(from, heartbeat) => self.heard(now, from, &heartbeat, out),
            Event::Succeed(ballot) => {
                let able = self.options.campaigns && self.stage == Stage::Following;
                if able && ballot >= self.floor {
                    self.stage = Stage::Campaigning;
                    self.vacant_since = now;
                    out.campaign(Some(ballot));
                }
            }
            Event::Advanced(next, configurations) => {
                self.view.advance(next, configurations);
                self.leave_if_left_out(now, out);
            }
            Event::Settled(from) => {
                self.view.settle(from);
                self.detector.retain(&self.view.others(now).into_iter().collect());
            }
            Event::Suspected(peer, why) => {
                self.detector.tell(peer, Some(why));
                self.hand_over_if_suspected(now, out);
            }
            Event::Trusted(peer) => self.detector.tell(peer, None),
            Event::Seen(ballot) => {
                self.floor = self.floor.max(ballot);
                if ballot.node != self.me {
                    self.postpone(now.after(self.options.suspect_after * self.backoff()));
                }
            }
            Event::Elected(ballot) => self.elected(now, ballot, out),
            Event::Resigned(ballot, reason) => self.resigned(now, ballot, reason, out),
            Event::Transfer(to) => self.hand_over(now, to, out),
            Event::Drained(ballot, next) => {
                if let Some(handing) = self.handing.as_mut().filter(|it| it.ballot == ballot) {
                    handing.drained(next);
                }
            }
            Event::Saved(upto) => self.saved = self.saved.max(upto),
            Event::Ready(ballot) if self.stage == Stage::Leading(ballot) => {
                let took = Took::Ready(now.since(self.elected_at));
                let why = "the first slot of its leadership is chosen".to_owned();
                out.led_after(took, Some(ballot), why);
            }
            Event::Ready(_) | Event::Timeout => {}
        }
        self.tick(now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        let mut deadline = self.beat_at;
        if let Some(handing) = &self.handing {
            deadline = deadline.min(handing.until);
        }
        match (&self.stage, &self.leader) {
            (Stage::Leading(_), _) => {}
            (_, Some(leader)) => {
                if let Some(suspicion) = self.detector.deadline(leader.node) {
                    deadline = deadline.min(suspicion);
                }
            }
            // A campaign that waits for others needs no alarm.
            (_, None) if self.waits_to_campaign() && self.campaign_at > self.now => {
                deadline = deadline.min(self.campaign_at);
            }
            (_, None) => {}
        }
        Some(deadline)
    }

    fn leader(&self) -> Option<Ballot> {
        self.leader
    }

    fn describe(&self, status: &mut Status) {
        status.leader = self.leader;
        self.view.describe(self.now, status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{Effect, Input, Role};
    use crate::leadership::Elector;
    use crate::membership::Membership;
    use crate::message::{Inside, Message};

    #[test]
    fn an_election_heard_of_after_its_end_is_over() {
        let me = NodeId(1);
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        let genesis = Configurations::genesis(Membership::of_voters(voters).unwrap());
        let options = LeadershipOptions::default();
        let policy = Policy::new(me, 1, options, genesis, 1, Time(0));
        let mut elector = Elector::new(me, policy);
        let ballot = Ballot { round: 1, node: me, incarnation: 1 };
        let mut out: Vec<Effect> = Vec::new();
        for inside in
            [Inside::Resigned { ballot, reason: Resignation::Told }, Inside::Elected { ballot }]
        {
            let input = Input::Message(me, Message::Inside(inside));
            elector.handle(Time(10), input, &mut out);
        }
        assert_eq!(elector.policy().leader(), None);
    }
}
