//! How a command finds its cluster and proves who it is.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use paxos_core::Slot;
use paxos_net::client::{Client, ClientConfig};
use paxos_net::cluster_file::ClusterFile;
use paxos_net::credentials::Credentials;
use paxos_net::duration::parse_duration;
use paxos_net::protocol::{Consistency, Served};
use serde::Serialize;

use crate::exit::Fault;
use crate::output::Output;

/// The environment variable that stands in for `--cluster`.
pub const CLUSTER_VARIABLE: &str = "PAXOS_CLUSTER";

/// The name of the cluster file, if no other is given.
pub const CLUSTER_FILE: &str = "cluster.toml";

/// The name of the folder of a client's certificate, beside the cluster file.
pub const CLIENT_FOLDER: &str = "client";

/// Where the cluster file is.
#[derive(Args, Clone, Debug, Default)]
pub struct ClusterOption {
    /// The cluster file [env: PAXOS_CLUSTER] [default: ./cluster.toml]
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
}

impl ClusterOption {
    /// As given here, else by the environment, else in the current folder.
    pub fn path(&self) -> PathBuf {
        let variable = std::env::var_os(CLUSTER_VARIABLE).filter(|value| !value.is_empty());
        let elsewhere = || variable.map(PathBuf::from);
        self.cluster.clone().or_else(elsewhere).unwrap_or_else(|| PathBuf::from(CLUSTER_FILE))
    }
}

/// The options of every command that talks to a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct Common {
    #[command(flatten)]
    at: ClusterOption,

    /// Talk to the node at this address only
    #[arg(long, value_name = "ADDR")]
    pub via: Option<String>,

    /// The folder of the certificate to show [default: client/ beside the cluster file]
    #[arg(long, value_name = "DIR")]
    pub identity: Option<PathBuf>,

    /// For the whole command, or for one call of a long one: 250ms, 5s
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, default_value = "5s")]
    pub timeout: Duration,
}

/// Reads how long to wait.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("nobody can answer within no time: write 5s, say".to_owned()),
        Ok(timeout) => Ok(timeout),
        Err(error) => Err(error.to_string()),
    }
}

impl Common {
    /// Whether the command line itself names a cluster.
    pub fn names_cluster(&self) -> bool {
        self.at.cluster.is_some()
    }

    /// For commands that start nodes of their own unless a cluster is named.
    ///
    /// # Errors
    /// That the command line says how to reach a cluster, but names none.
    pub fn refuse_strays(&self) -> Result<(), Fault> {
        match self.names_cluster() || (self.via.is_none() && self.identity.is_none()) {
            true => Ok(()),
            false => Err(Fault::usage("--via and --identity are of use with --cluster only")),
        }
    }

    /// Where the cluster file is.
    pub fn cluster_path(&self) -> PathBuf {
        self.at.path()
    }

    /// Everything that a client needs, read from files.
    ///
    /// # Errors
    /// Those of the cluster file and of the certificate folder.
    pub fn client_config(&self) -> anyhow::Result<ClientConfig> {
        let path = self.cluster_path();
        let cluster = ClusterFile::load(&path)?;
        let identity = match &self.identity {
            Some(folder) => folder.clone(),
            None => path.with_file_name(CLIENT_FOLDER),
        };
        let mut config = ClientConfig::new(cluster, Credentials::load(&identity)?);
        config.via.clone_from(&self.via);
        config.timeout = self.timeout;
        Ok(config)
    }

    /// A client, which connects when it is first used. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Common::client_config`], and what the client finds wrong with it.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.client_config()?)?)
    }
}

/// How new what is read must be.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Reading")]
pub struct ReadOption {
    /// How new the answer must be
    #[arg(long = "read", value_enum, value_name = "LEVEL", default_value = "linearizable")]
    level: Level,

    /// With --read stale: as new as this slot at least, as an earlier answer has named it
    #[arg(long, value_name = "SLOT", default_value_t = 0, hide_default_value = true)]
    at_least: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Contains everything acknowledged before; a quorum confirms it
    #[default]
    Linearizable,
    /// The same by the leader's lease, without asking; relies on clocks of a bounded drift
    Lease,
    /// What the node has, at once, also without a leader; says how old it may be
    Stale,
}

