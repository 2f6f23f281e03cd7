//! What was applied since the last snapshot, from which the next one is made.
//!
//! A snapshot is the one before it with these values applied to it. Whoever makes it needs neither
//! the state that serves clients nor a copy of it, so it can be made on another thread while
//! commands go on being applied; and each making proves that the snapshot before could be read.

use crate::types::Slot;
use crate::value::Value;

/// A slot in a backlog weighs this much beside its payload, in bytes.
const SLOT_BYTES: u64 = 16;

/// The values that were applied and are in no snapshot yet.
#[derive(Debug)]
pub struct Backlog {
    every_bytes: u64,
    /// What the newest snapshot weighs: to write it again for less would be mostly writing it.
    newest_bytes: u64,
    values: Vec<(Slot, Value)>,
    bytes: u64,
    making: bool,
}

impl Backlog {
    /// A backlog from which a snapshot is due whenever it holds `every_bytes`, and as many as the
    /// newest snapshot has.
    pub fn new(every_bytes: u64, newest_bytes: u64) -> Self {
        Backlog {
            every_bytes: every_bytes.max(1),
            newest_bytes,
            values: Vec::new(),
            bytes: 0,
            making: false,
        }
    }

    /// A value was applied.
    pub fn add(&mut self, slot: Slot, value: &Value) {
        self.bytes += value.size() as u64 + SLOT_BYTES;
        self.values.push((slot, value.clone()));
    }

    /// The values to make the next snapshot of, if it is due and none is being made.
    pub fn due(&mut self) -> Option<Vec<(Slot, Value)>> {
        if self.making || self.bytes < self.every_bytes.max(self.newest_bytes) {
            return None;
        }
        self.making = true;
        self.bytes = 0;
        Some(std::mem::take(&mut self.values))
    }

    /// The snapshot that was being made is stored; it has so many bytes.
    pub fn made(&mut self, bytes: u64) {
        self.making = false;
        self.newest_bytes = bytes;
    }

    /// The state was replaced by that of a snapshot: what was applied before is in it.
    pub fn restored(&mut self) {
        self.values.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_twice() {
        let mut backlog = Backlog::new(2 * SLOT_BYTES, 0);
        let slots = |values: Option<Vec<(Slot, Value)>>| {
            values.map(|values| values.into_iter().map(|(slot, _)| slot.0).collect::<Vec<_>>())
        };
        backlog.add(Slot(1), &Value::Noop);
        assert_eq!(slots(backlog.due()), None);
        backlog.add(Slot(2), &Value::Noop);
        assert_eq!(slots(backlog.due()), Some(vec![1, 2]));
        for slot in 3..6 {
            backlog.add(Slot(slot), &Value::Noop);
            assert_eq!(slots(backlog.due()), None, "one is being made");
        }
        backlog.made(3 * SLOT_BYTES + 1);
        assert_eq!(slots(backlog.due()), None, "to write it again would cost more");
        backlog.made(3 * SLOT_BYTES);
        assert_eq!(slots(backlog.due()), Some(vec![3, 4, 5]));
        backlog.made(0);
        backlog.add(Slot(6), &Value::Noop);
        backlog.restored();
        backlog.add(Slot(9), &Value::Noop);
        assert_eq!(slots(backlog.due()), None);
    }
}
