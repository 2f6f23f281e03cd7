//! `renew`: a sign of life of a session.

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
  lock renew --session 7
  lock renew --session 7 -o json
  while lock renew --session $session; do sleep 3; done";

/// Give a session its whole ttl again
///
/// Exit 1 if it has expired: then others may hold what it held.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Renew {
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

impl Renew {
    /// Says so to the service.
    ///
    /// # Errors
    /// Those of the client; that the session has expired, or is another client's.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            let (locks, session) = (locks(&self.common)?, self.session);
            locks.renew(session).await.map_err(fault)?;
            locks.client().close().await;
            output.result(format_args!("session {session} renewed"), &Told { session })?;
            Ok(Exit::Done)
        })
    }
}
