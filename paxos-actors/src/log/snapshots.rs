//! Snapshots on a disk: written whole, synced, and only then given their name.

use std::path::PathBuf;

use paxos_core::{ClusterId, Inside, Manifest, Slot};
use thiserror::Error;

use super::disk::{Disk, DiskError};
use super::effort::{Effort, timed};
use super::partial::{COMING, MARKS, Partial};

/// The directory of snapshots within a data directory.
pub const SNAPSHOTS: &str = "snapshots";

/// A snapshot that is being made here.
const MAKING: &str = "making.tmp";

/// Bytes before the state: magic and version, the slot, the length of the state, the checksum.
pub(super) const HEADER: usize = 32;
const MAGIC: [u8; 8] = *b"paxsnap\x02";
const CRC: std::ops::Range<usize> = 24..28;

/// Written, and synced, in pieces of this many bytes.
pub(super) const PIECE: usize = 1 << 20;

/// What is wrong with snapshots. The node must not start, or must stop.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A snapshot is not what was written.
    #[error(
        "the snapshot {} is damaged: {reason}. Put the file back if you have it as it was. An \
         older one beside it will do too, since the log reaches back to it: move the damaged file \
         away. Otherwise the node must come back as a new member under a new id",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The log was cut, and the snapshot that covers what is gone is not there.
    #[error(
        "a snapshot that covers every slot below {} is missing from {}: the log was cut there. \
         Put the file back if you have it; otherwise the node must come back as a new member \
         under a new id",
        trimmed.0, path.display()
    )]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Slots below are cut.
        trimmed: Slot,
    },
    /// The disk failed.
    #[error("{0}; check the disk, and that there is space left")]
    Disk(#[from] DiskError),
}

/// What became of a piece that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// So many bytes of the snapshot are written.
    Written(u64),
    /// All of it is here, and it is not what its manifest says; it is thrown away.
    Spoiled,
    /// All of it is here, and it is what its manifest says; the state in it. It is not stored yet.
    Whole(Vec<u8>),
}

/// One snapshot as it lies on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The file.
    pub path: PathBuf,
    /// The first slot that it does not cover.
    pub upto: Slot,
    /// Its length.
    pub bytes: u64,
    /// What is wrong with it, if it was read as a whole.
    pub trouble: Option<&'static str>,
}

/// The snapshots of one node, in a directory of their own.
///
/// Invariant: a snapshot has its name only when all of it is synced; a crash at any moment leaves
/// the ones before as they were.
///
/// Invariant: what has come of a peer's snapshot is newer than everything stored.
#[derive(Debug)]
pub struct Snapshots {
    disk: Box<dyn Disk + Send>,
    cluster: ClusterId,
    keep: usize,
    /// Oldest first.
    stored: Vec<Manifest>,
    /// The one that comes from a peer.
    coming: Option<Partial>,
    effort: Effort,
}

