//! A disk in memory, for simulations and tests: it remembers what was synced, so that it can
//! crash, and it can be damaged. It is not fast, and keeps nothing when the process ends.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskError, Operation};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// What a disk does wrong from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The next sync of a file fails. As on a real system those after it succeed without the bytes
    /// whose sync failed. The switch goes back by itself.
    pub fail_next_sync: bool,
    /// Files can be neither prepared nor written.
    pub no_space: bool,
    /// Syncs of files succeed and do nothing.
    pub lying_sync: bool,
    /// Files cannot be read.
    pub unreadable: bool,
    /// After so many more changes (preparations, writes, syncs, renames, removals) each one fails.
    pub stop_after: Option<u64>,
}

/// The disk. A clone is a copy of everything on it.
///
/// A log uses it as `Arc<Mutex<MemoryDisk>>` ([`MemoryDisk::shared`]), so that whoever plays fate
/// can reach it too.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    /// Faults that are switched on.
    pub faults: Faults,
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// Changes of names that are not synced, in order.
    pending: Vec<Change>,
    prepared: Option<Result<(), (String, io::ErrorKind)>>,
    next: u64,
    changes: u64,
}

/// A file. What is not durable of it is kept by sector: all that the sector held since it last was,
/// oldest first.
#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sectors whose sync failed: a later sync leaves them out.
    forsaken: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Clone)]
