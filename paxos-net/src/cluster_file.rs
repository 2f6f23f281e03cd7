//! The cluster file: who takes part and where, and the settings of a node. It holds no secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use paxos_core::batch::COMMAND_MAX;
use paxos_core::{ClusterId, NodeId};
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::codec::Codec;
use crate::duration::format_duration;
use crate::settings::{
    Batching, DetectorKind, LeadershipSettings, LimitSettings, Log, Net, Policy, SnapshotSettings,
};

/// The form of cluster files that this crate reads and writes.
pub const FORM: u32 = 1;

/// The most nodes that a cluster file may name.
pub const NODES_MAX: usize = 64;

/// The contents of a cluster file.
///
/// The nodes are read when the cluster is bootstrapped and when one looks for a node; from then on
/// the replicated membership says who takes part. Everything else may differ from node to node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// The cluster.
    pub cluster: ClusterId,
    /// Where the nodes can be reached: `host:port`.
    pub nodes: BTreeMap<NodeId, String>,
    /// Those of them that never lead, whatever their role: a learner among them is a read replica.
    pub never_lead: BTreeSet<NodeId>,
    /// How nodes and clients talk.
    pub net: Net,
    /// Who leads, and when another does.
    pub leadership: LeadershipSettings,
    /// The log on disk.
    pub log: Log,
    /// When snapshots are made, and how many are kept.
    pub snapshots: SnapshotSettings,
    /// How commands are gathered.
    pub batching: Batching,
    /// How much is let in.
    pub limits: LimitSettings,
}

/// Why a cluster file was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterFileError {
    /// It could not be read.
    #[error("{path}: {error}; name another with --cluster, or make one with init")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something in it is wrong.
    #[error("{file}:{line}: {what}")]
    Wrong {
        /// The file, without its folder.
        file: String,
        /// Where in it, from 1.
        line: usize,
        /// What, and what to do.
        what: String,
    },
}

impl ClusterFile {
    /// A file of these nodes, with every setting at its default.
    pub fn new(cluster: ClusterId, nodes: BTreeMap<NodeId, String>) -> Self {
        ClusterFile {
            cluster,
            nodes,
            never_lead: BTreeSet::new(),
            net: Net::default(),
            leadership: LeadershipSettings::default(),
            log: Log::default(),
            snapshots: SnapshotSettings::default(),
            batching: Batching::default(),
            limits: LimitSettings::default(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`ClusterFileError`].
    pub fn load(path: &Path) -> Result<Self, ClusterFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ClusterFileError::Io { path: path.to_owned(), error })?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&text, &name)
    }

    /// Reads a text; errors name `file`.
    ///
    /// # Errors
    /// [`ClusterFileError::Wrong`].
    pub fn parse(text: &str, file: &str) -> Result<Self, ClusterFileError> {
        let wrong = |(span, what): (Range<usize>, String)| ClusterFileError::Wrong {
            file: file.to_owned(),
            line: line_of(text, span.start),
            what,
        };
        let form: Form = toml::from_str(text).map_err(|error| {
            wrong((error.span().unwrap_or(0..0), error.message().trim().replace('\n', ", ")))
        })?;
        form.checked().map_err(wrong)
    }

    /// Where a node can be reached.
    pub fn address(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).map(String::as_str)
    }

    /// The node that can be reached there.
    pub fn node_at(&self, address: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(_, its)| *its == address).map(|(node, _)| *node)
    }

    /// The text of the file, with a word on every setting.
    pub fn to_toml(&self) -> String {
        let mut text = format!(
            "# A cluster: who takes part, and where. No secrets; the same file is for nodes and \
             clients.\nversion = {FORM}\n\n# Drawn once; it is in every certificate.\ncluster = \
             \"{}\"\n",
            self.cluster
        );
        for (node, address) in &self.nodes {
            text.push('\n');
            text.push_str(&node_section(*node, address, !self.never_lead.contains(node)));
        }
        let codec = match self.net.codec {
            Codec::Binary => "binary",
            Codec::Json => "json",
        };
        let leadership = &self.leadership;
        write!(
            text,
            r#"
# What follows concerns one node at a time and may differ between them.

[net]
# How messages become bytes: "binary", or "json" to read them on the wire. Nodes understand both.
codec = "{codec}"

[leadership]
# "heartbeat", or "failure-detector" with detector = "phi", "fixed" or "outside"; all nodes alike.
{}
# Between two signs of life.
heartbeat_interval = "{}"
# A node that is silent for this long is suspected, unless by phi or from outside; several
# heartbeats, or leaders change in vain.
suspect_after = "{}"
# Campaigns are spread at random over this time, or follow one another at this distance.
spread = "{}"

[log]
# A file of the log is closed at this size.
segment_bytes = {}

[snapshots]
# A snapshot is made of every so many bytes of the log's values; the log before it can then go.
every_bytes = {}
# So many snapshots are kept, and the log from the oldest of them on.
keep = {}
# Fetching one from a peer takes no more than this of the network.
fetch_bytes_per_second = {}

[batching]
# Batches of one gateway on their way at once; commands gather meanwhile.
batches_in_flight = {}
# A batch is sent at this size at the latest.
batch_bytes = {}

[limits]
# Connections of one client identity to one node.
connections_per_identity = {}
# Requests in progress on one client connection; more are answered "busy".
requests_per_connection = {}
# Bytes waiting for a peer, on the lanes of small messages (each) and on the lane of values.
lane_bytes = {}
values_lane_bytes = {}
"#,
            policy_lines(leadership),
            format_duration(leadership.heartbeat_interval),
            format_duration(leadership.suspect_after),
            format_duration(leadership.spread),
            self.log.segment_bytes,
            self.snapshots.every_bytes,
            self.snapshots.keep,
            self.snapshots.fetch_bytes_per_second,
            self.batching.batches_in_flight,
            self.batching.batch_bytes,
            self.limits.connections_per_identity,
            self.limits.requests_per_connection,
            self.limits.lane_bytes,
            self.limits.values_lane_bytes,
        )
        .ok();
        text
    }
}

