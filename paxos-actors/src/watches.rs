//! Those who watch this node's state machine, and the newest events for them. Pure: events and
//! questions in, answers out, time as an argument.

use std::sync::Arc;

use actix::Message as ActixMessage;
use paxos_core::event::{FILTER_BYTES_MAX, FILTERS_MAX};
use paxos_core::{Event, Page, Position, Recent, RecentOptions, Slot, Time, TopicFilter};
use paxos_net::Caller;
use paxos_net::protocol::{ClientResponse, Refused, Response, Unavailable};

/// Limits of a node for those who watch it, beside those of [`RecentOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// Questions that may wait for events, one identity's up to a quarter of them; more are
    /// answered "busy". Default: 4,096.
    pub waiting_max: usize,
    /// Events in one answer at most. Default: 1,024.
    pub page_events: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        WatchOptions { waiting_max: 4096, page_events: 1024 }
    }
}

/// To the state machine: what it tells of these topics behind a position.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Follow {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// His name for the question.
    pub id: u64,
    /// The topics.
    pub topics: Vec<TopicFilter>,
    /// The position.
    pub after: Position,
    /// Events in the answer at most.
    pub max: u64,
    /// He is answered by then, be it that there is nothing.
    pub until: Time,
}

/// To the state machine: this node hears of no leader, so nothing new will come, and whoever waits
/// for it may hear more from another.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Forsake(pub Unavailable);

/// An answer and who gets it.
pub type Told = (Arc<Caller>, ClientResponse);

/// The questions that wait, and what they wait for.
///
/// Nothing is kept for anybody who does not ask, so who is slow costs nothing.
#[derive(Debug)]
pub struct Watches {
    options: WatchOptions,
    recent: Recent,
    waiting: Vec<Follow>,
}

impl Watches {
    /// Of a replica that has applied so much.
    pub fn new(options: WatchOptions, recent: RecentOptions, applied: Slot) -> Self {
        Watches { options, recent: Recent::new(recent, applied), waiting: Vec::new() }
    }

    /// The next slot is applied.
    pub fn add(&mut self, slot: Slot, events: Vec<Event>) {
        self.recent.add(slot, events);
    }

    /// The replica goes on from a snapshot.
    pub fn restored(&mut self, applied: Slot) {
        self.recent.restored(applied);
    }

    /// Somebody asks: he is answered, or waits.
    pub fn follow(&mut self, follow: Follow) -> Option<Told> {
        let size = |topic: &TopicFilter| topic.size() <= FILTER_BYTES_MAX;
        if follow.topics.len() > FILTERS_MAX || !follow.topics.iter().all(size) {
            return Some(refuse(follow, Refused::TooManyTopics));
        }
        if let Some(page) = self.page(&follow) {
            return Some(answer(follow, page));
        }
        let his = |other: &&Follow| other.caller.identity == follow.caller.identity;
        let share = self.options.waiting_max.div_ceil(4);
        if self.waiting.len() >= self.options.waiting_max
            || self.waiting.iter().filter(his).count() >= share
        {
            return Some(refuse(follow, Refused::Busy));
        }
        self.waiting.push(follow);
        None
    }

    /// Those for whom there is something by now.
    pub fn ripe(&mut self) -> Vec<Told> {
        self.answered(|watches, follow| watches.page(follow))
    }

    /// Those who do not wait any longer.
    pub fn over(&mut self, now: Time) -> Vec<Told> {
        self.answered(|watches, follow| (follow.until <= now).then(|| watches.look(follow)))
    }

    /// All who wait, sent away.
    pub fn forsake(&mut self, why: Unavailable) -> Vec<Told> {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        waiting.map(|follow| refuse(follow, Refused::Unavailable(why))).collect()
    }

    fn answered(&mut self, page: impl Fn(&Self, &Follow) -> Option<Page>) -> Vec<Told> {
        let (mut told, mut left) = (Vec::new(), Vec::new());
        for follow in std::mem::take(&mut self.waiting) {
            match page(self, &follow) {
                Some(page) => told.push(answer(follow, page)),
                None => left.push(follow),
            }
        }
        self.waiting = left;
        told
    }

    /// What there is, unless it is nothing.
    fn page(&self, follow: &Follow) -> Option<Page> {
        let page = self.look(follow);
        let is_nothing = matches!(&page, Page::Events { events, .. } if events.is_empty());
        (!is_nothing).then_some(page)
    }

    fn look(&self, follow: &Follow) -> Page {
        let max = usize::try_from(follow.max).unwrap_or(usize::MAX);
        self.recent.page(&follow.topics, follow.after, max.min(self.options.page_events))
    }
}

