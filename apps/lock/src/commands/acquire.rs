//! `acquire`: a lock for a script that renews and releases it by itself.

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::Signals;
use serde::Serialize;

use lock::{LockSession, Token};

use crate::commands::named::{fault, locks};
use crate::commands::wanted::Wanted;

const EXAMPLES: &str = "\
Examples:
  lock acquire nightly                        (prints TOKEN SESSION)
  lock acquire nightly -w 30 --ttl 1m
  read token session < <(lock acquire nightly -n)";

/// Acquire a lock and print its token and session
///
/// Nobody renews the session: the lock is lost when its ttl is over, unless `lock renew` gives
/// signs of life. `lock run` does all that by itself.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Acquire {
    #[command(flatten)]
    wanted: Wanted,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Acquired<'a> {
    name: &'a str,
    token: Token,
    session: LockSession,
}

impl Acquire {
    /// Acquires, and prints the token and the session.
    ///
    /// # Errors
    /// Those of the client; that somebody else has the lock.
    pub fn run(&self, output: &Output) -> anyhow::Result<Exit> {
        block_on(async {
            let options = self.wanted.options()?;
            let mut signals = Signals::catch()?;
            let locks = locks(&self.common)?;
            let name = self.wanted.name.as_str();
            let open = locks.open(options.terms).await.map_err(fault)?;
            let turn = tokio::select! {
                turn = locks.turn(&open, name, options.wait) => turn,
                exit = signals.next() => {
                    open.close().await.ok();
                    return Ok(exit);
                }
            };
            match turn {
                Ok((token, _)) => {
                    let session = open.leave();
                    let acquired = Acquired { name, token, session };
                    output.result(format_args!("{token} {session}"), &acquired)?;
                    locks.client().close().await;
                    Ok(Exit::Done)
                }
                Err(error) => {
                    open.close().await.ok();
                    Err(fault(error))
                }
            }
        })
    }
}
