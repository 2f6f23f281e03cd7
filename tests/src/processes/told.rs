//! A command that has ended, and what it said.

use std::ffi::OsStr;
use std::process::Output;

use crate::processes::binary::{COUNTER, app};
use crate::processes::patience::LIMIT;

/// What a command said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its exit code; `None`: a signal ended it, or it had to be killed.
    pub code: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl From<&Output> for Told {
    fn from(output: &Output) -> Told {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Told { code: output.status.code(), stdout, stderr }
    }
}

impl Told {
    /// The results of a command that must have succeeded, without the last line break.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout.trim_end_matches('\n')
    }

    /// The complaint of a command that must have ended with this code.
    ///
    /// # Panics
    /// If it ended otherwise.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr.trim_end_matches('\n')
    }

    /// Requires that the command ended with this code and that its complaint has these words.
    ///
    /// # Panics
    /// If it is otherwise.
    #[track_caller]
    pub fn failed_with(&self, code: i32, words: &[&str]) {
        let complaint = self.failed(code);
        for words in words {
            assert!(complaint.contains(words), "no {words:?} in: {complaint}");
        }
    }
}

/// Runs the counter to its end, from a folder where no cluster is.
///
/// # Panics
/// If it cannot be run.
pub fn told<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Told {
    told_by(COUNTER, arguments)
}

/// Runs an app to its end, from a folder where no cluster is.
///
/// # Panics
/// If it cannot be run.
pub fn told_by<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Told {
    let mut command = assert_cmd::Command::new(app(name));
    command.env_remove("PAXOS_CLUSTER").env_remove("RUST_LOG").env("NO_COLOR", "1");
    let output = command.args(arguments).timeout(LIMIT).output();
    Told::from(&output.expect("an app can be run"))
}
