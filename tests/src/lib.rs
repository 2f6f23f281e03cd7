//! What the tests of more than one crate share: a simulator of whole clusters, a model of small
//! ones for exhaustive search, a checker for each promise, and clusters of real processes. It is
//! not a part of the product, and nothing of the product depends on it; the laboratory
//! (`apps/leadership`) does.

pub mod canaries;
pub mod checkers;
pub mod model;
pub mod processes;
pub mod seeds;
pub mod simulation;
pub mod virtual_time;
