//! Planted bugs of changes of membership.

use paxos_core::{AcceptorMessage, Input, LearnerMessage, Message, RoleKind, Value};
use serde_json::{Value as Json, json};

use super::bug::Bug;
use super::node::Node;
use crate::canaries::plants::edit;

/// A leader takes its ballot for promised by everybody who ever governs, once those have promised
/// it who govern the first open slot.
pub(super) struct PromisedOnce;

impl Bug for PromisedOnce {
    fn handled(&self, _kind: RoleKind, _before: &Node, after: &mut Node) {
        let (Some(learner), Some(proposer)) = (&after.learner, &mut after.proposer) else { return };
        if proposer.leads() {
            let acceptors: Vec<_> =
                learner.configurations().newest().1.quorums.acceptors().collect();
            edit(proposer, |state| {
                for acceptor in acceptors {
                    let promises = &mut state["term"]["promises"];
                    promises[acceptor.0.to_string()] = Json::Null;
                }
            });
        }
    }
}

/// The window is so many open slots, wherever they are.
pub(super) struct CountsOpenSlots;

impl Bug for CountsOpenSlots {
    fn handled(&self, _kind: RoleKind, _before: &Node, after: &mut Node) {
        let (Some(learner), Some(proposer)) = (&mut after.learner, &mut after.proposer) else {
            return;
        };
        let next = learner.next();
        let mut closed = 0;
        edit(learner, |state| {
            let ahead = state["ahead"].as_object().into_iter().flatten();
            closed = ahead.filter(|(_, candidate)| !candidate["chosen"].is_null()).count();
        });
        if closed > 0 {
            edit(proposer, |state| state["next"] = json!(next.plus(closed as u64)));
        }
    }
}

/// A learner counts all votes by the membership that it began with.
pub(super) struct CountsByTheFirst;

impl Bug for CountsByTheFirst {
    fn handled(&self, _kind: RoleKind, before: &Node, after: &mut Node) {
        let (Some(was), Some(is)) = (&before.learner, &mut after.learner) else { return };
        if was.configurations() != is.configurations() {
            edit(is, |state| state["configurations"] = json!(was.configurations()));
        }
    }
}

/// A change governs as soon as it is known.
pub(super) struct GovernsAtOnce;

impl Bug for GovernsAtOnce {
    fn handled(&self, _kind: RoleKind, _before: &Node, after: &mut Node) {
        let (Some(learner), Some(proposer)) = (&mut after.learner, &mut after.proposer) else {
            return;
        };
        let next = learner.next();
        let hasten = |state: &mut Json| {
            let known = state["configurations"].as_array_mut();
            if let Some(newest) = known.and_then(|known| known.last_mut())
                && newest[0].as_u64() > Some(next.0)
            {
                newest[0] = json!(next);
            }
        };
        edit(learner, hasten);
        edit(proposer, hasten);
    }
}

/// A change counts whatever it was made from.
pub(super) struct AnyBase;

impl Bug for AnyBase {
    fn inputs(&self, kind: RoleKind, mut input: Input) -> Vec<Input> {
        let Input::Message(_, message) = &mut input else { return vec![input] };
        let told = match message {
            Message::Acceptor(AcceptorMessage::Accept { slot, value, .. }) => Some((slot, value)),
            Message::Learner(LearnerMessage::Chosen { slot, value: Some(value), .. }) => {
                Some((slot, value))
            }
            _ => None,
        };
        // With a window of one, and a change in every slot, the newest governs from each on.
        if let (Some((slot, Value::Reconfigure(change))), RoleKind::Learner) = (told, kind) {
            change.base = *slot;
        }
        vec![input]
    }
}
