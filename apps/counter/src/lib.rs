//! A replicated counter: named numbers that clients add to, each increment exactly once.
//! The service itself knows no network, no disk and no clock; [`load`] is what clients do to it, to
//! show, to measure and to torture it.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the service: commands, queries, and what they do |
//! | [`load`] | processes that work on a counter, and a verdict on what they were told |
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod load;
pub mod machine;

pub use machine::{Answer, Command, Counters, Query, Refusal};
