//! What the command lines of all apps share: options, output forms, exit codes, the commands that
//! are the same whatever the service is, and clusters of child processes to show and to test one.
//! It knows no service: that comes in as the type parameter of [`serve`].
//!
//! | module | holds |
//! |---|---|
//! | [`app`] | from `main` to an exit code |
//! | [`options`] | how a command finds its cluster and proves who it is |
//! | [`output`], [`timeline`] | results on stdout |
//! | [`logging`] | everything else on stderr |
//! | [`exit`] | exit codes, and which error means which |
//! | [`operations`] | the commands of every app as one group: [`init`], [`serve`], [`status`], [`members`], [`leader`], [`snapshot`], [`backup`], [`log`], [`completions`] |
//! | [`overview`] | the cluster at a glance |
//! | [`children`], [`folder`], [`ports`] | a cluster of child processes |
//! | [`stage`] | what every demo does to such a cluster |
//! | [`signals`] | the signals that end a process in an orderly way |
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod backup;
pub mod children;
pub mod completions;
pub mod exit;
pub mod folder;
pub mod history;
pub mod init;
pub mod leader;
pub mod log;
pub mod logging;
pub mod members;
pub mod moment;
pub mod operations;
pub mod options;
pub mod output;
pub mod overview;
pub mod policy;
pub mod ports;
pub mod serve;
pub mod signals;
pub mod snapshot;
pub mod stage;
pub mod status;
pub mod timeline;