impl Snapshots {
    /// The snapshots in a directory, of which the newest `keep` are kept. One that was being made
    /// is removed; what had come of a peer's is read, and kept if it is sound and still of use.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn open(
        mut disk: Box<dyn Disk + Send>,
        cluster: ClusterId,
        keep: usize,
    ) -> Result<Self, SnapshotError> {
        let names = match disk.list() {
            Err(error) if error.is_not_found() => Vec::new(),
            listed => listed?,
        };
        let mut stored: Vec<Manifest> = Vec::new();
        for name in &names {
            if let Some(upto) = upto_of(name) {
                let header = disk.read_at(name, 0, HEADER)?;
                let manifest = manifest_of(&header).filter(|manifest| manifest.upto == upto);
                let path = disk.path().join(name);
                let reason = "its header is not that of this snapshot";
                stored.push(manifest.ok_or(SnapshotError::Damaged { path, reason })?);
            } else if name == MAKING {
                disk.remove(name)?;
            }
        }
        let covered = stored.last().map_or(0, |newest| newest.upto.0);
        let coming = Partial::find(&mut *disk, &names, covered)?;
        Ok(Snapshots {
            disk,
            cluster,
            keep: keep.max(1),
            stored,
            coming,
            effort: Effort::default(),
        })
    }

    /// The snapshots in a directory, oldest first; nothing is written. Each is read as a whole if
    /// its checksum is to be looked at.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn look(
        mut disk: Box<dyn Disk + Send>,
        cluster: ClusterId,
        whole: bool,
    ) -> Result<Vec<SnapshotReport>, DiskError> {
        let names = match disk.list() {
            Err(error) if error.is_not_found() => Vec::new(),
            listed => listed?,
        };
        let mut found = Vec::new();
        for (upto, name) in names.into_iter().filter_map(|name| Some((upto_of(&name)?, name))) {
            let path = disk.path().join(&name);
            let header = disk.read_at(&name, 0, HEADER)?;
            let manifest = manifest_of(&header).filter(|manifest| manifest.upto == upto);
            let trouble = match &manifest {
                None => Some("its header is not that of this snapshot"),
                Some(manifest) if whole => {
                    let bytes = disk.read(&name)?;
                    let (header, state) = bytes.split_at(bytes.len().min(HEADER));
                    check(cluster, manifest, header, state).err()
                }
                Some(_) => None,
            };
            let bytes = manifest.map_or(0, |manifest| manifest.bytes);
            found.push(SnapshotReport { path, upto, bytes, trouble });
        }
        Ok(found)
    }

    /// The state in the bytes of a snapshot of a cluster, checked.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn state_of(cluster: ClusterId, mut bytes: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        let header = bytes.get(..HEADER).and_then(manifest_of);
        let manifest = header.ok_or("it does not begin like a snapshot")?;
        check(cluster, &manifest, &bytes[..HEADER], &bytes[HEADER..])?;
        bytes.drain(..HEADER);
        Ok(bytes)
    }

    /// What is stored, oldest first.
    pub fn stored(&self) -> &[Manifest] {
        &self.stored
    }

    /// What lies here of a snapshot that comes from a peer: its manifest, and how many bytes.
    pub fn partial(&self) -> Option<(&Manifest, u64)> {
        self.coming.as_ref().map(|coming| (coming.manifest(), coming.written()))
    }

    /// What an archive must hear when it starts.
    pub fn told(&self) -> impl Iterator<Item = Inside> + use<> {
        let stored = Inside::Stored { snapshots: self.stored.clone() };
        let partly = self.partial().map(|(snapshot, offset)| {
            let snapshot = snapshot.clone();
            Inside::Partly { snapshot, offset }
        });
        [stored].into_iter().chain(partly)
    }

    /// The length of the newest, in bytes.
    pub fn bytes(&self) -> u64 {
        self.stored.last().map_or(0, |newest| newest.bytes)
    }

    /// Whether a snapshot covers everything that is cut.
    ///
    /// # Errors
    /// [`SnapshotError::Missing`] if none does.
    pub fn reaches(&self, trimmed: Slot) -> Result<(), SnapshotError> {
        if trimmed <= Slot::FIRST || self.stored.last().is_some_and(|last| last.upto >= trimmed) {
            return Ok(());
        }
        Err(SnapshotError::Missing { path: self.disk.path().to_owned(), trimmed })
    }

    /// The state of the newest snapshot, checked.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn newest(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let Some(newest) = self.stored.last().cloned() else { return Ok(None) };
        let name = name_of(newest.upto);
        match self.state_in(&name, &newest)? {
            Ok(state) => Ok(Some(state)),
            Err(reason) => {
                Err(SnapshotError::Damaged { path: self.disk.path().join(name), reason })
            }
        }
    }

    /// What it took to read the newest, when it was last read.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Stores the state behind the slot before `upto`, durably, and removes the oldest snapshots
    /// that are one too many.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn save(&mut self, upto: Slot, state: &[u8]) -> Result<(), SnapshotError> {
        let header = self.header(upto, state);
        let bytes = (HEADER + state.len()) as u64;
        self.disk.create(MAKING, bytes)?;
        self.disk.write_at(MAKING, 0, &header)?;
        let mut offset = HEADER as u64;
        for piece in state.chunks(PIECE) {
            self.disk.write_at(MAKING, offset, piece)?;
            offset += piece.len() as u64;
            // Not all at once in the end: the log's syncs would have to wait behind it.
            self.disk.sync(MAKING)?;
        }
        self.publish(MAKING, Manifest { upto, bytes, crc32c: crc_of(&header) })
    }

    /// A piece of a stored snapshot; `None` if there is no such snapshot any more.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn piece(
        &mut self,
        snapshot: &Manifest,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<Vec<u8>>, SnapshotError> {
        if !self.stored.contains(snapshot) {
            return Ok(None);
        }
        Ok(Some(self.disk.read_at(&name_of(snapshot.upto), offset, bytes as usize)?))
    }

    /// Writes a piece of a peer's snapshot behind those written before, in this run or an earlier
    /// one; the first begins anew. With the last the whole is checked; [`Snapshots::store`] stores
    /// it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn keep(
        &mut self,
        snapshot: &Manifest,
        offset: u64,
        piece: &[u8],
    ) -> Result<Kept, SnapshotError> {
        if offset == 0 {
            self.coming = Some(Partial::begin(&mut *self.disk, snapshot.clone())?);
        }
        let Some(coming) = &mut self.coming else { return Ok(Kept::Spoiled) };
        if coming.manifest() != snapshot || coming.written() != offset {
            return Ok(Kept::Written(coming.written()));
        }
        coming.append(&mut *self.disk, piece)?;
        if coming.written() < snapshot.bytes {
            return Ok(Kept::Written(coming.written()));
        }
        if let Ok(state) = self.state_in(COMING, snapshot)? {
            return Ok(Kept::Whole(state));
        }
        self.discard()?;
        Ok(Kept::Spoiled)
    }

    /// Stores the peer's snapshot that is here, durably.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn store(&mut self) -> Result<(), SnapshotError> {
        let Some(coming) = self.coming.take() else { return Ok(()) };
        self.publish(COMING, coming.manifest().clone())?;
        Ok(self.disk.remove(MARKS)?)
    }

    /// Throws away what has come from a peer so far.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn discard(&mut self) -> Result<(), SnapshotError> {
        match self.coming.take() {
            Some(coming) => Ok(coming.remove(&mut *self.disk)?),
            None => Ok(()),
        }
    }

    fn publish(&mut self, from: &str, manifest: Manifest) -> Result<(), SnapshotError> {
        self.disk.sync(from)?;
        self.disk.rename(from, &name_of(manifest.upto))?;
        self.disk.sync_dir()?;
        self.stored.retain(|stored| stored.upto != manifest.upto);
        self.stored.push(manifest);
        self.stored.sort_by_key(|stored| stored.upto);
        let surplus = self.stored.len().saturating_sub(self.keep);
        for old in self.stored.drain(..surplus) {
            self.disk.remove(&name_of(old.upto))?;
        }
        let newest = self.stored.last().map(|newest| newest.upto);
        let passed = |coming: &mut Partial| Some(coming.manifest().upto) <= newest;
        match self.coming.take_if(passed) {
            Some(coming) => Ok(coming.remove(&mut *self.disk)?),
            None => Ok(()),
        }
    }

    fn header(&self, upto: Slot, state: &[u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..16].copy_from_slice(&upto.0.to_le_bytes());
        header[16..24].copy_from_slice(&(state.len() as u64).to_le_bytes());
        let crc = crc(self.cluster, &header, state);
        header[CRC].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// The state in a file that should hold this snapshot, or what is wrong with it.
    fn state_in(
        &mut self,
        name: &str,
        manifest: &Manifest,
    ) -> Result<Result<Vec<u8>, &'static str>, DiskError> {
        let mut effort = Effort { bytes: manifest.bytes, ..Effort::default() };
        // Apart, so that the state need not be moved; a byte too many shows.
        let length = (manifest.bytes as usize).saturating_sub(HEADER) + 1;
        let header = self.disk.read_at(name, 0, HEADER)?;
        let state = timed(&mut effort.read, || self.disk.read_at(name, HEADER as u64, length))?;
        let cluster = self.cluster;
        let checked = timed(&mut effort.checked, || check(cluster, manifest, &header, &state));
        self.effort = effort;
        Ok(checked.map(|()| state))
    }
}

