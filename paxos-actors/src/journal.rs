//! The changes of leadership that a node remembers, for people.

use std::collections::VecDeque;
use std::time::SystemTime;

use paxos_core::Change;
use paxos_net::protocol::ChangeRecord;

/// So many changes are remembered, the latest.
pub const CHANGES_MAX: usize = 256;

/// The latest changes, the oldest first. They are in memory only: a node that starts begins anew.
#[derive(Debug, Default)]
pub struct Journal(VecDeque<ChangeRecord>);

impl Journal {
    /// A change that happened at this moment.
    pub fn note(&mut self, at: SystemTime, change: Change) {
        if self.0.len() == CHANGES_MAX {
            self.0.pop_front();
        }
        // A clock before 1970 is set wrong, and the record may say so.
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.push_back(ChangeRecord { at_ms: at.as_millis() as u64, change });
    }

    /// All of them.
    pub fn changes(&self) -> Vec<ChangeRecord> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut journal = Journal::default();
        for second in 0..CHANGES_MAX as u64 + 2 {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let change = Change { leader: None, why: second.to_string(), took: None };
            journal.note(at, change);
        }
        let changes = journal.changes();
        assert_eq!(changes.len(), CHANGES_MAX);
        assert_eq!((changes[0].at_ms, changes[0].change.why.as_str()), (2000, "2"));
    }
}
