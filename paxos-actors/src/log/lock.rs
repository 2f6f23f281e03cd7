//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The file that is locked. It stays, empty, and means nothing by itself.
pub(super) const LOCK: &str = "lock";

/// The right to use a data directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or fails at once if another process has it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(directory: impl AsRef<Path>) -> Result<Self, LockError> {
        let directory = directory.as_ref();
        let path = directory.join(LOCK);
        if !directory.is_dir() {
            return Err(LockError::NoDirectory { path: directory.to_owned() });
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(source) => return Err(LockError::Io { path, source }),
        };
        match file.try_lock() {
            Ok(()) => Ok(DirectoryLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Held { path }),
            Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
        }
    }
}

/// Why a data directory could not be locked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process has it.
    #[error(
        "another process is using this data directory (it holds {}): stop that process first, \
         or give this node a directory of its own",
        path.display()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// There is nothing to lock.
    #[error(
        "there is no data directory {}: check the path; if the node's data is really gone, it \
         has lost its memory and must come back as a new member under a new id",
        path.display()
    )]
    NoDirectory {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
