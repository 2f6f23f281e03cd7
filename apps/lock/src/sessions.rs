//! The sessions of those who hold locks or wait for them.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::Time;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;
use crate::terms::{LockSession, Terms};

/// Sessions open at once, at most.
pub const SESSIONS_MAX: usize = 16_384;
/// Locks that a session holds or awaits, at most.
pub const NAMES_MAX: usize = 64;

/// The open sessions.
///
/// Invariant: a session is here from the command that opens it to the command, or to the moment of
/// replicated time, that ends it; and whoever is in a queue or holds a lock is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// The number of the last session.
    opened: u64,
    open: BTreeMap<LockSession, Session>,
    /// When each expires.
    deadlines: BTreeSet<(Time, LockSession)>,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The client, as its certificate names it.
    pub(crate) identity: String,
    pub(crate) terms: Terms,
    /// In replicated time.
    pub(crate) expires: Time,
    /// The locks that it holds or awaits.
    pub(crate) names: BTreeSet<String>,
}

impl Sessions {
    pub(crate) fn open(
        &mut self,
        now: Time,
        identity: &str,
        terms: Terms,
    ) -> Result<LockSession, Refusal> {
        let terms = terms.checked()?;
        if self.open.len() >= SESSIONS_MAX {
            return Err(Refusal::TooManySessions);
        }
        self.opened += 1;
        let (id, expires) = (LockSession(self.opened), now.after(terms.span()));
        let (identity, names) = (identity.to_owned(), BTreeSet::new());
        self.open.insert(id, Session { identity, terms, expires, names });
        self.deadlines.insert((expires, id));
        Ok(id)
    }

    /// A session that lives.
    pub(crate) fn get(&self, id: LockSession) -> Option<&Session> {
        self.open.get(&id)
    }

    /// Takes a command for a sign of life of the session that it came under.
    pub(crate) fn renew(
        &mut self,
        now: Time,
        id: LockSession,
        identity: &str,
    ) -> Result<&mut Session, Refusal> {
        self.check(id, identity)?;
        self.extend(now, id);
        self.open.get_mut(&id).ok_or(Refusal::SessionExpired { session: id })
    }

    /// Gives every session its whole time again.
    pub(crate) fn renew_all(&mut self, now: Time) {
        let all: Vec<_> = self.open.keys().copied().collect();
        for id in all {
            self.extend(now, id);
        }
    }

    /// Ends a session of this client.
    pub(crate) fn close(&mut self, id: LockSession, identity: &str) -> Result<Session, Refusal> {
        self.check(id, identity)?;
        self.remove(id).ok_or(Refusal::SessionExpired { session: id })
    }

    /// When the next one expires.
    pub(crate) fn due(&self) -> Option<Time> {
        self.deadlines.first().map(|(time, _)| *time)
    }

    /// Ends those whose time has come, in the order of their time.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<(LockSession, Session)> {
        let due = self.deadlines.iter().take_while(|(time, _)| *time <= now);
        let due: Vec<_> = due.map(|(_, id)| *id).collect();
        due.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.open.len(), self.deadlines.len());
        self.open.len()
    }

    fn check(&self, id: LockSession, identity: &str) -> Result<(), Refusal> {
        match self.open.get(&id) {
            None => Err(Refusal::SessionExpired { session: id }),
            Some(session) if session.identity != identity => Err(Refusal::NotYours { session: id }),
            Some(_) => Ok(()),
        }
    }

    fn extend(&mut self, now: Time, id: LockSession) {
        let Some(session) = self.open.get_mut(&id) else { return };
        self.deadlines.remove(&(session.expires, id));
        // Replicated time stands still or grows, so this never takes time away.
        session.expires = now.after(session.terms.span());
        self.deadlines.insert((session.expires, id));
    }

    fn remove(&mut self, id: LockSession) -> Option<Session> {
        let session = self.open.remove(&id)?;
        self.deadlines.remove(&(session.expires, id));
        Some(session)
    }
}