enum Change {
    Make(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    /// The disk as a log can use it while others keep it.
    pub fn shared(self) -> Arc<Mutex<MemoryDisk>> {
        Arc::new(Mutex::new(self))
    }

    /// The power fails. Synced sectors and names stay; of those changed since, any may have arrived
    /// in any of the states that they had. `rng(n)` draws a number below `n`. Faults stay as they
    /// are.
    pub fn crash(&mut self, mut rng: impl FnMut(u64) -> u64) {
        for content in self.files.values_mut() {
            content.crash(&mut rng);
        }
        for change in std::mem::take(&mut self.pending) {
            if rng(2) == 1 {
                change.apply(&mut self.durable);
            }
        }
        self.names = self.durable.clone();
        self.prepared = None;
        let named: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }

    /// How many changes were tried so far: see [`Faults::stop_after`].
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The names on it.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The bytes of a file.
    pub fn contents(&self, name: &str) -> Option<&[u8]> {
        Some(&self.files.get(self.names.get(name)?)?.bytes)
    }

    /// Replaces a file at rest, durably, or makes it.
    pub fn overwrite(&mut self, name: &str, bytes: Vec<u8>) {
        let id = self.names.get(name).copied().unwrap_or_else(|| self.fresh());
        self.files.insert(id, Content { bytes, ..Content::default() });
        self.names.insert(name.to_owned(), id);
        self.durable.insert(name.to_owned(), id);
    }

    /// Removes a file at rest, durably.
    pub fn delete(&mut self, name: &str) {
        self.names.remove(name);
        self.durable.remove(name);
    }

    /// Flips one bit at rest; 0 is the lowest of a byte. Nothing happens beyond the end of a file.
    pub fn flip(&mut self, name: &str, offset: usize, bit: u32) {
        let Some(content) = self.names.get(name).and_then(|id| self.files.get_mut(id)) else {
            return;
        };
        if let Some(byte) = content.bytes.get_mut(offset) {
            *byte ^= 1 << (bit % 8);
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn id(&self, operation: Operation, name: &str) -> Result<u64, DiskError> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| error(operation, name, io::ErrorKind::NotFound))
    }

    /// Counts a change, which fails if the disk has stopped.
    fn change(&mut self, operation: Operation, name: &str) -> Result<(), DiskError> {
        self.changes += 1;
        match &mut self.faults.stop_after {
            Some(0) => return Err(error(operation, name, io::ErrorKind::Other)),
            Some(left) => *left -= 1,
            None => {}
        }
        let takes_space = matches!(operation, Operation::Prepare | Operation::Write);
        if takes_space && self.faults.no_space {
            return Err(error(operation, name, io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn make(&mut self, name: &str, size: u64) -> Result<(), DiskError> {
        self.change(Operation::Prepare, name)?;
        if let Some(content) = self.names.get(name).and_then(|id| self.files.get_mut(id)) {
            // Overwritten: until it is ready, a crash can leave any of what was there.
            content.resize(size as usize);
            content.write(0, &vec![0; size as usize]);
            return Ok(());
        }
        let id = self.fresh();
        self.files.insert(id, Content { bytes: vec![0; size as usize], ..Content::default() });
        self.names.insert(name.to_owned(), id);
        self.pending.push(Change::Make(name.to_owned(), id));
        Ok(())
    }

    /// The end of making a file is its sync.
    fn made(&mut self, name: &str) -> Result<(), DiskError> {
        let id = self.id(Operation::Prepare, name)?;
        if let Some(content) = self.files.get_mut(&id).filter(|_| !self.faults.lying_sync) {
            content.dirty.clear();
            content.forsaken.clear();
        }
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.change(Operation::Write, name)?;
        let id = self.id(Operation::Write, name)?;
        let content = self.files.entry(id).or_default();
        let fits = offset + bytes.len() as u64 <= content.bytes.len() as u64;
        if !fits {
            return Err(error(Operation::Write, name, io::ErrorKind::InvalidInput));
        }
        content.write(offset as usize, bytes);
        Ok(())
    }

    fn sync_file(&mut self, name: &str) -> Result<(), DiskError> {
        self.change(Operation::Sync, name)?;
        let id = self.id(Operation::Sync, name)?;
        let content = self.files.entry(id).or_default();
        if std::mem::take(&mut self.faults.fail_next_sync) {
            content.forsaken.append(&mut content.dirty);
            return Err(error(Operation::Sync, name, io::ErrorKind::Other));
        }
        if !self.faults.lying_sync {
            content.dirty.clear();
        }
        Ok(())
    }
}

impl Content {
    /// Sectors beyond the new end are gone, and what they held.
    fn resize(&mut self, size: usize) {
        self.bytes.resize(size, 0);
        let kept = |sector: &usize| (*sector + 1) * SECTOR <= size;
        self.dirty.retain(|sector, _| kept(sector));
        self.forsaken.retain(|sector, _| kept(sector));
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for sector in offset / SECTOR..=(offset + bytes.len() - 1) / SECTOR {
            let range = sector * SECTOR..self.bytes.len().min((sector + 1) * SECTOR);
            let states = self.dirty.entry(sector).or_default();
            states.extend(self.forsaken.remove(&sector).unwrap_or_default());
            states.push(self.bytes[range].to_vec());
        }
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn crash(&mut self, rng: &mut impl FnMut(u64) -> u64) {
        self.dirty.append(&mut self.forsaken);
        for (sector, states) in std::mem::take(&mut self.dirty) {
            let choice = rng(states.len() as u64 + 1) as usize;
            if let Some(state) = states.get(choice) {
                let at = sector * SECTOR;
                self.bytes[at..at + state.len()].copy_from_slice(state);
            }
        }
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Make(name, id) => {
                names.insert(name, id);
            }
            Change::Rename(from, to, id) => {
                names.remove(&from);
                names.insert(to, id);
            }
            Change::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Disk for Arc<Mutex<MemoryDisk>> {
    fn path(&self) -> &Path {
        Path::new(ROOT)
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(lock(self).names())
    }

    fn prepare(&mut self, name: &str, size: u64) {
        let mut disk = lock(self);
        let made = disk.make(name, size);
        disk.prepared = Some(made.map_err(|error| (name.to_owned(), error.source.kind())));
    }

    fn create(&mut self, name: &str, size: u64) -> Result<(), DiskError> {
        lock(self).make(name, size)
    }

    fn ready(&mut self, name: &str) -> Result<(), DiskError> {
        let mut disk = lock(self);
        match disk.prepared.take() {
            Some(Err((name, kind))) => Err(error(Operation::Prepare, &name, kind)),
            _ => disk.made(name),
        }
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, DiskError> {
        let disk = lock(self);
        if disk.faults.unreadable {
            return Err(error(Operation::Read, name, io::ErrorKind::Other));
        }
        let bytes = disk.contents(name).map(<[u8]>::to_vec);
        bytes.ok_or_else(|| error(Operation::Read, name, io::ErrorKind::NotFound))
    }

    fn read_at(&mut self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let bytes = self.read(name)?;
        let from = bytes.len().min(offset as usize);
        Ok(bytes[from..bytes.len().min(from.saturating_add(length))].to_vec())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        lock(self).write(name, offset, bytes)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        lock(self).sync_file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut disk = lock(self);
        disk.change(Operation::Rename, from)?;
        let id = disk.id(Operation::Rename, from)?;
        let change = Change::Rename(from.to_owned(), to.to_owned(), id);
        change.clone().apply(&mut disk.names);
        disk.pending.push(change);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut disk = lock(self);
        disk.change(Operation::Remove, name)?;
        disk.id(Operation::Remove, name)?;
        let change = Change::Remove(name.to_owned());
        change.clone().apply(&mut disk.names);
        disk.pending.push(change);
        Ok(())
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        let mut disk = lock(self);
        disk.change(Operation::SyncDirectory, ".")?;
        disk.durable = disk.names.clone();
        disk.pending.clear();
        Ok(())
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.names.iter().map(|(name, id)| (name, self.files[id].bytes.len()));
        let sizes: BTreeMap<_, _> = sizes.collect();
        f.debug_struct("MemoryDisk").field("files", &sizes).field("faults", &self.faults).finish()
    }
}

const ROOT: &str = "memory";

fn lock(disk: &Mutex<MemoryDisk>) -> MutexGuard<'_, MemoryDisk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(operation: Operation, name: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::new(operation, PathBuf::from(ROOT).join(name), io::Error::from(kind))
}
