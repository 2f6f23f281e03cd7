//! `fence`: whether a token is that of the grant in force.

use clap::{Args, Subcommand};
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_net::protocol::Consistency;
use serde::Serialize;

use lock::Token;

use crate::commands::named::{locks, parse_name, show};

const EXAMPLES: &str = "\
Examples:
  lock fence check nightly 33
  lock fence check nightly 33 -o json
  lock fence check \"$PAXOS_LOCK_NAME\" \"$PAXOS_LOCK_TOKEN\" || exit";

/// Compare a token with the grant in force
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Fence {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Check(Check),
}

/// Say whether a token is current: exit 0, or 1 if it is not
///
/// It was current when it was read, and may not be any more when that is printed. What must never
/// accept a stale writer keeps the highest token that it has seen, and refuses lower ones.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
struct Check {
    /// The lock
    #[arg(value_parser = parse_name)]
    name: String,

    /// The token
    token: Token,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Checked<'a> {
    name: &'a str,
    token: Token,
    current: bool,
    last: Token,
}

impl Fence {
    /// Compares.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let What::Check(check) = &self.what;
        block_on(check.run(output))
    }
}

impl Check {
    async fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let (name, token) = (self.name.as_str(), self.token);
        let locks = locks(&self.common)?;
        let lock = show(&locks, name, Consistency::Linearizable).await?.answer;
        locks.client().close().await;
        let (last, held) = (lock.last, lock.holder.map(|holder| holder.token));
        let current = held == Some(token);
        output.result(words(name, token, last, held), &Checked { name, token, current, last })?;
        Ok(if current { Exit::Done } else { Exit::No })
    }
}

/// What is to be said of a token. A lock that was free for long may be forgotten, and its last
/// token with it.
fn words(name: &str, token: Token, last: Token, held: Option<Token>) -> String {
    match held {
        Some(held) if held == token => format!("{token} is current"),
        None if last == Token(0) => {
            format!("{token} is not current: nobody holds {name}, and no token of it is known")
        }
        _ if token > last => format!("{token} was never granted: the last token is {last}"),
        Some(held) => format!("{token} is stale: {name} is held with token {held}"),
        None => format!("{token} is stale: nobody holds {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_a_lock_that_is_known_it_is_said_what_was_never_granted() {
        let words =
            |token, last, held: Option<u64>| words("x", Token(token), Token(last), held.map(Token));
        assert_eq!(words(7, 7, Some(7)), "7 is current");
        assert_eq!(words(8, 7, Some(7)), "8 was never granted: the last token is 7");
        assert_eq!(words(8, 7, None), "8 was never granted: the last token is 7");
        assert_eq!(words(6, 7, Some(7)), "6 is stale: x is held with token 7");
        assert_eq!(words(7, 7, None), "7 is stale: nobody holds x");
        let forgotten = "7 is not current: nobody holds x, and no token of it is known";
        assert_eq!(words(7, 0, None), forgotten);
    }
}
