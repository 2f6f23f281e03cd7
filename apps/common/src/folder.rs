//! A folder that is gone when its owner is.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder under `$TMPDIR` that only its owner may enter, removed with everything in it on drop.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
}

impl TemporaryFolder {
    /// Makes one whose name begins with `prefix`.
    ///
    /// # Errors
    /// That of the system.
    pub fn create(prefix: &str) -> io::Result<Self> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = std::env::temp_dir().join(format!("{prefix}-{random:016x}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(TemporaryFolder { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed now is the system's to clean up: it lies in the folder for that.
        fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it() {
        let folder = TemporaryFolder::create("paxos-test").unwrap();
        let path = folder.path().to_owned();
        fs::create_dir(path.join("sub")).unwrap();
        fs::write(path.join("sub/file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
