//! Exhaustive search: every order in which the messages, syncs, crashes and campaigns of a small
//! cluster can happen, up to stated bounds, with the roles that ship. It is not a model of the
//! roles: they are stepped as they are, one message at a time; modelled is only what surrounds
//! them, the network and the disks.
//!
//! `tests/MODEL.md` says what that covers and what not. Reading order: [`configuration`], [`node`],
//! [`system`], [`properties`], [`change`], [`verdict`], [`planted`]. Leases have a search of their
//! own, [`leases`].

pub mod bug;
pub mod change;
pub mod configuration;
mod interner;
pub mod leases;
pub mod node;
pub mod planted;
mod planted_changes;
pub mod properties;
pub mod system;
pub mod verdict;

pub use bug::{Bug, Faithful};
pub use change::Change;
pub use configuration::{Configuration, Placement};
pub use leases::{Leases, Mistake};
pub use node::{Fate, Node};
pub use planted::Planted;
pub use properties::Rule;
pub use system::{Action, Event, State, System};
pub use verdict::{Verdict, Violation, check};
