//! Bugs of leader leases.

use std::time::Duration;

use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Configurations, Effect, Envelope, Input,
    Inside, LeadershipMessage, Membership, Message, NodeId, Promise, Proposer, ProposerMessage,
    ProposerOptions, ReadLevel, Recovered, Role, Slot, Time,
};
use serde_json::json;

use super::How::{Script, Seeds};
use super::plants::{acceptors, edit, proposers};
use super::{Against, Canary};
use crate::simulation::{Actor, Plan, Plant, Rhythm, Settings, Trouble};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "lends-to-the-deposed",
        against: Against::Safety,
        rule: "an acceptor lends nothing to who leads below its promise",
        source: "S13",
        how: Seeds(contested),
        plant: lends_to_the_deposed,
    },
    Canary {
        id: "campaigns-pass-any-lease",
        against: Against::Safety,
        rule: "who has lent promises nothing to other nodes",
        source: "C6",
        how: Seeds(contested),
        plant: campaigns_pass_any_lease,
    },
    Canary {
        id: "restart-ends-what-was-lent",
        against: Against::Safety,
        rule: "who starts promises nothing for one lease length",
        source: "C9",
        how: Script(a_campaign_behind_a_restart),
        plant: restart_ends_what_was_lent,
    },
    Canary {
        id: "lease-counts-from-its-arrival",
        against: Against::Safety,
        rule: "a lease counts from when it was asked for",
        source: "C5",
        how: Script(a_lease_and_its_end),
        plant: lease_counts_from_its_arrival,
    },
    Canary {
        id: "lease-ignores-drift",
        against: Against::Safety,
        rule: "a lease is held for so much less as clocks may differ",
        source: "C7",
        how: Script(a_lease_and_its_end),
        plant: lease_ignores_drift,
    },
    Canary {
        id: "lease-outlives-its-hand-over",
        against: Against::Safety,
        rule: "a lease that was given up is not taken again under its ballot",
        source: "C10",
        how: Script(a_lease_handed_over),
        plant: lease_outlives_its_hand_over,
    },
];

const ME: NodeId = NodeId(1);
const BALLOT: Ballot = Ballot { round: 1, node: ME, incarnation: 1 };

/// Three voters that are cut off, stand still and hand over all the time, with leases longer than
/// the silence after which a leader is missed.
fn contested(plan: Plan) -> Plan {
    let plan = plan.of_voters(3).with_lease(Duration::from_millis(600), 50_000);
    let mut plan = Plan { drift: false, settings: Settings::default(), ..plan.with_the_usual() };
    for (trouble, every, lasts) in
        [(Trouble::Cut, 700, 600), (Trouble::Pause, 900, 500), (Trouble::Transfer, 2000, 1)]
    {
        let (every, lasts) = (Duration::from_millis(every), Duration::from_millis(lasts));
        plan.troubles.insert(trouble, Rhythm { every, lasts });
    }
    plan.troubles.remove(&Trouble::Jump);
    let (think, faults_for) = (Duration::from_millis(100), Duration::from_secs(20));
    Plan { think, faults_for, latency: Duration::from_millis(5), ..plan }
}

fn lends_to_the_deposed() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| match input {
        Input::Message(from, Message::Acceptor(AcceptorMessage::Confirm { ballot, round }))
            if ballot < acceptor.promised() =>
        {
            let confirmed = ProposerMessage::Confirmed { ballot, round, granted: true };
            let message = Message::Proposer(confirmed);
            out.push(Effect::Send(Envelope { from: scene.me, to: from, message }));
        }
        input => acceptor.handle(scene.now, input, out),
    })
}

fn is_prepare(input: &Input) -> bool {
    matches!(input, Input::Message(_, Message::Acceptor(AcceptorMessage::Prepare { .. })))
}

fn campaigns_pass_any_lease() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        if is_prepare(&input) {
            edit(acceptor, |state| state["lent"]["lent"] = json!(null));
        }
        acceptor.handle(scene.now, input, out);
    })
}

fn restart_ends_what_was_lent() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        if is_prepare(&input) {
            edit(acceptor, |state| state["lent"]["silent_until"] = json!(0));
        }
        acceptor.handle(scene.now, input, out);
    })
}

fn lease_counts_from_its_arrival() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        let lent = matches!(
            input,
            Input::Message(_, Message::Proposer(ProposerMessage::Confirmed { granted: true, .. }))
        );
        proposer.handle(scene.now, input, out);
        if lent && proposer.leads() {
            let now = json!(scene.now);
            edit(proposer, |state| {
                let lease = &mut state["term"]["rounds"]["lease"];
                if lease["by"].as_array().is_some_and(|by| !by.is_empty()) {
                    lease["asked"] = now;
                }
            });
        }
    })
}

fn lease_ignores_drift() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        edit(proposer, |state| state["configurations"][0][1]["drift_ppm"] = json!(0));
        proposer.handle(scene.now, input, out);
    })
}

