//! Exactly once: the replicated table of client sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::batch::SessionId;
use crate::hash::fnv1a;
use crate::membership::ChangeError;
use crate::types::Time;
use crate::value::payload;

/// Why an operation was refused. It certainly had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The session does not exist, or not any more.
    #[error("session {session} has expired: open a new one; what was sent under it is not retried")]
    SessionExpired {
        /// The session.
        session: SessionId,
    },
    /// The session belongs to another identity.
    #[error("session {session} belongs to another client: use the certificate that opened it")]
    NotYourSession {
        /// The session.
        session: SessionId,
    },
    /// The sequence is neither that of the last command nor the next.
    #[error("session {session} expects sequence {expected}, not {found}")]
    BadSequence {
        /// The session.
        session: SessionId,
        /// The next in order.
        expected: u64,
        /// The one sent.
        found: u64,
    },
    /// The sequence was used before, with another command.
    #[error("sequence {sequence} of session {session} was used for another command before")]
    SequenceReused {
        /// The session.
        session: SessionId,
        /// The sequence.
        sequence: u64,
    },
    /// The bytes are not a command of the state machine.
    #[error("not a command of this service: are client and nodes of one version?")]
    NotACommand,
    /// The change of membership is void.
    #[error(transparent)]
    Change(ChangeError),
}

impl Rejection {
    /// Whether a command that ran earlier is refused in this way too when it comes again: its
    /// session has ended since, or has gone on to later commands.
    pub fn may_have_run(&self) -> bool {
        match self {
            Rejection::SessionExpired { .. } | Rejection::Change(_) => true,
            Rejection::BadSequence { expected, found, .. } => found < expected,
            _ => false,
        }
    }
}

/// How long sessions are kept. It is part of the membership: replicas must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionLimits {
    /// Sessions kept at most; when one more opens, the one unused for longest ends.
    pub max: u64,
    /// A session unused for so long, in replicated time, ends with the next batch.
    pub idle: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { max: 65_536, idle: Duration::from_secs(24 * 3600) }
    }
}

/// The open sessions, part of the replicated state.
///
/// Invariant: a session's command runs once; only its last reply is kept, since a client has one
/// command outstanding in a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    opened: u64,
    uses: u64,
    open: BTreeMap<SessionId, Session>,
    idle: BTreeSet<(u64, SessionId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    identity: String,
    used: u64,
    /// Replicated time when it was used last.
    used_at: Time,
    sequence: u64,
    hash: u64,
    #[serde(with = "payload")]
    reply: Bytes,
}

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is new: run it, and keep its reply with [`Sessions::keep`].
    Run,
    /// It ran before, with this reply.
    Repeat(Bytes),
}

impl Sessions {
    /// When the next one has been unused for so long; `None`: none is open.
    pub fn due(&self, idle: Duration) -> Option<Time> {
        let (_, oldest) = self.idle.first()?;
        self.open.get(oldest).map(|session| session.used_at.after(idle))
    }

    /// Ends the sessions that have been unused for so long, and says which, the longest first.
    pub fn expire(&mut self, now: Time, idle: Duration) -> Vec<SessionId> {
        let mut ended = Vec::new();
        while self.due(idle).is_some_and(|due| due <= now) {
            ended.extend(self.end_oldest());
        }
        ended
    }

    /// Makes room for one more: while `max` are open, the one unused for longest ends.
    pub fn make_room(&mut self, max: u64) -> Vec<SessionId> {
        let mut ended = Vec::new();
        while self.open.len() as u64 >= max.max(1) {
            ended.extend(self.end_oldest());
        }
        ended
    }

    fn end_oldest(&mut self) -> Option<SessionId> {
        let (_, oldest) = self.idle.pop_first()?;
        self.open.remove(&oldest);
        Some(oldest)
    }

    /// Opens a session, for which there must be room: see [`Sessions::make_room`].
    pub fn open(&mut self, now: Time, identity: &str) -> SessionId {
        self.opened += 1;
        let id = SessionId(self.opened);
        let session = Session {
            identity: identity.to_owned(),
            used: 0,
            used_at: now,
            sequence: 0,
            hash: 0,
            reply: Bytes::new(),
        };
        self.open.insert(id, session);
        self.touch(now, id);
        id
    }

    /// Decides on a command: sequence last + 1 runs, last repeats its reply if the command is the
    /// same, everything else is refused.
    ///
    /// # Errors
    /// See [`Rejection`].
    pub fn admit(
        &mut self,
        now: Time,
        id: SessionId,
        identity: &str,
        sequence: u64,
        command: &[u8],
    ) -> Result<Admission, Rejection> {
        let session = self.owned(id, identity)?;
        let expected = session.sequence + 1;
        if sequence == expected {
            self.touch(now, id);
            return Ok(Admission::Run);
        }
        if sequence == 0 || sequence != session.sequence {
            return Err(Rejection::BadSequence { session: id, expected, found: sequence });
        }
        if session.hash != fnv1a(command) {
            return Err(Rejection::SequenceReused { session: id, sequence });
        }
        let reply = session.reply.clone();
        self.touch(now, id);
        Ok(Admission::Repeat(reply))
    }

