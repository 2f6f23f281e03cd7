//! A replicated chat log: rooms with numbered messages, which everybody sees once and in one order.
//! The service itself knows no network, no disk and no clock; [`follower`] is how a client follows
//! a room through the loss of nodes.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the service: commands, queries, and what they do |
//! | [`room`], [`message`] | what it is made of |
//! | [`client`] | what a client says and asks, in the types of the service |
//! | [`cursor`] | what somebody hears who follows a room: every message once, in order |
//! | [`follower`] | the same of a real cluster, through the loss of nodes |
//! | [`comparison`] | the same room on several nodes |
//! | [`load`] | many who speak, some who follow, and a verdict |
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod comparison;
pub mod cursor;
pub mod follower;
pub mod load;
pub mod machine;
pub mod message;
pub mod room;

pub use machine::{Answer, Chat, Command, Happening, Query, Refusal, Said};
pub use message::{Line, Message};
pub use room::{Page, Span};
