//! The options of whoever wants a lock; those of flock(1) where it has them.

use std::time::Duration;

use clap::Args;
use paxos_app::exit::Fault;
use paxos_net::duration::parse_duration;

use lock::{AcquireOptions, Terms, Wait};

use crate::commands::named::parse_name;

/// Which lock, for how long, and how patiently.
#[derive(Args, Clone, Debug)]
pub struct Wanted {
    /// The lock
    #[arg(value_parser = parse_name)]
    pub name: String,

    /// Wait so long, in seconds or as a duration such as 250ms; 0 is -n [default: for ever]
    ///
    /// The answer that says how it stands then may take up to 3s more.
    #[arg(short, long, value_name = "SECONDS", value_parser = parse_seconds)]
    #[arg(visible_alias = "timeout-lock", help_heading = "Waiting")]
    pub wait: Option<Duration>,

    /// Do not wait at all
    #[arg(short = 'n', long, visible_alias = "nb", conflicts_with = "wait")]
    #[arg(help_heading = "Waiting")]
    pub nonblock: bool,

    /// The session lives so long without a sign of life
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    #[arg(help_heading = "Session")]
    pub ttl: Duration,

    /// So long before that what the lock protects begins to stop [default: 3s, or a third of a
    /// shorter ttl]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[arg(help_heading = "Session")]
    pub grace: Option<Duration>,
}

impl Wanted {
    /// What the library is asked for.
    ///
    /// # Errors
    /// That ttl or grace make no sense.
    pub fn options(&self) -> Result<AcquireOptions, Fault> {
        let grace = self.grace.unwrap_or(Terms::default().grace.min(self.ttl / 3));
        let terms = Terms { ttl: self.ttl, grace }.checked();
        let terms = terms.map_err(|refusal| Fault::usage(refusal.to_string()))?;
        let wait = match (self.nonblock, self.wait) {
            (true, _) => Wait::No,
            (false, Some(time)) => Wait::For(time),
            (false, None) => Wait::Forever,
        };
        Ok(AcquireOptions { terms, wait })
    }
}

/// Reads seconds, as flock(1) takes them, or a duration with its unit.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let text = if bare { format!("{text}s") } else { text.to_owned() };
    parse_duration(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_durations() {
        assert_eq!(parse_seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_seconds("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "-1", "soon", "1 s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
