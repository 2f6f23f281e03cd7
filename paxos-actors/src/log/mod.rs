//! The durable log: what a node promised and accepted, synced before anything that depends on it
//! leaves. It is not a general store: it is appended to in *drains*, read once when the node
//! starts, and cut at its beginning.
//!
//! [`format()`] makes a data directory, [`Log::open`] reads it, [`Log::append`] writes one drain
//! and syncs it, [`Log::idle`] marks the last drain as synced when nothing else is to be written,
//! and [`Log::release`] takes segments out that lie below the cut, to use their files again.
//! [`Inspection`] reads a log without writing anything. All of it works through [`Disk`]:
//! [`Directory`] is the real one, [`MemoryDisk`] the one that a simulator can crash and damage.
//!
#![doc = include_str!("FORMAT.md")]

mod directory;
mod disk;
mod effort;
mod error;
mod frame;
mod identity;
mod inspection;
mod lock;
mod memory;
mod partial;
mod recovery;
mod segment;
mod snapshots;
mod writer;

pub use directory::Directory;
pub use disk::{Disk, DiskError, Operation};
pub use effort::Effort;
pub use error::{FormatError, LogError, OpenError};
pub use frame::Trouble;
pub use identity::{DataIdentity, format};
pub use inspection::{Inspection, Located, SegmentReport};
pub use lock::{DirectoryLock, LockError};
pub use memory::{Faults, MemoryDisk, SECTOR};
pub use snapshots::{Kept, SNAPSHOTS, SnapshotError, SnapshotReport, Snapshots};
pub use writer::{Log, LogOptions};
