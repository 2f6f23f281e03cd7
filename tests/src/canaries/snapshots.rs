//! Bugs of snapshots, of the cut, and of catching up behind it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_actors::log::{Disk, MemoryDisk};
use paxos_core::sessions::Sessions;
use paxos_core::{
    Ballot, Configurations, Effect, Envelope, Input, Inside, LearnerMessage, Membership, Message,
    NodeId, Promise, ProposerMessage, Recovered, Role, Slot, Time,
};
use serde_json::json;

use super::How::Seeds;
use super::disks::{Wrong, WrongDisk};
use super::plants::{edit, effects, learners, proposers, roles, usual};
use super::{Against, Canary};
use crate::simulation::{Actor, DRIFT_PPM, Plan, Plant};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "cut-before-it-is-saved",
        against: Against::Safety,
        rule: "nothing is cut that is not in a synced snapshot",
        source: "CLUS4",
        how: Seeds(usual),
        plant: cut_before_it_is_saved,
    },
    Canary {
        id: "witness-cuts-at-the-first-snapshot",
        against: Against::Safety,
        rule: "a node without a replica cuts when every phase 1 quorum has a snapshot",
        source: "the invariant of `Learner::be_safe`",
        how: Seeds(with_witnesses),
        plant: witness_cuts_at_the_first_snapshot,
    },
    Canary {
        id: "witness-apart-cuts-at-the-first-snapshot",
        against: Against::Safety,
        rule: "where no acceptor is a replica, one more has a snapshot than can be lost",
        source: "`Membership::is_held_by`",
        how: Seeds(apart),
        plant: witness_cuts_at_the_first_snapshot,
    },
    Canary {
        id: "promise-without-trim-point",
        against: Against::Safety,
        rule: "a promise says which slots are cut and not reported any more",
        source: "B5",
        how: Seeds(lagging),
        plant: promise_without_trim_point,
    },
    Canary {
        id: "restart-forgets-the-cut",
        against: Against::Safety,
        rule: "what is cut stays cut after every restart",
        source: "A20",
        how: Seeds(usual),
        plant: || Box::new(ForgetsTheCut),
    },
    Canary {
        id: "snapshot-without-sessions",
        against: Against::Safety,
        rule: "sessions are part of every snapshot",
        source: "D6",
        how: Seeds(usual),
        plant: || Box::new(Restores(without_sessions)),
    },
    Canary {
        id: "snapshot-without-time",
        against: Against::Safety,
        rule: "replicated time is part of every snapshot",
        source: "the invariant of `Replica`",
        how: Seeds(usual),
        plant: || Box::new(Restores(without_time)),
    },
    Canary {
        id: "snapshot-named-before-its-sync",
        against: Against::Safety,
        rule: "a snapshot has its name only when all of it is synced",
        source: "DISK3",
        how: Seeds(usual),
        plant: || Box::new(NoSnapshotSync),
    },
    Canary {
        id: "fills-across-the-cut",
        against: Against::Safety,
        rule: "a learner names the values that it sends by their own slots",
        source: "CLUS5",
        how: Seeds(lagging),
        plant: fills_across_the_cut,
    },
    Canary {
        id: "goes-back-to-a-snapshot",
        against: Against::Safety,
        rule: "a replica never goes back",
        source: "the invariant of `Learner::restored`",
        how: Seeds(lagging),
        plant: goes_back_to_a_snapshot,
    },
    Canary {
        id: "snapshots-are-not-fetched",
        against: Against::Progress,
        rule: "what every peer has cut is taken from a snapshot",
        source: "CLUS5",
        how: Seeds(lagging),
        plant: snapshots_are_not_fetched,
    },
    Canary {
        id: "membership-missing-from-a-snapshot",
        against: Against::Safety,
        rule: "a snapshot carries the memberships, those that are not in force too",
        source: "D6",
        how: Seeds(super::memberships::changing),
        plant: || Box::new(Restores(without_memberships)),
    },
    Canary {
        id: "first-page-counts-as-all",
        against: Against::Safety,
        rule: "a promise counts for the slots that its pages have reached, without a hole",
        source: "B4",
        how: Seeds(in_small_pages),
        plant: first_page_counts_as_all,
    },
];

/// Snapshots so often that whoever was away for a moment finds the log cut.
fn lagging(plan: Plan) -> Plan {
    // Without leases: leaders change more often, and more is fetched.
    let mut plan = usual(plan).with_lease(Duration::ZERO, DRIFT_PPM);
    plan.settings.snapshots.every_bytes = 64;
    plan.settings.snapshots.keep = 1;
    plan
}

/// The same with five nodes, of which two accept only, and replicas that must agree on a cut.
fn with_witnesses(plan: Plan) -> Plan {
    let mut plan = lagging(plan).of_voters(5);
    for node in [4, 5].map(NodeId) {
        if let Some(member) = plan.membership.members.get_mut(&node) {
            member.role = paxos_core::MemberRole::Witness;
        }
    }
    plan.membership.snapshot_replicas = 1;
    plan
}

/// The same with acceptors that are all witnesses, and three front ends.
fn apart(plan: Plan) -> Plan {
    lagging(plan).apart(3, 3)
}

fn in_small_pages(plan: Plan) -> Plan {
    let mut plan = super::plants::rivals(plan);
    plan.settings.acceptor.page_values = 1;
    plan
}

