//! What it took to read what is on a disk.

use std::fmt;
use std::time::{Duration, Instant};

/// How many bytes were read, and how long each part of it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Bytes read.
    pub bytes: u64,
    /// Reading them from the disk.
    pub read: Duration,
    /// Checking them: checksums, numbers, what stands behind the end.
    pub checked: Duration,
    /// Making records of them, in memory.
    pub decoded: Duration,
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Effort { bytes, read, checked, decoded } = self;
        write!(f, "{bytes} bytes read in {:.3} s, ", read.as_secs_f64())?;
        write!(f, "checked in {:.3} s", checked.as_secs_f64())?;
        if !decoded.is_zero() {
            write!(f, ", decoded in {:.3} s", decoded.as_secs_f64())?;
        }
        Ok(())
    }
}

/// Does something and adds to `spent` how long it took.
pub(super) fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    *spent += begun.elapsed();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_parts() {
        let read = Duration::from_millis(250);
        let effort = Effort { bytes: 512, read, checked: 2 * read, decoded: Duration::ZERO };
        assert_eq!(effort.to_string(), "512 bytes read in 0.250 s, checked in 0.500 s");
        let decoded = Effort { decoded: 3 * read, ..effort }.to_string();
        assert_eq!(decoded, format!("{effort}, decoded in 0.750 s"));
    }
}
