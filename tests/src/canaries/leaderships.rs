//! Bugs of leaderships.

use paxos_core::{
    Ballot, Configurations, DetectorOptions, Effect, Elector, Envelope, Heartbeat, Input, Inside,
    LeadershipMessage, LeadershipOptions, Membership, Message, NodeId, PhiOptions, Policy,
    ProposerMessage, Role, Rule, Slot, Time,
};
use serde_json::json;

use super::How::{Script, Seeds};
use super::plants::{edit, effects, proposers, roles, usual, with};
use super::{Against, Canary};
use crate::simulation::{Actor, Plan, Plant, Trouble};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "campaigns-without-a-pause",
        against: Against::Progress,
        rule: "failed campaigns get rarer, and their successors more time",
        source: "B14",
        how: Seeds(Plan::with_slow_disks),
        plant: campaigns_without_a_pause,
    },
    Canary {
        id: "campaigns-at-every-nack",
        against: Against::Progress,
        rule: "a refused proposer pauses before its next campaign",
        source: "B14",
        how: Seeds(usual),
        plant: campaigns_at_every_nack,
    },
    Canary {
        id: "never-steps-down",
        against: Against::Progress,
        rule: "a leader that no quorum confirms resigns",
        source: "B16",
        how: Seeds(|plan| with(plan, Trouble::Cut)),
        plant: never_steps_down,
    },
    Canary {
        id: "heartbeats-say-nothing-of-the-log",
        against: Against::Progress,
        rule: "a node says with every heartbeat how far it knows the log",
        source: "the fetch rule of `Learner`",
        how: Seeds(usual),
        plant: heartbeats_say_nothing_of_the_log,
    },
    Canary {
        id: "suspects-nobody",
        against: Against::Progress,
        rule: "a detector suspects in the end whoever is gone for good",
        source: "completeness, in the sense of Chandra & Toueg",
        how: Seeds(|plan| {
            let detector = Rule::FailureDetector(DetectorOptions::Fixed);
            with(plan.of_voters(5).under(&detector), Trouble::DiskLost)
        }),
        plant: suspects_nobody,
    },
    Canary {
        id: "campaigns-although-heard",
        against: Against::Progress,
        rule: "nobody campaigns while a quorum hears a leader",
        source: "B17",
        how: Script(a_link_to_the_leader_is_gone),
        plant: campaigns_although_heard,
    },
];

/// Neither the leadership nor the proposer remembers that campaigns failed.
fn campaigns_without_a_pause() -> Box<dyn Plant> {
    roles(|scene, role, input, out| {
        role.handle(scene.now, input, out);
        match role {
            Actor::Proposer(proposer) => edit(*proposer, |state| state["failures"] = json!(0)),
            Actor::Leadership(elector) => forget_failures(scene.me, elector),
            Actor::Acceptor(_) | Actor::Learner(_) | Actor::Archive(_) => {}
        }
    })
}

fn forget_failures(me: NodeId, elector: &mut Elector) {
    let mut policy = elector.policy().clone();
    edit(&mut policy, |state| state["failures"] = json!(0));
    *elector = Elector::new(me, policy);
}

fn campaigns_at_every_nack() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        let nacked = match &input {
            Input::Message(_, Message::Proposer(ProposerMessage::Nack { ballot, .. })) => {
                proposer.ballot().filter(|mine| mine == ballot)
            }
            _ => None,
        };
        proposer.handle(scene.now, input, out);
        let Some(ballot) = nacked else { return };
        for inside in [Inside::Resign { ballot }, Inside::Campaign { after: None }] {
            proposer.handle(scene.now, Input::Message(scene.me, Message::Inside(inside)), out);
        }
    })
}

fn never_steps_down() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        if proposer.leads() {
            let now = json!(scene.now);
            edit(proposer, |state| state["term"]["rounds"]["confirmed"] = now);
        }
        proposer.handle(scene.now, input, out);
    })
}

