//! One command, one file.

pub mod demo;
pub mod history;
pub mod rooms;
pub mod say;
pub mod spoken;
pub mod tail;
pub mod verify;
