//! Logs: on stderr, whatever stdout is for.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::output::Output;

/// Begins logging. `RUST_LOG` decides what is logged; without it, `usual` and the options do.
pub fn start(output: &Output, usual: &str) {
    let level = match (output.quiet, output.verbose) {
        (true, _) => "error",
        (false, 0) => usual,
        (false, 1) => "info,paxos=debug",
        (false, _) => "debug,paxos=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| directives(level));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(!plain && io::stderr().is_terminal())
        .try_init()
        // Somebody else logs already: theirs is as good.
        .ok();
}

/// `paxos` stands for every crate of the framework.
fn directives(level: &str) -> EnvFilter {
    let crates = ["paxos_core", "paxos_net", "paxos_actors", "paxos_app"];
    let spelled = match level.split_once(",paxos=") {
        None => level.to_owned(),
        Some((all, ours)) => {
            crates.iter().fold(all.to_owned(), |text, name| format!("{text},{name}={ours}"))
        }
    };
    EnvFilter::new(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_crates_are_spelled_out() {
        let text = directives("info,paxos=debug").to_string();
        assert!(text.contains("paxos_net=debug") && text.contains("info"), "{text}");
        assert_eq!(directives("warn").to_string(), "warn");
    }
}
