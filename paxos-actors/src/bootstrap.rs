//! Makes a new cluster: its file, its certificates, and every node's formatted data directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use paxos_core::membership::MembershipError;
use paxos_core::replica::rehomed;
use paxos_core::{
    ClusterId, Configurations, Member, MemberRole, Membership, NodeId, Record, RestoreError,
    SessionLimits,
};
use paxos_net::certs::CertsError;
use paxos_net::settings::{Batching, LeadershipSettings, Log as LogSettings, SnapshotSettings};
use paxos_net::{Authority, ClusterFile, ClusterFileError, Identity, Role};
use thiserror::Error;

use crate::log::{
    self, DataIdentity, Directory, DiskError, FormatError, Log, LogError, LogOptions, OpenError,
    SNAPSHOTS, SnapshotError, Snapshots,
};

/// The name of the cluster file in its folder.
pub const CLUSTER_FILE: &str = "cluster.toml";

/// The name of a node's data directory in its folder.
pub const DATA: &str = "data";

/// What a new cluster shall be.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Where its files go. It is made if it is not there, and must not hold a cluster.
    pub folder: PathBuf,
    /// `host:port` of each voter, which accepts and keeps the state. Nodes are numbered from 1 in
    /// this order, and on through those that follow here.
    pub addresses: Vec<String>,
    /// Of each node that accepts only.
    pub witnesses: Vec<String>,
    /// Of each node that keeps the state and may lead, and does not accept.
    pub front_ends: Vec<String>,
    /// Of each node that keeps the state, and neither accepts nor leads.
    pub read_replicas: Vec<String>,
    /// What its service wants.
    pub preset: Preset,
}

/// What a service wants of a cluster where an operator has said nothing else: data that its program
/// hands to [`init`], which writes it into the cluster file and into the first membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preset {
    /// Who leads, and when another does.
    pub leadership: LeadershipSettings,
    /// The files of the log.
    pub log: LogSettings,
    /// When snapshots are made.
    pub snapshots: SnapshotSettings,
    /// How commands become batches.
    pub batching: Batching,
    /// Slots that may be open at once; `None`: as by default.
    pub window: Option<u64>,
    /// How long sessions of clients are kept.
    pub sessions: SessionLimits,
}

impl InitOptions {
    /// A cluster in this folder, of these voters, with defaults for everything else.
    pub fn new(folder: impl Into<PathBuf>, addresses: Vec<String>) -> Self {
        InitOptions { folder: folder.into(), addresses, ..InitOptions::default() }
    }

    /// The nodes, and which of them never lead.
    fn members(&self) -> (BTreeMap<NodeId, Member>, BTreeSet<NodeId>) {
        let (mut members, mut never_lead) = (BTreeMap::new(), BTreeSet::new());
        let roles = [
            (&self.addresses, MemberRole::Voter),
            (&self.witnesses, MemberRole::Witness),
            (&self.front_ends, MemberRole::Learner),
            (&self.read_replicas, MemberRole::Learner),
        ];
        for (place, (addresses, role)) in roles.into_iter().enumerate() {
            for address in addresses {
                let node = NodeId(members.len() as u64 + 1);
                members.insert(node, Member { role, address: address.clone() });
                never_lead.extend((place == 3).then_some(node));
            }
        }
        (members, never_lead)
    }

    /// The membership that the cluster begins with.
    ///
    /// # Errors
    /// See [`InitError`].
    pub fn membership(&self) -> Result<Membership, InitError> {
        if self.addresses.is_empty() && self.front_ends.is_empty() {
            return Err(InitError::NobodyLeads);
        }
        Ok(self.preset.membership(self.members().0)?)
    }
}

impl Preset {
    /// The cluster file of these nodes.
    fn file(&self, cluster: ClusterId, nodes: BTreeMap<NodeId, String>) -> ClusterFile {
        let Preset { leadership, log, snapshots, batching, .. } = self.clone();
        ClusterFile { leadership, log, snapshots, batching, ..ClusterFile::new(cluster, nodes) }
    }

    /// The membership that they begin with.
    fn membership(&self, members: BTreeMap<NodeId, Member>) -> Result<Membership, MembershipError> {
        let sessions = self.sessions;
        let membership = Membership { sessions, ..Membership::of(members)? };
        match self.window {
            Some(window) => membership.with_alpha(window),
            None => Ok(membership),
        }
    }
}

