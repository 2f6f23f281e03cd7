//! What a node stands on: everything that it does not decide itself.

use std::path::Path;

use paxos_core::{ClusterId, NodeId};
use paxos_net::{Credentials, Network};

use crate::bootstrap::DATA;
use crate::clock::Clock;
use crate::log::{
    Directory, DirectoryLock, Disk, Inspection, LockError, OpenError, SNAPSHOTS, SnapshotError,
    SnapshotReport, Snapshots,
};
use crate::log_actor::Writes;
use crate::node::StartError;
use crate::observer::Observer;

/// Disk, clock, network, credentials. [`Ground::of_folder`] is the real one; with another, the same
/// node runs in virtual time.
pub struct Ground {
    /// The node's certificate.
    pub credentials: Credentials,
    /// Its data directory.
    pub disk: Box<dyn Disk + Send>,
    /// Where its snapshots are, inside of it.
    pub snapshots: Box<dyn Disk + Send>,
    /// The right to use it, where others could.
    pub lock: Option<DirectoryLock>,
    /// Where it waits for the disk.
    pub writes: Writes,
    /// Its time.
    pub clock: Clock,
    /// Sockets and chance.
    pub network: Network,
    /// Who is shown what happens.
    pub observer: Option<Observer>,
}

impl Ground {
    /// The system, and a node's folder with certificate, key and data directory.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn of_folder(folder: &Path) -> Result<Self, StartError> {
        let data = folder.join(DATA);
        let (credentials, lock) =
            (Credentials::load(folder)?, there(DirectoryLock::acquire(&data))?);
        Ok(Ground {
            credentials,
            lock: Some(lock),
            disk: Box::new(Directory::new(&data)),
            snapshots: Box::new(Directory::new(data.join(SNAPSHOTS))),
            writes: Writes::Thread,
            clock: Clock::Machine,
            network: Network::default(),
            observer: None,
        })
    }
}

/// The log of a node that does not run, in its folder.
pub(crate) fn inspect(
    folder: &Path,
    cluster: ClusterId,
    node: NodeId,
) -> Result<Inspection, StartError> {
    let data = folder.join(DATA);
    let lock = there(DirectoryLock::acquire_to_read(&data))?;
    Ok(Inspection::begin(Box::new(Directory::new(data)), lock, cluster, node)?)
}

/// The snapshots of a node, in its folder.
pub(crate) fn look(
    folder: &Path,
    cluster: ClusterId,
    whole: bool,
) -> Result<Vec<SnapshotReport>, StartError> {
    let path = folder.join(DATA);
    if !path.exists() {
        return Err(StartError::Open(OpenError::LostMemory { path }));
    }
    let disk = Box::new(Directory::new(path.join(SNAPSHOTS)));
    Ok(Snapshots::look(disk, cluster, whole).map_err(SnapshotError::Disk)?)
}

fn there<T>(locked: Result<T, LockError>) -> Result<T, StartError> {
    match locked {
        Err(LockError::NoDirectory { path }) => {
            Err(StartError::Open(OpenError::LostMemory { path }))
        }
        other => Ok(other?),
    }
}
