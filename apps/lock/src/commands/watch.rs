//! `watch`: what becomes of a lock, as it happens.

use std::time::Duration;

use clap::Args;
use paxos_app::app::block_on;
use paxos_app::exit::Exit;
use paxos_app::options::Common;
use paxos_app::output::Output;
use paxos_app::signals::unless_stopped;
use paxos_core::{Position, TopicFilter};
use paxos_net::client::{ClientError, Read, Watched};
use paxos_net::protocol::Consistency;
use serde::Serialize;
use tokio::time::sleep;

use lock::event::{Event, lock_topic};
use lock::machine::LockView;
use lock::{LockClient, LockSession, Token};

use crate::commands::named::{locks, parse_name, show};

/// After a loss, before the next attempt.
const PAUSE: Duration = Duration::from_millis(200);

const EXAMPLES: &str = "\
Examples:
  lock watch nightly
  lock watch nightly --from 33 -o json    (grants above token 33)
  lock watch nightly --count 1 --via 127.0.0.1:7402";

/// Print each grant of a lock, and each end of one, as it happens
///
/// It begins with the present, and goes on at another node when it loses the one it follows: no
/// grant is left out, and none comes twice. Who was away for so long that no node has all of it any
/// more is told so.
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

/// How a lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    is_held: bool,
    /// The token of its last grant.
    last: Token,
}

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
        let topics = vec![TopicFilter::Exact(lock_topic(&self.name))];
        let mut left = self.count.unwrap_or(u64::MAX);
        let first = show(&locks, &self.name, Consistency::Linearizable).await?;
        let mut known = State::of(&first.answer);
        left -= u64::from(self.tell_state(output, &first.answer)?);
        let mut watcher = locks.client().watch(topics.clone(), Position::behind(first.slot));
        while left > 0 {
            match watcher.next_as::<Event>().await? {
                Watched::Event { event, .. } => {
                    known = State::after(&event).unwrap_or(known);
                    left -= u64::from(self.tell(output, &event)?);
                }
                Watched::Level { .. } => {}
                Watched::Lagged { .. } => {
                    let now = self.show_again(&locks).await?;
                    watcher = locks.client().watch(topics.clone(), Position::behind(now.slot));
                    let state = State::of(&now.answer);
                    if known.misses(state, self.from) {
                        output.remark("some were missed: the node does not have them any more");
                        left -= u64::from(self.tell_state(output, &now.answer)?);
                    }
                    known = state;
                }
            }
        }
        locks.client().close().await;
        Ok(Exit::Done)
    }

    async fn show_again(&self, locks: &LockClient) -> anyhow::Result<Read<LockView>> {
        loop {
            match show(locks, &self.name, Consistency::Linearizable).await {
                Err(error) if error.downcast_ref().is_some_and(ClientError::may_pass) => {
                    sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Prints how a lock is, if that is above the token to begin behind.
    fn tell_state(&self, output: &Output, lock: &LockView) -> anyhow::Result<bool> {
        let holder = lock.holder.as_ref();
        let identity = holder.map(|holder| holder.identity.as_str());
        let event = if holder.is_some() { "granted" } else { "free" };
        self.line(output, event, lock.last, holder.map(|holder| holder.session), identity)
    }

    /// Prints an event, if it is about the holder, and above the token to begin behind.
    fn tell(&self, output: &Output, event: &Event) -> anyhow::Result<bool> {
        match event {
            Event::Granted { session, token, identity } => {
                self.line(output, "granted", *token, Some(*session), Some(identity))
            }
            Event::Released { session, token } => {
                self.line(output, "released", *token, Some(*session), None)
            }
            Event::Expired { session, token } => {
                self.line(output, "expired", *token, Some(*session), None)
            }
            Event::Gone { .. } | Event::Queued { .. } | Event::Left { .. } => Ok(false),
        }
    }

    fn line(
        &self,
        output: &Output,
        event: &'static str,
        token: Token,
        session: Option<LockSession>,
        identity: Option<&str>,
    ) -> anyhow::Result<bool> {
        if token <= self.from {
            return Ok(false);
        }
        let name = self.name.as_str();
        let mut text = format!("{event:8}  {token}");
        text.extend(session.map(|session| format!("  session {session}")));
        text.extend(identity.map(|identity| format!("  {identity}")));
        output.result(text, &Line { event, name, token, session, identity })?;
        Ok(true)
    }
}

impl State {
    fn of(lock: &LockView) -> State {
        State { is_held: lock.holder.is_some(), last: lock.last }
    }

    /// If the event is about the holder.
    fn after(event: &Event) -> Option<State> {
        match event {
            Event::Granted { token, .. } => Some(State { is_held: true, last: *token }),
            Event::Released { token, .. } | Event::Expired { token, .. } => {
                Some(State { is_held: false, last: *token })
            }
            Event::Gone { .. } | Event::Queued { .. } | Event::Left { .. } => None,
        }
    }

    /// Whether there was anything above a token between this and how it stands now. The token of a
    /// lock that was forgotten is lower now, and what came before that nobody knows.
    fn misses(self, now: State, from: Token) -> bool {
        self != now && (now.last > from || now.last < self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_was_missed_if_the_lock_stands_as_it_was_told() {
        let state = |is_held, last| State { is_held, last: Token(last) };
        let released = Event::Released { session: LockSession(1), token: Token(5) };
        let known = State::after(&released).unwrap();
        assert!(!known.misses(state(false, 5), Token(0)));
        assert!(known.misses(state(true, 6), Token(0)));
        assert!(!known.misses(state(true, 6), Token(6)), "only what comes after is wanted");
        assert!(state(true, 5).misses(state(false, 5), Token(0)));
        assert!(known.misses(state(false, 0), Token(0)), "it was forgotten");
    }
}
