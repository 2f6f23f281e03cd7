//! What the tests of more than one crate share: a simulator of whole clusters, and a checker for
//! each promise. It is not a part of the product, and nothing of the product depends on it.

pub mod checkers;
pub mod simulation;
pub mod virtual_time;
