//! Frames: what one drain looks like on disk.

use paxos_core::{ClusterId, NodeId, Record};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Bytes before the body of a frame.
pub(super) const HEADER: usize = 32;

/// The format of frames.
pub(super) const VERSION: u8 = 1;

/// Most bytes that a drain may have. With a head before it the body of its frame still fits into
/// the length field; a limit keeps a nonsensical drain from filling the disk.
pub(super) const BODY_MAX: usize = 1 << 30;

const CRC: std::ops::Range<usize> = 28..32;

/// What a frame says besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Which drain it is: one more than that of the frame before.
    pub(super) drain: u64,
    /// The highest drain known synced when it was written.
    pub(super) mark: u64,
    /// The first segment that belonged to the log when it was written.
    pub(super) first: u32,
}

/// What is wrong with bytes that should be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Trouble {
    /// It runs past the end of the file.
    #[error("a record that runs past the end of the file")]
    Short,
    /// No frame has such a header.
    #[error("a record with an impossible header")]
    Header,
    /// The checksum does not fit the bytes, or not the place at which they stand.
    #[error("a record with a wrong checksum")]
    Checksum,
    /// The format is not known.
    #[error("a record of format version {0}")]
    Version(u8),
    /// The number is not one more than the one before.
    #[error("record {found} where record {expected} belongs")]
    Order {
        /// What it says.
        found: u64,
        /// What it should say.
        expected: u64,
    },
    /// There is nothing where a synced frame should be.
    #[error("nothing where a record that was synced belongs")]
    Gone,
    /// The checksum fits, but the body means nothing.
    #[error("a record that is intact but not understood")]
    Meaning,
}

/// The part of every checksum that says whose log it is. With segment and offset in it too, nothing
/// left over, misplaced or foreign parses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub(super) fn new(cluster: ClusterId, node: NodeId) -> Self {
        let owner = crc32c::crc32c(&cluster.0.to_le_bytes());
        Checksum(crc32c::crc32c_append(owner, &node.0.to_le_bytes()))
    }

    fn of(self, segment: u32, offset: u64, frame: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &segment.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &frame[..CRC.start]);
        crc32c::crc32c_append(crc, &frame[CRC.end..])
    }
}

/// Empties `buffer` and leaves room in it for a header; the body goes behind.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, 0);
}

/// Appends the body: a head, if any, and the records of a drain.
pub(super) fn encode(buffer: &mut Vec<u8>, head: Option<&Record>, records: &[Record]) {
    begin(buffer);
    let body = Body { head, records };
    *buffer = postcard::to_extend(&body, std::mem::take(buffer))
        .expect("records are plain data and always encode");
}

/// Fills in the header of a frame whose body is complete.
pub(super) fn finish(
    frame: &mut [u8],
    checksum: Checksum,
    segment: u32,
    offset: u64,
    header: Header,
) {
    let length = (frame.len() - HEADER) as u32;
    frame[0..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&[VERSION, 0, 0, 0]);
    frame[8..16].copy_from_slice(&header.drain.to_le_bytes());
    frame[16..24].copy_from_slice(&header.mark.to_le_bytes());
    frame[24..28].copy_from_slice(&header.first.to_le_bytes());
    let crc = checksum.of(segment, offset, frame);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
}

/// The frame at `offset` of a segment: its header and its body.
pub(super) fn parse(
    checksum: Checksum,
    segment: u32,
    bytes: &[u8],
    offset: usize,
) -> Result<(Header, &[u8]), Trouble> {
    let rest = &bytes[offset..];
    let (head, _) = rest.split_first_chunk::<HEADER>().ok_or(Trouble::Short)?;
    let length = u32_at(head, 0) as usize;
    if length == 0 || length > 2 * BODY_MAX || head[4] == 0 || head[5..8] != [0; 3] {
        return Err(Trouble::Header);
    }
    let frame = rest.get(..HEADER + length).ok_or(Trouble::Short)?;
    if checksum.of(segment, offset as u64, frame) != u32_at(head, CRC.start) {
        return Err(Trouble::Checksum);
    }
    if head[4] != VERSION {
        return Err(Trouble::Version(head[4]));
    }
    let header = Header { drain: u64_at(head, 8), mark: u64_at(head, 16), first: u32_at(head, 24) };
    Ok((header, &frame[HEADER..]))
}

/// The records of a body.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Record>, Trouble> {
    match postcard::take_from_bytes(body) {
        Ok((records, [])) => Ok(records),
        _ => Err(Trouble::Meaning),
    }
}

/// Encodes like a vector of the head and the records, without copying them into one.
struct Body<'a> {
    head: Option<&'a Record>,
    records: &'a [Record],
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.head.into_iter().chain(self.records))
    }
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| header[at + byte]))
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| header[at + byte]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: (ClusterId, NodeId) = (ClusterId(7), NodeId(1));

    #[test]
    fn a15_zeros_never_parse() {
        let checksum = Checksum::new(OWNER.0, OWNER.1);
        for offset in 0..64 {
            assert_eq!(parse(checksum, 1, &[0; 128], offset), Err(Trouble::Header));
        }
    }

    #[test]
    fn a_frame_parses_only_where_and_for_whom_it_was_written() {
        let header = Header { drain: 2, mark: 1, first: 1 };
        let mut frame = Vec::new();
        encode(&mut frame, None, &[]);
        finish(&mut frame, Checksum::new(OWNER.0, OWNER.1), 1, 40, header);
        let mut bytes = vec![0; 40];
        bytes.extend(&frame);
        let read = |cluster, node, segment| {
            parse(Checksum::new(cluster, node), segment, &bytes, 40).map(|(header, _)| header)
        };
        assert_eq!(read(OWNER.0, OWNER.1, 1), Ok(header));
        assert_eq!(read(ClusterId(8), OWNER.1, 1), Err(Trouble::Checksum));
        assert_eq!(read(OWNER.0, NodeId(2), 1), Err(Trouble::Checksum));
        assert_eq!(read(OWNER.0, OWNER.1, 2), Err(Trouble::Checksum));
        let moved = parse(Checksum::new(OWNER.0, OWNER.1), 1, &frame, 0);
        assert_eq!(moved, Err(Trouble::Checksum));
    }
}
