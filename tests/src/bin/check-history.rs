//! `check-history FILE`: whether the history that `counter torture --history FILE` wrote is one
//! that a single counter could have had. One line says so, or why not; the exit is 0, 1, or 64 if
//! there is nothing to judge.

use std::process::ExitCode;

use paxos_tests::checkers::history_file::{Refusal, judge};

const NO: u8 = 1;
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [path] = arguments.as_slice() else {
        return end(USAGE, "usage: check-history FILE, the file of `counter torture --history`");
    };
    let name = path.display();
    match std::fs::read_to_string(path) {
        Err(error) => end(USAGE, &format!("{name}: {error}")),
        Ok(text) => match judge(&text) {
            Ok(summary) => {
                println!("{summary}");
                ExitCode::SUCCESS
            }
            Err(refusal @ Refusal::Unreadable { .. }) => end(USAGE, &format!("{name}: {refusal}")),
            Err(refusal @ Refusal::Broken(_)) => {
                end(NO, &format!("{name}: not linearizable: {refusal}"))
            }
        },
    }
}

fn end(code: u8, words: &str) -> ExitCode {
    eprintln!("check-history: {words}");
    ExitCode::from(code)
}
