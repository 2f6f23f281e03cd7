//! The durable log, told as stories: what is written, what a crash or a fault leaves of it, and
//! what is read back. Names that begin with an id are scenarios of the fault catalogue.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod crash;
mod cut;
mod damage;
mod directory;
mod fetches;
mod format;
mod golden;
mod inspect;
mod roles;
mod snapshots;
mod story;
#[path = "../../../paxos-core/tests/support/sum.rs"]
mod sum;
