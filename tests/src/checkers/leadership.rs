//! Leaders that nobody confirms give up, and campaigns do not chase each other: computed from the
//! messages between nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use paxos_core::{
    AcceptorMessage, Ballot, Envelope, LeadershipMessage, Message, NodeId, ProposerMessage,
    Quorums, Time,
};

/// A leader that no phase 2 quorum has confirmed says so with at most this many heartbeats. They
/// count by its own clock, and not while it stands still.
const UNCONFIRMED_MAX: u64 = 40;

/// A node begins at most this many campaigns within [`PERIOD`].
const CAMPAIGNS_MAX: usize = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Watches who claims to lead, and who campaigns.
#[derive(Debug)]
pub struct Leadership {
    /// Of every membership so far: which of them a leader goes by is its own affair.
    quorums: Vec<Quorums>,
    claims: BTreeMap<NodeId, Claim>,
    campaigns: BTreeMap<NodeId, Campaigns>,
}

#[derive(Debug, Default)]
struct Claim {
    ballot: Ballot,
    /// The heartbeat at which a quorum had confirmed it last, and the newest.
    confirmed: u64,
    last: u64,
    confirmed_by: BTreeSet<NodeId>,
}

#[derive(Debug, Default)]
struct Campaigns {
    last: Ballot,
    begun: VecDeque<Time>,
}

impl Leadership {
    /// A checker of a cluster that begins with these quorums.
    pub fn new(quorums: Quorums) -> Self {
        Leadership { quorums: vec![quorums], claims: BTreeMap::new(), campaigns: BTreeMap::new() }
    }

    /// The membership has changed. A leader that was alone has told nobody how often it beat: its
    /// claim counts from its next heartbeat on.
    pub fn govern(&mut self, quorums: Quorums) {
        self.quorums.push(quorums);
        self.claims.clear();
    }

    /// A message is sent, be it lost on its way or not.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn sent(&mut self, now: Time, envelope: &Envelope) -> Result<(), String> {
        match &envelope.message {
            Message::Leadership(LeadershipMessage::Heartbeat(heartbeat)) => match heartbeat.leading
            {
                Some(ballot) => self.claims(envelope.from, ballot, heartbeat.sequence),
                None => Ok(()),
            },
            Message::Acceptor(AcceptorMessage::Prepare { ballot, .. }) => {
                self.campaigns(now, envelope.from, *ballot)
            }
            _ => Ok(()),
        }
    }

    /// A message arrives.
    pub fn delivered(&mut self, envelope: &Envelope) {
        let Message::Proposer(ProposerMessage::Confirmed { ballot, .. }) = &envelope.message else {
            return;
        };
        let claim = self.claims.get_mut(&envelope.to).filter(|claim| claim.ballot == *ballot);
        let Some(claim) = claim else { return };
        claim.confirmed_by.insert(envelope.from);
        if self.quorums.iter().any(|quorums| quorums.is_phase2(&claim.confirmed_by)) {
            claim.confirmed_by.clear();
            claim.confirmed = claim.last;
        }
    }

    fn claims(&mut self, node: NodeId, ballot: Ballot, sequence: u64) -> Result<(), String> {
        let claim = self.claims.entry(node).or_default();
        if claim.ballot != ballot {
            let (confirmed, last) = (sequence, sequence);
            *claim = Claim { ballot, confirmed, last, confirmed_by: BTreeSet::new() };
        }
        claim.last = claim.last.max(sequence);
        let unconfirmed = claim.last - claim.confirmed;
        if unconfirmed > UNCONFIRMED_MAX {
            return Err(format!(
                "leadership: {node} has claimed {ballot} for {unconfirmed} heartbeats unconfirmed"
            ));
        }
        Ok(())
    }

    fn campaigns(&mut self, now: Time, node: NodeId, ballot: Ballot) -> Result<(), String> {
        let campaigns = self.campaigns.entry(node).or_default();
        if ballot == campaigns.last {
            return Ok(());
        }
        campaigns.last = ballot;
        campaigns.begun.push_back(now);
        campaigns.begun.retain(|begun| now.since(*begun) < PERIOD);
        let count = campaigns.begun.len();
        if count > CAMPAIGNS_MAX {
            return Err(format!("leadership: {node} has begun {count} campaigns within a second"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{Heartbeat, Slot};

    const N: NodeId = NodeId(1);

    fn ballot(round: u64) -> Ballot {
        Ballot { round, node: N, incarnation: 1 }
    }

    fn checker() -> Leadership {
        Leadership::new(Quorums::majority((1..=3).map(NodeId)).expect("three nodes"))
    }

    fn heartbeat(sequence: u64) -> Envelope {
        let leading = Some(ballot(1));
        let (incarnation, sent, next) = (1, Time(0), Slot::FIRST);
        let heartbeat = Heartbeat {
            incarnation,
            sequence,
            sent,
            leading,
            hears: leading,
            next,
            saved: Slot(0),
            campaigns: true,
        };
        let message = Message::Leadership(LeadershipMessage::Heartbeat(heartbeat));
        Envelope { from: N, to: NodeId(2), message }
    }

    fn confirmed(from: u64) -> Envelope {
        let message = ProposerMessage::Confirmed { ballot: ballot(1), round: 1, granted: false };
        Envelope { from: NodeId(from), to: N, message: Message::Proposer(message) }
    }

    #[test]
    fn a_leader_without_a_quorum_is_seen() {
        let mut checker = checker();
        for sequence in 0..200 {
            assert_eq!(checker.sent(Time(0), &heartbeat(sequence)), Ok(()));
            checker.delivered(&confirmed(1));
            checker.delivered(&confirmed(2));
        }
        let mut alone = (200..300).map(|sequence| {
            checker.delivered(&confirmed(1));
            checker.sent(Time(0), &heartbeat(sequence))
        });
        assert!(alone.any(|checked| checked.is_err()), "one of three is no quorum");
    }

    #[test]
    fn a_storm_of_campaigns_is_seen() {
        let prepare = |round| {
            let prepare =
                AcceptorMessage::Prepare { ballot: ballot(round), first: Slot(1), after: None };
            Envelope { from: N, to: NodeId(2), message: Message::Acceptor(prepare) }
        };
        let mut checker = checker();
        for round in 1..100 {
            assert!(checker.sent(Time(round * 100_000), &prepare(round)).is_ok());
        }
        let mut storm = (100..200).map(|round| checker.sent(Time(10_000_000), &prepare(round)));
        assert!(storm.any(|checked| checked.is_err()));
    }
}
