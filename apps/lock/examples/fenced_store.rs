//! A store that a lock protects, and that does not believe in locks: it keeps the highest token
//! that it has seen, and refuses whoever comes with a lower one. Whoever held the lock before may
//! have been stopped in mid-sentence, and wakes up not knowing that it is over.
//!
//! ```text
//! lock run journal -- sh -c 'fenced_store FILE $PAXOS_LOCK_TOKEN "some text"'
//! ```
//!
//! Exit 0: written. Exit 1: refused, as the token is stale.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [path, token, text] = arguments.as_slice() else {
        return complain("usage: fenced_store FILE TOKEN TEXT", 64);
    };
    let Ok(token) = token.parse() else { return complain("a token is a number", 64) };
    match write(path, token, text) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(seen)) => complain(&format!("refused: {token} is stale, {seen} was seen"), 1),
        Err(error) => complain(&format!("{path}: {error}"), 74),
    }
}

/// Appends a line, unless a higher token was seen; then it is answered.
fn write(path: &str, token: u64, text: &str) -> io::Result<Option<u64>> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // Compare and append are one step: without that, a stale writer could slip in between.
    file.lock()?;
    match highest(&mut file)? {
        Some(seen) if seen > token => Ok(Some(seen)),
        _ => {
            writeln!(file, "{token} {}", text.replace('\n', " "))?;
            file.sync_data()?;
            Ok(None)
        }
    }
}

/// The highest token so far: tokens never fall, so it is that of the last line.
fn highest(file: &mut File) -> io::Result<Option<u64>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().next_back().and_then(|line| line.split(' ').next()?.parse().ok()))
}

fn complain(words: &str, code: u8) -> ExitCode {
    writeln!(io::stderr(), "fenced_store: {words}").ok();
    ExitCode::from(code)
}
