//! How long syncs take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use paxos_core::Random;

/// One sync in so many begins a slow while.
const SLOW_ONE_IN: u64 = 50;

/// A slow while is so many syncs of a disk long, at most.
const SLOW_SYNCS: u64 = 20;

/// How long syncs take on all disks of a run.
pub struct Syncs {
    upto: Duration,
    slow: Arc<AtomicBool>,
    slowed: Arc<AtomicU64>,
}

impl Syncs {
    /// Each takes up to this; if they can be slow, some in a row take ten times as long.
    pub fn new(upto: Duration, slow: bool) -> Self {
        Syncs { upto, slow: Arc::new(AtomicBool::new(slow)), slowed: Arc::default() }
    }

    /// Those of one disk.
    pub fn of_a_disk(&self, seed: u64) -> Box<dyn FnMut() -> Duration> {
        let (mut random, mut left) = (Random::new(seed), 0);
        let Syncs { upto, slow, slowed } = self;
        let (upto, slow, slowed) = (*upto, slow.clone(), slowed.clone());
        Box::new(move || {
            let takes = random.duration_below(upto);
            if left == 0 && random.below(SLOW_ONE_IN) == 0 {
                left = 1 + random.below(SLOW_SYNCS);
            }
            if left == 0 || !slow.load(Ordering::Relaxed) {
                return takes;
            }
            left -= 1;
            slowed.fetch_add(1, Ordering::Relaxed);
            takes * 10
        })
    }

    /// From now on none is slow.
    pub fn heal(&self) {
        self.slow.store(false, Ordering::Relaxed);
    }

    /// How many were slow.
    pub fn slowed(&self) -> u64 {
        self.slowed.load(Ordering::Relaxed)
    }
}
