//! A node's own clock: another epoch, another rate, jumps.

use std::time::Duration;

use paxos_core::{Random, Time};

/// How a node's clock relates to the time of the world. It never runs backwards.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: u64,
    /// Its seconds in a thousand seconds of the world.
    rate: u64,
}

impl Clock {
    /// A clock of its own epoch; with drift, at a rate between half and one and a half.
    pub fn draw(random: &mut Random, drift: bool) -> Self {
        let rate = if drift { 500 + random.below(1001) } else { 1000 };
        Clock { offset: random.below(1 << 40), rate }
    }

    /// What it shows.
    pub fn shows(&self, world: Time) -> Time {
        Time(self.offset + world.0 * self.rate / 1000)
    }

    /// How long the world takes from `world` until the clock shows `deadline`.
    pub fn until(&self, deadline: Time, world: Time) -> Duration {
        let missing = deadline.since(self.shows(world)).as_micros() as u64;
        Duration::from_micros((missing * 1000).div_ceil(self.rate))
    }

    /// It goes on at another rate, from what it shows.
    pub fn run_at(&mut self, rate: u64, world: Time) {
        let shown = self.shows(world).0;
        self.rate = rate;
        self.offset = shown.saturating_sub(world.0 * rate / 1000);
    }

    /// It jumps ahead.
    pub fn jump(&mut self, by: Duration) {
        self.offset += by.as_micros() as u64;
    }
}
