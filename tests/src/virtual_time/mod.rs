//! Whole clusters in virtual time: the actor graph as it ships, over real QUIC, on one thread whose
//! clock stands still while anything is left to do. One seed is one run is one trace hash.
//!
//! What is real: actors and their mailboxes, timers, links, TLS and QUIC, the light client, the
//! log's code. What stands in for the system: [`Switch`] for UDP, a disk in memory for the data
//! directory, the runtime's paused clock for time, seeded entropy for chance.
//!
//! The hash covers virtual time, the ends and sizes of all datagrams, every message sent or
//! received, every record written, every value applied, and what clients saw. It does not cover
//! ciphertext: TLS makes its own keys. Everything else must repeat exactly, or the hash tells.
//!
//! ```text
//! Fate, by Plan
//!    |
//! Cluster -- start, crash, spoil, cut, heal --> nodes --- Host --- Switch --- Host --- clients
//!    |                                            |                  |                    |
//!    +-- Watch (checkers) <------- observer ------+                  |                    |
//!                  +-------------------------- Trace <---------------+--------------------+
//! ```

mod client;
mod cluster;
mod fate;
mod followers;
mod plan;
mod quic;
mod story;
mod switch;
mod syncs;
mod trace;
mod vault;
mod watch;

pub use client::Crowd;
pub use cluster::{Cluster, Listener};
pub use fate::Fate;
pub use followers::Followers;
pub use plan::{Faults, Plan, Setup};
pub use story::{Report, in_virtual_time, run};
pub use switch::{Host, Switch, Weather};
pub use trace::{Printed, Trace};
pub use watch::Watch;
