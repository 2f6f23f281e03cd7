//! Nodes as child processes, started with the command lines of the manual.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use paxos_app::ports::free_addresses;
use paxos_core::NodeId;
use paxos_net::client::ClientConfig;
use paxos_net::{ClusterFile, Credentials};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::binary::COUNTER;
use crate::processes::patience::LIMIT;
use crate::processes::process::command_of;
use crate::processes::told::told_by;
use crate::processes::{Process, Told, until};

/// How roles are spread over the processes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Three nodes that do everything.
    Together,
    /// Three witnesses, two front ends and a read replica.
    Apart,
}

impl Form {
    /// Every form.
    pub const ALL: [Form; 2] = [Form::Together, Form::Apart];

    /// Its nodes.
    pub fn nodes(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Form::Together => 1..=3,
            Form::Apart => 1..=6,
        }
    }

    /// Those of them that keep the state.
    pub fn replicas(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Form::Together => 1..=3,
            Form::Apart => 4..=6,
        }
    }

    /// Who else could lead.
    pub fn heir(self, leader: u64) -> u64 {
        match self {
            Form::Together => leader % 3 + 1,
            Form::Apart => 9 - leader,
        }
    }

    /// The arguments that make it of so many addresses.
    fn arguments(self, addresses: &[String]) -> Vec<String> {
        let named =
            |option: &str, addresses: &[String]| vec![option.to_owned(), addresses.join(",")];
        match self {
            Form::Together => named("--nodes", addresses),
            Form::Apart => [
                named("--witnesses", &addresses[..3]),
                named("--front-ends", &addresses[3..5]),
                named("--read-replicas", &addresses[5..]),
            ]
            .concat(),
        }
    }
}

/// A cluster in a folder of its own. Dropping it kills its nodes and removes the folder.
pub struct Cluster {
    app: &'static str,
    form: Form,
    nodes: BTreeMap<u64, Process>,
    addresses: BTreeMap<u64, String>,
    folder: TempDir,
}

impl Cluster {
    /// Makes the files of a cluster of three, and starts no node.
    ///
    /// # Panics
    /// If that fails.
    pub fn made() -> Cluster {
        Cluster::made_as(Form::Together)
    }

    /// Makes the files of a cluster of this form, and starts no node.
    ///
    /// # Panics
    /// If that fails.
    pub fn made_as(form: Form) -> Cluster {
        Cluster::made_by(COUNTER, form, &["init"])
    }

    /// Makes the files of a cluster of three of an app, and starts no node.
    ///
    /// # Panics
    /// If that fails.
    pub fn made_of(app: &'static str) -> Cluster {
        Cluster::made_by(app, Form::Together, &["init"])
    }

    /// Makes the files of a cluster of three that begins with a backup, and starts no node.
    ///
    /// # Panics
    /// If that fails.
    pub fn restored(backup: &Path) -> Cluster {
        Cluster::made_by(COUNTER, Form::Together, &["restore", path_text(backup)])
    }

    fn made_by(app: &'static str, form: Form, line: &[&str]) -> Cluster {
        let folder = tempfile::tempdir().expect("there is room for a temporary folder");
        let addresses = free_addresses(form.nodes().count()).expect("there are free ports");
        let (nodes, dir) = (form.arguments(&addresses), path_text(folder.path()));
        let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
        told_by(app, [line, &nodes, &["--dir", dir]].concat()).ok();
        let addresses = (1..).zip(addresses).collect();
        Cluster { app, form, nodes: BTreeMap::new(), addresses, folder }
    }

    /// A cluster of three whose nodes are ready.
    ///
    /// # Panics
    /// If that fails.
    pub fn started() -> Cluster {
        Cluster::started_as(Form::Together)
    }

    /// A cluster of three of an app whose nodes are ready.
    ///
    /// # Panics
    /// If that fails.
    pub fn started_of(app: &'static str) -> Cluster {
        Cluster::started_in(Form::Together, app)
    }

