//! The detector `phi`: silence that is unlikely, after what was usual.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Detector, normal};
use crate::types::{NodeId, Time};

/// No time between two heartbeats counts for more, so that sums of squares stay exact.
const SAMPLE_MAX: Duration = Duration::from_secs(60);

/// Parameters of [`Phi`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PhiOptions {
    /// Suspects from this phi on, in thousandths: at 8000 a silence of this length is expected of a
    /// living peer once in a hundred million heartbeats, if they come as the model has it. Default
    /// 8000.
    pub threshold_milli: u32,
    /// The model is of so many times between heartbeats, the latest; at most 1000. Default 100.
    pub window: u32,
    /// The standard deviation is taken for no less than this: heartbeats that were punctual for
    /// long would make the first late one a failure. Default 25 ms, half an interval.
    pub floor: Duration,
}

impl Default for PhiOptions {
    fn default() -> Self {
        PhiOptions { threshold_milli: 8000, window: 100, floor: Duration::from_millis(25) }
    }
}

/// The phi accrual detector (Hayashibara, Defago, Yared & Katayama, *The phi Accrual Failure
/// Detector*, SRDS 2004): the times between heartbeats are taken for normally distributed, with
/// mean and deviation of those lately seen, and phi is the negative decimal logarithm of the
/// probability that one still comes after the silence so far.
///
/// What the paper leaves open: before the second heartbeat the window holds the interval that peers
/// are set to, less and more a quarter; heartbeats that were lost divide the time over which they
/// were missed; those that a peer sends out of turn are signs of life and no samples; a silence
/// that was suspected counts up to the moment of suspicion, since it was not one of the usual ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Phi {
    options: PhiOptions,
    interval: Duration,
    /// How many sigma beyond the mean the threshold is, in millionths.
    sigmas: u64,
    peers: BTreeMap<NodeId, Arrivals>,
}

/// When heartbeats of one peer arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Arrivals {
    last: Time,
    sequence: u64,
    sent: Time,
    /// In microseconds.
    samples: VecDeque<u64>,
    sum: u64,
    squares: u64,
}

impl Phi {
    /// The detector for peers that send a heartbeat every `interval`.
    pub fn new(options: PhiOptions, interval: Duration) -> Self {
        let sigmas = normal::quantile(f64::from(options.threshold_milli) / 1000.0);
        Phi { options, interval, sigmas, peers: BTreeMap::new() }
    }

    fn silence_borne(&self, arrivals: &Arrivals) -> Duration {
        let (mean, sigma) = (arrivals.mean(), arrivals.sigma(self.options.floor));
        let sigmas = u128::from(self.sigmas) * u128::from(sigma);
        Duration::from_micros(mean + sigmas.div_ceil(1_000_000) as u64)
    }
}

impl Arrivals {
    /// The first heartbeat of a peer, and what the next are expected to be like.
    fn begin(interval: Duration, sequence: u64, sent: Time, now: Time) -> Self {
        let (samples, sum, squares) = (VecDeque::new(), 0, 0);
        let mut arrivals = Arrivals { last: now, sequence, sent, samples, sum, squares };
        let interval = interval.min(SAMPLE_MAX).as_micros() as u64;
        arrivals.add(interval - interval / 4, u32::MAX);
        arrivals.add(interval + interval / 4, u32::MAX);
        arrivals
    }