/// The section of a node.
pub(crate) fn node_section(node: NodeId, address: &str, leads: bool) -> String {
    let leads = if leads { "" } else { "leads = false\n" };
    // An address that was checked has no quotes in it; one that was not is refused when read.
    format!("[[node]]\nid = {}\naddress = {address:?}\n{leads}", node.0)
}

/// The file as it is written; what it says is not checked yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: Spanned<u32>,
    cluster: ClusterId,
    #[serde(default)]
    node: Vec<NodeForm>,
    #[serde(default)]
    net: Net,
    leadership: Option<Spanned<LeadershipSettings>>,
    #[serde(default)]
    log: Log,
    snapshots: Option<Spanned<SnapshotSettings>>,
    batching: Option<Spanned<Batching>>,
    #[serde(default)]
    limits: LimitSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeForm {
    id: Spanned<u64>,
    address: Spanned<String>,
    /// Whether it leads if it can.
    #[serde(default = "leads")]
    leads: bool,
}

fn leads() -> bool {
    true
}

impl Form {
    fn checked(self) -> Result<ClusterFile, (Range<usize>, String)> {
        if *self.version.get_ref() != FORM {
            let what = format!(
                "version {} is not known: this program reads version {FORM}; use one that fits",
                self.version.get_ref()
            );
            return Err((self.version.span(), what));
        }
        let silent = self.node.iter().filter(|node| !node.leads);
        let never_lead = silent.map(|node| NodeId(*node.id.get_ref())).collect();
        let nodes = checked_nodes(self.node)?;
        let (span, leadership) = taken_apart(self.leadership);
        leadership.check().map_err(|what| (span, what.to_owned()))?;
        let (span, snapshots) = taken_apart(self.snapshots);
        let least = snapshots.every_bytes.min(snapshots.fetch_bytes_per_second);
        if least == 0 || snapshots.keep == 0 {
            let what = "every_bytes, keep and fetch_bytes_per_second must be at least 1";
            return Err((span, what.to_owned()));
        }
        let (span, batching) = taken_apart(self.batching);
        if batching.batches_in_flight == 0 || batching.batch_bytes == 0 {
            let what = "batches_in_flight and batch_bytes must be at least 1";
            return Err((span, what.to_owned()));
        }
        if batching.batch_bytes > COMMAND_MAX as u64 {
            let what = format!("batch_bytes must be at most {COMMAND_MAX}: no frame carries more");
            return Err((span, what));
        }
        Ok(ClusterFile {
            cluster: self.cluster,
            nodes,
            never_lead,
            net: self.net,
            leadership,
            log: self.log,
            snapshots,
            batching,
            limits: self.limits,
        })
    }
}

