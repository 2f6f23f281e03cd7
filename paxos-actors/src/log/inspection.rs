//! Reading a log without opening it: to see what is in it, and whether it is sound.

use std::path::{Path, PathBuf};

use paxos_core::{ClusterId, NodeId, Record, Recovered, Slot};

use super::disk::Disk;
use super::effort::Effort;
use super::error::OpenError;
use super::frame::Checksum;
use super::identity::{self, DataIdentity};
use super::lock::DirectoryLock;
use super::recovery::{self, Reader};
use super::segment;

/// The log of a node that does not run, read segment by segment with the rules of
/// [`Log::open`](super::Log::open). It never writes.
#[derive(Debug)]
pub struct Inspection {
    disk: Box<dyn Disk + Send>,
    identity: DataIdentity,
    reader: Reader,
    _lock: Option<DirectoryLock>,
}

/// What one segment has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: u32,
    /// Its file.
    pub path: PathBuf,
    /// The size of the file.
    pub bytes: u64,
    /// How many frames it has.
    pub frames: u64,
    /// How many records these have.
    pub records: u64,
    /// The lowest and the highest slot that a record is about.
    pub slots: Option<(Slot, Slot)>,
    /// Whether it says itself that another one follows.
    pub sealed: bool,
    /// Where its frames end.
    pub end: u64,
    /// Behind them is something: a torn tail, which the next start takes away.
    pub torn: bool,
    /// Its records, in order.
    pub found: Vec<Located>,
}

/// A record, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where its frame begins in the segment.
    pub offset: u64,
    /// The drain that it was written in.
    pub drain: u64,
    /// What it says.
    pub record: Record,
}

impl Inspection {
    /// Begins to read the log of `node`, and holds the lock meanwhile, where others could write:
    /// what is read while a node writes looks damaged.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn begin(
        mut disk: Box<dyn Disk + Send>,
        lock: Option<DirectoryLock>,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, OpenError> {
        let identity = identity::read(disk.as_mut(), cluster, node)?;
        let reader = Reader::new(disk.as_mut(), Checksum::new(cluster, node), true)?;
        Ok(Inspection { disk, identity, reader, _lock: lock })
    }

    /// Reads the next segment; `None` behind the last.
    ///
    /// # Errors
    /// See [`OpenError`]: what is damaged there, above all.
    pub fn next_segment(&mut self) -> Result<Option<SegmentReport>, OpenError> {
        self.reader.segment(self.disk.as_mut())
    }

    /// After an error of [`Inspection::next_segment`]: what stands in the segment before what is
    /// wrong with it.
    pub fn damaged(&self) -> Option<&SegmentReport> {
        self.reader.damaged.as_ref()
    }

    /// What it took to read the segments so far.
    pub fn effort(&self) -> Effort {
        self.reader.effort
    }

    /// Whose log it is.
    pub fn identity(&self) -> &DataIdentity {
        &self.identity
    }

    /// What the segments read so far say together.
    pub fn recovered(&self) -> &Recovered {
        &self.reader.recovered
    }

    /// The last drain in them.
    pub fn drain(&self) -> u64 {
        self.reader.drain
    }

    /// The last drain that is known to be synced; at the end of a log that was not idle some follow
    /// of which this is not known.
    pub fn mark(&self) -> u64 {
        self.reader.mark
    }

    /// Segments that were taken out of the log and not yet removed.
    pub fn released(&self) -> &[u32] {
        &self.reader.released
    }
}

impl SegmentReport {
    pub(super) fn of(number: u32, directory: &Path, bytes: usize) -> Self {
        SegmentReport {
            number,
            path: directory.join(segment::name(number)),
            bytes: bytes as u64,
            frames: 0,
            records: 0,
            slots: None,
            sealed: false,
            end: 0,
            torn: false,
            found: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, record: &Record) {
        self.records += 1;
        if let Some(slot) = recovery::slot_of(record) {
            let (low, high) = self.slots.unwrap_or((slot, slot));
            self.slots = Some((low.min(slot), high.max(slot)));
        }
    }
}
