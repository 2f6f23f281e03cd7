//! Followers of rooms in a simulated cluster: each is at a node, reads its state, watches what that
//! node tells of what it applies, and goes to another node when it is lost, or for no reason. What
//! it hears is decided by the chat's own [`Cursor`].

use std::collections::VecDeque;
use std::time::Duration;

use chat::cursor::{Cursor, News};
use paxos_core::{NodeId, Page, Position, TopicFilter};

use super::events::Event;
use super::node::Running;
use super::plant::Question;
use super::services::{ROOMS, Service, Services, room_topic};
use super::world::World;

/// Followers of each room.
const OF_A_ROOM: usize = 2;

/// It is told no more than this at once.
const EVENTS_AT_ONCE: usize = 4;

/// A follower listens again after no longer than this,
const LISTENS_WITHIN: Duration = Duration::from_millis(400);

/// or, one time in so many,
const STANDS: u64 = 20;

/// stands still for no longer than this.
const STANDS_FOR: Duration = Duration::from_secs(8);

/// One time in so many it goes to another node although nothing is wrong.
const MOVES: u64 = 12;

/// A follower.
#[derive(Debug)]
pub struct Follower {
    /// Which room it follows.
    pub room: u64,
    cursor: Cursor,
    /// Where it is, and in which run of that node.
    node: NodeId,
    run: u64,
    /// Where it has got to in what is told.
    after: Position,
}

impl World<'_> {
    /// Some followers for each room, if the run has a chat.
    pub(super) fn begin_following(&mut self) {
        if self.plan.service != Service::Chat {
            return;
        }
        for room in 0..ROOMS {
            for _ in 0..OF_A_ROOM {
                let (cursor, node) = (Cursor::before(1), self.fronts[0]);
                let follower = Follower { room, cursor, node, run: 0, after: Position::default() };
                self.followers.push(follower);
                self.at(Duration::ZERO, Event::Listen(self.followers.len() - 1));
            }
        }
    }

    /// A follower looks what there is for it.
    pub(super) fn listen(&mut self, id: usize) -> Result<(), String> {
        let hurried = self.healed.is_some();
        let stands = !hurried && self.random.below(STANDS) == 0;
        let pause = self.upto(if stands { STANDS_FOR } else { LISTENS_WITHIN });
        self.at(pause, Event::Listen(id));
        let place = self.random.below(self.fronts.len() as u64) as usize;
        let moves = self.random.below(MOVES) == 0;
        let reads = self.random.below(2) == 0;
        let now = self.now;
        let follower = &mut self.followers[id];
        let stuck = self.hosts.get(&follower.node).is_some_and(|host| host.paused_until > now);
        let run = self.running.get(&follower.node).map(Running::incarnation);
        if run != Some(follower.run) || stuck || moves {
            self.moved += 1;
            follower.node = self.fronts[place];
            // Whoever loses a connection goes on where he was; who gives a node up reads first.
            if reads {
                follower.cursor.lag();
            }
        }
        let Some(running) = self.running.get(&follower.node) else { return Ok(()) };
        follower.run = running.incarnation();
        let mut news = VecDeque::new();
        let applied = running.replica.applied();
        if follower.cursor.is_caught_up() {
            let topic = room_topic(follower.room);
            let topics = [TopicFilter::Exact(topic.clone())];
            let (after, max) = (follower.after, EVENTS_AT_ONCE);
            let question = Question { watcher: id, topics: &topics, after, max };
            let page = self.plant.watched(follower.node, &running.recent, &question);
            self.watches.answered(id, &topic, &page)?;
            match page {
                Page::Events { events, upto } => {
                    follower.after = upto;
                    for event in &events {
                        let message = Services::said(event).ok_or("followers: no message")?;
                        follower.cursor.told(event.position.slot, message, &mut news);
                    }
                }
                Page::Lagged { .. } => {
                    self.lagged += 1;
                    follower.cursor.lag();
                }
            }
        } else if applied >= follower.cursor.seen() {
            let page = running.replica.machine().page(follower.room, follower.cursor.wants());
            let read = follower.cursor.read(applied, page, &mut news);
            read.map_err(|error| format!("followers: {error}"))?;
            follower.after = Position::behind(applied);
            self.watches.begins(id, follower.after);
        }
        let room = follower.room;
        for news in news {
            let News::Said(message) = news else {
                return Err(format!("followers: follower {id} missed messages: {news:?}"));
            };
            self.checked.heard(id, room, &message)?;
            self.told(NodeId(0), || format!("follower {id} hears {} of room {room}", message.id));
        }
        Ok(())
    }

    /// Whether everybody has heard everything that there is.
    pub(super) fn is_heard(&self) -> bool {
        let newest = |room| {
            let lasts = self.running.values().map(|node| node.replica.machine().last(room));
            lasts.max().unwrap_or(0)
        };
        let heard =
            |(id, follower): (usize, &Follower)| self.checked.last(id) == newest(follower.room);
        self.followers.iter().enumerate().all(heard)
    }
}