    /// Keeps the reply of the command that was admitted last in this session.
    pub fn keep(&mut self, id: SessionId, sequence: u64, command: &[u8], reply: Bytes) {
        if let Some(session) = self.open.get_mut(&id) {
            session.sequence = sequence;
            session.hash = fnv1a(command);
            session.reply = reply;
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`Rejection::SessionExpired`] and [`Rejection::NotYourSession`].
    pub fn close(&mut self, id: SessionId, identity: &str) -> Result<(), Rejection> {
        let used = self.owned(id, identity)?.used;
        self.open.remove(&id);
        self.idle.remove(&(used, id));
        Ok(())
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn owned(&self, id: SessionId, identity: &str) -> Result<&Session, Rejection> {
        let session = self.open.get(&id).ok_or(Rejection::SessionExpired { session: id })?;
        if session.identity != identity {
            return Err(Rejection::NotYourSession { session: id });
        }
        Ok(session)
    }

    fn touch(&mut self, now: Time, id: SessionId) {
        let Some(session) = self.open.get_mut(&id) else { return };
        self.uses += 1;
        self.idle.remove(&(session.used, id));
        session.used = self.uses;
        session.used_at = now;
        self.idle.insert((session.used, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "client/ada";
    const NOW: Time = Time(7);

    fn run(sessions: &mut Sessions, id: SessionId, sequence: u64, command: &[u8]) {
        assert_eq!(sessions.admit(NOW, id, ADA, sequence, command), Ok(Admission::Run));
        sessions.keep(id, sequence, command, Bytes::copy_from_slice(command));
    }

    #[test]
    fn cli1_a_repeated_command_is_answered_and_not_run() {
        let mut sessions = Sessions::default();
        let id = sessions.open(NOW, ADA);
        run(&mut sessions, id, 1, b"a");
        let again = sessions.admit(NOW, id, ADA, 1, b"a");
        assert_eq!(again, Ok(Admission::Repeat(Bytes::from_static(b"a"))));
    }

    #[test]
    fn cli11_out_of_order_gaps_and_reuse_are_refused() {
        let mut sessions = Sessions::default();
        let id = sessions.open(NOW, ADA);
        run(&mut sessions, id, 1, b"a");
        run(&mut sessions, id, 2, b"b");
        for found in [0, 1, 4] {
            let refused = sessions.admit(NOW, id, ADA, found, b"a");
            let expected = Rejection::BadSequence { session: id, expected: 3, found };
            assert_eq!(refused, Err(expected));
        }
        let reused = sessions.admit(NOW, id, ADA, 2, b"other");
        assert_eq!(reused, Err(Rejection::SequenceReused { session: id, sequence: 2 }));
    }

    #[test]
    fn a_session_is_its_owners_alone() {
        let mut sessions = Sessions::default();
        let id = sessions.open(NOW, ADA);
        let stranger = sessions.admit(NOW, id, "client/eve", 1, b"a");
        assert_eq!(stranger, Err(Rejection::NotYourSession { session: id }));
        assert!(sessions.close(id, "client/eve").is_err());
        assert_eq!(sessions.close(id, ADA), Ok(()));
        let closed = sessions.admit(NOW, id, ADA, 1, b"a");
        assert_eq!(closed, Err(Rejection::SessionExpired { session: id }));
    }

    #[test]
    fn the_longest_idle_makes_room_and_ids_are_never_reused() {
        let mut sessions = Sessions::default();
        let (first, second) = (sessions.open(NOW, ADA), sessions.open(NOW, ADA));
        run(&mut sessions, first, 1, b"a");
        assert_eq!(sessions.make_room(3), []);
        assert_eq!(sessions.make_room(2), [second]);
        let third = sessions.open(NOW, ADA);
        assert_eq!(sessions.len(), 2);
        let evicted = sessions.admit(NOW, second, ADA, 1, b"a");
        assert_eq!(evicted, Err(Rejection::SessionExpired { session: second }));
        assert!(third > second && second > first);
        run(&mut sessions, first, 2, b"b");
    }

    #[test]
    fn d12_a_session_unused_for_too_long_by_replicated_time_ends_and_no_other() {
        let (mut sessions, idle) = (Sessions::default(), Duration::from_secs(10));
        let at = |seconds: u64| Time(seconds * 1_000_000);
        let (first, second) = (sessions.open(at(0), ADA), sessions.open(at(1), ADA));
        assert_eq!(sessions.admit(at(5), first, ADA, 1, b"a"), Ok(Admission::Run));
        assert_eq!(sessions.due(idle), Some(at(11)));
        assert_eq!(sessions.expire(at(10), idle), []);
        assert_eq!(sessions.len(), 2, "each was used within ten seconds");
        assert_eq!(sessions.expire(at(11), idle), [second]);
        let expired = Err(Rejection::SessionExpired { session: second });
        assert_eq!(sessions.admit(at(11), second, ADA, 1, b"a"), expired);
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions.expire(at(15), idle), [first]);
        assert_eq!(sessions.due(idle), None);
        assert!(sessions.is_empty());
        assert!(sessions.open(at(15), ADA) > second, "ids are never reused");
    }

    #[test]
    fn a_refusal_says_whether_the_command_may_have_run_before() {
        let mut sessions = Sessions::default();
        assert!(sessions.is_empty());
        let id = sessions.open(NOW, ADA);
        assert!(!sessions.is_empty());
        run(&mut sessions, id, 1, b"a");
        run(&mut sessions, id, 2, b"b");
        let mut refused = |sequence, identity, command: &[u8]| {
            sessions.admit(NOW, id, identity, sequence, command).unwrap_err().may_have_run()
        };
        assert!(refused(1, ADA, b"a"), "it did, two commands ago");
        assert!(!refused(4, ADA, b"d"), "its time has not come");
        assert!(!refused(2, ADA, b"other"), "another one ran in its place");
        assert!(!refused(2, "client/eve", b"b"));
        sessions.close(id, ADA).unwrap();
        assert!(sessions.is_empty());
        let ended = sessions.admit(NOW, id, ADA, 2, b"b").unwrap_err();
        assert!(ended.may_have_run(), "its session has ended since");
        assert!(!Rejection::NotACommand.may_have_run());
        let next = Rejection::BadSequence { session: id, expected: 3, found: 3 };
        assert!(!next.may_have_run(), "what is expected has not run");
    }
}