fn answer(follow: Follow, page: Page) -> Told {
    let response = Response::Watched(page);
    (follow.caller, ClientResponse { id: follow.id, leader: None, response })
}

fn refuse(follow: Follow, refused: Refused) -> Told {
    let response = Response::Refused(refused);
    (follow.caller, ClientResponse { id: follow.id, leader: None, response })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use paxos_net::Replies;

    fn watches(waiting_max: usize) -> Watches {
        let options = WatchOptions { waiting_max, ..WatchOptions::default() };
        let recent = RecentOptions { events_max: 2, ..RecentOptions::default() };
        Watches::new(options, recent, Slot(0))
    }

    fn question(id: u64, after: Position) -> Follow {
        let replies = Replies::to(|_| {});
        let identity = format!("client/{}", id % 3);
        let caller = Arc::new(Caller { identity, peer: false, replies });
        let topics = vec![TopicFilter::Exact("a".to_owned())];
        Follow { caller, id, topics, after, max: 10, until: Time(100) }
    }

    fn event(slot: u64, topic: &str) -> Event {
        let position = Position { slot: Slot(slot), index: 0 };
        Event { position, topic: topic.to_owned(), bytes: Bytes::new() }
    }

    fn pages(told: Vec<Told>) -> Vec<(u64, Page)> {
        let page = |(_, told): Told| match told.response {
            Response::Watched(page) => (told.id, page),
            other => panic!("{other:?}"),
        };
        told.into_iter().map(page).collect()
    }

    #[test]
    fn who_asks_waits_until_there_is_something_or_his_time_is_over() {
        let mut watches = watches(100);
        assert!(watches.follow(question(1, Position::default())).is_none());
        watches.add(Slot(1), vec![event(1, "b")]);
        assert!(watches.ripe().is_empty(), "another topic");
        assert!(watches.over(Time(99)).is_empty());
        let upto = Position::behind(Slot(1));
        let nothing = Page::Events { events: vec![], upto };
        assert_eq!(pages(watches.over(Time(100))), [(1, nothing)], "and hears how far that is");
        assert!(watches.follow(question(2, upto)).is_none());
        watches.add(Slot(2), vec![event(2, "a")]);
        let events = vec![event(2, "a")];
        let something = Page::Events { events, upto: Position::behind(Slot(2)) };
        assert_eq!(pages(watches.ripe()), [(2, something)]);
        assert!(watches.waiting.is_empty());
    }

    #[test]
    fn who_waits_is_sent_away_when_nothing_more_will_come() {
        let mut watches = watches(100);
        assert!(watches.follow(question(1, Position::default())).is_none());
        let why = Unavailable { reached: 1, total: 3, needed: 2 };
        let [(_, told)] = &watches.forsake(why)[..] else { panic!("one waited") };
        assert_eq!((told.id, &told.response), (1, &Response::Refused(Refused::Unavailable(why))));
        assert!(watches.waiting.is_empty() && watches.forsake(why).is_empty());
    }

    #[test]
    fn cli7_who_is_too_slow_or_met_a_snapshot_hears_what_is_missing() {
        let mut watches = watches(100);
        assert!(watches.follow(question(1, Position::behind(Slot(9)))).is_none(), "it is behind");
        for slot in 1..=5 {
            watches.add(Slot(slot), vec![event(slot, "a")]);
        }
        assert!(watches.ripe().is_empty());
        let late = watches.follow(question(2, Position::behind(Slot(2)))).unwrap();
        assert_eq!(pages(vec![late]), [(2, Page::Lagged { next: Slot(4) })]);
        watches.restored(Slot(20));
        assert_eq!(pages(watches.ripe()), [(1, Page::Lagged { next: Slot(21) })]);
    }

    #[test]
    fn more_than_the_limits_is_refused() {
        let mut watches = watches(8);
        let refused = |told: Option<Told>| match told.map(|(_, told)| told.response) {
            Some(Response::Refused(refused)) => Some(refused),
            Some(other) => panic!("{other:?}"),
            None => None,
        };
        let end = Position::behind(Slot(0));
        let asked: Vec<_> = (0..9).map(|id| refused(watches.follow(question(id, end)))).collect();
        assert_eq!(asked.iter().filter(|refused| refused.is_none()).count(), 6, "two of each");
        assert_eq!(asked[6..], [Some(Refused::Busy), Some(Refused::Busy), Some(Refused::Busy)]);
        let many = vec![TopicFilter::Prefix(String::new()); FILTERS_MAX + 1];
        let long = vec![TopicFilter::Exact("x".repeat(FILTER_BYTES_MAX + 1))];
        for topics in [many, long] {
            let question = Follow { topics, ..question(1, end) };
            assert_eq!(refused(watches.follow(question)), Some(Refused::TooManyTopics));
        }
    }
}