/// The policy, and what is set of its detector.
fn policy_lines(settings: &LeadershipSettings) -> String {
    let mut lines = match settings.policy {
        Policy::Heartbeat => "policy = \"heartbeat\"".to_owned(),
        Policy::FailureDetector => "policy = \"failure-detector\"".to_owned(),
    };
    let detector = settings.detector.map(|detector| match detector {
        DetectorKind::Phi => "phi",
        DetectorKind::Fixed => "fixed",
        DetectorKind::Outside => "outside",
    });
    let threshold = settings.phi_threshold_milli.map(|milli| f64::from(milli) / 1000.0);
    let floor = settings.phi_sigma_floor.map(format_duration);
    for line in [
        detector.map(|detector| format!("detector = {detector:?}")),
        threshold.map(|threshold| format!("phi_threshold = {threshold:?}")),
        settings.phi_window.map(|window| format!("phi_window = {window}")),
        floor.map(|floor| format!("phi_sigma_floor = {floor:?}")),
    ]
    .into_iter()
    .flatten()
    {
        lines.push('\n');
        lines.push_str(&line);
    }
    lines
}

fn taken_apart<T: Default>(section: Option<Spanned<T>>) -> (Range<usize>, T) {
    section.map_or_else(Default::default, |section| (section.span(), section.into_inner()))
}

fn checked_nodes(forms: Vec<NodeForm>) -> Result<BTreeMap<NodeId, String>, (Range<usize>, String)> {
    if forms.is_empty() {
        return Err((0..0, "there are no nodes: add at least one [[node]] section".to_owned()));
    }
    let (mut nodes, mut addresses) = (BTreeMap::new(), BTreeSet::new());
    for NodeForm { id, address, leads: _ } in forms {
        let (id_span, address_span) = (id.span(), address.span());
        let (id, address) = (id.into_inner(), address.into_inner());
        if nodes.len() == NODES_MAX {
            return Err((id_span, format!("there are more than {NODES_MAX} nodes: remove some")));
        }
        if id == 0 {
            return Err((id_span, "node ids begin at 1".to_owned()));
        }
        if !has_port(&address) {
            let what = format!("{address:?} is no address: write host:port, such as h1:7400");
            return Err((address_span, what));
        }
        if !addresses.insert(address.clone()) {
            return Err((address_span, format!("{address} is the address of two nodes")));
        }
        if nodes.insert(NodeId(id), address).is_some() {
            return Err((id_span, format!("id {id} is that of two nodes: give each its own")));
        }
    }
    Ok(nodes)
}

