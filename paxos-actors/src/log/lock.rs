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
        let path = lock_file(directory.as_ref())?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        match options.open(&path) {
            Ok(file) => locked(path, file, File::try_lock),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Takes the lock together with others that only read; no node can start meanwhile. Nothing is
    /// written: where there is no lock file, no node has ever run, and there is nothing to hold.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire_to_read(directory: impl AsRef<Path>) -> Result<Option<Self>, LockError> {
        let path = lock_file(directory.as_ref())?;
        match File::open(&path) {
            Ok(file) => locked(path, file, File::try_lock_shared).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }
}

fn lock_file(directory: &Path) -> Result<PathBuf, LockError> {
    match directory.is_dir() {
        true => Ok(directory.join(LOCK)),
        false => Err(LockError::NoDirectory { path: directory.to_owned() }),
    }
}

fn locked(
    path: PathBuf,
    file: File,
    lock: impl FnOnce(&File) -> Result<(), TryLockError>,
) -> Result<DirectoryLock, LockError> {
    match lock(&file) {
        Ok(()) => Ok(DirectoryLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(LockError::Held { path }),
        Err(TryLockError::Error(source)) => Err(LockError::Io { path, source }),
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