impl ReadOption {
    /// What the nodes are asked for.
    ///
    /// # Errors
    /// That a slot was named for a read that is as new as can be anyway.
    pub fn consistency(self) -> Result<Consistency, Fault> {
        match self.level {
            Level::Stale => Ok(Consistency::Stale { at_least: Slot(self.at_least) }),
            _ if self.at_least > 0 => Err(Fault::usage("--at-least is of use with --read stale")),
            Level::Linearizable => Ok(Consistency::Linearizable),
            Level::Lease => Ok(Consistency::Lease),
        }
    }
}

/// How new an answer was, as it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReadLabel {
    /// `linearizable`, `lease` or `stale`: what the answer really was.
    pub read: &'static str,
    /// The last slot that the state had applied.
    pub slot: u64,
    /// Of a stale answer: how long ago, in milliseconds, the node was certainly up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind_ms: Option<u64>,
}

impl ReadLabel {
    /// Of an answer.
    pub fn of(slot: Slot, served: Served) -> Self {
        let (read, behind_ms) = match served {
            Served::Linearizable => ("linearizable", None),
            Served::Lease => ("lease", None),
            Served::Stale { behind_ms } => ("stale", behind_ms),
        };
        ReadLabel { read, slot: slot.0, behind_ms }
    }

    /// Says it on stderr: always of what may be old, else with -v.
    pub fn tell(self, output: &Output, served: Served) {
        if matches!(served, Served::Stale { .. }) || output.verbose > 0 {
            output.remark(format_args!("{served}; slot {}", self.slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn options_are_read() {
        let line = ["x", "--cluster", "d/c.toml", "--via", "h1:7400", "--timeout", "250ms"];
        let common = Line::try_parse_from(line).unwrap().common;
        assert_eq!(common.cluster_path(), PathBuf::from("d/c.toml"));
        assert_eq!(common.via.as_deref(), Some("h1:7400"));
        assert_eq!(common.timeout, Duration::from_millis(250));
        assert!(common.names_cluster() && common.refuse_strays().is_ok());
        let bare = Line::try_parse_from(["x"]).unwrap().common;
        assert_eq!(bare.timeout, Duration::from_secs(5));
        assert!(!bare.names_cluster() && bare.refuse_strays().is_ok());
        let stray = Line::try_parse_from(["x", "--via", "h1:7400"]).unwrap().common;
        assert!(stray.refuse_strays().is_err());
        for wrong in ["5", "0s", "0ms"] {
            assert!(Line::try_parse_from(["x", "--timeout", wrong]).is_err(), "{wrong}");
        }
    }

    #[derive(Parser)]
    struct ReadLine {
        #[command(flatten)]
        read: ReadOption,
    }

    #[test]
    fn reads_are_linearizable_unless_the_line_says_otherwise() {
        let wants = |line: &[&str]| {
            let line = ["x"].iter().chain(line);
            ReadLine::try_parse_from(line).unwrap().read.consistency()
        };
        assert_eq!(wants(&[]), Ok(Consistency::Linearizable));
        assert_eq!(wants(&["--read", "lease"]), Ok(Consistency::Lease));
        let stale = Consistency::Stale { at_least: Slot(7) };
        assert_eq!(wants(&["--read", "stale", "--at-least", "7"]), Ok(stale));
        assert!(wants(&["--at-least", "7"]).is_err());
    }

    #[test]
    fn the_label_says_what_was_served() {
        let label = |served| crate::output::json(&ReadLabel::of(Slot(9), served)).unwrap();
        assert_eq!(label(Served::Lease), r#"{"v":1,"read":"lease","slot":9}"#);
        let stale = label(Served::Stale { behind_ms: Some(30) });
        assert_eq!(stale, r#"{"v":1,"read":"stale","slot":9,"behind_ms":30}"#);
    }

    #[test]
    fn a_missing_cluster_file_is_a_configuration_error() {
        let common = Line::try_parse_from(["x", "--cluster", "/nowhere/c.toml"]).unwrap().common;
        let error = common.client_config().unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Configuration);
        assert!(error.to_string().contains("/nowhere/c.toml"), "{error}");
    }
}
