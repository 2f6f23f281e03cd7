//! Clients that contend for one lock, and what each of them was told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paxos_net::client::{Client, ClientConfig};
use tokio::task::JoinSet;
use tokio::time::sleep;

use lock::{AcquireError, AcquireOptions, LockClient, Token};

use crate::commands::named::fault;

/// Each works for so long with the lock.
const WORK: Duration = Duration::from_millis(5);
/// After a failure, before the next attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// Clients at work. Dropping it ends them where they stand.
pub struct Contenders {
    register: Arc<Register>,
    working: JoinSet<anyhow::Result<()>>,
}

/// Who is inside, by what the clients were told.
#[derive(Default)]
struct Register {
    grants: AtomicU64,
    over: AtomicBool,
    inside: Mutex<Inside>,
}

/// What is known of those inside.
#[derive(Clone, Copy, Default)]
struct Inside {
    count: u64,
    last: Token,
    tally: Tally,
}

/// What all of them were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often somebody was told to have the lock.
    pub grants: u64,
    /// How often while another had it.
    pub overlaps: u64,
    /// How often with a token that is not higher than the one before.
    pub fallen: u64,
    /// How often the lock was lost while it was held.
    pub lost: u64,
}

impl Contenders {
    /// Sets `count` clients to work. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Those of the clients.
    pub fn start(
        count: usize,
        config: &ClientConfig,
        name: &'static str,
        options: AcquireOptions,
    ) -> anyhow::Result<Contenders> {
        let register = Arc::new(Register::default());
        let mut working = JoinSet::new();
        for _ in 0..count {
            let locks = LockClient::new(Client::new(config.clone())?);
            working.spawn(contend(locks, name, options, register.clone()));
        }
        Ok(Contenders { register, working })
    }

    /// How many grants there were so far.
    pub fn grants(&self) -> u64 {
        self.register.grants.load(Ordering::Relaxed)
    }

    /// Lets everyone finish, and says what all of them were told.
    ///
    /// # Errors
    /// The first that a client met and time could not mend.
    pub async fn stop(mut self) -> anyhow::Result<Tally> {
        self.register.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.working.join_next().await {
            done??;
        }
        let grants = self.grants();
        Ok(Tally { grants, ..self.register.inside().tally })
    }
}

impl Register {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, token: Token) {
        let mut inside = self.inside();
        inside.tally.overlaps += u64::from(inside.count > 0);
        inside.tally.fallen += u64::from(token <= inside.last);
        inside.last = inside.last.max(token);
        inside.count += 1;
        self.grants.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self, lost: bool) {
        let mut inside = self.inside();
        inside.count -= 1;
        inside.tally.lost += u64::from(lost);
    }
}

async fn contend(
    locks: LockClient,
    name: &'static str,
    options: AcquireOptions,
    register: Arc<Register>,
) -> anyhow::Result<()> {
    while !register.over.load(Ordering::Relaxed) {
        let guard = match locks.acquire(name, options).await {
            Ok(guard) => guard,
            Err(AcquireError::Client(error)) if error.may_pass() => {
                sleep(PAUSE).await;
                continue;
            }
            Err(AcquireError::NotAcquired(_) | AcquireError::Late(_)) => continue,
            Err(error) => return Err(fault(error)),
        };
        register.enter(guard.token());
        let lost = tokio::select! {
            _ = guard.lost() => true,
            () = sleep(WORK) => false,
        };
        // Before it is given back, for afterwards another may be inside.
        register.leave(lost);
        // What was not given back is free in time, and the next one waits for it.
        guard.release().await.ok();
    }
    locks.client().close().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_inside_and_a_token_that_falls_are_noticed() {
        let register = Register::default();
        register.enter(Token(1));
        register.leave(false);
        register.enter(Token(3));
        register.enter(Token(2));
        register.leave(true);
        let told = Tally { grants: 0, overlaps: 1, fallen: 1, lost: 1 };
        assert_eq!(register.inside().tally, told);
        assert_eq!(register.grants.load(Ordering::Relaxed), 3);
    }
}
