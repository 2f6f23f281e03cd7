//! A real directory.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::disk::{Disk, DiskError, Operation};

/// Files kept open: the segment written to, the one before it, the one prepared, and one to spare.
const OPEN_MAX: usize = 4;

/// Zeros are written, and synced, in pieces of this many bytes.
const ZEROS: usize = 4 << 20;

/// A directory of the file system. Only its owner may read its files.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Written to lately, the latest last.
    open: VecDeque<(String, File)>,
    preparing: Option<(String, Preparation)>,
}

/// A file that is being made, or why that could not even begin.
type Preparation = Result<JoinHandle<io::Result<File>>, io::Error>;

impl Directory {
    /// The directory at `path`. Whether there is one shows when it is listed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Directory { path: path.into(), open: VecDeque::new(), preparing: None }
    }

    /// Makes the directory, and those above it, unless it is there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let path = path.into();
        Self::make(&path)?;
        Ok(Directory::new(path))
    }

    fn make(path: &Path) -> Result<(), DiskError> {
        let failed = |source| DiskError::new(Operation::Directory, path, source);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        match path.canonicalize().map_err(failed)?.parent() {
            Some(parent) => sync_directory(parent),
            None => Ok(()),
        }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn file(&mut self, name: &str, operation: Operation) -> Result<&File, DiskError> {
        let at = match self.open.iter().position(|(open, _)| open == name) {
            Some(at) => at,
            None => {
                let path = self.join(name);
                let file = OpenOptions::new().write(true).open(&path);
                let file = file.map_err(|source| DiskError::new(operation, path, source))?;
                self.keep(name, file);
                self.open.len() - 1
            }
        };
        Ok(&self.open[at].1)
    }

    fn keep(&mut self, name: &str, file: File) {
        self.forget(name);
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((name.to_owned(), file));
    }

    fn forget(&mut self, name: &str) {
        self.open.retain(|(open, _)| open != name);
    }

    fn finish_preparing(&mut self) -> Option<(String, Result<File, DiskError>)> {
        let (name, preparation) = self.preparing.take()?;
        let made = preparation.and_then(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the preparing thread panicked")))
        });
        let path = self.join(&name);
        Some((name, made.map_err(|source| DiskError::new(Operation::Prepare, path, source))))
    }
}

impl Disk for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let failed = |source| DiskError::new(Operation::Directory, &self.path, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn prepare(&mut self, name: &str, size: u64) {
        self.finish_preparing();
        self.forget(name);
        let path = self.join(name);
        let builder = thread::Builder::new().name("log-prepare".to_owned());
        let thread = builder.spawn(move || zeros(&path, size));
        self.preparing = Some((name.to_owned(), thread));
    }

    fn create(&mut self, name: &str, size: u64) -> Result<(), DiskError> {
        let path = self.join(name);
        let make = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.set_len(size)?;
            Ok(file)
        };
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Directory::make(&self.path)?;
                make()
            }
            made => made,
        };
        let made = made.map_err(|source| DiskError::new(Operation::Prepare, &path, source));
        self.keep(name, made?);
        Ok(())
    }

    fn ready(&mut self, name: &str) -> Result<(), DiskError> {
        match self.finish_preparing() {
            Some((prepared, made)) if prepared == name => {
                self.keep(name, made?);
                Ok(())
            }
            _ => self.file(name, Operation::Prepare).map(|_| ()),
        }
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>, DiskError> {
        let mut bytes = Vec::new();
        self.read_into(name, &mut bytes)?;
        Ok(bytes)
    }

    fn read_into(&mut self, name: &str, bytes: &mut Vec<u8>) -> Result<(), DiskError> {
        let path = self.join(name);
        let mut read = || {
            let mut file = File::open(&path)?;
            bytes.clear();
            bytes.reserve_exact(file.metadata()?.len() as usize);
            file.read_to_end(bytes)
        };
        read().map(|_| ()).map_err(|source| DiskError::new(Operation::Read, &path, source))
    }

    fn read_at(&mut self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let path = self.join(name);
        let read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            // Who asks may believe a damaged file.
            let mut bytes = Vec::with_capacity(length.min(file.metadata()?.len() as usize));
            file.take(length as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| DiskError::new(Operation::Read, &path, source))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file(name, Operation::Write)?.write_all_at(bytes, offset);
        written.map_err(|source| DiskError::new(Operation::Write, self.join(name), source))
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let synced = self.file(name, Operation::Sync)?.sync_data();
        synced.map_err(|source| DiskError::new(Operation::Sync, self.join(name), source))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.join(from), self.join(to))
            .map_err(|source| DiskError::new(Operation::Rename, self.join(from), source))?;
        self.forget(to);
        if let Some((name, _)) = self.open.iter_mut().find(|(open, _)| open == from) {
            to.clone_into(name);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.forget(name);
        let path = self.join(name);
        fs::remove_file(&path).map_err(|source| DiskError::new(Operation::Remove, path, source))
    }

    fn sync_dir(&mut self) -> Result<(), DiskError> {
        sync_directory(&self.path)
    }
}

impl Drop for Directory {
    /// Whoever opens the directory next must not find its files replaced by a thread of this one.
    fn drop(&mut self) {
        self.finish_preparing();
    }
}

fn zeros(path: &Path, size: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // A file that is there keeps its blocks, but for those that it has too many.
    if file.metadata()?.len() > size {
        file.set_len(size)?;
    }
    let piece = vec![0; ZEROS.min(size as usize)];
    let mut left = size;
    while left > 0 {
        let length = left.min(ZEROS as u64);
        file.write_all(&piece[..length as usize])?;
        left -= length;
        // Not all at once in the end: the log's syncs would have to wait behind it.
        file.sync_data()?;
    }
    file.sync_all()?;
    Ok(file)
}

fn sync_directory(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| DiskError::new(Operation::SyncDirectory, path, source))
}