fn heartbeats_say_nothing_of_the_log() -> Box<dyn Plant> {
    effects(|_, mut effect| {
        if let Effect::Send(Envelope {
            message: Message::Leadership(LeadershipMessage::Heartbeat(heartbeat)),
            ..
        }) = &mut effect
        {
            heartbeat.next = Slot::FIRST;
        }
        vec![effect]
    })
}

/// Before each look everybody was heard at this moment.
fn suspects_nobody() -> Box<dyn Plant> {
    roles(|scene, role, input, out| {
        if let Actor::Leadership(elector) = role {
            let mut policy = elector.policy().clone();
            edit(&mut policy, |state| {
                let heard = state["detector"]["Fixed"]["heard"].as_object_mut();
                heard.into_iter().flatten().for_each(|(_, at)| *at = json!(scene.now));
            });
            **elector = Elector::new(scene.me, policy);
        }
        role.handle(scene.now, input, out);
    })
}

/// What others say of a leader that they hear is not listened to.
fn campaigns_although_heard() -> Box<dyn Plant> {
    roles(|scene, role, mut input, out| {
        if let Input::Message(
            _,
            Message::Leadership(LeadershipMessage::Heartbeat(Heartbeat {
                leading: None,
                hears,
                ..
            })),
        ) = &mut input
        {
            *hears = None;
        }
        role.handle(scene.now, input, out);
    })
}

/// Under both policies: one who hears the leader no longer, but a node that does, keeps still; and
/// when that node does not hear it either, campaigns.
fn a_link_to_the_leader_is_gone(plant: &mut dyn Plant) -> Result<(), String> {
    let (me, leader, other) = (NodeId(1), NodeId(3), NodeId(2));
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    let genesis = Membership::of_voters(voters).map_err(|refused| refused.to_string())?;
    plant.begins(&genesis);
    let ballot = Ballot { round: 1, node: leader, incarnation: 1 };
    for rule in [
        Rule::Heartbeat,
        Rule::FailureDetector(DetectorOptions::Fixed),
        Rule::FailureDetector(DetectorOptions::Phi(PhiOptions::default())),
    ] {
        let options = LeadershipOptions { rule, ..LeadershipOptions::default() };
        let configurations = Configurations::genesis(genesis.clone());
        let mut elector = Elector::new(me, Policy::new(me, 1, options, configurations, 1, Time(0)));
        let mut campaigns = |now, input| {
            let mut out = Vec::new();
            plant.handle(me, &mut Actor::Leadership(&mut elector), now, input, &mut out);
            let told = |effect: &Effect| effect.to_string() == "n1 -> n1 campaign";
            out.iter().any(told)
        };
        let beat = |sequence: u64, leading: Option<Ballot>, hears| {
            let (incarnation, sent) = (1, Time(sequence * 50_000));
            let (next, saved) = (Slot::FIRST, Slot(0));
            let campaigns = true;
            let beat =
                Heartbeat { incarnation, sequence, sent, leading, hears, next, saved, campaigns };
            Message::Leadership(LeadershipMessage::Heartbeat(beat))
        };
        let led = Some(ballot);
        campaigns(Time(50_000), Input::Message(leader, beat(1, led, led)));
        // A minute and a half in which n2 hears the leader, and half a minute in which nobody does.
        let mut begun = [false; 2];
        for sequence in 2..2400 {
            let now = Time(sequence * 50_000);
            let gone = sequence >= 1800;
            let heard = Input::Message(other, beat(sequence, None, led.filter(|_| !gone)));
            begun[usize::from(gone)] |= campaigns(now, heard) | campaigns(now, Input::Timeout);
        }
        match begun {
            [true, _] => return Err("it campaigns although a quorum hears a leader".to_owned()),
            [false, false] => return Err("it does not campaign when nobody does".to_owned()),
            [false, true] => {}
        }
    }
    Ok(())
}