    fn add(&mut self, sample: u64, window: u32) {
        let sample = sample.min(SAMPLE_MAX.as_micros() as u64);
        self.samples.push_back(sample);
        self.sum += sample;
        self.squares += sample * sample;
        if self.samples.len() as u64 > u64::from(window.clamp(2, 1000)) {
            let oldest = self.samples.pop_front().unwrap_or_default();
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
    }

    fn mean(&self) -> u64 {
        self.sum / self.samples.len() as u64
    }

    fn sigma(&self, floor: Duration) -> u64 {
        let (count, sum) = (self.samples.len() as u128, u128::from(self.sum));
        let variance = (count * u128::from(self.squares) - sum * sum) / (count * count);
        (variance.isqrt() as u64).max(floor.as_micros() as u64).max(1)
    }
}

impl Detector for Phi {
    fn heartbeat(&mut self, peer: NodeId, sequence: u64, sent: Time, now: Time) {
        let borne = self.peers.get(&peer).map(|arrivals| self.silence_borne(arrivals));
        let (Some(arrivals), Some(borne)) = (self.peers.get_mut(&peer), borne) else {
            let begun = Arrivals::begin(self.interval, sequence, sent, now);
            self.peers.insert(peer, begun);
            return;
        };
        // A peer that started again counts from 1.
        let missed = sequence.saturating_sub(arrivals.sequence);
        let silence = now.since(arrivals.last).min(borne).as_micros() as u64;
        let in_turn = sent.since(arrivals.sent) >= self.interval / 2;
        if missed > 0 && in_turn {
            arrivals.add(silence / missed, self.options.window);
        }
        (arrivals.last, arrivals.sequence, arrivals.sent) = (now, sequence, sent);
    }

    /// Phi.
    fn suspicion(&self, peer: NodeId, now: Time) -> f64 {
        let Some(arrivals) = self.peers.get(&peer) else { return 0.0 };
        let silence = now.since(arrivals.last).as_micros() as f64;
        let sigma = arrivals.sigma(self.options.floor) as f64;
        normal::tail((silence - arrivals.mean() as f64) / sigma)
    }

    fn deadline(&self, peer: NodeId) -> Option<Time> {
        let arrivals = self.peers.get(&peer)?;
        Some(arrivals.last.after(self.silence_borne(arrivals)))
    }

    fn evidence(&self, peer: NodeId, now: Time) -> String {
        let Some(arrivals) = self.peers.get(&peer) else {
            return format!("{peer} was never heard");
        };
        let millis = |micros: u64| micros as f64 / 1000.0;
        format!(
            "{peer} was silent for {} ms: phi {:.1}, suspected from {} on; mean {:.1} ms, sigma \
             {:.1} ms",
            now.since(arrivals.last).as_millis(),
            self.suspicion(peer, now),
            f64::from(self.options.threshold_milli) / 1000.0,
            millis(arrivals.mean()),
            millis(arrivals.sigma(self.options.floor)),
        )
    }

    fn excuse(&mut self, late: Duration, now: Time) {
        for arrivals in self.peers.values_mut() {
            arrivals.last = arrivals.last.after(late).min(now);
        }
    }

    fn retain(&mut self, peers: &BTreeSet<NodeId>) {
        self.peers.retain(|peer, _| peers.contains(peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::LOG10_2;

    const PEER: NodeId = NodeId(2);
    const SECOND: u64 = 1_000_000;

    /// Peers beat every 50 ms; the other options as by default.
    fn phi(window: u32) -> Phi {
        Phi::new(PhiOptions { window, ..PhiOptions::default() }, Duration::from_millis(50))
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn it_is_defined_from_the_first_heartbeat_on() {
        let mut phi = phi(100);
        assert!(phi.suspects(PEER, Time(0)), "never heard");
        assert_eq!((phi.deadline(PEER), phi.suspicion(PEER, Time(0))), (None, 0.0));
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND));
        // Samples 37.5 and 62.5 ms: mean 50, deviation 12.5, so the floor of 25 holds.
        // (50 - 50) / 25 = 0 sigma: one in two.
        assert!(near(phi.suspicion(PEER, Time(SECOND + 50_000)), LOG10_2));
        // (150 - 50) / 25 = 4 sigma: Q(4) = 3.167124183311992e-5.
        assert!(near(phi.suspicion(PEER, Time(SECOND + 150_000)), 4.499_334_907_556_478));
        // phi 8 is 5.612002 sigma: 50 + 5.612002 * 25 = 190.30005 ms, in whole microseconds.
        assert_eq!(phi.deadline(PEER), Some(Time(SECOND + 190_301)));
        assert!(!phi.suspects(PEER, Time(SECOND + 190_300)));
        assert!(phi.suspicion(PEER, Time(SECOND + 190_300)) < 8.0);
        assert!(phi.suspects(PEER, Time(SECOND + 190_301)));
        assert!(phi.suspicion(PEER, Time(SECOND + 190_301)) >= 8.0);
        assert_eq!(
            phi.evidence(PEER, Time(SECOND + 190_301)),
            "n2 was silent for 190 ms: phi 8.0, suspected from 8 on; mean 50.0 ms, sigma 25.0 ms"
        );
        assert!(phi.suspicion(PEER, Time(u64::MAX)).is_finite());
    }

    #[test]
    fn mean_and_deviation_are_those_of_what_was_seen() {
        let mut phi = phi(100);
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND));
        phi.heartbeat(PEER, 2, Time(50_000), Time(SECOND + 110_000));
        // 37.5, 62.5, 110: mean 70; variance (32.5^2 + 7.5^2 + 40^2) / 3 = 904.1666; sigma 30.069.
        // 70 + 5.612002 * 30.069 = 238.7472...
        assert_eq!(phi.deadline(PEER), Some(Time(SECOND + 110_000 + 238_748)));
        // (130.138 - 70) / 30.069 = 2 sigma.
        let two = phi.suspicion(PEER, Time(SECOND + 110_000 + 130_138));
        assert!(near(two, 1.643_016_080_140_936_8), "{two}");
    }

