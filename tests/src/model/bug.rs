//! Planted bugs: how a test shows that the model would notice.

use paxos_core::{Effect, Input, Record, RoleKind};

use super::node::Node;

/// A mistake, made around the roles and not in them. What is not overridden is right.
pub trait Bug: Send + Sync {
    /// What a role is handed instead of this input.
    fn inputs(&self, _kind: RoleKind, input: Input) -> Vec<Input> {
        vec![input]
    }

    /// What is done instead of these effects.
    fn effects(&self, _kind: RoleKind, effects: Vec<Effect>) -> Vec<Effect> {
        effects
    }

    /// Edits a node after it has handled something.
    fn handled(&self, _kind: RoleKind, _before: &Node, _after: &mut Node) {}

    /// Which run a node takes its next one for, and what it reads from its disk.
    fn restarts(&self, incarnation: u64, records: Vec<Record>) -> (u64, Vec<Record>) {
        (incarnation, records)
    }
}

/// No bug.
#[derive(Clone, Copy, Debug)]
pub struct Faithful;

impl Bug for Faithful {}
