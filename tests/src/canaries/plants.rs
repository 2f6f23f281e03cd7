//! How a bug is planted in one kind of role.

use std::time::Duration;

use paxos_core::{Acceptor, Effect, Input, Learner, Membership, NodeId, Proposer, Role, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::simulation::{Actor, DRIFT_PPM, Plan, Plant, Rhythm, Settings, Trouble};

/// Where and when a role is handed something.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) me: NodeId,
    pub(super) now: Time,
    pub(super) membership: &'a Membership,
}

struct Wrong<F> {
    membership: Option<Membership>,
    handle: F,
}

impl<F> Plant for Wrong<F>
where
    F: FnMut(&Scene<'_>, &mut Actor<'_>, Input, &mut Vec<Effect>),
{
    fn begins(&mut self, membership: &Membership) {
        self.membership = Some(membership.clone());
    }

    fn handle(
        &mut self,
        me: NodeId,
        role: &mut Actor<'_>,
        now: Time,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        let membership = self.membership.as_ref().expect("a run begins with a membership");
        (self.handle)(&Scene { me, now, membership }, role, input, out);
    }
}

/// Stands before every role.
pub(super) fn roles(
    handle: impl FnMut(&Scene<'_>, &mut Actor<'_>, Input, &mut Vec<Effect>) + 'static,
) -> Box<dyn Plant> {
    Box::new(Wrong { membership: None, handle })
}

/// Stands before acceptors.
pub(super) fn acceptors(
    mut handle: impl FnMut(&Scene<'_>, &mut Acceptor, Input, &mut Vec<Effect>) + 'static,
) -> Box<dyn Plant> {
    roles(move |scene, role, input, out| match role {
        Actor::Acceptor(acceptor) => handle(scene, acceptor, input, out),
        role => role.handle(scene.now, input, out),
    })
}

/// Stands before proposers.
pub(super) fn proposers(
    mut handle: impl FnMut(&Scene<'_>, &mut Proposer, Input, &mut Vec<Effect>) + 'static,
) -> Box<dyn Plant> {
    roles(move |scene, role, input, out| match role {
        Actor::Proposer(proposer) => handle(scene, proposer, input, out),
        role => role.handle(scene.now, input, out),
    })
}

/// Stands before learners.
pub(super) fn learners(
    mut handle: impl FnMut(&Scene<'_>, &mut Learner, Input, &mut Vec<Effect>) + 'static,
) -> Box<dyn Plant> {
    roles(move |scene, role, input, out| match role {
        Actor::Learner(learner) => handle(scene, learner, input, out),
        role => role.handle(scene.now, input, out),
    })
}

/// Stands behind every role: changes each effect, or takes it away.
pub(super) fn effects(
    mut change: impl FnMut(&Scene<'_>, Effect) -> Vec<Effect> + 'static,
) -> Box<dyn Plant> {
    roles(move |scene, role, input, out| {
        let mut sound = Vec::new();
        role.handle(scene.now, input, &mut sound);
        out.extend(sound.into_iter().flat_map(|effect| change(scene, effect)));
    })
}

/// Changes what a role holds, in the form in which it would be written out.
pub(crate) fn edit<T>(role: &mut T, change: impl FnOnce(&mut serde_json::Value))
where
    T: Serialize + DeserializeOwned,
{
    let mut state = serde_json::to_value(&*role).expect("a role is plain data");
    change(&mut state);
    *role = serde_json::from_value(state).expect("a bug changes values, never their form");
}

/// Three voters whose clocks drift, behind links that are gone for about the time of an election:
/// leaders are replaced without knowing it, and are asked.
pub(super) fn drifting(plan: Plan) -> Plan {
    // Without leases: they would keep most leaders of the past from being asked.
    let plan = plan.with_lease(Duration::ZERO, DRIFT_PPM);
    let mut plan = plan.of_voters(3).with_the_usual();
    plan.troubles.remove(&Trouble::Jump);
    for (trouble, every, lasts) in [(Trouble::Cut, 300, 250), (Trouble::Pause, 600, 400)] {
        let (every, lasts) = (Duration::from_millis(every), Duration::from_millis(lasts));
        plan.troubles.insert(trouble, Rhythm { every, lasts });
    }
    let (clients, operations, think) = (8, 80, Duration::from_millis(200));
    let (faults_for, latency) = (Duration::from_secs(12), Duration::from_millis(2));
    Plan { clients, operations, think, latency, faults_for, duplication: 300, drift: true, ..plan }
}

/// Three voters that hardly hear each other, so that leaders change all the time, and much is late.
pub(super) fn rivals(plan: Plan) -> Plan {
    let mut plan = plan.of_voters(3).with_window(8).with_the_usual();
    let (every, lasts) = (Duration::from_millis(300), Duration::from_millis(300));
    plan.troubles = [(Trouble::Cut, Rhythm { every, lasts })].into();
    let (clients, operations, think) = (8, 100, Duration::from_millis(50));
    let (faults_for, latency) = (Duration::from_secs(12), Duration::from_millis(60));
    let (loss, reordering, settings) = (150, 250, Settings::default());
    Plan { clients, operations, think, faults_for, latency, loss, reordering, settings, ..plan }
}

/// The usual plan with this trouble, often.
pub(super) fn with(plan: Plan, trouble: Trouble) -> Plan {
    let mut plan = usual(plan);
    let rhythm = Rhythm { every: plan.faults_for / 10, lasts: Duration::from_secs(1) };
    plan.troubles.insert(trouble, rhythm);
    plan
}

/// The plan of a seed with loss, duplication, reordering and crashes, all in a third of the time:
/// what a bug needs comes together more often.
pub(super) fn usual(mut plan: Plan) -> Plan {
    plan.troubles.values_mut().for_each(|rhythm| rhythm.every /= 3);
    let (faults_for, think) = (plan.faults_for / 3, plan.think / 3);
    Plan { faults_for, think, ..plan }.with_the_usual()
}

/// Many clients in a hurry, and links that come and go: what was asked of one leader is asked of
/// the next, and the first has it chosen later all the same.
pub(super) fn crowded(plan: Plan) -> Plan {
    let mut plan = usual(plan);
    let often = Rhythm { every: plan.faults_for / 30, lasts: Duration::from_secs(1) };
    plan.troubles = [(Trouble::Cut, often), (Trouble::Flap, often)].into();
    if plan.membership.members.len() == 1 {
        plan.troubles.clear();
    }
    Plan { clients: plan.clients.max(12), think: Duration::ZERO, ..plan }
}
