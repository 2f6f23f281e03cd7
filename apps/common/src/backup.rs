//! `backup` and `restore`: the state of a running cluster, as a file, and a new cluster that begins
//! with it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use paxos_actors::InitOptions;
use paxos_actors::log::Snapshots;
use paxos_core::{ClusterId, NodeId};
use paxos_net::client::{Client, ClientConfig, ClientError};
use paxos_net::{Authority, ClusterFile, Credentials, Identity};
use serde::{Deserialize, Serialize};

use crate::app::block_on;
use crate::exit::{Exit, Fault};
use crate::init::Made;
use crate::options::Common;
use crate::output::Output;
use crate::snapshot::save;

/// The file of the state in a backup.
const STATE: &str = "state.snap";

/// The file that says what the backup is; it is written last.
const SHEET: &str = "backup.json";

/// The form of backups that this program reads and writes.
const FORM: u32 = 1;

/// The arguments of `backup`.
#[derive(Args, Debug)]
pub struct Backup {
    /// Where to write; it must not be there yet
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Take the snapshot of this node [default: one that does not lead]
    #[arg(long, value_name = "N")]
    node: Option<u64>,

    #[command(flatten)]
    common: Common,
}

/// The arguments of `restore`.
#[derive(Args, Debug)]
pub struct Restore {
    /// The backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// The addresses of the nodes, which are numbered from 1 in this order
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',', required = true)]
    nodes: Vec<String>,

    /// Where to write the new cluster's files
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// What a backup is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sheet {
    version: u32,
    /// The cluster that it was taken of.
    cluster: ClusterId,
    /// The last slot whose command is in it.
    slot: u64,
    /// The length of the file of the state.
    bytes: u64,
}

impl Backup {
    /// Has a node make a snapshot of everything acknowledged before, and copies it.
    ///
    /// # Errors
    /// See [`ClientError`]; that the certificate is no admin's; that the folder is there already.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        if self.dir.exists() {
            let words = format!("{} is there already: name a new folder", self.dir.display());
            return Err(Fault::usage(words).into());
        }
        let sheet = block_on(async {
            let config = self.common.client_config()?;
            let cluster = config.cluster.cluster;
            let client = Client::new(config)?;
            let taken = self.take(&client, cluster).await;
            client.close().await;
            taken
        })?;
        let words = format!(
            "{}: everything up to slot {}, {} bytes",
            self.dir.display(),
            sheet.slot,
            sheet.bytes
        );
        output.result(words, &sheet)?;
        Ok(Exit::Done)
    }

    async fn take(&self, client: &Client, cluster: ClusterId) -> anyhow::Result<Sheet> {
        let node = match self.node {
            Some(node) => NodeId(node),
            None => follower(client).await?,
        };
        // What was acknowledged before is applied somewhere, but perhaps not there yet.
        let next = client.members().await?.next;
        save(client, node, next, self.common.timeout).await?;
        let (slot, bytes) = fetch(client, node).await?;
        Snapshots::state_of(cluster, bytes.clone()).map_err(|why| {
            Fault::new(Exit::Internal, format!("what was sent is spoiled: {why}"))
        })?;
        let sheet = Sheet { version: FORM, cluster, slot, bytes: bytes.len() as u64 };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        write(&self.dir.join(STATE), &bytes)?;
        write(&self.dir.join(SHEET), &serde_json::to_vec_pretty(&sheet)?)?;
        fs::File::open(&self.dir)?.sync_all()?;
        Ok(sheet)
    }
}

/// A node that has a replica and something better to do than to lead.
async fn follower(client: &Client) -> anyhow::Result<NodeId> {
    let known = client.members().await?;
    let reports = client.statuses().await;
    let answered = |node: &NodeId| matches!(reports.get(node), Some(Ok(_)));
    let leader = reports.values().flatten().filter_map(|report| report.status.leader).max();
    let leads = |node: &NodeId| leader.is_some_and(|ballot| ballot.node == *node);
    let able: Vec<_> = known.membership.learners().filter(answered).collect();
    let chosen = able.iter().find(|node| !leads(node)).or(able.first()).copied();
    chosen.ok_or_else(|| Fault::new(Exit::NoQuorum, "no node with a replica answers").into())
}

