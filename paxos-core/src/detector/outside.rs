//! The detector `outside`: somebody else judges, and tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::types::{NodeId, Time};

/// Evidence from outside is kept up to so many characters.
pub const EVIDENCE_MAX: usize = 200;

/// Suspects whom it is told to suspect, until it is told otherwise; a peer of whom nothing was told
/// is trusted once it was heard. A leader that is dead and not reported leads on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outside {
    heard: BTreeSet<NodeId>,
    suspected: BTreeMap<NodeId, String>,
}

impl Outside {
    /// Takes a verdict: `Some`: the peer is suspected, and why; `None`: it is trusted.
    pub fn tell(&mut self, peer: NodeId, suspected: Option<String>) {
        match suspected {
            Some(why) => {
                let why = why.chars().take(EVIDENCE_MAX).collect();
                self.suspected.insert(peer, why);
            }
            None => {
                self.suspected.remove(&peer);
            }
        }
    }
}

impl Detector for Outside {
    fn heartbeat(&mut self, peer: NodeId, _: u64, _: Time, _: Time) {
        self.heard.insert(peer);
    }

    /// 1: suspected.
    fn suspicion(&self, peer: NodeId, _: Time) -> f64 {
        if self.suspected.contains_key(&peer) { 1.0 } else { 0.0 }
    }

    fn deadline(&self, _: NodeId) -> Option<Time> {
        None
    }

    fn suspects(&self, peer: NodeId, _: Time) -> bool {
        self.suspected.contains_key(&peer) || !self.heard.contains(&peer)
    }

    fn evidence(&self, peer: NodeId, _: Time) -> String {
        match self.suspected.get(&peer) {
            Some(why) => format!("{peer} is suspected from outside: {why}"),
            None => format!("{peer} was never heard"),
        }
    }

    fn excuse(&mut self, _: Duration, _: Time) {}

    fn retain(&mut self, peers: &BTreeSet<NodeId>) {
        self.heard.retain(|peer| peers.contains(peer));
        self.suspected.retain(|peer, _| peers.contains(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn only_what_is_told_counts() {
        let mut outside = Outside::default();
        assert!(outside.suspects(PEER, Time(0)), "never heard");
        outside.heartbeat(PEER, 1, Time(0), Time(0));
        let late = Time(u64::MAX);
        assert!(!outside.suspects(PEER, late), "silence says nothing");
        assert_eq!(outside.deadline(PEER), None);
        outside.tell(PEER, Some("fan broken".repeat(100)));
        outside.heartbeat(PEER, 2, Time(0), Time(0));
        assert!(outside.suspects(PEER, late), "nor does a heartbeat");
        assert_eq!(outside.suspicion(PEER, late), 1.0);
        let words = outside.evidence(PEER, late);
        assert!(words.starts_with("n2 is suspected from outside: fan brokenfan"), "{words}");
        assert_eq!(words.chars().count(), "n2 is suspected from outside: ".len() + EVIDENCE_MAX);
        outside.tell(PEER, None);
        assert!(!outside.suspects(PEER, late));
        outside.retain(&BTreeSet::new());
        assert!(outside.suspects(PEER, late), "forgotten");
    }
}
