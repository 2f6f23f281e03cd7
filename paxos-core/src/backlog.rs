//! What was applied since the last snapshot, from which the next one is made.
//!
//! A snapshot is the one before it with these values applied to it. Whoever makes it needs neither
//! the state that serves clients nor a copy of it, so it can be made on another thread while
//! commands go on being applied; and each making proves that the snapshot before could be read.

use crate::membership::Configurations;
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
    wanted: bool,
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
            wanted: false,
        }
    }

    /// A value was applied; the memberships are as it left them. Where a membership begins, a
    /// snapshot is wanted: until its members have one of everything before, those of the membership
    /// before are needed still.
    pub fn add(&mut self, slot: Slot, value: &Value, configurations: &Configurations) {
        self.bytes += value.size() as u64 + SLOT_BYTES;
        self.values.push((slot, value.clone()));
        self.wanted |= configurations.newest().0 == slot.next();
    }

    /// A snapshot of everything up to now is wanted, however little that is.
    pub fn want(&mut self) {
        self.wanted = !self.values.is_empty();
    }

    /// The values to make the next snapshot of, if it is due or wanted and none is being made.
    pub fn due(&mut self) -> Option<Vec<(Slot, Value)>> {
        let due = self.wanted || self.bytes >= self.every_bytes.max(self.newest_bytes);
        if self.making || !due {
            return None;
        }
        self.making = true;
        self.wanted = false;
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
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Origin;
    use crate::membership::Membership;
    use crate::types::NodeId;
    use crate::value::Reconfigure;

    fn genesis() -> Configurations {
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        Configurations::genesis(Membership::of_voters(voters).unwrap())
    }

    fn due(backlog: &mut Backlog) -> Option<Vec<u64>> {
        backlog.due().map(|values| values.into_iter().map(|(slot, _)| slot.0).collect())
    }

    #[test]
    fn one_at_a_time_and_nothing_twice() {
        let mut backlog = Backlog::new(2 * SLOT_BYTES, 0);
        let add = |backlog: &mut Backlog, slot| backlog.add(Slot(slot), &Value::Noop, &genesis());
        add(&mut backlog, 1);
        assert_eq!(due(&mut backlog), None);
        add(&mut backlog, 2);
        assert_eq!(due(&mut backlog), Some(vec![1, 2]));
        for slot in 3..6 {
            add(&mut backlog, slot);
            assert_eq!(due(&mut backlog), None, "one is being made");
        }
        backlog.made(3 * SLOT_BYTES + 1);
        assert_eq!(due(&mut backlog), None, "to write it again would cost more");
        backlog.made(3 * SLOT_BYTES);
        assert_eq!(due(&mut backlog), Some(vec![3, 4, 5]));
        backlog.want();
        backlog.made(9 * SLOT_BYTES);
        assert_eq!(due(&mut backlog), None, "there is nothing new");
        add(&mut backlog, 6);
        backlog.want();
        assert_eq!(due(&mut backlog), Some(vec![6]));
        backlog.made(0);
        add(&mut backlog, 7);
        backlog.restored();
        add(&mut backlog, 9);
        assert_eq!(due(&mut backlog), None);
    }

    #[test]
    fn one_is_wanted_where_a_membership_begins() {
        let mut backlog = Backlog::new(1 << 20, 0);
        let membership = genesis().newest().1.without(NodeId(3)).unwrap();
        let origin = Origin { node: NodeId(1), incarnation: 1, number: 1 };
        let (base, by) = (Slot::FIRST, "admin/ada".to_owned());
        let change = Reconfigure { base, membership, origin, by };
        let changed = genesis().changed(Slot(2), &change).unwrap();
        let governs = changed.newest().0;
        for slot in 1..governs.0 - 1 {
            backlog.add(Slot(slot), &Value::Noop, &changed);
            assert_eq!(due(&mut backlog), None);
        }
        backlog.add(Slot(governs.0 - 1), &Value::Noop, &changed);
        assert_eq!(due(&mut backlog).unwrap().last(), Some(&(governs.0 - 1)));
    }
}
