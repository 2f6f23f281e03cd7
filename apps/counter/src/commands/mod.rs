//! One command, one file.

pub mod bench;
pub mod demo;
pub mod get;
pub mod incr;
pub mod list;
pub mod named;
pub mod set;
pub mod torture;
pub mod watch;
