//! Bugs of leaderships.

use paxos_core::{
    Effect, Elector, Envelope, HeartbeatPolicy, Input, Inside, LeadershipMessage, Message,
    ProposerMessage, Role, Slot,
};
use serde_json::json;

use super::How::Seeds;
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

fn forget_failures(me: paxos_core::NodeId, elector: &mut Elector<HeartbeatPolicy>) {
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
