//! Failure detectors: who seems to be up, judged by when heartbeats arrive. A detector says nothing
//! of what follows from it; that is the policy's affair.
//!
//! Invariant: two machines that are fed the same come to the same verdicts. What decides is kept
//! and computed in whole microseconds; floating point goes no further than `+ - * /`, which are the
//! same everywhere, and whoever needs more brings its own (see [`normal`]).

mod fixed;
pub mod normal;
mod outside;
mod phi;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use fixed::Fixed;
pub use outside::{EVIDENCE_MAX, Outside};
pub use phi::{Phi, PhiOptions};

use crate::types::{NodeId, Time};

/// A failure detector of one node, for all its peers.
pub trait Detector {
    /// A heartbeat has arrived, newer than all before it. `sequence` counts those that the peer has
    /// sent in its run, so that a gap tells how many were lost; `sent` is by the peer's clock.
    fn heartbeat(&mut self, peer: NodeId, sequence: u64, sent: Time, now: Time);

    /// How much there is to suspect, on the detector's own scale; 0 of a peer never heard.
    fn suspicion(&self, peer: NodeId, now: Time) -> f64;

    /// The moment from which the peer is suspected if nothing more arrives; `None`: time alone
    /// changes nothing. Exact, so that no polling interval spoils a measurement.
    fn deadline(&self, peer: NodeId) -> Option<Time>;

    /// Whether the peer is suspected. One that was never heard is.
    fn suspects(&self, peer: NodeId, now: Time) -> bool {
        self.deadline(peer).is_none_or(|deadline| deadline <= now)
    }

    /// What speaks against the peer, in words.
    fn evidence(&self, peer: NodeId, now: Time) -> String;

    /// This node itself did not run for so long: that time counts against nobody.
    fn excuse(&mut self, late: Duration, now: Time);

    /// Forgets all peers but these.
    fn retain(&mut self, peers: &BTreeSet<NodeId>);
}

/// Which detector, and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DetectorOptions {
    /// [`Fixed`]: silence for the time after which the options of the leadership suspect.
    #[default]
    Fixed,
    /// [`Phi`].
    Phi(PhiOptions),
    /// [`Outside`].
    Outside,
}

/// One of the detectors that are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AnyDetector {
    /// Silence for a fixed time.
    Fixed(Fixed),
    /// Silence that is unlikely, after what was usual.
    Phi(Phi),
    /// Somebody else's verdicts.
    Outside(Outside),
}

impl AnyDetector {
    /// The detector for peers that send a heartbeat every `interval`.
    pub fn new(options: &DetectorOptions, interval: Duration, suspect_after: Duration) -> Self {
        match options {
            DetectorOptions::Fixed => AnyDetector::Fixed(Fixed::new(suspect_after)),
            DetectorOptions::Phi(options) => AnyDetector::Phi(Phi::new(options.clone(), interval)),
            DetectorOptions::Outside => AnyDetector::Outside(Outside::default()),
        }
    }

    /// Takes a verdict from outside: `Some`: the peer is suspected, and why. The others go by what
    /// they see themselves.
    pub fn tell(&mut self, peer: NodeId, suspected: Option<String>) {
        if let AnyDetector::Outside(outside) = self {
            outside.tell(peer, suspected);
        }
    }

    fn detector(&self) -> &dyn Detector {
        match self {
            AnyDetector::Fixed(detector) => detector,
            AnyDetector::Phi(detector) => detector,
            AnyDetector::Outside(detector) => detector,
        }
    }

    fn detector_mut(&mut self) -> &mut dyn Detector {
        match self {
            AnyDetector::Fixed(detector) => detector,
            AnyDetector::Phi(detector) => detector,
            AnyDetector::Outside(detector) => detector,
        }
    }
}

impl Detector for AnyDetector {
    fn heartbeat(&mut self, peer: NodeId, sequence: u64, sent: Time, now: Time) {
        self.detector_mut().heartbeat(peer, sequence, sent, now);
    }

    fn suspicion(&self, peer: NodeId, now: Time) -> f64 {
        self.detector().suspicion(peer, now)
    }

    fn deadline(&self, peer: NodeId) -> Option<Time> {
        self.detector().deadline(peer)
    }

    fn suspects(&self, peer: NodeId, now: Time) -> bool {
        self.detector().suspects(peer, now)
    }

    fn evidence(&self, peer: NodeId, now: Time) -> String {
        self.detector().evidence(peer, now)
    }

    fn excuse(&mut self, late: Duration, now: Time) {
        self.detector_mut().excuse(late, now);
    }

    fn retain(&mut self, peers: &BTreeSet<NodeId>) {
        self.detector_mut().retain(peers);
    }
}
