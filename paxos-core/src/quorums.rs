//! Quorum systems as data, refused when built if they do not intersect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::NodeId;

/// The quorums of one membership: weights, and the weight that each phase needs.
///
/// One form covers majorities, flexible quorums (Howard, Malkhi & Spiegelman, *Flexible Paxos*,
/// 2016) and static weights. A node of weight 0 takes part without counting.
///
/// Invariant: every phase 1 quorum meets every phase 2 quorum, because the two thresholds together
/// exceed the total weight. A value of this type cannot be made otherwise, by serde neither.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Quorums {
    weights: BTreeMap<NodeId, u64>,
    phase1: u64,
    phase2: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Form {
    weights: BTreeMap<NodeId, u64>,
    phase1: u64,
    phase2: u64,
}

impl From<Quorums> for Form {
    fn from(quorums: Quorums) -> Form {
        Form { weights: quorums.weights, phase1: quorums.phase1, phase2: quorums.phase2 }
    }
}

impl TryFrom<Form> for Quorums {
    type Error = QuorumsError;

    fn try_from(form: Form) -> Result<Self, QuorumsError> {
        Quorums::weighted(form.weights, form.phase1, form.phase2)
    }
}

/// Why a quorum system was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuorumsError {
    /// No node has weight.
    #[error("no acceptor has a vote: name at least one acceptor with a weight above 0")]
    Empty,
    /// The thresholds leave room for two quorums without a common node.
    #[error(
        "phase 1 quorums of {phase1} and phase 2 quorums of {phase2} need not meet among a total \
         weight of {total}: their sum must exceed it"
    )]
    Disjoint {
        /// Weight needed in phase 1.
        phase1: u64,
        /// Weight needed in phase 2.
        phase2: u64,
        /// Weight of all nodes.
        total: u64,
    },
    /// A threshold that no set of nodes, or the empty set, reaches.
    #[error("a quorum of weight {needed} cannot be: it must be between 1 and the total of {total}")]
    Unreachable {
        /// The threshold.
        needed: u64,
        /// Weight of all nodes.
        total: u64,
    },
    /// The weights do not fit.
    #[error("the weights add up to more than 2^63: scale them down")]
    Overflow,
}

impl Quorums {
    /// Majorities of equal votes.
    ///
    /// # Errors
    /// [`QuorumsError::Empty`] without nodes.
    pub fn majority(nodes: impl IntoIterator<Item = NodeId>) -> Result<Self, QuorumsError> {
        let weights: BTreeMap<_, _> = nodes.into_iter().map(|node| (node, 1)).collect();
        let needed = weights.len() as u64 / 2 + 1;
        Self::weighted(weights, needed, needed)
    }

    /// Equal votes with a quorum size for each phase.
    ///
    /// # Errors
    /// See [`QuorumsError`].
    pub fn flexible(
        nodes: impl IntoIterator<Item = NodeId>,
        phase1: u64,
        phase2: u64,
    ) -> Result<Self, QuorumsError> {
        Self::weighted(nodes.into_iter().map(|node| (node, 1)).collect(), phase1, phase2)
    }

    /// Static weights with a threshold for each phase.
    ///
    /// # Errors
    /// See [`QuorumsError`].
    pub fn weighted(
        weights: BTreeMap<NodeId, u64>,
        phase1: u64,
        phase2: u64,
    ) -> Result<Self, QuorumsError> {
        let total = weights
            .values()
            .try_fold(0u64, |sum, weight| sum.checked_add(*weight))
            .filter(|total| *total <= 1 << 63)
            .ok_or(QuorumsError::Overflow)?;
        if total == 0 {
            return Err(QuorumsError::Empty);
        }
        for needed in [phase1, phase2] {
            if needed == 0 || needed > total {
                return Err(QuorumsError::Unreachable { needed, total });
            }
        }
        // Not as a sum, which could overflow.
        if phase1 <= total - phase2 {
            return Err(QuorumsError::Disjoint { phase1, phase2, total });
        }
        Ok(Quorums { weights, phase1, phase2 })
    }

    /// The same kind of quorums of other acceptors: those that stay keep their weights, new ones
    /// have one vote. Majorities stay majorities; else phase 2 needs what it needed, as far as
    /// there is so much, and phase 1 just what makes them meet.
    ///
    /// # Errors
    /// See [`QuorumsError`].
    pub fn of(&self, nodes: impl IntoIterator<Item = NodeId>) -> Result<Self, QuorumsError> {
        let weight = |node: NodeId| (node, self.weights.get(&node).copied().unwrap_or(1));
        let weights: BTreeMap<_, _> = nodes.into_iter().map(weight).collect();
        let half = |weights: &BTreeMap<NodeId, u64>| {
            weights.values().fold(0u64, |sum, weight| sum.saturating_add(*weight)) / 2 + 1
        };
        if (self.phase1, self.phase2) == (half(&self.weights), half(&self.weights)) {
            let needed = half(&weights);
            return Self::weighted(weights, needed, needed);
        }
        let total = weights.values().fold(0u64, |sum, weight| sum.saturating_add(*weight));
        let phase2 = self.phase2.min(total);
        Self::weighted(weights, total.saturating_sub(phase2).saturating_add(1), phase2)
    }

