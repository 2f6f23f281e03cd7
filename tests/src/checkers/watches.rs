//! What those are told who watch: every event of their topic once and in order, and that some are
//! missing where they are.

use std::collections::BTreeMap;

use paxos_core::{Event, Page, Position, Slot};

/// Looks at every answer to those who watch.
#[derive(Debug, Default)]
pub struct Watches {
    /// What each slot tells, wherever it is applied.
    told: BTreeMap<Slot, Vec<Event>>,
    /// Up to where each has been told everything.
    places: BTreeMap<usize, Position>,
}

impl Watches {
    /// A node has applied a slot.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn applied(&mut self, slot: Slot, events: &[Event]) -> Result<(), String> {
        let known = self.told.entry(slot).or_insert_with(|| events.to_vec());
        match known == events {
            true => Ok(()),
            false => Err(format!("watches: {slot} tells {events:?} here, and {known:?} elsewhere")),
        }
    }

    /// Somebody watches from behind a position on.
    pub fn begins(&mut self, watcher: usize, after: Position) {
        self.places.insert(watcher, after);
    }

    /// Somebody who watches a topic is answered.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn answered(&mut self, watcher: usize, topic: &str, page: &Page) -> Result<(), String> {
        let Page::Events { events, upto } = page else { return Ok(()) };
        let after = self.places.get(&watcher).copied().unwrap_or_default();
        if *upto < after {
            return Err(format!(
                "watches: {watcher} was told all up to {after}, and now to {upto}"
            ));
        }
        let due = self.told.range(after.slot..=upto.slot).flat_map(|(_, events)| events);
        let due = due
            .filter(|event| event.position > after && event.position <= *upto)
            .filter(|event| event.topic == topic);
        if !due.clone().eq(events) {
            let (due, told) = (positions(due), positions(events));
            return Err(format!(
                "watches: {watcher} is told {told:?} behind {after} up to {upto}, and not {due:?}"
            ));
        }
        self.places.insert(watcher, *upto);
        Ok(())
    }
}

fn positions<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().map(|event| event.position.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(slot: u64, index: u32, topic: &str) -> Event {
        let position = Position { slot: Slot(slot), index };
        Event { position, topic: topic.to_owned(), bytes: vec![slot as u8].into() }
    }

    /// Two slots with events of two topics, and somebody who watches from the beginning.
    fn watches() -> Watches {
        let mut watches = Watches::default();
        watches.applied(Slot(1), &[event(1, 0, "a"), event(1, 1, "b")]).unwrap();
        watches.applied(Slot(2), &[event(2, 0, "a"), event(2, 1, "a")]).unwrap();
        watches.begins(0, Position::default());
        watches
    }

    fn page(events: &[(u64, u32)], upto: Position) -> Page {
        Page::Events { events: events.iter().map(|(s, i)| event(*s, *i, "a")).collect(), upto }
    }

    #[test]
    fn everything_of_the_topic_once_is_fine() {
        // Of a slot that it does not begin in, the first event is behind the beginning.
        let mut watches = watches();
        let halfway = Position { slot: Slot(2), index: 0 };
        watches.answered(0, "a", &page(&[(1, 0), (2, 0)], halfway)).unwrap();
        watches.answered(0, "a", &page(&[(2, 1)], Position::behind(Slot(2)))).unwrap();
        watches.answered(0, "a", &page(&[], Position::behind(Slot(9)))).unwrap();
        watches.answered(0, "a", &Page::Lagged { next: Slot(12) }).unwrap();
        watches.begins(0, Position::behind(Slot(1)));
        watches.answered(0, "a", &page(&[(2, 0), (2, 1)], Position::behind(Slot(2)))).unwrap();
    }

    #[test]
    fn gaps_repeats_and_differences_are_seen() {
        let end = Position::behind(Slot(2));
        let all = [(1, 0), (2, 0), (2, 1)];
        assert!(watches().answered(0, "a", &page(&all[1..], end)).is_err(), "a gap");
        assert!(watches().answered(0, "a", &page(&all[..2], end)).is_err(), "a gap at the end");
        assert!(watches().answered(0, "b", &page(&all, end)).is_err(), "another topic");
        let mut again = watches();
        again.answered(0, "a", &page(&all, end)).unwrap();
        assert!(again.answered(0, "a", &page(&all[2..], end)).is_err(), "a repeat");
        assert!(again.answered(0, "a", &page(&[], Position::behind(Slot(1)))).is_err(), "back");
        assert!(again.applied(Slot(2), &[event(2, 0, "a")]).is_err(), "another node tells less");
    }
}
