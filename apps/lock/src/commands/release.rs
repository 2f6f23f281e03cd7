//! `release`: gives back what a session holds.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use serde::Serialize;

use lock::LockSession;

use crate::commands::named::{fault, locks};

const EXAMPLES: &str = "\
Examples:
  lock release --session 7
  lock release --session 7 -o json
  lock release --session $session --cluster D/cluster.toml";

/// Give back whatever a session holds or awaits, and end it
///
/// Exit 1 if it has expired: then there is nothing to give back, and nothing is taken from others.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Release {
    /// The session, as `lock acquire` printed it
    #[arg(long, value_name = "S")]
    session: LockSession,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Told {
    session: LockSession,
}

impl Release {
    /// Says so to the service.
    ///
    /// # Errors
    /// Those of the client; that the session has expired, or is another client's.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            let (locks, session) = (locks(&self.common)?, self.session);
            locks.close(session).await.map_err(fault)?;
            locks.client().close().await;
            output.result(format_args!("session {session} released"), &Told { session })?;
            Ok(Exit::Done)
        })
    }
}
