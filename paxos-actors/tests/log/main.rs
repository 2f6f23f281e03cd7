//! The durable log, told as stories: what is written, what a crash or a fault leaves of it, and
//! what is read back. Names that begin with an id are scenarios of the fault catalogue.

#![allow(clippy::unwrap_used)]

mod crash;
mod damage;
mod directory;
mod format;
mod roles;
mod story;
