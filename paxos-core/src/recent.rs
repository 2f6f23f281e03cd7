//! The newest events of a replica, in bounded memory, for those who watch.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Position, TopicFilter};
use crate::types::Slot;

/// How much is kept of what was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentOptions {
    /// Events at most. Default: 65,536.
    pub events_max: usize,
    /// Bytes of events and topics at most. Default: 16 MiB.
    pub bytes_max: usize,
    /// An event with its topic may have so many bytes; a larger one is not kept, and who watches
    /// hears that something is missing. Default: 512 KiB.
    pub event_bytes_max: usize,
    /// Bytes of events in one answer at most, but for a single event. Default: 256 KiB.
    pub page_bytes: usize,
}

impl Default for RecentOptions {
    fn default() -> Self {
        RecentOptions {
            events_max: 65_536,
            bytes_max: 16 << 20,
            event_bytes_max: 512 << 10,
            page_bytes: 256 << 10,
        }
    }
}

/// The newest events.
///
/// Invariant: it has every event of every slot from `begin` to the last one applied.
#[derive(Clone, Debug)]
pub struct Recent {
    options: RecentOptions,
    begin: Slot,
    applied: Slot,
    events: VecDeque<Event>,
    bytes: usize,
}

/// What there is for who watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Page {
    /// The next events, in order.
    Events {
        /// Them; none, if there are none yet.
        events: Vec<Event>,
        /// There is no other up to here: the next are looked for behind it.
        upto: Position,
    },
    /// Events are gone that were asked for, all of them in slots below this one. Who wants to know
    /// what they made of the state reads it, and goes on behind the slot that it has read.
    Lagged {
        /// The first slot of which everything is here.
        next: Slot,
    },
}

impl Recent {
    /// Of a replica that has applied so much, and has told nothing of it here.
    pub fn new(options: RecentOptions, applied: Slot) -> Self {
        let (begin, events) = (applied.next(), VecDeque::new());
        Recent { options, begin, applied, events, bytes: 0 }
    }

    /// The replica goes on from a snapshot: what it told before is not known.
    pub fn restored(&mut self, applied: Slot) {
        *self = Recent::new(self.options, applied);
    }

    /// The next slot is applied.
    pub fn add(&mut self, slot: Slot, events: Vec<Event>) {
        self.applied = slot;
        if events.iter().any(|event| size(event) > self.options.event_bytes_max) {
            return self.restored(slot);
        }
        self.bytes += events.iter().map(size).sum::<usize>();
        self.events.extend(events);
        while self.events.len() > self.options.events_max || self.bytes > self.options.bytes_max {
            self.forget_a_slot();
        }
    }

    /// Forgets the events of the oldest slot that has some.
    fn forget_a_slot(&mut self) {
        let Some(slot) = self.events.front().map(|event| event.position.slot) else { return };
        let many = self.events.partition_point(|event| event.position.slot == slot);
        self.bytes -= self.events.drain(..many).map(|event| size(&event)).sum::<usize>();
        self.begin = slot.next();
    }

    /// The last slot applied.
    pub fn applied(&self) -> Slot {
        self.applied
    }

    /// The next events of these topics behind a position, at most so many.
    pub fn page(&self, topics: &[TopicFilter], after: Position, max: usize) -> Page {
        if self.begin > Slot::FIRST && after < Position::behind(Slot(self.begin.0 - 1)) {
            return Page::Lagged { next: self.begin };
        }
        let first = self.events.partition_point(|event| event.position <= after);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for event in self.events.range(first..) {
            if !topics.iter().any(|topic| topic.matches(&event.topic)) {
                continue;
            }
            bytes += size(event);
            if found.len() >= max.max(1) || (!found.is_empty() && bytes > self.options.page_bytes) {
                let upto = before(event.position).max(found.last().map_or(after, position));
                return Page::Events { events: found, upto };
            }
            found.push(event.clone());
        }
        Page::Events { events: found, upto: after.max(Position::behind(self.applied)) }
    }
}

fn position(event: &Event) -> Position {
    event.position
}

/// The last position before one.
fn before(position: Position) -> Position {
    match position.index {
        0 => Position::behind(Slot(position.slot.0.saturating_sub(1))),
        index => Position { index: index - 1, ..position },
    }
}

