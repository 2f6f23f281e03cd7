//! Whose data it is.

use std::path::PathBuf;

use paxos_core::{Ballot, ClusterId, Membership, NodeId, Record, Slot};
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError};
use super::error::{FormatError, OpenError};
use super::frame::{self, Checksum, Header};
use super::lock::LOCK;
use super::segment;
use super::snapshots::SNAPSHOTS;

const NAME: &str = "identity.json";
const UNFINISHED: &str = "identity.tmp";
const VERSION: u64 = 2;

/// The first segment needs to hold little: the first start may roll over to one of full size.
const FIRST_SEGMENT: u64 = 4096;

/// To whom a data directory belongs. It is written once and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The membership that the cluster was bootstrapped with.
    pub genesis: Membership,
    /// Whether the node accepts only, and keeps no state: for as long as it lives, since what it
    /// has cut from its log it could not get back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
}

/// Makes an empty directory the data directory of a node, durably.
///
/// The identity comes last, so a directory that has one has a log, and a log that is not there is
/// never mistaken for a new one.
///
/// # Errors
/// See [`FormatError`].
pub fn format(disk: &mut dyn Disk, identity: &DataIdentity) -> Result<(), FormatError> {
    if let Some(found) = disk.list()?.into_iter().find(|name| name != LOCK) {
        return Err(FormatError::NotEmpty { path: disk.path().to_owned(), found });
    }
    let checksum = Checksum::new(identity.cluster, identity.node);
    let mut first = vec![0; segment::FRAMES_FROM];
    first.extend(first_frame(checksum));
    disk.prepare(segment::NEXT, FIRST_SEGMENT);
    publish(disk, segment::NEXT, &segment::name(1), &first)?;
    let sheet = Sheet { format: VERSION, identity: identity.clone(), crc32c: crc(identity) };
    let text = serde_json::to_vec_pretty(&sheet).expect("an identity is plain data");
    disk.prepare(UNFINISHED, text.len() as u64);
    publish(disk, UNFINISHED, NAME, &text)?;
    Ok(())
}

/// Reads the identity and compares it with whose data it should be.
pub(super) fn read(
    disk: &mut dyn Disk,
    cluster: ClusterId,
    node: NodeId,
) -> Result<DataIdentity, OpenError> {
    let names = match disk.list() {
        Err(error) if error.is_not_found() => Vec::new(),
        listed => listed?,
    };
    let path = disk.path().to_owned();
    if names.iter().all(|name| name == LOCK || name == SNAPSHOTS) {
        return Err(OpenError::LostMemory { path });
    }
    if !names.iter().any(|name| name == NAME) {
        return Err(OpenError::NoIdentity { path: path.join(NAME) });
    }
    let text = disk.read(NAME)?;
    let identity = parse(path.join(NAME), &text)?;
    if identity.cluster != cluster {
        let found = identity.cluster;
        return Err(OpenError::OtherCluster { path, found, expected: cluster });
    }
    if identity.node != node {
        return Err(OpenError::OtherNode { path, found: identity.node, expected: node });
    }
    Ok(identity)
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Sheet {
    format: u64,
    identity: DataIdentity,
    /// Of the identity without white space.
    crc32c: u32,
}

/// The part of it that every version has.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

fn parse(path: PathBuf, text: &[u8]) -> Result<DataIdentity, OpenError> {
    let damaged = |reason: String| OpenError::DamagedIdentity { path: path.clone(), reason };
    let Version { format } =
        serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if format > VERSION {
        return Err(OpenError::NewerFormat { path, found: format, known: VERSION });
    }
    if format < VERSION {
        return Err(OpenError::OlderFormat { path, found: format, known: VERSION });
    }
    let sheet: Sheet = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if sheet.crc32c != crc(&sheet.identity) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    Ok(sheet.identity)
}

fn crc(identity: &DataIdentity) -> u32 {
    crc32c::crc32c(&serde_json::to_vec(identity).expect("an identity is plain data"))
}

fn first_frame(checksum: Checksum) -> Vec<u8> {
    let head = Record::Head {
        promised: Ballot::ZERO,
        trimmed: Slot::default(),
        incarnation: 0,
        peers: Default::default(),
    };
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, Some(&head), &[]);
    let header = Header { drain: 1, mark: 0, first: 1 };
    frame::finish(&mut bytes, checksum, 1, segment::FRAMES_FROM as u64, header);
    bytes
}

/// Fills a prepared file and gives it its name, both durably.
fn publish(disk: &mut dyn Disk, from: &str, to: &str, bytes: &[u8]) -> Result<(), DiskError> {
    disk.ready(from)?;
    disk.write_at(from, 0, bytes)?;
    disk.sync(from)?;
    disk.rename(from, to)?;
    disk.sync_dir()
}