    #[test]
    fn lost_heartbeats_divide_the_time_and_those_out_of_turn_are_no_samples() {
        let samples = |phi: &Phi| Vec::from(phi.peers[&PEER].samples.clone());
        let mut phi = phi(4);
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND));
        // Two were lost: 150 ms for three.
        phi.heartbeat(PEER, 4, Time(150_000), Time(SECOND + 150_000));
        assert_eq!(samples(&phi), [37_500, 62_500, 50_000]);
        // Sent 10 ms after the last: a sign of life, no sample. Silence counts from it.
        phi.heartbeat(PEER, 5, Time(160_000), Time(SECOND + 161_000));
        assert_eq!(samples(&phi).len(), 3);
        assert!(phi.deadline(PEER) > Some(Time(SECOND + 161_000 + 190_000)));
        // The next in turn; then the window of four is full, and the first gives way.
        phi.heartbeat(PEER, 6, Time(210_000), Time(SECOND + 213_000));
        phi.heartbeat(PEER, 7, Time(260_000), Time(SECOND + 261_000));
        assert_eq!(samples(&phi), [62_500, 50_000, 52_000, 48_000]);
        let arrivals = &phi.peers[&PEER];
        assert_eq!(arrivals.sum, 212_500);
        // 3906.25 + 2500 + 2704 + 2304 square milliseconds.
        assert_eq!(arrivals.squares, 11_414_250_000);
        // Started again: it counts from 1, and what was usual still is.
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND + 900_000));
        assert_eq!(samples(&phi).len(), 4);
        assert_eq!(phi.peers[&PEER].last, Time(SECOND + 900_000));
    }

    #[test]
    fn a_silence_that_was_suspected_counts_up_to_the_suspicion() {
        let mut phi = phi(100);
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND));
        phi.heartbeat(PEER, 2, Time(50_000), Time(SECOND + 5_000_000));
        assert_eq!(phi.peers[&PEER].samples.back(), Some(&190_301), "and not 5 s");
        // Such silences again and again are what is usual in the end: it gets more patient.
        let before = phi.deadline(PEER).map(|at| at.since(Time(SECOND + 5_000_000)));
        for beat in 1..20 {
            let now = Time(SECOND + 5_000_000 + beat * 400_000);
            phi.heartbeat(PEER, 2 + beat, Time(50_000 + beat * 50_000), now);
        }
        let now = Time(SECOND + 5_000_000 + 19 * 400_000);
        assert!(phi.deadline(PEER).map(|at| at.since(now)) > before);
        assert!(!phi.suspects(PEER, now.after(Duration::from_millis(400))));
    }

    #[test]
    fn who_did_not_run_accuses_nobody() {
        let mut phi = phi(100);
        phi.heartbeat(PEER, 1, Time(0), Time(SECOND));
        phi.excuse(Duration::from_secs(5), Time(SECOND + 5_100_000));
        assert_eq!(phi.deadline(PEER), Some(Time(SECOND + 5_190_301)));
        phi.retain(&BTreeSet::new());
        assert_eq!(phi.deadline(PEER), None);
    }
}
