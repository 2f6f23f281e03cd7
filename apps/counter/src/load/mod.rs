//! Processes that work on one counter, and a verdict on what they were told.
//!
//! [`process`] is one client; several of them share a [`ledger`], which keeps what they were told
//! and, if asked to, a [`history`]. [`pace`] spreads operations over time, [`faults`] kills leaders
//! meanwhile, [`torture`] puts all of it together, and a [`crowd`] works until it is told to stop.
//! [`generator`] measures how much goes through.

pub mod crowd;
pub mod faults;
pub mod generator;
pub mod history;
pub mod latency;
pub mod ledger;
pub mod pace;
pub mod process;
pub mod torture;
pub mod verdict;
