//! What the log asks of a directory on a disk, so that a simulator can stand in for one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One directory of files of fixed size. Names are plain file names.
///
/// Nothing is durable before it is synced: bytes by [`Disk::sync`], names by [`Disk::sync_dir`].
/// A file gets its size when it is prepared and keeps it until it is prepared again.
pub trait Disk: fmt::Debug {
    /// The directory, for messages.
    fn path(&self) -> &Path;

    /// The names in it, in order.
    ///
    /// # Errors
    /// Those of the disk; `NotFound` if there is no such directory.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;

    /// Begins to make a file of `size` zeros, synced. A file that has the name is overwritten, so
    /// that its place on the disk is used again. It may be done in the background; [`Disk::ready`]
    /// waits for it and has its errors. Until then anything may be in the file.
    fn prepare(&mut self, name: &str, size: u64);

    /// Makes a file of `size` bytes that is to be written whole, in place of any of that name, and
    /// the directory if there is none. Nothing of the file is durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn create(&mut self, name: &str, size: u64) -> Result<(), DiskError>;

    /// Waits until the file that was last prepared, which has this name, is there.
    ///
    /// # Errors
    /// Those of the disk while it was made.
    fn ready(&mut self, name: &str) -> Result<(), DiskError>;

    /// The whole of a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, DiskError>;

    /// The whole of a file into a buffer, in place of what is in it. New memory costs more than
    /// reading does, so whoever reads many files does it into one.
    ///
    /// # Errors
    /// Those of the disk.
    fn read_into(&mut self, name: &str, bytes: &mut Vec<u8>) -> Result<(), DiskError> {
        *bytes = self.read(name)?;
        Ok(())
    }

    /// `length` bytes of a file from `offset` on, or what there is of them.
    ///
    /// # Errors
    /// Those of the disk.
    fn read_at(&mut self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError>;

    /// Overwrites bytes within a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the bytes of a file durable. After an error nobody knows what is; the caller must not
    /// try again and believe the second answer.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Gives a file another name, in place of any file that has it.
    ///
    /// # Errors
    /// Those of the disk.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Takes a file out of the directory.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_dir(&mut self) -> Result<(), DiskError>;
}

/// An operation on a disk that failed.
#[derive(Debug, Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried.
    pub operation: Operation,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// An error of `operation` on `path`.
    pub fn new(operation: Operation, path: impl Into<PathBuf>, source: io::Error) -> Self {
        DiskError { operation, path: path.into(), source }
    }

    /// Whether the disk is full or a quota used up.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// What can be tried on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// List or make the directory.
    Directory,
    /// Make a file of zeros.
    Prepare,
    /// Read a file.
    Read,
    /// Overwrite bytes.
    Write,
    /// Make bytes durable.
    Sync,
    /// Rename a file.
    Rename,
    /// Remove a file.
    Remove,
    /// Make names durable.
    SyncDirectory,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Directory => "open directory",
            Operation::Prepare => "prepare",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::SyncDirectory => "sync directory",
        })
    }
}