/// The newest snapshot of a node: the last slot that it covers, and the file.
async fn fetch(client: &Client, node: NodeId) -> Result<(u64, Vec<u8>), ClientError> {
    let (snapshot, first) = client.piece(node, None, 0).await?;
    let mut bytes = first.to_vec();
    while (bytes.len() as u64) < snapshot.bytes {
        let (_, piece) = client.piece(node, Some(snapshot.upto), bytes.len() as u64).await?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((snapshot.upto.0.saturating_sub(1), bytes))
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

impl Restore {
    /// Makes the files of a new cluster that begins with what the backup has.
    ///
    /// # Errors
    /// That the backup is damaged, that something answers at an address, or that a cluster is there
    /// already; see also [`paxos_actors::InitError`].
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let (sheet, state) = read(&self.backup)?;
        block_on(refuse_live(&self.nodes))?;
        let options = InitOptions::new(self.dir.clone(), self.nodes.clone());
        let cluster = paxos_actors::init_from(&options, &state)?;
        output.remark(format_args!(
            "a new cluster that goes on behind slot {} of cluster {}",
            sheet.slot, sheet.cluster
        ));
        let made = Made::of(&self.dir, &cluster);
        output.result(made.text(), &made)?;
        Ok(Exit::Done)
    }
}

fn read(folder: &Path) -> anyhow::Result<(Sheet, Vec<u8>)> {
    let damaged = |path: PathBuf, why: &str| {
        let words = format!("{} is damaged: {why}; use another backup", path.display());
        Fault::new(Exit::Disk, words)
    };
    let path = folder.join(SHEET);
    let text = fs::read(&path).map_err(|error| {
        let exit = if error.kind() == ErrorKind::NotFound { Exit::Usage } else { Exit::Disk };
        Fault::new(exit, format!("{} is no backup: {error}", folder.display()))
    })?;
    let sheet: Sheet =
        serde_json::from_slice(&text).map_err(|error| damaged(path.clone(), &error.to_string()))?;
    if sheet.version != FORM {
        let words = format!("it has form {}, and this program reads {FORM}", sheet.version);
        return Err(damaged(path, &words).into());
    }
    let path = folder.join(STATE);
    let bytes = fs::read(&path).map_err(|error| damaged(path.clone(), &error.to_string()))?;
    let state = Snapshots::state_of(sheet.cluster, bytes).map_err(|why| damaged(path, why))?;
    Ok((sheet, state))
}

/// A restored cluster takes nobody's place: whoever answers at one of its addresses must be stopped
/// first. Any answer counts, a refusal most of all.
async fn refuse_live(addresses: &[String]) -> anyhow::Result<()> {
    let cluster = ClusterId(0);
    let nodes: std::collections::BTreeMap<_, _> =
        (1..).map(NodeId).zip(addresses.iter().cloned()).collect();
    let stranger = Authority::create(cluster)?.issue(&Identity::client(cluster, "restore")?)?;
    let file = ClusterFile::new(cluster, nodes.clone());
    let client = Client::new(ClientConfig::new(file, Credentials::of_leaf(&stranger)?))?;
    let reports = client.statuses().await;
    client.close().await;
    for (node, report) in reports {
        if !matches!(report, Err(ClientError::Unreachable { .. })) {
            let address = nodes.get(&node).cloned().unwrap_or_default();
            let words = format!(
                "something answers at {address}: a restored cluster is a new one and takes the \
                 place of none that runs; stop it, or choose other addresses"
            );
            return Err(Fault::new(Exit::Configuration, words).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_backup_or_a_damaged_one_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is no backup"), "{error}");
        assert_eq!(Exit::of(&error), Exit::Usage);
        let refused = || {
            let error = read(folder.path()).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Disk);
            format!("{error:#}")
        };
        let (version, cluster) = (FORM, ClusterId(7));
        let sheet = Sheet { version, cluster, slot: 9, bytes: 3 };
        fs::write(folder.path().join(SHEET), serde_json::to_vec(&sheet).unwrap()).unwrap();
        assert!(refused().contains("state.snap is damaged"));
        fs::write(folder.path().join(STATE), b"abc").unwrap();
        assert!(refused().contains("it does not begin like a snapshot"));
        let newer = Sheet { version: FORM + 1, ..sheet };
        fs::write(folder.path().join(SHEET), serde_json::to_vec(&newer).unwrap()).unwrap();
        assert!(refused().contains("form 2"));
    }
}
