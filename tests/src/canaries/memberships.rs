//! Bugs of changes of membership.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use paxos_core::{
    AcceptorMessage, Configurations, Effect, Envelope, Input, Inside, Learner, LearnerMessage,
    Message, NodeId, Role, Slot,
};
use serde_json::json;

use super::How::Seeds;
use super::plants::{edit, effects, learners, proposers};
use super::{Against, Canary};
use crate::simulation::{Plan, Plant, Rhythm, Settings, Trouble};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "campaigns-among-the-first-slots-members",
        against: Against::Safety,
        rule: "a slot is proposed for when a phase 1 quorum of its own membership has reported it",
        source: "R2",
        how: Seeds(changing),
        plant: campaigns_among_the_first_slots_members,
    },
    Canary {
        id: "votes-of-the-first-slots-members",
        against: Against::Safety,
        rule: "votes for a slot count by the slot's own membership",
        source: "R4",
        how: Seeds(changing),
        plant: votes_of_the_first_slots_members,
    },
    Canary {
        id: "change-governs-at-once",
        against: Against::Safety,
        rule: "a change governs alpha slots after its own, on every node",
        source: "R2",
        how: Seeds(changing),
        plant: change_governs_at_once,
    },
    Canary {
        id: "removal-is-done-when-it-is-chosen",
        against: Against::Safety,
        rule: "a removed node is needed until the others hold everything that it helped to decide",
        source: "CLUS1",
        how: Seeds(changing),
        plant: removal_is_done_when_it_is_chosen,
    },
    Canary {
        id: "new-acceptors-are-not-asked",
        against: Against::Progress,
        rule: "the acceptors of a new membership are asked to promise the ballot that leads",
        source: "R2",
        how: Seeds(changing),
        plant: new_acceptors_are_not_asked,
    },
];

/// Three voters, of which one is replaced every second, with a small window, and leaders that are
/// cut off and crash.
pub(super) fn changing(plan: Plan) -> Plan {
    let plan = plan.of_voters(3).with_window(8);
    let rhythm = |every, lasts| Rhythm {
        every: Duration::from_millis(every),
        lasts: Duration::from_millis(lasts),
    };
    let troubles = BTreeMap::from([
        (Trouble::Change, rhythm(500, 0)),
        (Trouble::Cut, rhythm(900, 500)),
        (Trouble::Crash, rhythm(1500, 400)),
    ]);
    let (clients, operations, think) = (8, 100, Duration::from_millis(50));
    let (faults_for, latency) = (Duration::from_secs(20), Duration::from_millis(20));
    let settings = Settings::default();
    Plan {
        clients,
        operations,
        think,
        faults_for,
        latency,
        loss: 50,
        reordering: 100,
        troubles,
        roles_change: true,
        settings,
        ..plan
    }
}

/// The membership of one slot as if it governed all.
fn only(configurations: &Configurations, slot: Slot) -> Configurations {
    Configurations::genesis(configurations.at(slot).clone())
}

fn campaigns_among_the_first_slots_members() -> Box<dyn Plant> {
    proposers(|scene, proposer, mut input, out| {
        if let Input::Message(_, Message::Inside(Inside::Advanced { next, configurations, .. })) =
            &mut input
        {
            *configurations = only(configurations, *next);
        }
        proposer.handle(scene.now, input, out);
    })
}

fn votes_of_the_first_slots_members() -> Box<dyn Plant> {
    learners(|scene, learner, input, out| {
        let vote = match &input {
            Input::Message(_, Message::Learner(LearnerMessage::Accepted { slot, .. })) => *slot,
            _ => Slot(0),
        };
        let newest = learner.configurations().newest().0;
        if newest <= learner.next() || vote < newest {
            return learner.handle(scene.now, input, out);
        }
        // The vote alone is counted so; what follows for the memberships is as it should be.
        let set = |learner: &mut Learner, configurations: &Configurations| {
            edit(learner, |state| state["configurations"] = json!(configurations));
        };
        let first = only(learner.configurations(), learner.next());
        let mut sound = learner.clone();
        sound.handle(scene.now, input.clone(), &mut Vec::new());
        set(learner, &first);
        learner.handle(scene.now, input, out);
        set(learner, sound.configurations());
    })
}

fn change_governs_at_once() -> Box<dyn Plant> {
    learners(|scene, learner, input, out| {
        learner.handle(scene.now, input, out);
        let next = learner.next();
        if learner.configurations().newest().0 > next {
            edit(learner, |state| {
                if let Some(newest) =
                    state["configurations"].as_array_mut().and_then(|it| it.last_mut())
                {
                    newest[0] = json!(next);
                }
            });
            let Inside::Advanced { .. } = learner.advanced() else { return };
            let message = Message::Inside(learner.advanced());
            out.push(Effect::Send(Envelope { from: scene.me, to: scene.me, message }));
        }
    })
}

fn removal_is_done_when_it_is_chosen() -> Box<dyn Plant> {
    effects(|_, mut effect| {
        if let Effect::Governed(governance) = &mut effect {
            governance.settled = true;
        }
        vec![effect]
    })
}

fn new_acceptors_are_not_asked() -> Box<dyn Plant> {
    let mut asked = BTreeMap::<paxos_core::Ballot, BTreeSet<NodeId>>::new();
    proposers(move |scene, proposer, input, out| {
        let campaigns =
            matches!(input, Input::Message(_, Message::Inside(Inside::Campaign { .. })));
        let mut sound = Vec::new();
        proposer.handle(scene.now, input, &mut sound);
        for effect in sound {
            if let Effect::Send(Envelope { to, message: Message::Acceptor(message), .. }) = &effect
                && let AcceptorMessage::Prepare { ballot, .. } = message
            {
                let known = asked.entry(*ballot).or_default();
                if campaigns {
                    known.insert(*to);
                } else if !known.contains(to) {
                    continue;
                }
            }
            out.push(effect);
        }
    })
}
