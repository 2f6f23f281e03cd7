//! Changes of the nodes that a cluster file names, which leave everything else in it as it is
//! written.

use std::fs;
use std::io::Write;
use std::path::Path;

use paxos_core::NodeId;

use crate::cluster_file::{ClusterFile, ClusterFileError, node_section};

/// The header of a section that names a node.
const HEADER: &str = "[[node]]";

impl ClusterFile {
    /// Names one more node in a file, which leads if it can, or never. The file is replaced as a
    /// whole, or not at all.
    ///
    /// # Errors
    /// See [`ClusterFileError`]; then the file is as it was.
    pub fn name_node(
        path: &Path,
        node: NodeId,
        address: &str,
        leads: bool,
    ) -> Result<(), ClusterFileError> {
        edit(path, |text| with_section(text, &node_section(node, address, leads)))
    }

    /// Names a node no more. The file is replaced as a whole, or not at all.
    ///
    /// # Errors
    /// See [`ClusterFileError`]; then the file is as it was.
    pub fn forget_node(path: &Path, node: NodeId) -> Result<(), ClusterFileError> {
        edit(path, |text| without_node(text, node))
    }
}

fn edit(path: &Path, change: impl FnOnce(&str) -> String) -> Result<(), ClusterFileError> {
    let failed = |error| ClusterFileError::Io { path: path.to_owned(), error };
    let text = change(&fs::read_to_string(path).map_err(failed)?);
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    ClusterFile::parse(&text, &name)?;
    let new = path.with_extension("toml.new");
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(failed)
}

/// The new section follows those that are there.
fn with_section(text: &str, section: &str) -> String {
    let mut sections = sections(text);
    let Some((_, end)) = sections.pop() else {
        return format!("{text}\n{section}");
    };
    format!("{}\n{section}{}", &text[..end], &text[end..])
}

fn without_node(text: &str, node: NodeId) -> String {
    let id = |line: &str| {
        let (name, value) = line.split('#').next()?.split_once('=')?;
        (name.trim() == "id").then(|| value.trim().parse().ok()).flatten()
    };
    let mut text = text.to_owned();
    for (begin, end) in sections(&text).into_iter().rev() {
        if text[begin..end].lines().find_map(id) == Some(node.0) {
            let blank = text[end..].starts_with('\n');
            text.replace_range(begin..end + usize::from(blank), "");
        }
    }
    text
}

/// Where the sections of nodes begin and end: at the first line that is blank or begins another.
fn sections(text: &str) -> Vec<(usize, usize)> {
    let (mut found, mut open, mut at) = (Vec::new(), None, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if (bare.is_empty() || bare.starts_with('['))
            && let Some(begin) = open.take()
        {
            found.push((begin, at));
        }
        if bare == HEADER {
            open = Some(at);
        }
        at += line.len();
    }
    found.extend(open.map(|begin| (begin, at)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::ClusterId;

    fn file(nodes: &[u64]) -> ClusterFile {
        let nodes = nodes.iter().map(|node| (NodeId(*node), format!("h{node}:1"))).collect();
        ClusterFile::new(ClusterId(0xfeed), nodes)
    }

    fn with_node(text: &str, node: NodeId, address: &str) -> String {
        with_section(text, &node_section(node, address, true))
    }

    #[test]
    fn a_file_gains_and_loses_nodes_and_nothing_else() {
        let text = file(&[1, 2]).to_toml();
        let more = with_node(&text, NodeId(3), "h3:1");
        assert_eq!(more, file(&[1, 2, 3]).to_toml());
        assert_eq!(without_node(&more, NodeId(3)), text);
        assert_eq!(without_node(&more, NodeId(1)), file(&[2, 3]).to_toml());
        assert_eq!(without_node(&more, NodeId(9)), more);
    }

    #[test]
    fn what_people_wrote_into_a_file_stays() {
        let head = "version = 1\ncluster = \"0000000000000000000000000000feed\" # ours\n";
        let one = "[[node]]\nid=1 # the old one\naddress = \"h1:1\"\n";
        let text = format!("{head}{one}[net]\ncodec = \"json\"\n");
        let more = with_node(&text, NodeId(2), "h2:1");
        let nodes = ClusterFile::parse(&more, "x").unwrap().nodes;
        assert_eq!(nodes.values().collect::<Vec<_>>(), ["h1:1", "h2:1"]);
        assert!(more.contains("# ours") && more.contains("# the old one"), "{more}");
        assert_eq!(without_node(&more, NodeId(2)), text.replace("[net]", "\n[net]"));
    }

    #[test]
    fn a_file_that_would_not_do_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.toml");
        fs::write(&path, file(&[1]).to_toml()).unwrap();
        assert!(ClusterFile::name_node(&path, NodeId(2), "nowhere", true).is_err());
        assert!(ClusterFile::forget_node(&path, NodeId(1)).is_err(), "it is the last");
        assert_eq!(ClusterFile::load(&path).unwrap(), file(&[1]));
        ClusterFile::name_node(&path, NodeId(2), "h2:1", false).unwrap();
        let never_lead = [NodeId(2)].into();
        assert_eq!(ClusterFile::load(&path).unwrap(), ClusterFile { never_lead, ..file(&[1, 2]) });
    }
}
