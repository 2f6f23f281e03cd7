//! Bugs of what stands between a node and its disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use paxos_actors::log::{Disk, DiskError, Log, LogOptions, MemoryDisk};
use paxos_core::{NodeId, Record, Recovered};

use super::How::Seeds;
use super::plants::{usual, with};
use super::{Against, Canary};
use crate::simulation::{CLUSTER, Plant, Trouble};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "sync-errors-ignored",
        against: Against::Safety,
        rule: "a failed sync ends the node",
        source: "A10",
        how: Seeds(|plan| with(plan, Trouble::SyncFails)),
        plant: || Box::new(Wrong::SyncErrors),
    },
    Canary {
        id: "write-errors-ignored",
        against: Against::Safety,
        rule: "a failed write ends the node",
        source: "DISK7",
        how: Seeds(|plan| with(plan, Trouble::DiskFull)),
        plant: || Box::new(Wrong::WriteErrors),
    },
    Canary {
        id: "never-syncs",
        against: Against::Safety,
        rule: "what is written is synced before anything depends on it",
        source: "DISK1",
        how: Seeds(usual),
        plant: || Box::new(Wrong::NoSync),
    },
    Canary {
        id: "never-syncs-the-directory",
        against: Against::Safety,
        rule: "a name is durable when its directory is synced",
        source: "DISK3",
        how: Seeds(usual),
        plant: || Box::new(Wrong::NoDirectorySync),
    },
    Canary {
        id: "torn-tail-stays",
        against: Against::Safety,
        rule: "a torn tail is zeroed before anything is appended",
        source: "A13",
        how: Seeds(usual),
        plant: || Box::new(Wrong::TornTail),
    },
    Canary {
        id: "lost-disk-starts-anew",
        against: Against::Safety,
        rule: "a node whose disk is gone does not start",
        source: "A8, PROC8",
        how: Seeds(|plan| with(plan, Trouble::DiskLost)),
        plant: || Box::new(StartsAnew { when: gone, formatted: BTreeMap::new() }),
    },
    Canary {
        id: "damaged-log-starts-anew",
        against: Against::Safety,
        rule: "a node whose log is damaged does not start",
        source: "A11",
        how: Seeds(|plan| with(plan, Trouble::Rot)),
        plant: || Box::new(StartsAnew { when: damaged, formatted: BTreeMap::new() }),
    },
    Canary {
        id: "restart-forgets-acceptances",
        against: Against::Safety,
        rule: "what was accepted is there after every restart",
        source: "PROC1",
        how: Seeds(usual),
        plant: || Box::new(Recovers(|recovered| recovered.accepted.clear())),
    },
    Canary {
        id: "restart-takes-acceptances-for-choices",
        against: Against::Safety,
        rule: "what a log holds is chosen only where it says so",
        source: "PROC1",
        how: Seeds(usual),
        plant: || Box::new(Recovers(accepted_is_chosen)),
    },
];

/// What the log asks of a disk and does not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    SyncErrors,
    WriteErrors,
    NoSync,
    NoDirectorySync,
    TornTail,
    NoSnapshotSync,
}

impl Plant for Wrong {
    fn disk(&mut self, _: NodeId, disk: &Arc<Mutex<MemoryDisk>>) -> Box<dyn Disk + Send> {
        Box::new(WrongDisk::of(disk, *self))
    }
}

#[derive(Debug)]
pub(super) struct WrongDisk {
    disk: Arc<Mutex<MemoryDisk>>,
    wrong: Wrong,
    written: bool,
}

impl WrongDisk {
    pub(super) fn of(disk: &Arc<Mutex<MemoryDisk>>, wrong: Wrong) -> Self {
        WrongDisk { disk: disk.clone(), wrong, written: false }
    }
}

impl Disk for WrongDisk {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.disk.list()
    }

    fn prepare(&mut self, name: &str, size: u64) {
        self.disk.prepare(name, size);
    }

    fn create(&mut self, name: &str, size: u64) -> Result<(), DiskError> {
        self.disk.create(name, size)
    }

    fn ready(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.ready(name)
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, DiskError> {
        self.disk.read(name)
    }

    fn read_at(&mut self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.disk.read_at(name, offset, length)
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        // The first write of a run settles the end of the log.
        let settles = !std::mem::replace(&mut self.written, true);
        if settles && self.wrong == Wrong::TornTail {
            return Ok(());
        }
        let done = self.disk.write_at(name, offset, bytes);
        if self.wrong == Wrong::WriteErrors { Ok(()) } else { done }
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        match self.wrong {
            Wrong::NoSync => Ok(()),
            Wrong::NoSnapshotSync if name.ends_with(".tmp") => Ok(()),
            Wrong::SyncErrors => self.disk.sync(name).or(Ok(())),
            _ => self.disk.sync(name),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.remove(name)
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        match self.wrong {
            Wrong::NoDirectorySync => Ok(()),
            _ => self.disk.sync_dir(),
        }
    }
}

/// Formats a disk again where it should refuse it.
struct StartsAnew {
    when: fn(NodeId, &MemoryDisk) -> bool,
    /// What was on each disk when it was new.
    formatted: BTreeMap<NodeId, MemoryDisk>,
}

impl Plant for StartsAnew {
    fn disk(&mut self, node: NodeId, disk: &Arc<Mutex<MemoryDisk>>) -> Box<dyn Disk + Send> {
        let mut present = disk.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.formatted.entry(node).or_insert_with(|| present.clone());
        if (self.when)(node, &present) {
            *present = new.clone();
        }
        drop(present);
        Box::new(disk.clone())
    }
}

fn gone(_: NodeId, disk: &MemoryDisk) -> bool {
    disk.names().is_empty()
}

fn damaged(node: NodeId, disk: &MemoryDisk) -> bool {
    let copy = Box::new(disk.clone().shared());
    !gone(node, disk) && Log::open(copy, CLUSTER, node, LogOptions::default()).is_err()
}

/// Hands another log to the roles than was read.
struct Recovers(fn(&mut Recovered));

impl Plant for Recovers {
    fn recovered(&mut self, _: NodeId, recovered: &mut Recovered) {
        (self.0)(recovered);
    }
}

fn accepted_is_chosen(recovered: &mut Recovered) {
    for (slot, (ballot, value)) in recovered.accepted.clone() {
        recovered.absorb(Record::Chosen { slot, ballot, value: Some(value) });
    }
}
