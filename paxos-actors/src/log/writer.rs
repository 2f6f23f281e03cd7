//! The log as it is written to.

use std::collections::{BTreeMap, VecDeque};

use paxos_core::{ClusterId, NodeId, Record, Recovered};

use super::disk::Disk;
use super::error::{LogError, OpenError};
use super::frame::{self, BODY_MAX, Checksum, HEADER, Header};
use super::identity::{self, DataIdentity};
use super::recovery::{self, Found};
use super::segment::{self, Extent, FRAMES_FROM, NEXT};

/// Sizes of segments are multiples of this many bytes.
const SEGMENT_GRAIN: u64 = 4096;

/// At most so many files are removed at once while the log is written to: a file system takes its
/// time over each, and all that is to be synced waits for it.
const REMOVALS_MAX: usize = 1;

/// What may differ from node to node, and from start to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes of a segment, 16 MiB by default, rounded up to whole pages of 4 KiB. A drain that
    /// needs more gets a segment of its own size.
    pub segment_bytes: u64,
    /// At most so many segments that were cut are kept as files to be used again, 2 by default;
    /// more are removed. With these and the one prepared ahead the log needs no new space on the
    /// disk while it is cut about as fast as it grows.
    pub spare_segments: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { segment_bytes: 16 << 20, spare_segments: 2 }
    }
}

/// The durable log of one node.
///
/// Invariant: when [`Log::append`] has returned `Ok` for records of which one needs a sync, they
/// and all before them are read back by every later [`Log::open`]. After an error nothing is
/// written any more.
#[derive(Debug)]
pub struct Log {
    disk: Box<dyn Disk + Send>,
    options: LogOptions,
    checksum: Checksum,
    /// What a head says. Acceptances and marks of chosen slots are not kept in it.
    state: Recovered,
    /// The first segment of the log.
    first: u32,
    segment: u32,
    name: String,
    /// Where the next frame goes, and where the segment ends.
    end: u64,
    capacity: u64,
    /// The last drain written, and the last one synced.
    drain: u64,
    synced: u64,
    /// Something was synced that no synced mark says so of.
    unmarked: bool,
    /// Every segment of the log.
    extents: BTreeMap<u32, Extent>,
    /// The file that becomes the next segment, and those that can after it.
    next: String,
    spares: Vec<String>,
    /// Segments that are no longer of the log, and whose files are still to go.
    leaving: VecDeque<u32>,
    buffer: Vec<u8>,
    given_up: Option<String>,
}

