//! One checker per promise. Each is computed from disks, messages and client histories, never from
//! what a node believes of itself.

pub mod agreement;
pub mod counter_history;
pub mod durability;
pub mod history_file;
pub mod recovery;
pub mod replication;
