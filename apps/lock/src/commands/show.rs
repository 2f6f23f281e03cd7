//! `show`: one lock.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::{Common, ReadLabel, ReadOption};
use paxos_app::output::Output;
use serde::Serialize;

use lock::machine::{Holding, LockView};
use lock::{LockSession, Token};

use crate::commands::named::{locks, parse_name, rough, show};

const EXAMPLES: &str = "\
Examples:
  lock show nightly
  lock show nightly -o json
  lock show nightly --read stale --via 127.0.0.1:7402";

/// Show who holds a lock, with which token, and how many wait
///
/// Exit 1 if nobody holds it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Show {
    /// The lock
    #[arg(value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    read: ReadOption,

    #[command(flatten)]
    common: Common,
}

/// A lock, as it is printed.
#[derive(Serialize)]
pub struct Shown<'a> {
    name: &'a str,
    last: Token,
    holder: Option<ShownHolder<'a>>,
    waiting: u64,
}

#[derive(Serialize)]
struct ShownHolder<'a> {
    token: Token,
    session: LockSession,
    identity: &'a str,
    held_ms: u64,
    left_ms: u64,
}

#[derive(Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    #[serde(flatten)]
    how: ReadLabel,
}

impl Show {
    /// Reads, and prints.
    ///
    /// # Errors
    /// Those of the client.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        let consistency = self.read.consistency()?;
        let found = block_on(async {
            let locks = locks(&self.common)?;
            let found = show(&locks, &self.name, consistency).await?;
            locks.client().close().await;
            Ok(found)
        })?;
        let how = ReadLabel::of(found.slot, found.served);
        let shown = Shown::of(&found.answer);
        output.result(text(&found.answer), &Found { shown, how })?;
        how.tell(output, found.served);
        Ok(if found.answer.holder.is_some() { Exit::Done } else { Exit::No })
    }
}

impl<'a> Shown<'a> {
    /// A lock.
    pub fn of(lock: &'a LockView) -> Self {
        let holder = lock.holder.as_ref().map(|holder| ShownHolder {
            token: holder.token,
            session: holder.session,
            identity: &holder.identity,
            held_ms: holder.held.as_millis() as u64,
            left_ms: holder.left.as_millis() as u64,
        });
        Shown { name: &lock.name, last: lock.last, holder, waiting: lock.waiting }
    }
}

fn text(lock: &LockView) -> String {
    let LockView { name, last, waiting, .. } = lock;
    match &lock.holder {
        None => format!("{name} is free; its last token is {last}"),
        Some(Holding { token, session, identity, held, left }) => format!(
            "{name} is held with token {token} by {identity}, session {session}, for {}\n\
             it is free in {} unless the session is renewed; {waiting} wait",
            rough(*held),
            rough(*left)
        ),
    }
}