fn size(event: &Event) -> usize {
    event.topic.len() + event.bytes.len() + std::mem::size_of::<Event>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events of a slot: one for each topic.
    fn told(slot: u64, topics: &[&str]) -> Vec<Event> {
        let event = |(index, topic): (usize, &&str)| Event {
            position: Position { slot: Slot(slot), index: index as u32 },
            topic: (*topic).to_owned(),
            bytes: vec![slot as u8; 10].into(),
        };
        topics.iter().enumerate().map(event).collect()
    }

    fn of(events_max: usize) -> Recent {
        Recent::new(RecentOptions { events_max, ..RecentOptions::default() }, Slot(0))
    }

    fn all() -> [TopicFilter; 1] {
        [TopicFilter::Prefix(String::new())]
    }

    fn found(page: Page) -> (Vec<(u64, u32)>, Position) {
        let Page::Events { events, upto } = page else { panic!("{page:?}") };
        let place = |event: &Event| (event.position.slot.0, event.position.index);
        (events.iter().map(place).collect(), upto)
    }

    #[test]
    fn a_page_has_the_topics_that_were_asked_for_and_says_where_to_go_on() {
        let mut recent = of(100);
        recent.add(Slot(1), told(1, &["a", "ab", "b"]));
        recent.add(Slot(2), vec![]);
        recent.add(Slot(3), told(3, &["b", "a"]));
        let exact = [TopicFilter::Exact("a".to_owned())];
        let page = recent.page(&exact, Position::default(), 9);
        assert_eq!(found(page), (vec![(1, 0), (3, 1)], Position::behind(Slot(3))));
        let prefix = [TopicFilter::Prefix("a".to_owned())];
        let (two, upto) = found(recent.page(&prefix, Position::default(), 2));
        assert_eq!(two, [(1, 0), (1, 1)]);
        assert_eq!(upto, Position { slot: Slot(3), index: 0 }, "nothing of interest before it");
        assert_eq!(found(recent.page(&prefix, upto, 2)).0, [(3, 1)]);
        let none = recent.page(&[], Position::default(), 9);
        assert_eq!(found(none), (vec![], Position::behind(Slot(3))));
        let ahead = Position::behind(Slot(9));
        assert_eq!(found(recent.page(&all(), ahead, 9)), (vec![], ahead), "it waits for more");
    }

    #[test]
    fn d15_who_asks_for_what_is_gone_is_told_from_where_on_everything_is_here() {
        let mut recent = of(3);
        recent.add(Slot(1), told(1, &["a", "b"]));
        let Page::Events { .. } = recent.page(&all(), Position::default(), 9) else { panic!() };
        recent.add(Slot(2), told(2, &["a", "b"]));
        let lagged = Page::Lagged { next: Slot(2) };
        assert_eq!(recent.page(&all(), Position::default(), 9), lagged);
        let halfway = Position { slot: Slot(1), index: 0 };
        assert_eq!(recent.page(&all(), halfway, 9), lagged, "its slot is not whole any more");
        assert_eq!(found(recent.page(&all(), Position::behind(Slot(1)), 9)).0, [(2, 0), (2, 1)]);
        recent.restored(Slot(9));
        let lagged = Page::Lagged { next: Slot(10) };
        assert_eq!(recent.page(&all(), Position::behind(Slot(2)), 9), lagged);
    }

    #[test]
    fn an_event_that_is_too_large_is_a_gap_and_never_a_silent_one() {
        let options = RecentOptions { event_bytes_max: 200, ..RecentOptions::default() };
        let mut recent = Recent::new(options, Slot(0));
        recent.add(Slot(1), told(1, &["a"]));
        recent.add(Slot(2), told(2, &["a", &"x".repeat(200)]));
        recent.add(Slot(3), told(3, &["a"]));
        let lagged = Page::Lagged { next: Slot(3) };
        assert_eq!(recent.page(&all(), Position::behind(Slot(1)), 9), lagged);
        assert_eq!(found(recent.page(&all(), Position::behind(Slot(2)), 9)).0, [(3, 0)]);
    }

    proptest! {
        #[test]
        fn d15_page_by_page_nobody_misses_or_repeats_an_event_unless_told_so(
            slots in proptest::collection::vec(0usize..4, 1..40),
            events_max in 1usize..20, max in 1usize..5, every in 1usize..6,
        ) {
            let mut recent = of(events_max);
            let (mut seen, mut expected, mut after) = (Vec::new(), Vec::new(), Position::default());
            for (slot, count) in (1u64..).zip(slots) {
                recent.add(Slot(slot), told(slot, &["a", "b", "a", "b"][..count]));
                expected.extend((0..count as u32).step_by(2).map(|index| (slot, index)));
                if !(slot as usize).is_multiple_of(every) {
                    continue;
                }
                match recent.page(&[TopicFilter::Exact("a".to_owned())], after, max) {
                    Page::Lagged { next } => {
                        prop_assert!(Position::behind(Slot(next.0 - 1)) > after);
                        after = Position::behind(Slot(next.0 - 1));
                        expected.retain(|(slot, _)| *slot >= next.0);
                        seen.clear();
                    }
                    page => {
                        let (events, upto) = found(page);
                        prop_assert!(upto >= after && events.len() <= max);
                        seen.extend(events);
                        after = upto;
                        let reached = |place: &&(u64, u32)| {
                            Position { slot: Slot(place.0), index: place.1 } <= after
                        };
                        let due: Vec<_> = expected.iter().take_while(reached).copied().collect();
                        prop_assert_eq!(&seen, &due);
                    }
                }
                prop_assert!(recent.events.len() <= events_max);
            }
        }
    }
}
