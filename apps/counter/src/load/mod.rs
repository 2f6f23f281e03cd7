//! Processes that work on one counter, and a verdict on what they were told.
//!
//! [`process`] is one client; several of them share a [`ledger`], which keeps what they were told
//! and, if asked to, a [`history`]. [`pace`] spreads operations over time, [`faults`] kills leaders
//! meanwhile, and [`torture`] puts all of it together.

pub mod faults;
pub mod history;
pub mod latency;
pub mod ledger;
pub mod pace;
pub mod process;
pub mod torture;
pub mod verdict;
