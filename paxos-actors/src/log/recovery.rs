//! Reading a log: what it says, and whether what is wrong with it is damage or a torn tail.
//! Nothing here writes.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use paxos_core::{Record, Recovered, Slot};

use super::disk::Disk;
use super::effort::{Effort, timed};
use super::error::OpenError;
use super::frame::{self, Checksum, HEADER, Trouble};
use super::inspection::{Located, SegmentReport};
use super::segment::{self, Extent, FRAMES_FROM};

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The fold of all records.
    pub(super) recovered: Recovered,
    /// The first segment of the log.
    pub(super) first: u32,
    /// The last drain.
    pub(super) drain: u64,
    /// The last segment.
    pub(super) tail: Tail,
    /// What is known of each segment.
    pub(super) extents: BTreeMap<u32, Extent>,
    /// Segments before the last that have no seal.
    pub(super) unsealed: Vec<u32>,
    /// Segments before the first, which a release had no time to remove.
    pub(super) released: Vec<u32>,
    /// Files that can become segments.
    pub(super) spares: Vec<String>,
    /// What it took.
    pub(super) effort: Effort,
}

/// The last segment.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its number.
    pub(super) segment: u32,
    /// All of it, with zeros from `end` on.
    pub(super) bytes: Vec<u8>,
    /// Where its frames end.
    pub(super) end: usize,
    /// Where the frames begin that nothing says are synced.
    pub(super) unmarked: usize,
}

/// Reads the log.
///
/// The end of the log is decided by marks: a frame that cannot be read but was marked as synced,
/// by a frame anywhere or by a seal, is damage. One that was not is a torn tail, and nothing that
/// left this node can depend on it or on anything behind it.
pub(super) fn read(disk: &mut dyn Disk, checksum: Checksum) -> Result<Found, OpenError> {
    let mut reader = Reader::new(disk, checksum, false)?;
    while reader.segment(disk)?.is_some() {}
    let unmarked = reader.unmarked.front().map_or(reader.end, |(_, offset)| *offset);
    reader.bytes[reader.end..].fill(0);
    let Reader { last, bytes, end, .. } = reader;
    Ok(Found {
        recovered: reader.recovered,
        first: reader.first,
        drain: reader.drain,
        tail: Tail { segment: last, bytes, end, unmarked },
        extents: reader.extents,
        unsealed: reader.unsealed,
        released: reader.released,
        effort: reader.effort,
        spares: disk.list()?.into_iter().filter(|name| segment::is_spare(name)).collect(),
    })
}

/// The first segment that belongs to the log, as the last segment that has a frame says it: the
/// number only grows. Without any, the first there should ever have been.
fn first_segment(
    disk: &mut dyn Disk,
    checksum: Checksum,
    present: &[u32],
    bytes: &mut Vec<u8>,
) -> Result<u32, OpenError> {
    for number in present.iter().rev() {
        disk.read_into(&segment::name(*number), bytes)?;
        let mut offset = FRAMES_FROM.min(bytes.len());
        let mut first = None;
        while let Ok((header, body)) = frame::parse(checksum, *number, bytes, offset) {
            first = first.max(Some(header.first));
            offset += HEADER + body.len();
        }
        if let Some(first) = first {
            return Ok(first);
        }
    }
    Ok(1)
}

/// Reads segment by segment, and holds what it knows so far.
#[derive(Debug)]
pub(super) struct Reader {
    checksum: Checksum,
    first: u32,
    last: u32,
    /// Segments before the first.
    pub(super) released: Vec<u32>,
    /// The segment to be read next.
    next: u32,
    /// The segment that was read last, and where its frames end.
    bytes: Vec<u8>,
    end: usize,
    pub(super) recovered: Recovered,
    /// The last drain; 0: none yet.
    pub(super) drain: u64,
    /// The highest mark.
    pub(super) mark: u64,
    /// Drains of the segment that are above the mark, and where they begin.
    unmarked: VecDeque<(u64, usize)>,
    extents: BTreeMap<u32, Extent>,
    unsealed: Vec<u32>,
    /// Whether reports have the records too.
    keep: bool,
    /// What stands in a segment before what is wrong with it.
    pub(super) damaged: Option<SegmentReport>,
    pub(super) effort: Effort,
}

impl Reader {
    /// Looks which segments there are; none may be missing.
    pub(super) fn new(
        disk: &mut dyn Disk,
        checksum: Checksum,
        keep: bool,
    ) -> Result<Self, OpenError> {
        let names = disk.list()?;
        let present: Vec<u32> = names.iter().filter_map(|name| segment::number(name)).collect();
        let (mut bytes, mut effort) = (Vec::new(), Effort::default());
        let first =
            timed(&mut effort.read, || first_segment(disk, checksum, &present, &mut bytes))?;
        let (released, segments): (Vec<u32>, Vec<u32>) =
            present.into_iter().partition(|number| *number < first);
        let Some(&last) = segments.last() else { return Err(missing(disk, first)) };
        if let Some(number) = (first..=last).find(|number| !segments.contains(number)) {
            return Err(missing(disk, number));
        }
        Ok(Reader {
            checksum,
            first,
            last,
            released,
            next: first,
            bytes,
            end: 0,
            recovered: Recovered::default(),
            drain: 0,
            mark: 0,
            unmarked: VecDeque::new(),
            extents: BTreeMap::new(),
            unsealed: Vec::new(),
            keep,
            damaged: None,
            effort,
        })
    }