fn cut_before_it_is_saved() -> Box<dyn Plant> {
    effects(|_, mut effect| {
        if let Effect::Send(Envelope { message: Message::Inside(inside), .. }) = &mut effect
            && let Inside::Saved { upto, oldest } = inside
        {
            *oldest = upto.plus(5);
        }
        vec![effect]
    })
}

fn witness_cuts_at_the_first_snapshot() -> Box<dyn Plant> {
    learners(|scene, learner, input, out| {
        if let Input::Message(me, Message::Inside(Inside::Saved { upto, .. })) = &input {
            let message = Message::Inside(Inside::Safe { below: *upto });
            out.push(Effect::Send(Envelope { from: *me, to: *me, message }));
        }
        learner.handle(scene.now, input, out);
    })
}

fn promise_without_trim_point() -> Box<dyn Plant> {
    effects(|_, mut effect| {
        if let Effect::Persist(persist) = &mut effect {
            for envelope in &mut persist.then {
                if let Message::Proposer(ProposerMessage::Promise(page)) = &mut envelope.message {
                    page.trimmed = Slot(0);
                }
            }
        }
        vec![effect]
    })
}

/// The log of a starting node says nothing of the cut.
struct ForgetsTheCut;

impl Plant for ForgetsTheCut {
    fn recovered(&mut self, _: NodeId, recovered: &mut Recovered) {
        recovered.trimmed = Slot(0);
    }
}

/// Hands another state to a node than its snapshot has.
struct Restores(fn(&mut Vec<u8>));

impl Plant for Restores {
    fn snapshot(&mut self, _: NodeId, state: &mut Vec<u8>) {
        (self.0)(state);
    }
}

/// A snapshot as it is encoded.
type Parts = (Slot, Time, Ballot, Sessions, Configurations, Vec<u8>);

fn rewritten(state: &mut Vec<u8>, change: impl FnOnce(&mut Parts)) {
    let mut parts: Parts = postcard::from_bytes(state).expect("a snapshot has these parts");
    change(&mut parts);
    *state = postcard::to_stdvec(&parts).expect("plain data always encodes");
}

fn without_sessions(state: &mut Vec<u8>) {
    rewritten(state, |parts| parts.3 = Sessions::default());
}

fn without_memberships(state: &mut Vec<u8>) {
    rewritten(state, |parts| {
        // Who restarts knows the membership that it was formatted with.
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        let membership = Membership::of_voters(voters).expect("three voters have quorums");
        parts.4 = Configurations::genesis(membership.with_alpha(parts.4.alpha()).expect("known"));
    });
}

fn without_time(state: &mut Vec<u8>) {
    rewritten(state, |parts| parts.1 = Time(0));
}

struct NoSnapshotSync;

impl Plant for NoSnapshotSync {
    fn disk(&mut self, _: NodeId, disk: &Arc<Mutex<MemoryDisk>>) -> Box<dyn Disk + Send> {
        Box::new(WrongDisk::of(disk, Wrong::NoSnapshotSync))
    }
}

/// Asked for what is cut, it sends what it has, under the slots that were asked for.
fn fills_across_the_cut() -> Box<dyn Plant> {
    learners(|scene, learner, input, out| {
        let asked = match &input {
            Input::Message(_, Message::Learner(LearnerMessage::Fetch { first })) => Some(*first),
            _ => None,
        };
        let from = out.len();
        learner.handle(scene.now, input, out);
        let held = || {
            let state = serde_json::to_value(&*learner).ok();
            let chosen = state.and_then(|mut state| {
                serde_json::from_value::<std::collections::BTreeMap<Slot, _>>(
                    state["chosen"].take(),
                )
                .ok()
            });
            chosen.unwrap_or_default().into_values().take(4).collect::<Vec<_>>()
        };
        for effect in &mut out[from..] {
            if let Effect::Send(Envelope { message: Message::Learner(message), .. }) = effect
                && let LearnerMessage::Fill { first, chosen, snapshot, .. } = message
                && let Some(asked) = asked
                && snapshot.is_some()
            {
                (*first, *chosen, *snapshot) = (asked, held(), None);
            }
        }
    })
}

/// Takes every snapshot, though the log has led further already.
fn goes_back_to_a_snapshot() -> Box<dyn Plant> {
    learners(|scene, learner, input, out| {
        if let Input::Message(_, Message::Inside(Inside::Restored(restored))) = &input
            && restored.next < learner.next()
        {
            edit(learner, |state| state["next"] = json!(restored.next.0 - 1));
        }
        learner.handle(scene.now, input, out);
    })
}

fn snapshots_are_not_fetched() -> Box<dyn Plant> {
    roles(|scene, role, input, out| {
        let behind = matches!(&input, Input::Message(_, Message::Inside(Inside::Behind { .. })));
        if !(behind && matches!(role, Actor::Archive(_))) {
            role.handle(scene.now, input, out);
        }
    })
}

fn first_page_counts_as_all() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        let input = match input {
            Input::Message(from, Message::Proposer(ProposerMessage::Promise(page))) => {
                let page = Promise { next: None, ..page };
                Input::Message(from, Message::Proposer(ProposerMessage::Promise(page)))
            }
            input => input,
        };
        proposer.handle(scene.now, input, out);
    })
}
