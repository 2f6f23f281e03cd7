//! Exit codes, after sysexits.h, and which error means which.

use std::fmt;
use std::io;
use std::process::ExitCode;

use paxos_actors::{Failure, InitError, StartError};
use paxos_core::Rejection;
use paxos_core::membership::{ChangeError, MembershipError};
use paxos_net::client::ClientError;
use paxos_net::cluster_file::ClusterFileError;
use paxos_net::credentials::CredentialsError;
use paxos_net::protocol::{Refused, Unavailable};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// The answer is "no": a comparison failed, a verdict is bad.
    No = 1,
    /// The command line, or what it names, makes no sense.
    Usage = 64,
    /// No quorum of the nodes could be reached.
    NoQuorum = 69,
    /// Something that should not happen.
    Internal = 70,
    /// A disk on this machine failed or is full.
    Disk = 74,
    /// Busy, or out of time.
    TryAgain = 75,
    /// A lease was lost while the command ran.
    LeaseLost = 76,
    /// A certificate was refused.
    Certificate = 77,
    /// The configuration is wrong.
    Configuration = 78,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Nobody reads the results any more.
    ClosedPipe = 141,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every exit.
    pub const ALL: [Exit; 13] = [
        Exit::Done,
        Exit::No,
        Exit::Usage,
        Exit::NoQuorum,
        Exit::Internal,
        Exit::Disk,
        Exit::TryAgain,
        Exit::LeaseLost,
        Exit::Certificate,
        Exit::Configuration,
        Exit::Interrupted,
        Exit::ClosedPipe,
        Exit::Terminated,
    ];

    /// The number that the caller sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of that number; a number of nobody's is an internal error.
    pub fn of_code(code: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Exit::Internal)
    }

    /// The exit that an error means, by the first of its causes that says.
    pub fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(of_cause).unwrap_or(Exit::Internal)
    }

    /// All of them as a table for `--help`.
    pub fn table() -> String {
        let lines = Exit::ALL.iter().map(|exit| format!("  {:>3}  {exit}", exit.code()));
        format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exit::Done => "done",
            Exit::No => "the answer is no: a comparison failed, or a verdict is bad",
            Exit::Usage => "wrong usage: see --help",
            Exit::NoQuorum => "no quorum, or the outcome is unknown: the message says which",
            Exit::Internal => "internal error: please report it",
            Exit::Disk => "error of a local disk: make room, or look at the disk",
            Exit::TryAgain => "busy or out of time: try again",
            Exit::LeaseLost => "a lease was lost while the command ran",
            Exit::Certificate => "certificate refused: use one that this cluster gave out",
            Exit::Configuration => "configuration error: the message names the place",
            Exit::Interrupted => "ended by SIGINT",
            Exit::ClosedPipe => "nobody reads the results any more",
            Exit::Terminated => "ended by SIGTERM",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error that knows its exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    exit: Exit,
    words: String,
}

impl Fault {
    /// An error in words, and the exit that it means.
    pub fn new(exit: Exit, words: impl Into<String>) -> Fault {
        Fault { exit, words: words.into() }
    }

    /// The caller asked for something that makes no sense.
    pub fn usage(words: impl Into<String>) -> Fault {
        Fault::new(Exit::Usage, words)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Fault {}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(fault) = cause.downcast_ref::<Fault>() {
        return Some(fault.exit);
    }
    if let Some(error) = cause.downcast_ref::<ClientError>() {
        return Some(of_client(error));
    }
    if cause.is::<MembershipError>() {
        return Some(Exit::Usage);
    }
    if let Some(error) = cause.downcast_ref::<StartError>() {
        return Some(Exit::of_code(error.exit_code()));
    }
    if let Some(error) = cause.downcast_ref::<InitError>() {
        return Some(Exit::of_code(error.exit_code()));
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(Exit::of_code(failure.exit_code()));
    }
    if cause.is::<ClusterFileError>() || cause.is::<CredentialsError>() {
        return Some(Exit::Configuration);
    }
    // The network's errors come as those above: what is left is reading and writing files.
    cause.downcast_ref::<io::Error>().map(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Exit::ClosedPipe,
        _ => Exit::Disk,
    })
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Rejected(rejection) => of_rejection(rejection),
        ClientError::Busy => Exit::TryAgain,
        ClientError::TooLarge { .. } => Exit::Usage,
        ClientError::Unavailable(unavailable) => of_unavailable(unavailable),
        ClientError::Refused(Refused::NoSpace) => Exit::Disk,
        ClientError::Refused(Refused::NotAllowed { .. }) => Exit::Certificate,
        ClientError::Refused(Refused::NoState { .. }) => Exit::Usage,
        ClientError::Refused(Refused::Unavailable(unavailable)) => of_unavailable(unavailable),
        ClientError::Refused(Refused::Rejected(rejection)) => of_rejection(rejection),
        ClientError::Refused(_) => Exit::TryAgain,
        ClientError::Unknown { .. }
        | ClientError::Doubtful(_)
        | ClientError::Unreachable { .. } => Exit::NoQuorum,
        ClientError::Certificate(_) => Exit::Certificate,
        ClientError::Configuration(_) => Exit::Configuration,
        _ => Exit::Internal,
    }
}

