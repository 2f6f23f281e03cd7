//! What the tests of more than one crate share: a simulator of whole clusters, a model of
//! them for exhaustive search, and a checker for each promise. It is not a part of the product, and nothing of the product depends on it.

pub mod checkers;
pub mod model;
pub mod simulation;
