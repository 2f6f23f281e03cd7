//! The framework: Paxos roles as actors, and the durable log that they write to.

pub mod log;
