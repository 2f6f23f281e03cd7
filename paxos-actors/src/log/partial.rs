//! What has come so far of a peer's snapshot, and how it is found again after a restart.
//!
//! Beside the file lies another with two marks, each of which says how many bytes from the
//! beginning on are written, and their CRC-32C. The second is written with every piece, the first
//! when everything that it speaks of is synced. After a restart what a mark says is compared with
//! the file, so neither has to be true: one that is not, is not believed.

use paxos_core::Manifest;

use super::disk::{Disk, DiskError};
use super::snapshots::{HEADER, PIECE, manifest_of};

/// The file of a snapshot that comes from a peer.
pub(super) const COMING: &str = "coming.tmp";

/// The marks beside it.
pub(super) const MARKS: &str = "coming.marks";

/// Each mark has a sector of its own, so that no write of one can spoil the other.
const SECTOR: u64 = 512;
const SYNCED: u64 = 0;
const NEWEST: u64 = SECTOR;

/// A mark: the number of bytes, their checksum.
const MARK: usize = 12;

/// A snapshot of which the beginning is here.
///
/// Invariant: the first `written` bytes of the file are those whose checksum is `crc32c`.
#[derive(Debug)]
pub(super) struct Partial {
    manifest: Manifest,
    written: u64,
    crc32c: u32,
    /// How many bytes were here when they were last synced.
    synced: u64,
}

impl Partial {
    /// Nothing yet, in place of whatever was there.
    pub(super) fn begin(disk: &mut dyn Disk, manifest: Manifest) -> Result<Self, DiskError> {
        disk.create(COMING, manifest.bytes)?;
        disk.create(MARKS, 2 * SECTOR)?;
        Ok(Partial { manifest, written: 0, crc32c: 0, synced: 0 })
    }

    /// What a run before this one has left, if it is sound and newer than what is stored, which
    /// covers every slot below `covered`; anything else is removed.
    pub(super) fn find(
        disk: &mut dyn Disk,
        names: &[String],
        covered: u64,
    ) -> Result<Option<Self>, DiskError> {
        let there = |file: &str| names.iter().any(|name| name == file);
        if there(COMING) && there(MARKS) {
            let header = disk.read_at(COMING, 0, HEADER)?;
            let manifest = manifest_of(&header).filter(|manifest| manifest.upto.0 > covered);
            if let Some(manifest) = manifest
                && let Some(found) = Partial::marked(disk, manifest)?
            {
                return Ok(Some(found));
            }
        }
        for name in [COMING, MARKS].into_iter().filter(|name| there(name)) {
            disk.remove(name)?;
        }
        Ok(None)
    }

    /// As much of it as a mark says and the file has.
    fn marked(disk: &mut dyn Disk, manifest: Manifest) -> Result<Option<Self>, DiskError> {
        let mut marks = Vec::new();
        for place in [SYNCED, NEWEST] {
            let bytes = disk.read_at(MARKS, place, MARK)?;
            if let Some((written, rest)) = bytes.split_first_chunk()
                && let Ok(crc32c) = rest.try_into()
            {
                marks.push((u64::from_le_bytes(*written), u32::from_le_bytes(crc32c)));
            }
        }
        marks.sort_unstable();
        let (mut found, mut at, mut crc32c) = (None, 0, 0);
        // With the last piece comes a snapshot, and no mark.
        let sensible = |mark: &&(u64, u32)| mark.0 >= HEADER as u64 && mark.0 < manifest.bytes;
        for (written, marked) in marks.iter().filter(sensible) {
            while at < *written {
                let length = (*written - at).min(PIECE as u64) as usize;
                let bytes = disk.read_at(COMING, at, length)?;
                if bytes.len() < length {
                    return Ok(found);
                }
                crc32c = crc32c::crc32c_append(crc32c, &bytes);
                at += length as u64;
            }
            if crc32c == *marked {
                let manifest = manifest.clone();
                found = Some(Partial { manifest, written: at, crc32c, synced: 0 });
            }
        }
        Ok(found)
    }

    /// The snapshot.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many bytes of it are here.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next piece, and that it is here.
    pub(super) fn append(&mut self, disk: &mut dyn Disk, piece: &[u8]) -> Result<(), DiskError> {
        disk.write_at(COMING, self.written, piece)?;
        self.written += piece.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, piece);
        if self.written >= self.manifest.bytes {
            return Ok(());
        }
        // Not all at once in the end: the log's syncs would have to wait behind it.
        if self.written - self.synced >= PIECE as u64 {
            disk.sync(COMING)?;
            self.synced = self.written;
            self.mark(disk, SYNCED)?;
            disk.sync(MARKS)?;
            disk.sync_dir()?;
        }
        self.mark(disk, NEWEST)
    }

    fn mark(&self, disk: &mut dyn Disk, place: u64) -> Result<(), DiskError> {
        let mut mark = [0; MARK];
        mark[..8].copy_from_slice(&self.written.to_le_bytes());
        mark[8..].copy_from_slice(&self.crc32c.to_le_bytes());
        disk.write_at(MARKS, place, &mark)
    }

    /// Throws it away.
    pub(super) fn remove(self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        disk.remove(MARKS)?;
        disk.remove(COMING)
    }
}
