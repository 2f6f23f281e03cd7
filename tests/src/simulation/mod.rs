//! A whole cluster in one thread and in virtual time: the production roles, sessions and state
//! machines, with a network and disks that fail by seed. One seed is one run is one trace hash.

mod client;
mod node;
mod plan;
mod world;

pub use client::Sum;
pub use plan::{Faults, Plan};
pub use world::{Report, run, run_as};
