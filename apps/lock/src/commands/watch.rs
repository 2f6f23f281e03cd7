//! `watch`: what becomes of a lock, as it happens.

use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_core::Slot;
use paxos_net::client::ClientError;
use paxos_net::protocol::Consistency;
use serde::Serialize;
use tokio::time::sleep;

use lock::machine::LockView;
use lock::{LockSession, Token};

use crate::commands::named::{locks, parse_name, show};

/// After a loss, before the next attempt.
const PAUSE: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  lock watch nightly
  lock watch nightly --from 33 -o json    (grants above token 33)
  lock watch nightly --count 1 --via 127.0.0.1:7402";

/// Print each grant of a lock, and when it is free, as it happens
///
/// It begins with the present, and goes on at another node when it loses the one it follows. Grants
/// that follow each other faster than they can be told appear as one: tokens say how many there
/// were.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Watch {
    /// The lock
    #[arg(value_parser = parse_name)]
    name: String,

    /// Only what comes after this token
    #[arg(long, value_name = "TOKEN", default_value = "0", hide_default_value = true)]
    from: Token,

    /// Stop after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    name: &'a str,
    token: Token,
    session: Option<LockSession>,
    identity: Option<&'a str>,
}

/// What was printed last: a token, and whether it was held.
type Seen = (Token, bool);

impl Watch {
    /// Prints until there were enough lines, or a signal comes.
    ///
    /// # Errors
    /// Those of the client before the first answer; later only those that time cannot mend.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(unless_stopped(self.follow(output)))
    }

    async fn follow(&self, output: &Output) -> anyhow::Result<Exit> {
        let locks = locks(&self.common)?;
        let first = show(&locks, &self.name, Consistency::Linearizable).await?;
        let (mut slot, mut seen) = (first.slot, (self.from, false));
        let mut left = self.count.unwrap_or(u64::MAX);
        left -= self.tell(output, &first.answer, &mut seen)?;
        while left > 0 {
            match show(&locks, &self.name, Consistency::Local { after: slot }).await {
                Ok(newer) => {
                    // A node that is behind waits until it is not, so this only grows.
                    slot = slot.max(newer.slot).max(Slot(1));
                    left -= self.tell(output, &newer.answer, &mut seen)?;
                }
                Err(error) => match error.downcast_ref() {
                    // Nothing was applied for as long as we waited.
                    Some(ClientError::Unavailable(_)) => {}
                    Some(ClientError::Unreachable { .. } | ClientError::Busy) => {
                        sleep(PAUSE).await;
                    }
                    _ => return Err(error),
                },
            }
        }
        locks.client().close().await;
        Ok(Exit::Done)
    }

    /// Prints what is new; answers how many lines that were.
    fn tell(&self, output: &Output, lock: &LockView, seen: &mut Seen) -> anyhow::Result<u64> {
        let now = (lock.last, lock.holder.is_some());
        if now == *seen || now.0 < seen.0 || (now.0 == seen.0 && now.1) {
            return Ok(0);
        }
        *seen = now;
        let (name, token) = (self.name.as_str(), lock.last);
        match &lock.holder {
            Some(holder) => {
                let (session, identity) = (holder.session, holder.identity.as_str());
                let text = format!("granted {token}  session {session}  {identity}");
                let (session, identity) = (Some(session), Some(identity));
                output.result(text, &Line { event: "granted", name, token, session, identity })?;
            }
            None => {
                let line = Line { event: "free", name, token, session: None, identity: None };
                output.result(format_args!("free    {token}"), &line)?;
            }
        }
        Ok(1)
    }
}
