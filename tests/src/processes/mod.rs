//! Apps as a user meets them: their binaries, clusters of their processes, clients that note what
//! they are told. Whatever is not as a test needs it panics, with the words that explain it; what a
//! test has started is gone when the test ends, also by a panic.
//!
//! | module | holds |
//! |---|---|
//! | [`binary`] | the programs under test; where none is named, the counter |
//! | [`told()`] | a command that has ended, and what it said |
//! | [`cluster`], [`process`] | nodes as child processes |
//! | [`load`] | clients at work in the background, and the history of it |
//! | [`proxy`] | a network between a client and a node that goes dead when it is told to |
//! | [`raw`] | connections that the library would never make |
//! | [`patience`] | waiting for what must come to pass |

pub mod binary;
pub mod cluster;
pub mod load;
pub mod patience;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod told;

pub use binary::counter;
pub use cluster::{Cluster, Form};
pub use load::Load;
pub use patience::until;
pub use process::Process;
pub use told::{Told, told};