/// Why a cluster could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// There is one already.
    #[error(
        "{} is there already: a cluster is made once. Choose another folder, or remove this one if \
         its cluster is not needed any more",
        path.display()
    )]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// The folder of the node is there already.
    #[error(
        "{} is there already: a node's folder is made once. If it is left from an attempt that \
         failed, remove it and try again",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Nobody could lead.
    #[error(
        "nobody could lead: name voters, which do everything, or front ends beside the witnesses"
    )]
    NobodyLeads,
    /// The addresses will not do.
    #[error(transparent)]
    Addresses(#[from] ClusterFileError),
    /// Nor will the membership.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The certificates could not be made.
    #[error(transparent)]
    Certificates(#[from] CertsError),
    /// A data directory could not be made.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory could not be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The state is not that of a snapshot.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Nor could the log.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nor be added to.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system has no randomness.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

impl InitError {
    /// The exit code that fits, after sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            InitError::Write { .. }
            | InitError::Disk(_)
            | InitError::Format(_)
            | InitError::Restore(_)
            | InitError::Snapshot(_)
            | InitError::Open(_)
            | InitError::Log(_) => 74,
            InitError::Random(_) => 70,
            InitError::NobodyLeads | InitError::Addresses(_) | InitError::Membership(_) => 64,
            _ => 78,
        }
    }
}

/// The folder of a node beside the cluster file.
pub fn node_folder(cluster_folder: &Path, node: NodeId) -> PathBuf {
    cluster_folder.join(format!("node-{}", node.0))
}

/// Makes a cluster. Each host needs `cluster.toml` and the folder of its node; `client` and `admin`
/// are for people, and `ca` is best kept off the nodes.
///
/// # Errors
/// See [`InitError`].
pub fn init(options: &InitOptions) -> Result<ClusterFile, InitError> {
    begin(options, |_, _| Ok(()))
}

/// Makes a cluster that begins with the state of a snapshot of another: `state` is what
/// [`Snapshots::state_of`] gives. It has a new id and new certificates, so nothing of the old
/// cluster can be taken for part of it.
///
/// # Errors
/// See [`InitError`].
pub fn init_from(options: &InitOptions, state: &[u8]) -> Result<ClusterFile, InitError> {
    begin(options, |identity, data| {
        let genesis = Configurations::genesis(identity.genesis.clone());
        let (next, state) = rehomed(state, genesis)?;
        let disk = Box::new(Directory::new(data.join(SNAPSHOTS)));
        Snapshots::open(disk, identity.cluster, 1)?.save(next, &state)?;
        // A node without the snapshot must not take the cluster's first slots for open.
        let log = Box::new(Directory::new(data));
        let options = LogOptions::default();
        let (mut log, ..) = Log::open(log, identity.cluster, identity.node, options)?;
        log.append(&[Record::Trimmed(next)])?;
        log.idle()?;
        Ok(())
    })
}

fn begin(
    options: &InitOptions,
    fill: impl Fn(&DataIdentity, &Path) -> Result<(), InitError>,
) -> Result<ClusterFile, InitError> {
    let folder = &options.folder;
    let cluster = ClusterId(u128::from_le_bytes(random()?));
    let (members, never_lead) = options.members();
    let nodes = members.iter().map(|(node, member)| (*node, member.address.clone())).collect();
    let text = ClusterFile { never_lead, ..options.preset.file(cluster, nodes) }.to_toml();
    let file = ClusterFile::parse(&text, CLUSTER_FILE)?;
    let genesis = options.membership()?;
    let path = folder.join(CLUSTER_FILE);
    if path.exists() {
        return Err(InitError::Exists { path });
    }
    Directory::create(folder)?;
    let authority = Authority::create(cluster)?;
    authority.save(&folder.join("ca"))?;
    let issue = |role: Role, folder: &Path| -> Result<(), InitError> {
        Ok(authority.issue(&Identity { cluster, role })?.save(folder)?)
    };
    issue(Role::Client("client".to_owned()), &folder.join("client"))?;
    issue(Role::Admin("admin".to_owned()), &folder.join("admin"))?;
    for (node, member) in members {
        let home = node_folder(folder, node);
        let genesis = genesis.clone();
        let identity = DataIdentity { cluster, node, genesis, witness: !member.role.learns() };
        prepare(&home, &authority, &identity)?;
        fill(&identity, &home.join(DATA))?;
    }
    // Last: a folder with a cluster file has everything else.
    fs::write(&path, text).map_err(|source| InitError::Write { path, source })?;
    Ok(file)
}

/// Makes the folder of a node that joins a cluster: its certificate, and a data directory that is
/// formatted like those of the others, with the membership that the cluster began with.
///
/// What the identity says of witnesses is for as long as the node lives.
///
/// # Errors
/// See [`InitError`]: above all, a folder that is there already is left alone.
pub fn prepare(
    folder: &Path,
    authority: &Authority,
    identity: &DataIdentity,
) -> Result<(), InitError> {
    if folder.exists() {
        return Err(InitError::Folder { path: folder.to_owned() });
    }
    authority.issue(&Identity::peer(identity.cluster, identity.node))?.save(folder)?;
    log::format(&mut Directory::create(folder.join(DATA))?, identity)?;
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], InitError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(InitError::Random)?;
    Ok(bytes)
}
