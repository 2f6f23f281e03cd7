//! The detector `fixed`: silence for a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::types::{NodeId, Time};

/// Suspects whoever was silent for a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fixed {
    suspect_after: Duration,
    heard: BTreeMap<NodeId, Time>,
}

impl Fixed {
    /// Suspects after so long a silence.
    pub fn new(suspect_after: Duration) -> Self {
        Fixed { suspect_after, heard: BTreeMap::new() }
    }
}

impl Detector for Fixed {
    fn heartbeat(&mut self, peer: NodeId, _: u64, _: Time, now: Time) {
        self.heard.insert(peer, now);
    }

    /// The silence as a part of the one that is borne: suspected from 1 on.
    fn suspicion(&self, peer: NodeId, now: Time) -> f64 {
        let micros = |duration: Duration| duration.as_micros() as f64;
        let Some(heard) = self.heard.get(&peer) else { return 0.0 };
        micros(now.since(*heard)) / micros(self.suspect_after)
    }

    fn deadline(&self, peer: NodeId) -> Option<Time> {
        self.heard.get(&peer).map(|heard| heard.after(self.suspect_after))
    }

    fn evidence(&self, peer: NodeId, now: Time) -> String {
        match self.heard.get(&peer) {
            Some(heard) => format!("{peer} was silent for {} ms", now.since(*heard).as_millis()),
            None => format!("{peer} was never heard"),
        }
    }

    fn excuse(&mut self, late: Duration, now: Time) {
        self.heard.values_mut().for_each(|heard| *heard = heard.after(late).min(now));
    }

    fn retain(&mut self, peers: &BTreeSet<NodeId>) {
        self.heard.retain(|peer, _| peers.contains(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId(2);

    #[test]
    fn silence_is_measured_against_the_time_that_is_borne() {
        let mut fixed = Fixed::new(Duration::from_millis(250));
        assert_eq!(fixed.deadline(PEER), None);
        assert!(fixed.suspects(PEER, Time(0)), "never heard");
        fixed.heartbeat(PEER, 1, Time(0), Time(1_000_000));
        // 1.000 s + 0.250 s.
        assert_eq!(fixed.deadline(PEER), Some(Time(1_250_000)));
        // 125 of 250 ms.
        assert_eq!(fixed.suspicion(PEER, Time(1_125_000)), 0.5);
        assert!(!fixed.suspects(PEER, Time(1_249_999)));
        assert!(fixed.suspects(PEER, Time(1_250_000)));
        assert_eq!(fixed.suspicion(PEER, Time(1_250_000)), 1.0);
        assert_eq!(fixed.evidence(PEER, Time(1_251_400)), "n2 was silent for 251 ms");
    }

    #[test]
    fn who_did_not_run_accuses_nobody_and_nobody_is_heard_in_the_future() {
        let mut fixed = Fixed::new(Duration::from_millis(250));
        fixed.heartbeat(PEER, 1, Time(0), Time(1_000_000));
        // Stopped for 5 s of the 5.1 s since: 0.1 s of silence remain.
        fixed.excuse(Duration::from_secs(5), Time(6_100_000));
        assert_eq!(fixed.deadline(PEER), Some(Time(6_250_000)));
        fixed.excuse(Duration::from_secs(5), Time(6_200_000));
        assert_eq!(fixed.deadline(PEER), Some(Time(6_450_000)), "as if heard now");
        fixed.retain(&BTreeSet::from([NodeId(3)]));
        assert_eq!(fixed.deadline(PEER), None);
    }
}