fn lease_outlives_its_hand_over() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| match input {
        Input::Message(_, Message::Inside(Inside::HandOver { ballot, to })) => {
            let message = Message::Leadership(LeadershipMessage::Succeed { ballot });
            out.push(Effect::Send(Envelope { from: scene.me, to, message }));
        }
        input => proposer.handle(scene.now, input, out),
    })
}

fn genesis() -> Result<Membership, String> {
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    Membership::of_voters(voters).map_err(|refused| refused.to_string())
}

/// An acceptor has restarted a tenth of a lease ago, and somebody campaigns.
fn a_campaign_behind_a_restart(plant: &mut dyn Plant) -> Result<(), String> {
    let genesis = genesis()?;
    plant.begins(&genesis);
    let options = AcceptorOptions { lease: genesis.lease, ..AcceptorOptions::default() };
    let start = Time(1_000_000);
    let mut acceptor = Acceptor::recover(ME, options, &Recovered::default(), start);
    let mut campaign = |now| {
        let prepare = AcceptorMessage::Prepare { ballot: BALLOT, first: Slot::FIRST, after: None };
        let input = Input::Message(ME, Message::Acceptor(prepare));
        let mut out = Vec::new();
        plant.handle(ME, &mut Actor::Acceptor(&mut acceptor), now, input, &mut out);
        out.iter().any(|effect| matches!(effect, Effect::Persist(_)))
    };
    if campaign(start.after(genesis.lease / 10)) {
        return Err("an acceptor forgot what it may have lent".to_owned());
    }
    match campaign(start.after(genesis.lease * 2)) {
        true => Ok(()),
        false => Err("an acceptor is silent for too long".to_owned()),
    }
}

/// A leader with a lease, and the plant before it.
struct Leader<'a> {
    plant: &'a mut dyn Plant,
    proposer: Proposer,
}

impl<'a> Leader<'a> {
    /// It asked at 10 ms, and was lent to at 160 ms.
    fn with_a_lease(plant: &'a mut dyn Plant) -> Result<Self, String> {
        let genesis = genesis()?;
        plant.begins(&genesis);
        let configurations = Configurations::genesis(genesis);
        let calm = Duration::from_secs(10);
        let (retransmit, confirm_every, patience) = (calm, calm, calm);
        let rest = ProposerOptions::default();
        let options = ProposerOptions { retransmit, confirm_every, patience, ..rest };
        let proposer = Proposer::new(ME, 1, options, configurations.clone());
        let mut leader = Leader { plant, proposer };
        leader.hears(10, ME, Message::Inside(Inside::Campaign { after: None }));
        for acceptor in [1, 2].map(NodeId) {
            let (first, next, trimmed, accepted) = (Slot::FIRST, None, Slot(0), Vec::new());
            let page = Promise { ballot: BALLOT, first, next, trimmed, accepted };
            leader.hears(10, acceptor, Message::Proposer(ProposerMessage::Promise(page)));
        }
        leader.hand(10, Input::Timeout);
        let (next, clock) = (Slot(2), Time(0));
        let advanced = Inside::Advanced { next, configurations, clock };
        leader.hears(10, ME, Message::Inside(advanced));
        for acceptor in [1, 2].map(NodeId) {
            let lent = ProposerMessage::Confirmed { ballot: BALLOT, round: 1, granted: true };
            leader.hears(160, acceptor, Message::Proposer(lent));
        }
        match leader.reads_by_lease(170) {
            true => Ok(leader),
            false => Err("a valid lease is of no use".to_owned()),
        }
    }

    fn hand(&mut self, millis: u64, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        let now = Time(millis * 1000);
        self.plant.handle(ME, &mut Actor::Proposer(&mut self.proposer), now, input, &mut out);
        out
    }

    fn hears(&mut self, millis: u64, from: NodeId, message: Message) -> Vec<Effect> {
        self.hand(millis, Input::Message(from, message))
    }

    fn reads_by_lease(&mut self, millis: u64) -> bool {
        let (ticket, next, level) = (millis, Slot(2), ReadLevel::Lease);
        let stamped = Message::Inside(Inside::Stamped { ticket, next, level });
        let out = self.hears(millis, ME, stamped);
        out.iter().any(|effect| matches!(effect, Effect::ReadReady { .. }))
    }
}

/// 190.476 ms after it was asked for, a lease of 200 ms is over.
fn a_lease_and_its_end(plant: &mut dyn Plant) -> Result<(), String> {
    let mut leader = Leader::with_a_lease(plant)?;
    match leader.reads_by_lease(205) {
        true => Err("a lease is relied on beyond its end".to_owned()),
        false => Ok(()),
    }
}

fn a_lease_handed_over(plant: &mut dyn Plant) -> Result<(), String> {
    let mut leader = Leader::with_a_lease(plant)?;
    let until = Time(2_000_000);
    leader.hears(171, ME, Message::Inside(Inside::Yield { ballot: BALLOT, until }));
    let (ballot, to) = (BALLOT, NodeId(2));
    leader.hears(172, ME, Message::Inside(Inside::HandOver { ballot, to }));
    match leader.reads_by_lease(173) {
        true => Err("a lease is relied on that was given up".to_owned()),
        false => Ok(()),
    }
}
