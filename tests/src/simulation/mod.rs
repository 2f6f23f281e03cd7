//! A whole cluster in one thread and in virtual time: the production roles, sessions, state
//! machines and log, with a network, disks and clocks that fail by seed. One seed is one run is one
//! trace hash.

mod client;
mod clock;
pub mod demands;
pub mod directed;
mod ending;
mod events;
mod followers;
mod governing;
mod leases;
mod lockers;
pub mod network;
mod node;
mod plan;
mod plant;
mod requests;
pub mod services;
mod shelf;
mod trouble;
mod world;

pub use client::Sum;
pub use ending::Report;
pub use leases::holds;
pub use node::CLUSTER;
pub use plan::{DRIFT_PPM, Faults, Plan, Rhythm, Settings, TROUBLES, Trouble};
pub(crate) use plan::{aside, quorums};
pub use plant::{Actor, Plant, Question, Sound};
pub use services::{Service, Services};
pub use world::{PROGRESS_WITHIN, run, run_as, run_planted, run_telling};
