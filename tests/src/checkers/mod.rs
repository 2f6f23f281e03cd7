//! One checker per promise. Each is computed from disks, messages and client histories, never from
//! what a node believes of itself. What a checker says begins with its name.

pub mod agreement;
pub mod compare_and_set;
pub mod counter_history;
pub mod durability;
pub mod followers;
pub mod history_file;
pub mod holders;
pub mod leadership;
pub mod leases;
pub mod locks;
pub mod memberships;
pub mod memory;
pub mod positions;
pub mod recovery;
pub mod registers;
pub mod replication;
pub mod snapshots;
pub mod stale_reads;
mod timing;
pub mod tokens;
pub mod watches;
pub mod window;

/// What can say that a promise is broken, by the name that its words begin with.
pub const CHECKERS: [&str; 18] = [
    "agreement",
    "alarms",
    "answers",
    "durability",
    "followers",
    "history",
    "leadership",
    "leases",
    "locks",
    "memberships",
    "memory",
    "progress",
    "recovery",
    "replication",
    "snapshots",
    "stale reads",
    "watches",
    "window",
];

/// The checker that said so; `None` if none did, and the run itself was not what was planned.
pub fn blamed(broken: &str) -> Option<&'static str> {
    let said = |name: &&str| broken.split(": ").any(|part| part == *name);
    CHECKERS.into_iter().find(said)
}