    /// Reads the next segment and says what is in it; `None`: there is no other.
    pub(super) fn segment(
        &mut self,
        disk: &mut dyn Disk,
    ) -> Result<Option<SegmentReport>, OpenError> {
        if self.next > self.last {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        // One segment at a time: the last one read stays.
        let mut bytes = std::mem::take(&mut self.bytes);
        timed(&mut self.effort.read, || disk.read_into(&segment::name(number), &mut bytes))?;
        self.effort.bytes += bytes.len() as u64;
        let mut report = SegmentReport::of(number, disk.path(), bytes.len());
        let (decoded, mut taken) = (self.effort.decoded, Duration::ZERO);
        let read = timed(&mut taken, || self.take(disk, &bytes, &mut report));
        self.effort.checked += taken.saturating_sub(self.effort.decoded - decoded);
        self.bytes = bytes;
        match read {
            Ok(end) => {
                self.end = end;
                report.end = end as u64;
                let highest = report.slots.map_or_else(Slot::default, |(_, highest)| highest);
                self.extents.insert(number, Extent { highest, bytes: report.bytes });
                Ok(Some(report))
            }
            Err(error) => {
                self.damaged = Some(report);
                Err(error)
            }
        }
    }

    /// Takes a segment in and says where its frames end.
    fn take(
        &mut self,
        disk: &dyn Disk,
        bytes: &[u8],
        report: &mut SegmentReport,
    ) -> Result<usize, OpenError> {
        let (number, last) = (report.number, report.number == self.last);
        let path = report.path.clone();
        self.unmarked.clear();
        match segment::read_seal(self.checksum, number, bytes) {
            Ok(Some(_)) if last => return Err(missing(disk, number + 1)),
            Ok(Some(seal)) => {
                self.mark = self.mark.max(seal.mark);
                report.sealed = true;
            }
            Ok(None) if last => {}
            Ok(None) => self.unsealed.push(number),
            Err(trouble) => {
                return Err(OpenError::Damaged { path, offset: 0, trouble, follows: None });
            }
        }
        let (end, trouble) = self.frames(bytes, report);
        // Without an early exit: this runs over most of a segment, many bytes at a time.
        let clean = bytes[end..].iter().fold(0, |any, byte| any | byte) == 0;
        report.torn = !clean;
        let follows = if clean { None } else { self.scan(number, bytes, end) };
        // The first frame of all was synced before the directory had an identity. What is missing
        // at the end of a segment that is not the last shows by the numbers in the next.
        let lost = self.drain == 0 || (last && self.drain < self.mark);
        match trouble {
            Trouble::Version(found) => {
                let (found, known) = (found.into(), frame::VERSION.into());
                Err(OpenError::NewerFormat { path, found, known })
            }
            _ if clean && !lost => Ok(end),
            trouble if !last || lost || trouble == Trouble::Meaning => {
                let trouble = if clean { Trouble::Gone } else { trouble };
                Err(OpenError::Damaged { path, offset: end as u64, trouble, follows })
            }
            _ => Ok(end),
        }
    }

    /// Takes frames in until one is not what belongs there.
    fn frames(&mut self, bytes: &[u8], report: &mut SegmentReport) -> (usize, Trouble) {
        let mut offset = FRAMES_FROM.min(bytes.len());
        loop {
            match self.frame(bytes, offset, report) {
                Ok(end) => offset = end,
                Err(trouble) => return (offset, trouble),
            }
        }
    }

    fn frame(
        &mut self,
        bytes: &[u8],
        offset: usize,
        report: &mut SegmentReport,
    ) -> Result<usize, Trouble> {
        let number = report.number;
        let (header, body) = frame::parse(self.checksum, number, bytes, offset)?;
        // A log whose beginning was released begins with any number.
        let released = self.drain == 0 && self.first > 1;
        let expected = self.drain + 1;
        if header.drain != expected && !released {
            return Err(Trouble::Order { found: header.drain, expected });
        }
        let begun = Instant::now();
        let records = frame::decode(body)?;
        self.drain = header.drain;
        self.mark = self.mark.max(header.mark);
        self.unmarked.push_back((header.drain, offset));
        while self.unmarked.front().is_some_and(|(drain, _)| *drain <= self.mark) {
            self.unmarked.pop_front();
        }
        report.frames += 1;
        for record in records {
            report.note(&record);
            if self.keep {
                let (drain, record) = (header.drain, record.clone());
                report.found.push(Located { offset: offset as u64, drain, record });
            }
            self.recovered.absorb(record);
        }
        self.effort.decoded += begun.elapsed();
        Ok(offset + HEADER + body.len())
    }

    /// Looks for valid frames from `from` on, byte by byte since the damaged byte may be one of a
    /// length. Takes their marks in and says where the first begins.
    fn scan(&mut self, number: u32, bytes: &[u8], from: usize) -> Option<u64> {
        let plausible = self.drain..self.drain.saturating_add(bytes.len() as u64);
        let mut found = None;
        let mut offset = from;
        while offset + HEADER < bytes.len() {
            match frame::parse(self.checksum, number, bytes, offset) {
                Ok((header, body)) if self.drain == 0 || plausible.contains(&header.drain) => {
                    self.mark = self.mark.max(header.mark);
                    found = found.or(Some(offset as u64));
                    offset += HEADER + body.len();
                }
                _ => offset += 1,
            }
        }
        found
    }
}

/// The slot that a record is about.
pub(super) fn slot_of(record: &Record) -> Option<Slot> {
    match record {
        Record::Accepted { slot, .. } | Record::Chosen { slot, .. } => Some(*slot),
        _ => None,
    }
}

fn missing(disk: &dyn Disk, number: u32) -> OpenError {
    OpenError::MissingSegment { path: disk.path().join(segment::name(number)) }
}
