//! A replicated lock service: exclusive locks with a fair queue and fencing tokens, held by
//! sessions that live as long as they are renewed. It is not a place to keep data: what a lock
//! protects lies elsewhere, and refuses the tokens of those who held the lock before.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the service: commands, queries, and what they do |
//! | [`terms`] | sessions, tokens, and how long a session lives |
//! | [`event`] | what watchers are told |
//! | [`refusal`] | why a command was refused |
//! | [`locks`], [`sessions`] | the two tables, and their limits |
//! | [`client`] | locks as a program takes them: a guard that says when it is lost |
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod event;
pub mod locks;
pub mod machine;
pub mod refusal;
pub mod sessions;
pub mod terms;
#[cfg(test)]
mod tests;

pub use client::{AcquireError, AcquireOptions, Guard, LockClient, Loss, Wait};
pub use machine::{Answer, Command, Done, LockService, Query, Standing};
pub use refusal::Refusal;
pub use terms::{LockSession, Terms, Token};