/// Whose snapshot it is, which one, and what it says. All nodes of a cluster may have the same.
fn crc(cluster: ClusterId, header: &[u8], state: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&cluster.0.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &header[..CRC.start]), state)
}

fn check(
    cluster: ClusterId,
    manifest: &Manifest,
    header: &[u8],
    state: &[u8],
) -> Result<(), &'static str> {
    if manifest_of(header).as_ref() != Some(manifest) {
        return Err("its header is not that of this snapshot");
    }
    if (HEADER + state.len()) as u64 != manifest.bytes {
        return Err("its length is wrong");
    }
    if crc(cluster, header, state) != manifest.crc32c {
        return Err("its checksum is wrong, or it is that of another cluster");
    }
    Ok(())
}

fn name_of(upto: Slot) -> String {
    format!("snapshot-{:020}.snap", upto.0)
}

fn upto_of(name: &str) -> Option<Slot> {
    let digits = name.strip_prefix("snapshot-")?.strip_suffix(".snap")?;
    let sound = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| sound).map(Slot)
}

fn crc_of(header: &[u8]) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| header[CRC.start + byte]))
}

/// What a header says; `None` if it is none.
pub(super) fn manifest_of(header: &[u8]) -> Option<Manifest> {
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]));
    let sound = header.len() == HEADER && header[..8] == MAGIC && header[CRC.end..] == [0; 4];
    sound.then(|| Manifest {
        upto: Slot(number(8)),
        bytes: number(16).saturating_add(HEADER as u64),
        crc32c: crc_of(header),
    })
}
