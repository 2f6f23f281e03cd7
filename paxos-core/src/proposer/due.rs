//! Time for a state in which something is due although nobody proposes anything: the leader
//! proposes a batch without commands, which carries its clock.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Proposer;
use crate::term::Term;
use crate::types::{Slot, Time};
use crate::value::{Batch, Value};

/// When something in the state of this node's replica is due, in replicated time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Due {
    applied: Slot,
    at: Option<Time>,
}

impl Due {
    pub(super) fn is_some(&self) -> bool {
        self.at.is_some()
    }
}

impl Proposer {
    /// The replica has applied so much, and something in it is due then.
    pub(super) fn hear_due(&mut self, applied: Slot, at: Option<Time>) {
        if applied >= self.due.applied {
            self.due = Due { applied, at };
        }
    }

    /// When the leader has to propose a batch without commands, by its own clock; `None`: not, or
    /// a batch is on its way already whose stamp is late enough.
    pub(super) fn due_at(&self, term: &Term) -> Option<Time> {
        let at = self.due.at?;
        let on_its_way =
            term.stamped.is_some_and(|(slot, stamp)| slot > self.due.applied && stamp >= at);
        if !term.ready || term.empty_wanted || on_its_way {
            return None;
        }
        Some(term.unstamped(at).max(term.empty_after).max(term.yields_until))
    }

    /// Wants such a batch proposed if it is time. True if it is.
    pub(super) fn mind_the_due(&mut self, now: Time) -> bool {
        let due = self.term.as_ref().and_then(|term| self.due_at(term));
        let Some(term) = self.term.as_mut().filter(|_| due.is_some_and(|due| due <= now)) else {
            return false;
        };
        term.empty_wanted = true;
        term.empty_after = now.after(self.options.due_every);
        true
    }
}

impl Term {
    /// The batch without commands, if one is wanted.
    pub(super) fn empty_batch(&mut self, now: Time) -> Option<Value> {
        let (stamp, by, bytes) = (self.stamp(now), self.ballot, Bytes::new());
        let wanted = std::mem::take(&mut self.empty_wanted) && now >= self.yields_until;
        wanted.then_some(Value::Commands(Batch { stamp, by, bytes }))
    }
}
