//! Segments: the files that the log is cut into, their names and their seals.

use paxos_core::Slot;

use super::frame::{self, Checksum, Header, Trouble};

/// Where the frames of a segment begin. The sector before them is kept for the seal, so that a
/// seal is written without touching a frame and cannot be torn.
pub(super) const FRAMES_FROM: usize = 512;

/// The segment that is prepared ahead, unless that is a spare.
pub(super) const NEXT: &str = "next.tmp";

/// What has to be known of a segment before it may go, and of what use its file is then.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// The highest slot that it has a record of.
    pub(super) highest: Slot,
    /// The size of its file.
    pub(super) bytes: u64,
}

/// The name of a segment.
pub(super) fn name(number: u32) -> String {
    format!("log-{number:010}.seg")
}

/// The number of the segment of this name; `None`: it is not a segment.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    let sound = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| sound)
}

/// The name of a segment that was taken out of the log, to be used again. No other file ever has
/// it, so no crash between two renames can leave one file under two names that matter.
pub(super) fn spare(number: u32) -> String {
    format!("spare-{number:010}.tmp")
}

/// Whether a file of this name means nothing and can become a segment.
pub(super) fn is_spare(name: &str) -> bool {
    name == NEXT || (name.starts_with("spare-") && name.ends_with(".tmp"))
}

/// The seal of a segment: says that `mark` is synced in a segment behind it.
pub(super) fn seal(checksum: Checksum, segment: u32, mark: u64, first: u32) -> Vec<u8> {
    let mut seal = Vec::new();
    frame::begin(&mut seal);
    // A body is never empty. This one is the encoding of no records.
    seal.push(0);
    frame::finish(&mut seal, checksum, segment, 0, Header { drain: mark, mark, first });
    seal
}

/// The seal at the head of a segment; `None`: it is not sealed.
pub(super) fn read_seal(
    checksum: Checksum,
    segment: u32,
    bytes: &[u8],
) -> Result<Option<Header>, Trouble> {
    let sector = &bytes[..bytes.len().min(FRAMES_FROM)];
    if sector.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    frame::parse(checksum, segment, sector, 0).map(|(header, _)| Some(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_strangers_are_none() {
        assert_eq!(name(7), "log-0000000007.seg");
        assert_eq!(number("log-0000000007.seg"), Some(7));
        for stranger in ["log-7.seg", "log-+000000007.seg", "log-9999999999.seg", "next.tmp"] {
            assert_eq!(number(stranger), None);
        }
        assert!(is_spare(NEXT) && is_spare(&spare(7)) && !is_spare(&name(7)));
        assert_eq!(number(&spare(7)), None);
    }
}
