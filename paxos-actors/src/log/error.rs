//! What can go wrong with a log, and what to do then.

use std::io;
use std::path::PathBuf;

use paxos_core::{ClusterId, NodeId};
use thiserror::Error;

use super::disk::{DiskError, Operation};
use super::frame::Trouble;

/// Why a drain could not be written. Whatever it was, the log refuses everything after it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// A sync failed. It is never tried again: a second one may succeed without the bytes.
    #[error(
        "cannot sync {}: {source}; what was being written is not durable: the node must stop; \
         check the disk before it is started again",
        path.display()
    )]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no space left for {}: free some and start the node again; nothing that was \
         acknowledged is lost",
        path.display()
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed otherwise.
    #[error("{0}; the node must stop; check the disk before it is started again")]
    Disk(DiskError),
    /// The drain is beyond every limit.
    #[error("a drain of {bytes} bytes is more than the log takes at once: lower the batch limits")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Something failed before.
    #[error("the log was given up after an earlier error ({earlier}): start the node again")]
    GivenUp {
        /// That error.
        earlier: String,
    },
}

impl From<DiskError> for LogError {
    fn from(error: DiskError) -> Self {
        if error.is_no_space() {
            return LogError::NoSpace { path: error.path };
        }
        match error.operation {
            Operation::Sync | Operation::SyncDirectory => {
                LogError::Sync { path: error.path, source: error.source }
            }
            _ => LogError::Disk(error),
        }
    }
}

/// Why a log could not be opened. Unless it is [`OpenError::Log`], nothing was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no data where this node's data should be.
    #[error(
        "the data directory {} is missing or empty: this node has lost its memory. Check the path \
         first. A node whose data is gone must come back as a new member under a new id, never \
         by making a fresh directory under the old one: it would break promises that it no \
         longer knows of",
        path.display()
    )]
    LostMemory {
        /// The directory.
        path: PathBuf,
    },
    /// The identity is gone, the rest is not.
    #[error(
        "{} is missing from a data directory that is not empty. If making the directory was \
         interrupted and the node has never run, remove the directory and make it again; \
         otherwise data is lost and the node must come back as a new member under a new id",
        path.display()
    )]
    NoIdentity {
        /// The file.
        path: PathBuf,
    },
    /// The identity cannot be read.
    #[error(
        "{} is damaged: {reason}. Nothing was changed. The node must come back as a new member \
         under a new id",
        path.display()
    )]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The data is that of another cluster.
    #[error(
        "the data directory {} belongs to cluster {found}, not to {expected}: check the path and \
         the configuration",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// The data is that of another node.
    #[error(
        "the data directory {} belongs to node {found}, not to {expected}: check the path and the \
         configuration; the data of one node must never be used by another",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// A newer version of this program wrote it.
    #[error(
        "{} has format version {found}, this program knows versions up to {known}: use the \
         program that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest known version.
        known: u64,
    },
    /// An older version of this program wrote it, in another form.
    #[error(
        "{} has format version {found}, this program reads version {known} alone: use the program \
         that wrote it",
        path.display()
    )]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The known version.
        known: u64,
    },
    /// A segment is not there.
    #[error(
        "{} is missing, which the log needs. Nothing was changed. Put the file back if you have \
         it as it was; otherwise the node must come back as a new member under a new id",
        path.display()
    )]
    MissingSegment {
        /// The segment.
        path: PathBuf,
    },
    /// Something that was synced is no longer what was written.
    #[error(
        "{} is damaged: {trouble} at offset {offset}{}; refusing to cut it off, since what is \
         lost may be a promise. Nothing was changed. The node must come back as a new member \
         under a new id",
        path.display(), following(*follows)
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        trouble: Trouble,
        /// Where the next valid frame begins, if one follows.
        follows: Option<u64>,
    },
    /// The disk could not be read.
    #[error("{0}; nothing was changed: check the disk")]
    Disk(#[from] DiskError),
    /// What was read could not be made durable.
    #[error(transparent)]
    Log(#[from] LogError),
}

fn following(follows: Option<u64>) -> String {
    follows.map(|offset| format!(", a valid record follows at {offset}")).unwrap_or_default()
}

/// Why a data directory could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There is something in it.
    #[error(
        "the data directory {} is not empty (it has {found}): choose another, or remove this one \
         if you are certain that no node needs it",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// The disk failed.
    #[error("{0}; remove the directory before trying again")]
    Disk(#[from] DiskError),
}
