//! The simulated network: which links are cut, and in what shapes.

use std::collections::BTreeSet;

use paxos_core::{NodeId, Random};

/// A shape that a partition can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// One node hears nobody and is heard by nobody.
    Isolated,
    /// Two groups that do not hear each other.
    Split,
    /// One node is heard by nobody but hears everybody.
    Mute,
    /// One node hears nobody but is heard by everybody.
    Deaf,
    /// One link, in one direction.
    OneWay,
    /// Each node hears its neighbours alone.
    Chain,
    /// Only the links of one node are left.
    Star,
    /// Two groups that one node alone joins.
    Bridge,
}

const SHAPES: [Shape; 8] = [
    Shape::Isolated,
    Shape::Split,
    Shape::Mute,
    Shape::Deaf,
    Shape::OneWay,
    Shape::Chain,
    Shape::Star,
    Shape::Bridge,
];

/// Links that carry nothing, each in one direction.
pub type Cuts = BTreeSet<(NodeId, NodeId)>;

/// Draws a shape and the links that it cuts.
pub fn draw(random: &mut Random, nodes: &[NodeId]) -> (Shape, Cuts) {
    let shape = SHAPES[random.below(SHAPES.len() as u64) as usize];
    let mut order = nodes.to_vec();
    for place in (1..order.len()).rev() {
        order.swap(place, random.below(place as u64 + 1) as usize);
    }
    (shape, cuts(shape, &order))
}

/// The links that a shape cuts among nodes in this order; its special node is the first.
pub fn cuts(shape: Shape, order: &[NodeId]) -> Cuts {
    let half = order.len() / 2;
    let is_cut = |from: usize, to: usize| match shape {
        Shape::Isolated => from == 0 || to == 0,
        Shape::Split => (from <= half) != (to <= half),
        Shape::Mute => from == 0,
        Shape::Deaf => to == 0,
        Shape::OneWay => from == 0 && to == 1,
        Shape::Chain => from.abs_diff(to) > 1,
        Shape::Star => from != 0 && to != 0,
        Shape::Bridge => from != 0 && to != 0 && (from <= half) != (to <= half),
    };
    let places = 0..order.len();
    let pairs = places.clone().flat_map(|from| places.clone().map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| from != to && is_cut(*from, *to))
        .map(|(from, to)| (order[from], order[to]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cut_what_they_say() {
        let nodes: Vec<_> = (1..=5).map(NodeId).collect();
        let count = |shape| cuts(shape, &nodes).len();
        assert_eq!(count(Shape::Isolated), 8);
        assert_eq!(count(Shape::Mute), 4);
        assert_eq!(count(Shape::OneWay), 1);
        assert_eq!(count(Shape::Star), 12);
        assert_eq!(count(Shape::Chain), 12);
        assert!(!cuts(Shape::Deaf, &nodes).contains(&(NodeId(1), NodeId(2))));
    }
}