/// With a quorum in reach it was only time that ran out.
fn of_unavailable(unavailable: &Unavailable) -> Exit {
    match unavailable.total > 0 && unavailable.reached >= unavailable.needed {
        true => Exit::TryAgain,
        false => Exit::NoQuorum,
    }
}

fn of_rejection(rejection: &Rejection) -> Exit {
    match rejection {
        Rejection::SessionExpired { .. } => Exit::No,
        Rejection::NotYourSession { .. } => Exit::Certificate,
        Rejection::BadSequence { .. } | Rejection::SequenceReused { .. } => Exit::Usage,
        Rejection::Change(ChangeError::InProgress { .. }) => Exit::TryAgain,
        Rejection::Change(_) => Exit::Usage,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use paxos_core::SessionId;

    fn exit_of(error: ClientError) -> Exit {
        Exit::of(&anyhow::Error::from(error).context("while trying"))
    }

    fn unavailable(reached: u64) -> ClientError {
        ClientError::Unavailable(Unavailable { reached, total: 3, needed: 2 })
    }

    #[test]
    fn codes_are_those_of_sysexits_and_read_back() {
        let codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 64, 69, 70, 74, 75, 76, 77, 78, 130, 141, 143]);
        for exit in Exit::ALL {
            assert_eq!(Exit::of_code(exit.code()), exit);
        }
        assert_eq!(Exit::of_code(42), Exit::Internal);
    }

    #[test]
    fn no_quorum_differs_from_no_answer_in_time() {
        assert_eq!(exit_of(unavailable(1)), Exit::NoQuorum);
        assert_eq!(exit_of(unavailable(2)), Exit::TryAgain);
        assert!(unavailable(1).to_string().contains("reached 1 of 3, need 2"));
        let nobody = ClientError::Unreachable { total: 3, reasons: Default::default() };
        assert_eq!(exit_of(nobody), Exit::NoQuorum);
    }

    #[test]
    fn what_the_client_says_has_its_exit() {
        let session = SessionId(7);
        let unknown = ClientError::Unknown { session, sequence: 1, why: "lost".into() };
        assert_eq!(exit_of(unknown), Exit::NoQuorum);
        assert_eq!(exit_of(ClientError::Busy), Exit::TryAgain);
        assert_eq!(exit_of(ClientError::Certificate("foreign".into())), Exit::Certificate);
        assert_eq!(exit_of(ClientError::Configuration("bad".into())), Exit::Configuration);
        assert_eq!(exit_of(ClientError::TooLarge { size: 2, limit: 1 }), Exit::Usage);
        assert_eq!(exit_of(ClientError::Undecodable("what".into())), Exit::Internal);
        let identity = "client/ada".to_owned();
        let client = ClientError::from(Refused::NotAllowed { identity });
        assert_eq!(exit_of(client), Exit::Certificate);
        let reused = Rejection::SequenceReused { session, sequence: 1 };
        assert_eq!(exit_of(ClientError::Rejected(reused)), Exit::Usage);
    }

    #[test]
    fn files_and_faults_have_theirs() {
        let wrong = paxos_net::cluster_file::ClusterFile::parse("nonsense", "cluster.toml");
        let error = anyhow::Error::from(wrong.unwrap_err());
        assert_eq!(Exit::of(&error), Exit::Configuration);
        assert!(error.to_string().starts_with("cluster.toml:1: "), "{error}");
        assert_eq!(Exit::of(&Fault::usage("no").into()), Exit::Usage);
        let full = Err::<(), _>(io::Error::other("full")).context("writing").unwrap_err();
        assert_eq!(Exit::of(&full), Exit::Disk);
        let unread = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Exit::of(&unread), Exit::ClosedPipe);
        assert_eq!(Exit::of(&anyhow::anyhow!("what?")), Exit::Internal);
    }
}
