//! Bugs of leaderships.

use paxos_core::{
    Effect, Elector, Envelope, HeartbeatPolicy, LeadershipMessage, Message, Role, Slot,
};
use serde_json::json;

use super::plants::{edit, effects, roles, usual};
use super::{Against, Canary};
use crate::simulation::{Actor, Plan, Plant};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "campaigns-without-a-pause",
        against: Against::Progress,
        rule: "failed campaigns get rarer, and their successors more time",
        source: "B14",
        plan: Plan::with_slow_disks,
        plant: campaigns_without_a_pause,
    },
    Canary {
        id: "heartbeats-say-nothing-of-the-log",
        against: Against::Progress,
        rule: "a node says with every heartbeat how far it knows the log",
        source: "the fetch rule of `Learner`",
        plan: usual,
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
            Actor::Acceptor(_) | Actor::Learner(_) => {}
        }
    })
}

fn forget_failures(me: paxos_core::NodeId, elector: &mut Elector<HeartbeatPolicy>) {
    let mut policy = elector.policy().clone();
    edit(&mut policy, |state| state["failures"] = json!(0));
    *elector = Elector::new(me, policy);
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