fn has_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let plain = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    !host.is_empty() && bare && plain && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The line, from 1, in which a byte lies.
fn line_of(text: &str, byte: usize) -> usize {
    let before = &text.as_bytes()[..byte.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HEAD: &str = "version = 1\ncluster = \"0000000000000000000000000000feed\"\n";

    const DETECTED: &str = "[leadership]\npolicy = \"failure-detector\"\n";

    fn error_of(rest: &str) -> String {
        ClusterFile::parse(&format!("{HEAD}{rest}"), "cluster.toml").unwrap_err().to_string()
    }

    fn node(id: u64, address: &str) -> String {
        format!("[[node]]\nid = {id}\naddress = \"{address}\"\n")
    }

    #[test]
    fn what_is_written_reads_back() {
        let nodes = [(NodeId(1), "h1:7400".to_owned()), (NodeId(2), "[::1]:7400".to_owned())];
        let mut file = ClusterFile::new(ClusterId(0xfeed), nodes.into());
        assert_eq!(ClusterFile::parse(&file.to_toml(), "x").unwrap(), file);
        file.net.codec = Codec::Json;
        file.leadership.suspect_after = Duration::from_millis(1500);
        file.batching.batches_in_flight = 3;
        file.limits.lane_bytes = 77;
        file.never_lead.insert(NodeId(2));
        assert_eq!(ClusterFile::parse(&file.to_toml(), "x").unwrap(), file);
        file.leadership.policy = Policy::FailureDetector;
        assert_eq!(ClusterFile::parse(&file.to_toml(), "x").unwrap(), file);
        file.leadership.detector = Some(DetectorKind::Phi);
        file.leadership.phi_threshold_milli = Some(8_500);
        file.leadership.phi_window = Some(50);
        file.leadership.phi_sigma_floor = Some(Duration::from_millis(10));
        assert_eq!(ClusterFile::parse(&file.to_toml(), "x").unwrap(), file);
        assert_eq!(file.address(NodeId(2)), Some("[::1]:7400"));
        assert_eq!(file.node_at("h1:7400"), Some(NodeId(1)));
        assert_eq!(file.limits.limits().lane_bytes, 77);
    }

    #[test]
    fn errors_name_file_and_line() {
        let one = node(1, "h1:1");
        let cases = [
            (String::new(), "cluster.toml:1: there are no nodes"),
            (format!("{one}{}", node(1, "h2:1")), "cluster.toml:7: id 1 is that of two nodes"),
            (format!("{one}{}", node(2, "h1:1")), "cluster.toml:8: h1:1 is the address of two"),
            (node(1, "h1"), "cluster.toml:5: \"h1\" is no address"),
            (node(1, "h1:0"), "cluster.toml:5: \"h1:0\" is no address"),
            (node(1, "::1:5"), "cluster.toml:5: \"::1:5\" is no address"),
            (node(0, "h1:1"), "cluster.toml:4: node ids begin at 1"),
            (format!("{one}color = 1\n"), "cluster.toml:6: unknown field `color`"),
            (format!("{one}[net]\ncodec = \"xml\"\n"), "cluster.toml:7: unknown variant `xml`"),
            (
                format!("{one}[leadership]\nspread = \"5\"\n"),
                "cluster.toml:7: \"5\" is not a duration",
            ),
            (
                format!("{one}[leadership]\nsuspect_after = \"1ms\"\n"),
                "cluster.toml:6: suspect_after must exceed heartbeat_interval",
            ),
            (
                format!("{one}[leadership]\npolicy = \"phi\"\n"),
                "cluster.toml:7: unknown variant `phi`",
            ),
            (
                format!("{one}[leadership]\ndetector = \"phi\"\n"),
                "cluster.toml:6: a detector is for policy = \"failure-detector\"",
            ),
            (
                format!("{one}{DETECTED}detector = \"fixed\"\nphi_window = 5\n"),
                "cluster.toml:6: what begins with phi_ is for",
            ),
            (
                format!("{one}{DETECTED}phi_threshold = -1\n"),
                "cluster.toml:6: phi_threshold must be from 0.5 to 64",
            ),
            (
                format!("{one}{DETECTED}phi_window = 1\n"),
                "cluster.toml:6: phi_window must be from 2 to 1000",
            ),
            (
                format!("{one}{DETECTED}phi_sigma_floor = \"0ms\"\n"),
                "cluster.toml:6: phi_sigma_floor must exceed 0",
            ),
            (format!("{one}[log\n"), "cluster.toml:6: "),
        ];
        for (rest, expected) in cases {
            let error = error_of(&rest);
            assert!(error.starts_with(expected), "{error:?} for {rest:?}");
        }
        let error = ClusterFile::parse("version = 2\n", "cluster.toml").unwrap_err().to_string();
        assert!(error.starts_with("cluster.toml:1: "), "{error}");
    }

    #[test]
    fn a_crowd_is_refused() {
        let crowd: String =
            (1..=NODES_MAX as u64 + 1).map(|id| node(id, &format!("h{id}:1"))).collect();
        assert!(error_of(&crowd).starts_with("cluster.toml:196: there are more than 64 nodes"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ClusterFile::load(Path::new("nowhere/cluster.toml")).unwrap_err().to_string();
        assert!(error.starts_with("nowhere/cluster.toml: "), "{error}");
    }
}
