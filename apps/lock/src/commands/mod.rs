//! The commands, one a file.

pub mod acquire;
pub mod child;
pub mod contenders;
pub mod demo;
pub mod fence;
pub mod group;
pub mod list;
pub mod named;
pub mod queue;
pub mod release;
pub mod renew;
pub mod run;
pub mod show;
pub mod wanted;
pub mod watch;
