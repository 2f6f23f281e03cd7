//! The program under test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

/// What cargo sets for the tests that it runs. The cargo that is run from a test must not see it:
/// build scripts that look at it would run anew each time.
const OF_TESTS: [&str; 7] = [
    "CARGO_BIN_",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
];

/// The app of those who name none.
pub const COUNTER: &str = "counter";

/// The path of an app.
///
/// Cargo builds no binary of another package for a test, so the first who asks has it built, in
/// the profile of the test and where the test itself was built.
///
/// # Panics
/// If it cannot be built.
pub fn app(name: &str) -> PathBuf {
    static PROGRAMS: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    programs.entry(name.to_owned()).or_insert_with(|| build(["--bin", name])).clone()
}

/// The path of an example, built in the same way.
///
/// # Panics
/// If it cannot be built.
pub fn example(name: &str) -> PathBuf {
    build(["--example", name])
}

/// The path of the counter.
///
/// # Panics
/// If it cannot be built.
pub fn counter() -> PathBuf {
    app(COUNTER)
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// As a part of the whole workspace, or every crate below would be built once more, with the
/// features that one package alone asks for.
fn build(what: [&str; 2]) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    // <target folder>/<profile>/deps/<test>
    let built = test.ancestors().nth(2).expect("a test lies in a target folder");
    let target = built.parent().expect("a test lies in a target folder");
    let profile = match built.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(["--workspace", "--profile", profile])
        .args(what)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if OF_TESTS.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.output().expect("cargo runs, since it runs this");
    assert!(output.status.success(), "{what:?} was not built: {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut paths = messages.lines().filter_map(|line| {
        serde_json::from_str::<Message>(line).ok().and_then(|message| message.executable)
    });
    paths.next_back().expect("cargo says where it put what it built")
}