impl Log {
    /// Reads the log of `node`, counts its incarnation up and makes all of it durable. The
    /// `Recovered` has the incarnation of the run that begins now.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        mut disk: Box<dyn Disk + Send>,
        cluster: ClusterId,
        node: NodeId,
        options: LogOptions,
    ) -> Result<(Log, Recovered, DataIdentity), OpenError> {
        let identity = identity::read(disk.as_mut(), cluster, node)?;
        let checksum = Checksum::new(cluster, node);
        let found = recovery::read(disk.as_mut(), checksum)?;
        tracing::info!("the log: {}", found.effort);
        let (log, recovered) = Log::resume(disk, checksum, options, found)?;
        Ok((log, recovered, identity))
    }

    /// Appends the records of one drain as one frame: after a crash all of them are there or none.
    /// They are synced before this returns if any of them needs it; without records nothing is
    /// written.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        self.guarded(|log| {
            if records.is_empty() {
                return Ok(());
            }
            let rolled = log.write(None, records)?;
            if rolled.is_some() || records.iter().any(Record::needs_sync) {
                log.sync()?;
                log.unmarked = true;
            }
            log.settle(rolled)
        })
    }

    /// Marks the last synced drain as such, durably, so that its loss would be seen, and removes
    /// the files of segments that are still to go. To be called when nothing else is to be written;
    /// says whether there was anything to mark.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn idle(&mut self) -> Result<bool, LogError> {
        self.guarded(|log| {
            log.retire(usize::MAX)?;
            if !log.unmarked {
                return Ok(false);
            }
            let rolled = log.write(None, &[])?;
            log.sync()?;
            log.unmarked = false;
            log.settle(rolled)?;
            Ok(true)
        })
    }

    /// Takes the segments out at the beginning of the log in which every record is of a slot that
    /// was cut by a `Record::Trimmed`, and says how many. To be called after every append; it costs
    /// something only when there is one, or when the file of one is still to go: of many, each call
    /// removes one. Whoever cuts a slot must hold a synced snapshot of it first.
    ///
    /// Invariant: what those segments say of promises, cuts, runs and peers is synced in one that
    /// stays before the first of them goes. Until their names are synced too a crash may bring them
    /// back; the log then does not begin with them.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn release(&mut self) -> Result<u32, LogError> {
        self.guarded(|log| {
            let cut = log.state.trimmed;
            let held =
                |number: &u32| log.extents.get(number).is_some_and(|known| known.highest >= cut);
            let first = (log.first..log.segment).find(held).unwrap_or(log.segment);
            let released = log.first..first;
            if released.is_empty() {
                log.retire(REMOVALS_MAX)?;
                return Ok(0);
            }
            log.first = first;
            let rolled = log.write(Some(log.head()), &[])?;
            log.sync()?;
            log.unmarked = true;
            log.settle(rolled)?;
            let count = released.len() as u32;
            log.leaving.extend(released);
            log.retire(REMOVALS_MAX)?;
            Ok(count)
        })
    }

    /// How often the node has started, this time included.
    pub fn incarnation(&self) -> u64 {
        self.state.incarnation
    }

    /// How many segments the log has.
    pub fn segments(&self) -> u32 {
        self.segment - self.first + 1
    }

    fn resume(
        disk: Box<dyn Disk + Send>,
        checksum: Checksum,
        options: LogOptions,
        found: Found,
    ) -> Result<(Log, Recovered), LogError> {
        let mut recovered = found.recovered;
        recovered.incarnation += 1;
        let mut log = Log {
            disk,
            options,
            checksum,
            state: Recovered::default(),
            first: found.first,
            segment: found.tail.segment,
            name: segment::name(found.tail.segment),
            end: found.tail.end as u64,
            capacity: found.tail.bytes.len() as u64,
            drain: found.drain,
            synced: 0,
            unmarked: true,
            extents: found.extents,
            next: NEXT.to_owned(),
            spares: found.spares,
            leaving: found.released.into(),
            buffer: Vec::new(),
            given_up: None,
        };
        log.prepare();
        log.state.absorb(head_of(&recovered));
        log.settle_tail(found.tail.unmarked, &found.tail.bytes)?;
        let rolled = log.write(Some(log.head()), &[])?;
        log.sync()?;
        log.settle(rolled)?;
        found.unsealed.into_iter().try_for_each(|segment| log.seal(segment))?;
        log.retire(usize::MAX)?;
        Ok((log, recovered))
    }

    /// Makes durable what was read. Frames that no mark covers are written once more, since they
    /// may come from a cache that a failed sync has left clean; behind them come zeros to the end
    /// of the segment, so that nothing of a torn tail can follow what is appended next.
    fn settle_tail(&mut self, from: usize, bytes: &[u8]) -> Result<(), LogError> {
        if from < bytes.len() {
            self.disk.write_at(&self.name, from as u64, &bytes[from..])?;
        }
        self.sync()?;
        Ok(self.disk.sync_dir()?)
    }

    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        if let Some(earlier) = &self.given_up {
            return Err(LogError::GivenUp { earlier: earlier.clone() });
        }
        let done = work(self);
        if let Err(error) = &done {
            self.given_up = Some(error.to_string());
        }
        done
    }

    /// Writes one frame, into a new segment if it does not fit into this one. Returns the segment
    /// that was left for it.
    fn write(&mut self, head: Option<Record>, records: &[Record]) -> Result<Option<u32>, LogError> {
        records.iter().for_each(|record| note(&mut self.state, record));
        frame::encode(&mut self.buffer, head.as_ref(), records);
        if self.buffer.len() - HEADER > BODY_MAX {
            return Err(LogError::TooLarge { bytes: self.buffer.len() });
        }
        let mut left = None;
        if self.end + self.buffer.len() as u64 > self.capacity {
            let head = self.head();
            frame::encode(&mut self.buffer, Some(&head), records);
            left = Some(self.segment);
            self.roll()?;
        }
        self.drain += 1;
        let header = Header { drain: self.drain, mark: self.synced, first: self.first };
        frame::finish(&mut self.buffer, self.checksum, self.segment, self.end, header);
        self.disk.write_at(&self.name, self.end, &self.buffer)?;
        self.end += self.buffer.len() as u64;
        if let Some(highest) = records.iter().filter_map(recovery::slot_of).max() {
            let known = self.extents.entry(self.segment).or_default();
            known.highest = known.highest.max(highest);
        }
        Ok(left)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        self.disk.sync(&self.name)?;
        self.synced = self.drain;
        Ok(())
    }

    /// Goes on to a new segment that has room for the frame in the buffer.
    fn roll(&mut self) -> Result<(), LogError> {
        // The end of a segment is settled before anything stands behind it: only in the last
        // segment can there be a torn tail.
        if self.synced < self.drain {
            self.sync()?;
        }
        let needed = (FRAMES_FROM + self.buffer.len()) as u64;
        let size = needed.next_multiple_of(SEGMENT_GRAIN).max(self.segment_bytes());
        if size > self.segment_bytes() {
            self.disk.prepare(&self.next, size);
        }
        self.disk.ready(&self.next)?;
        self.segment += 1;
        self.name = segment::name(self.segment);
        self.disk.rename(&self.next, &self.name)?;
        self.disk.sync_dir()?;
        self.end = FRAMES_FROM as u64;
        self.capacity = size;
        self.extents.insert(self.segment, Extent { bytes: size, ..Extent::default() });
        Ok(())
    }

    /// What is left to do once the first frame of a new segment is synced: the segment before it
    /// gets its seal, and the next one is prepared.
    fn settle(&mut self, left: Option<u32>) -> Result<(), LogError> {
        let Some(left) = left else { return Ok(()) };
        self.seal(left)?;
        self.prepare();
        Ok(())
    }

    fn seal(&mut self, segment: u32) -> Result<(), LogError> {
        let seal = segment::seal(self.checksum, segment, self.synced, self.first);
        let name = segment::name(segment);
        self.disk.write_at(&name, 0, &seal)?;
        Ok(self.disk.sync(&name)?)
    }

    /// Begins to prepare the next segment: a spare file if there is one, else a new one.
    fn prepare(&mut self) {
        self.next = self.spares.pop().unwrap_or_else(|| NEXT.to_owned());
        let size = self.segment_bytes();
        self.disk.prepare(&self.next, size);
    }

    /// Keeps segments that are no longer of the log as spare files, and removes those that are too
    /// many or of another size; no more than `removals_max` of them now. A spare is overwritten
    /// with zeros when it is prepared, and not before the directory was synced: until then it may
    /// come back under its old name. With the last that is removed it is synced once more; what
    /// comes back before is none of the log.
    fn retire(&mut self, removals_max: usize) -> Result<(), LogError> {
        let spares_max = self.options.spare_segments as usize;
        let (mut removals, mut renamed) = (0, false);
        while self.spares.len() > spares_max && removals < removals_max {
            let surplus = self.spares.remove(0);
            self.disk.remove(&surplus)?;
            removals += 1;
        }
        while let Some(number) = self.leaving.front().copied() {
            let (name, known) = (segment::name(number), self.extents.get(&number));
            let fits = known.is_some_and(|known| known.bytes == self.segment_bytes());
            if fits && self.spares.len() < spares_max {
                let spare = segment::spare(number);
                self.disk.rename(&name, &spare)?;
                self.spares.push(spare);
                renamed = true;
            } else if removals < removals_max {
                self.disk.remove(&name)?;
                removals += 1;
            } else {
                break;
            }
            self.extents.remove(&number);
            self.leaving.pop_front();
        }
        if renamed || (removals > 0 && self.leaving.is_empty()) {
            self.disk.sync_dir()?;
        }
        Ok(())
    }

    fn head(&self) -> Record {
        head_of(&self.state)
    }

    fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes.max(1).next_multiple_of(SEGMENT_GRAIN)
    }
}

fn head_of(state: &Recovered) -> Record {
    Record::Head {
        promised: state.promised,
        trimmed: state.trimmed,
        incarnation: state.incarnation,
        peers: state.peers.clone(),
    }
}

/// Takes in what a later head has to repeat, and nothing that grows with the log.
fn note(state: &mut Recovered, record: &Record) {
    match record {
        Record::Accepted { ballot, .. } => state.absorb(Record::Promised(*ballot)),
        Record::Chosen { .. } => {}
        Record::Head { .. } | Record::Promised(_) | Record::Trimmed(_) | Record::Peer { .. } => {
            state.absorb(record.clone());
        }
    }
}
