//! Quorum systems by brute force: every pair of quorums of up to seven nodes.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;

use paxos_core::quorums::QuorumsError;
use paxos_core::{NodeId, Quorums};
use proptest::collection::vec;
use proptest::prelude::*;

/// Whether every set of at least `phase1` meets every set of at least `phase2`.
fn all_meet(weights: &[u64], phase1: u64, phase2: u64) -> bool {
    let weigh = |set: u32| -> u64 {
        let members = weights.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1);
        members.map(|(_, weight)| weight).sum()
    };
    let sets = 0..1u32 << weights.len();
    let of = |needed| sets.clone().filter(move |set| weigh(*set) >= needed);
    of(phase1).all(|one| of(phase2).all(|other| one & other != 0))
}

fn nodes(set: u32) -> Vec<NodeId> {
    (0..7).filter(|place| set >> place & 1 == 1).map(|place| NodeId(place + 1)).collect()
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Of equal votes exactly those systems are built whose quorums meet and can be reached.
    #[test]
    fn s19_equal_votes_are_accepted_if_and_only_if_their_quorums_meet(
        n in 0..=7u64, phase1 in 0..=8u64, phase2 in 0..=8u64,
    ) {
        let votes = vec![1; n as usize];
        let reachable = [phase1, phase2].iter().all(|needed| (1..=n).contains(needed));
        let sound = reachable && all_meet(&votes, phase1, phase2);
        let built = Quorums::flexible((1..=n).map(NodeId), phase1, phase2);
        prop_assert_eq!(built.is_ok(), sound, "{:?}", built);
    }

    /// Of weighted votes none is built whose quorums do not meet. Some are refused that would do,
    /// since only the sum of the thresholds is compared with the total; then it says so.
    #[test]
    fn s19_weights_whose_quorums_do_not_meet_are_never_accepted(
        weights in vec(0..6u64, 0..=7), phase1 in 0..=24u64, phase2 in 0..=24u64,
    ) {
        let total: u64 = weights.iter().sum();
        let by_node: BTreeMap<_, _> = (1..).map(NodeId).zip(weights.iter().copied()).collect();
        match Quorums::weighted(by_node, phase1, phase2) {
            Ok(quorums) => {
                prop_assert!(all_meet(&weights, phase1, phase2));
                // What the votes of each set come to is what the thresholds say.
                for set in 0..1u32 << weights.len() {
                    let nodes = nodes(set);
                    let weight: u64 = nodes.iter().map(|n| weights[n.0 as usize - 1]).sum();
                    prop_assert_eq!(quorums.is_phase1(&nodes), weight >= phase1);
                    prop_assert_eq!(quorums.is_phase2(&nodes), weight >= phase2);
                }
            }
            Err(QuorumsError::Empty) => prop_assert_eq!(total, 0),
            Err(QuorumsError::Disjoint { .. }) => prop_assert!(phase1 + phase2 <= total),
            Err(QuorumsError::Unreachable { needed, .. }) => {
                prop_assert!(needed == 0 || needed > total);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn s19_a_majority_of_weights_that_drifted_apart_cannot_be_built() {
    // Weights that only ever grow locally: two disjoint "majorities" of a stale total.
    let drifted: BTreeMap<_, _> = [(NodeId(1), 83), (NodeId(2), 83), (NodeId(3), 0)].into();
    let refused = Quorums::weighted(drifted, 51, 51);
    assert!(matches!(refused, Err(QuorumsError::Disjoint { total: 166, .. })), "{refused:?}");
}
