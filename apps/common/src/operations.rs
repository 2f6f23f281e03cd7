//! The commands that every app has, whatever its service is: one group, written once.

use clap::{CommandFactory, Subcommand};
use paxos_core::StateMachine;

use crate::backup::{Backup, Restore};
use crate::completions::Completions;
use crate::exit::Exit;
use crate::init::Init;
use crate::leader::Leader;
use crate::log::Log;
use crate::members::Members;
use crate::output::Output;
use crate::serve::Serve;
use crate::snapshot::Snapshot;
use crate::status::Status;

const INIT_EXAMPLES: &str = "\
Examples:
  {app} init --nodes 127.0.0.1:7401,127.0.0.1:7402,127.0.0.1:7403 --dir D
  {app} init --nodes h1:7400,h2:7400,h3:7400
  {app} init --nodes h1:7400,h2:7400,h3:7400,h4:7400,h5:7400 --dir five";

const SERVE_EXAMPLES: &str = "\
Examples:
  {app} serve --cluster D/cluster.toml --node 1
  {app} serve --node 2 --identity /etc/{app}/node-2
  {app} serve --node 3 --bind 0.0.0.0:7400";

const STATUS_EXAMPLES: &str = "\
Examples:
  {app} status
  {app} status --cluster D/cluster.toml
  {app} status -o json";

const MEMBERS_EXAMPLES: &str = "\
Examples:
  {app} members list
  {app} members add h4:7400 --identity admin
  {app} members remove 3 --identity admin";

const LEADER_EXAMPLES: &str = "\
Examples:
  {app} leader show
  {app} leader transfer --identity D/admin --cluster D/cluster.toml
  {app} leader transfer 2 --identity admin";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  {app} snapshot now --identity admin
  {app} snapshot list --node 1
  {app} snapshot verify --node 1";

const BACKUP_EXAMPLES: &str = "\
Examples:
  {app} backup /var/backups/{app}-1 --identity admin
  {app} backup B --cluster D/cluster.toml --identity D/admin
  {app} backup B --node 3 --identity admin --timeout 1m";

const RESTORE_EXAMPLES: &str = "\
Examples:
  {app} restore B --nodes h1:7400,h2:7400,h3:7400 --dir new
  {app} restore /var/backups/{app}-1 --nodes 127.0.0.1:7501,127.0.0.1:7502,127.0.0.1:7503
  {app} restore B --nodes h1:7400 --dir alone";

const LOG_EXAMPLES: &str = "\
Examples:
  {app} log verify --node 1 --cluster D/cluster.toml
  {app} log dump --node 1 --from 1000
  {app} log dump --node 2 -o json";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  {app} completions bash > /etc/bash_completion.d/{app}
  {app} completions zsh > _{app}
  {app} completions fish > ~/.config/fish/completions/{app}.fish";

/// What is done with a cluster, whatever its service is. An app flattens it into its own commands.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// Make a new cluster: its file, certificates and data directories
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Run a node
    ///
    /// The same line is for the first start and for every other. It never makes a data directory:
    /// a node without one has lost its memory, and must come back under a new number.
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Show who leads, and how far each node is
    #[command(after_help = STATUS_EXAMPLES)]
    Status(Status),
    /// Show who takes part, and change it
    #[command(after_help = MEMBERS_EXAMPLES)]
    Members(Members),
    /// Show who leads, or have another node lead
    #[command(after_help = LEADER_EXAMPLES)]
    Leader(Leader),
    /// Have snapshots made, and show and check those of a node
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(Snapshot),
    /// Copy the state of the running cluster into a folder
    ///
    /// It has everything in it that was acknowledged before, and no secrets but the state itself.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Backup),
    /// Make a new cluster that begins with what a backup has
    ///
    /// It has a new id, new certificates and nodes numbered from 1: nothing of the old cluster can
    /// be taken for part of it. Nobody may answer at its addresses.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Show and check the log of a node that does not run
    #[command(after_help = LOG_EXAMPLES)]
    Log(Log),
    /// Print what a shell needs to complete this command line
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
}

impl Operation {
    /// What is logged on stderr unless the line says otherwise: a node tells what it does, a
    /// command only what went wrong.
    pub fn log_level(&self) -> &'static str {
        if matches!(self, Operation::Serve(_)) { "info" } else { "error" }
    }

    /// Does it, for the service `S` of the app whose command line is `C`.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run<S, C>(&self, output: &Output) -> anyhow::Result<Exit>
    where
        S: StateMachine + Unpin,
        C: CommandFactory,
    {
        match self {
            Operation::Init(init) => init.run(output),
            Operation::Serve(serve) => serve.run::<S>(),
            Operation::Status(status) => status.run(output),
            Operation::Members(members) => members.run(output),
            Operation::Leader(leader) => leader.run(output),
            Operation::Snapshot(snapshot) => snapshot.run(output),
            Operation::Backup(backup) => backup.run(output),
            Operation::Restore(restore) => restore.run(output),
            Operation::Log(log) => log.run(output),
            Operation::Completions(completions) => completions.run::<C>(),
        }
    }
}
