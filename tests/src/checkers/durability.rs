//! Durable before it leaves: every promise and every vote on the wire is covered by what its
//! sender's disk holds, synced.

use paxos_core::{LearnerMessage, Message, ProposerMessage, Recovered};

/// Checks one message against its sender's synced log.
///
/// # Errors
/// What is violated, in words.
pub fn covered(message: &Message, synced: &Recovered) -> Result<(), String> {
    match message {
        Message::Proposer(ProposerMessage::Promise(promise)) => {
            if synced.promised < promise.ballot {
                return Err(format!(
                    "durability: a promise of {} left before it was synced",
                    promise.ballot
                ));
            }
            if synced.trimmed < promise.trimmed {
                return Err(format!(
                    "durability: a promise says that slots below {} are cut before they are",
                    promise.trimmed
                ));
            }
            for accepted in &promise.accepted {
                let held = synced.accepted.get(&accepted.slot);
                let cut = accepted.slot < synced.trimmed;
                if !cut && held.is_none_or(|(ballot, _)| *ballot < accepted.ballot) {
                    return Err(format!(
                        "durability: a promise reports {} before it is synced",
                        accepted.slot
                    ));
                }
            }
            Ok(())
        }
        Message::Learner(LearnerMessage::Accepted { ballot, slot }) => {
            let held = synced.accepted.get(slot).is_some_and(|(held, _)| held >= ballot)
                || *slot < synced.trimmed;
            let promised = synced.promised >= *ballot;
            (held && promised).then_some(()).ok_or_else(|| {
                format!("durability: a vote for {slot} under {ballot} left before its sync")
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Ballot, NodeId, Promise, Record, Slot, Value};

    #[test]
    fn promises_and_votes_ahead_of_the_disk_are_seen() {
        let ballot = Ballot { round: 1, node: NodeId(1), incarnation: 1 };
        let (first, trimmed) = (Slot(1), Slot(0));
        let page = Promise { ballot, first, next: None, trimmed, accepted: vec![] };
        let promise = Message::Proposer(ProposerMessage::Promise(page));
        let vote = Message::Learner(LearnerMessage::Accepted { ballot, slot: first });
        let mut synced = Recovered::default();
        assert!(covered(&promise, &synced).is_err());
        assert!(covered(&vote, &synced).is_err());
        synced.absorb(Record::Accepted { slot: first, ballot, value: Value::Noop });
        assert!(covered(&promise, &synced).is_ok());
        assert!(covered(&vote, &synced).is_ok());
    }
}
