//! An app that runs for a while.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::Told;
use crate::processes::binary::{COUNTER, app};
use crate::processes::patience::{LIMIT, until};

/// A process. Dropping it kills it.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: Arc<Mutex<String>>,
    stdin: Option<ChildStdin>,
}

/// The counter with these arguments, to be changed before it is started.
pub fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    command_of(COUNTER, arguments)
}

/// An app with these arguments, to be changed before it is started.
pub fn command_of<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(app(name));
    command.env_remove("PAXOS_CLUSTER").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command.args(arguments);
    command
}

impl Process {
    /// Starts it. Its stdin stays open as long as this is.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: Command) -> Process {
        Process::start_with_stderr(command, Stdio::piped())
    }

    /// Starts it with another stderr than one that is read here.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_stderr(mut command: Command, stderr: impl Into<Stdio>) -> Process {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("an app can be run");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (told, lines) = channel();
        if let Some(stdout) = stdout {
            // They end when the child does. Nobody may be listening any more.
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.for_each(|line| drop(told.send(line)));
            });
        }
        let stderr = Arc::new(Mutex::new(String::new()));
        if let Some(mut pipe) = child.stderr.take() {
            let text = stderr.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                    let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            });
        }
        Process { child, lines, seen: Vec::new(), stderr, stdin }
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    /// If it does not read any more.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("stdin was not closed");
        stdin.write_all(text.as_bytes()).expect("it reads what it is written");
    }

    /// Waits for the next line of stdout; `None`: there is no more.
    ///
    /// # Panics
    /// If nothing comes.
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in {LIMIT:?} after {:?}", self.seen),
        }
    }

    /// Waits for a line of stdout with these words.
    ///
    /// # Panics
    /// If none comes.
    pub fn line_with(&mut self, words: &str) -> String {
        while let Some(line) = self.line() {
            if line.contains(words) {
                return line;
            }
        }
        panic!("no line with {words:?}: {:?}; {}", self.seen, self.stderr());
    }

    /// What it said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.id()), signal).expect("a child that was not waited for is there");
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until it ends by itself, and says what it said.
    ///
    /// # Panics
    /// If it does not end.
    pub fn told(mut self) -> Told {
        let mut stdout = std::mem::take(&mut self.seen);
        while let Some(line) = self.line() {
            stdout.push(line);
        }
        let status =
            until("a process ends", || self.child.try_wait().expect("a child can be waited for"));
        let stdout = stdout.iter().map(|line| format!("{line}\n")).collect();
        // The last words may still be on their way from the pipe.
        let words = until("the last words", || {
            (Arc::strong_count(&self.stderr) == 1).then(|| self.stderr())
        });
        Told { code: status.code(), stdout, stderr: words }
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// The most memory that it ever had in use, in bytes.
    ///
    /// # Panics
    /// Where there is no such file.
    pub fn memory_peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(path).expect("a process that runs has a status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        number.map(|kib: u64| kib * 1024).expect("the status has the peak of the resident set")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended needs neither.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether a process of that id runs. One that has ended and was not waited for does not.
pub fn runs(id: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    // The name is in parentheses and may hold anything; the state follows it.
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

fn pid(id: u32) -> Pid {
    let id = i32::try_from(id).expect("ids are small");
    Pid::from_raw(id).expect("an id is not 0")
}