    /// Whether these nodes (a set: name each once) form a phase 1 quorum.
    pub fn is_phase1<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> bool {
        self.weight(nodes) >= self.phase1
    }

    /// Whether these nodes (a set: name each once) form a phase 2 quorum.
    pub fn is_phase2<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> bool {
        self.weight(nodes) >= self.phase2
    }

    /// The acceptors, in order.
    pub fn acceptors(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.weights.keys().copied()
    }

    /// Whether the node is an acceptor of this membership.
    pub fn contains(&self, node: NodeId) -> bool {
        self.weights.contains_key(&node)
    }

    /// The weight needed in phase 1.
    pub fn phase1(&self) -> u64 {
        self.phase1
    }

    /// The weight needed in phase 2.
    pub fn phase2(&self) -> u64 {
        self.phase2
    }

    /// How many acceptors may be lost at most so that a phase 1 quorum is left. The lightest go
    /// first: whoever they are that are lost, with more of them gone no phase 1 quorum is left.
    pub fn expendable(&self) -> usize {
        let mut weights: Vec<_> = self.weights.values().copied().collect();
        weights.sort_unstable();
        let mut left: u64 = weights.iter().sum();
        let stays = |weight: &u64| {
            left -= weight;
            left >= self.phase1
        };
        weights.into_iter().take_while(stays).count()
    }

    /// The weight of these nodes together.
    pub fn weight<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> u64 {
        nodes.into_iter().filter_map(|node| self.weights.get(node)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(n: u64) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    #[test]
    fn majorities_of_every_small_cluster() {
        for (n, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let quorums = Quorums::majority(nodes(n)).unwrap();
            assert_eq!((quorums.phase1(), quorums.phase2()), (needed, needed), "of {n}");
            assert!(quorums.is_phase2(&nodes(needed)));
            assert!(!quorums.is_phase2(&nodes(needed - 1)));
        }
    }

    #[test]
    fn a_change_of_acceptors_keeps_the_kind_of_quorums() {
        let sizes = |quorums: Quorums| (quorums.phase1(), quorums.phase2());
        let majority = Quorums::majority(nodes(3)).unwrap();
        assert_eq!(majority.of(nodes(5)), Quorums::majority(nodes(5)));
        assert_eq!(majority.of([]), Err(QuorumsError::Empty));
        let flexible = Quorums::flexible(nodes(5), 4, 2).unwrap();
        assert_eq!(sizes(flexible.of(nodes(6)).unwrap()), (5, 2));
        assert_eq!(sizes(flexible.of(nodes(1)).unwrap()), (1, 1));
        let weights = BTreeMap::from([(NodeId(1), 3), (NodeId(2), 1), (NodeId(3), 1)]);
        let weighted = Quorums::weighted(weights, 3, 3).unwrap().of(nodes(4)).unwrap();
        assert_eq!((sizes(weighted.clone()), weighted.weight(&[NodeId(1)])), ((4, 4), 3));
    }

    #[test]
    fn strangers_do_not_count() {
        let quorums = Quorums::majority(nodes(3)).unwrap();
        assert!(!quorums.is_phase1(&[NodeId(1), NodeId(8), NodeId(9)]));
    }

    #[test]
    fn systems_that_do_not_meet_are_refused() {
        assert_eq!(Quorums::majority([]), Err(QuorumsError::Empty));
        assert!(Quorums::flexible(nodes(4), 2, 3).is_ok());
        assert!(matches!(Quorums::flexible(nodes(4), 2, 2), Err(QuorumsError::Disjoint { .. })));
        assert!(matches!(Quorums::flexible(nodes(3), 4, 1), Err(QuorumsError::Unreachable { .. })));
        assert!(matches!(Quorums::flexible(nodes(3), 0, 3), Err(QuorumsError::Unreachable { .. })));
    }

    #[test]
    fn serde_cannot_make_what_the_constructor_refuses() {
        let sound = r#"{"weights":{"1":1,"2":1,"3":1},"phase1":2,"phase2":2}"#;
        assert!(serde_json::from_str::<Quorums>(sound).is_ok());
        let split = r#"{"weights":{"1":1,"2":1,"3":1},"phase1":1,"phase2":2}"#;
        assert!(serde_json::from_str::<Quorums>(split).is_err());
    }

    #[test]
    fn so_many_can_be_lost_that_a_quorum_is_left_be_they_the_lightest() {
        let expendable = |quorums: Result<Quorums, _>| quorums.unwrap().expendable();
        for (n, most) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
            assert_eq!(expendable(Quorums::majority(nodes(n))), most, "of {n}");
        }
        assert_eq!(expendable(Quorums::flexible(nodes(5), 2, 4)), 3);
        assert_eq!(expendable(Quorums::flexible(nodes(5), 4, 2)), 1);
        let weights = BTreeMap::from([(NodeId(1), 3), (NodeId(2), 1), (NodeId(3), 1)]);
        assert_eq!(expendable(Quorums::weighted(weights, 3, 3)), 2, "the heavy one is left");
    }

    #[test]
    fn only_acceptors_are_contained() {
        let quorums = Quorums::majority(nodes(3)).unwrap();
        assert!(quorums.contains(NodeId(3)));
        assert!(!quorums.contains(NodeId(4)));
    }
}