    /// A cluster of an app, in this form, whose nodes are ready.
    ///
    /// # Panics
    /// If that fails.
    pub fn started_in(form: Form, app: &'static str) -> Cluster {
        let mut cluster = Cluster::made_by(app, form, &["init"]);
        cluster.start_all();
        cluster
    }

    /// A cluster of this form whose nodes are ready.
    ///
    /// # Panics
    /// If that fails.
    pub fn started_as(form: Form) -> Cluster {
        Cluster::started_in(form, COUNTER)
    }

    /// How its roles are spread.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its cluster file.
    pub fn file(&self) -> PathBuf {
        self.folder().join("cluster.toml")
    }

    /// A second cluster file beside the first, in which a node has another address.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file_with(&self, node: u64, address: &str) -> PathBuf {
        let text = fs::read_to_string(self.file()).expect("the cluster file can be read");
        let path = self.folder().join("elsewhere.toml");
        let text = text.replace(self.address(node), address);
        fs::write(&path, text).expect("a cluster file can be written");
        path
    }

    /// The folder of a node.
    pub fn node_folder(&self, node: u64) -> PathBuf {
        self.folder().join(format!("node-{node}"))
    }

    /// The address of a node.
    pub fn address(&self, node: u64) -> &str {
        self.addresses.get(&node).unwrap_or_else(|| panic!("there is no node {node}"))
    }

    /// Replaces text in the cluster file.
    ///
    /// # Panics
    /// If the text is not in it.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.file()).expect("the cluster file can be read");
        assert!(text.contains(from), "no {from:?} in {text}");
        fs::write(self.file(), text.replace(from, to)).expect("the cluster file can be written");
    }

    /// Starts every node that does not run, and waits until all are ready.
    ///
    /// # Panics
    /// If one does not become ready.
    pub fn start_all(&mut self) {
        let nodes = self.form.nodes();
        let missing: Vec<_> = nodes.filter(|node| !self.nodes.contains_key(node)).collect();
        for node in &missing {
            let process = self.serve(*node, &[]);
            self.nodes.insert(*node, process);
        }
        for node in missing {
            self.await_ready(node);
        }
    }

    /// Starts a node and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(&mut self, node: u64) {
        let process = self.serve(node, &[]);
        assert!(self.nodes.insert(node, process).is_none(), "node {node} runs already");
        self.await_ready(node);
    }

    fn await_ready(&mut self, node: u64) {
        let ready = format!("node {node} ready {}", self.address(node));
        let process = self.nodes.get_mut(&node).expect("it was just started");
        process.line_with(&ready);
    }

    /// A node as a process that is not one of the cluster's own; it ends when this test does, in
    /// whatever way.
    pub fn serve(&self, node: u64, more: &[&str]) -> Process {
        let node = node.to_string();
        let mut line = vec!["serve", "--node", &node, "--until-stdin-closes"];
        let file = self.file();
        line.extend(["--cluster", path_text(&file)]);
        line.extend(more);
        Process::start(command_of(self.app, line))
    }

    /// Kills a node with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, node: u64) {
        self.take(node).kill();
    }

    /// Kills all nodes with SIGKILL, none after another has noticed.
    pub fn kill_all(&mut self) {
        for process in self.nodes.values() {
            process.signal(rustix::process::Signal::KILL);
        }
        self.nodes.clear();
    }

    /// Hands over the process of a node.
    ///
    /// # Panics
    /// If it does not run.
    pub fn take(&mut self, node: u64) -> Process {
        self.nodes.remove(&node).unwrap_or_else(|| panic!("node {node} does not run"))
    }

    /// The process of a node that runs.
    ///
    /// # Panics
    /// If it does not.
    pub fn node(&mut self, node: u64) -> &mut Process {
        self.nodes.get_mut(&node).unwrap_or_else(|| panic!("node {node} does not run"))
    }

    /// Runs a command as a client of this cluster, to its end.
    pub fn told(&self, line: &[&str]) -> Told {
        let file = self.file();
        told_by(self.app, line.iter().copied().chain(["--cluster", path_text(&file)]))
    }

    /// Runs a command as an admin of this cluster, to its end.
    pub fn told_admin(&self, line: &[&str]) -> Told {
        let admin = self.folder().join("admin");
        let identity = ["--identity", path_text(&admin), "--timeout", "60s"];
        self.told(&[line, &identity[..]].concat())
    }

    /// Runs a command that takes a new node in, at the address that stands for `ADDRESS`, and says
    /// which node that is.
    ///
    /// # Panics
    /// If the command fails.
    #[track_caller]
    pub fn admit(&mut self, line: &[&str]) -> u64 {
        let address = free_addresses(1).expect("there are free ports").remove(0);
        let line: Vec<_> =
            line.iter().map(|word| if *word == "ADDRESS" { &address } else { *word }).collect();
        let told = self.told_admin(&[&line[..], &["-o", "json"]].concat());
        let said: Value = serde_json::from_str(told.ok()).expect("it is JSON");
        let node = said["node"].as_u64().expect("it names the node");
        self.addresses.insert(node, address);
        node
    }

    /// Starts a command as a client of this cluster.
    pub fn begin(&self, line: &[&str]) -> Process {
        let file = self.file();
        let line = line.iter().copied().chain(["--cluster", path_text(&file)]);
        Process::start(command_of(self.app, line))
    }

    /// What `status -o json` says.
    ///
    /// # Panics
    /// If it says nothing.
    pub fn status(&self) -> Value {
        let told = self.told(&["status", "-o", "json"]);
        serde_json::from_str(told.ok()).expect("it is JSON")
    }

    /// Waits until a node leads, and says which.
    pub fn leader(&self) -> u64 {
        until("a node leads", || self.status()["leader"].as_u64())
    }

    /// Waits until every node is up, and all that keep the state have applied equally much, at
    /// least one slot.
    pub fn await_level(&self) {
        until("all nodes have applied equally much", || {
            let status = self.status();
            let nodes = status["nodes"].as_array()?;
            let witness = |node: &Value| node["role"] == "witness";
            let replica = nodes.iter().find(|node| !witness(node))?;
            let applied = replica["applied"].as_u64().filter(|applied| *applied > 0)?;
            let level = |node: &Value| node["applied"] == applied || witness(node);
            nodes.iter().all(level).then_some(())
        });
    }

    /// Adds `by` to a counter, through whichever node there is, and says what it became.
    ///
    /// # Panics
    /// If it cannot be added.
    #[track_caller]
    pub fn incr(&self, counter: &str, by: u64) -> u64 {
        let told = self.told(&["incr", counter, "--by", &by.to_string(), "--timeout", "60s"]);
        told.ok().parse().expect("it is a number")
    }

    /// Reads a counter through a node.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    pub fn get_via(&self, counter: &str, node: u64) -> u64 {
        let told = self.told(&["get", counter, "--via", self.address(node), "--timeout", "60s"]);
        told.ok().parse().expect("it is a number")
    }

    /// For a client of the library.
    ///
    /// # Panics
    /// If the files of the cluster cannot be read.
    pub fn client_config(&self) -> ClientConfig {
        let file = ClusterFile::load(&self.file()).expect("the cluster file is sound");
        let folder = self.folder().join("client");
        let credentials = Credentials::load(&folder).expect("the certificate is sound");
        ClientConfig { timeout: LIMIT, ..ClientConfig::new(file, credentials) }
    }

    /// For a client of the library that talks to one node.
    ///
    /// # Panics
    /// If the files of the cluster cannot be read.
    pub fn client_config_via(&self, node: u64) -> ClientConfig {
        let config = self.client_config();
        let via = config.cluster.address(NodeId(node)).map(str::to_owned);
        ClientConfig { via, ..config }
    }
}

/// A path as an argument.
///
/// # Panics
/// If it is not text.
pub fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
