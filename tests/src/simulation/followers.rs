//! Followers of rooms in a simulated cluster: each is at a node, reads its state, is told what that
//! node applies, and goes to another node when it is lost, or for no reason. What it hears is
//! decided by the chat's own [`Cursor`].

use std::collections::VecDeque;
use std::time::Duration;

use chat::Message;
use chat::cursor::{Cursor, News};
use paxos_core::{Event as Told, NodeId, Slot};

use super::events::Event;
use super::node::Running;
use super::services::{ROOMS, Service, Services};
use super::world::World;

/// Followers of each room.
const OF_A_ROOM: usize = 2;

/// What a node keeps for one follower until that listens; beyond it the follower has missed some.
const TOLD_MAX: usize = 4;

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
    /// What the node has told since: the slot, and the message.
    told: VecDeque<(Slot, Message)>,
}

impl World<'_> {
    /// Some followers for each room, if the run has a chat.
    pub(super) fn begin_following(&mut self) {
        if self.plan.service != Service::Chat {
            return;
        }
        for room in 0..ROOMS {
            for _ in 0..OF_A_ROOM {
                let (cursor, node, told) = (Cursor::before(1), self.fronts[0], VecDeque::new());
                let follower = Follower { room, cursor, node, run: 0, told };
                self.followers.push(follower);
                self.at(Duration::ZERO, Event::Listen(self.followers.len() - 1));
            }
        }
    }

    /// A node has applied something: those who follow it there are told what was said.
    pub(super) fn tell_followers(&mut self, node: NodeId, slot: Slot, events: &[Told]) {
        let run = self.running.get(&node).map_or(0, Running::incarnation);
        let at_node = |follower: &&mut Follower| follower.node == node && follower.run == run;
        for follower in self.followers.iter_mut().filter(at_node) {
            if !follower.cursor.is_caught_up() {
                continue;
            }
            for message in Services::told(follower.room, events) {
                if follower.told.len() >= TOLD_MAX {
                    self.lagged += 1;
                    follower.told.clear();
                    follower.cursor.lag();
                    break;
                }
                follower.told.push_back((slot, message));
            }
        }
    }

    /// A node has gone on from a snapshot: what it did not apply it cannot tell.
    pub(super) fn leap_followers(&mut self, node: NodeId) {
        for follower in self.followers.iter_mut().filter(|follower| follower.node == node) {
            follower.told.clear();
            follower.cursor.lag();
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
        let now = self.now;
        let follower = &mut self.followers[id];
        let stuck = self.hosts.get(&follower.node).is_some_and(|host| host.paused_until > now);
        let run = self.running.get(&follower.node).map(Running::incarnation);
        if run != Some(follower.run) || stuck || moves {
            self.moved += 1;
            follower.node = self.fronts[place];
            follower.told.clear();
            follower.cursor.lag();
        }
        let Some(running) = self.running.get(&follower.node) else { return Ok(()) };
        follower.run = running.incarnation();
        let mut news = VecDeque::new();
        let applied = running.replica.applied();
        if follower.cursor.is_caught_up() {
            for (slot, message) in follower.told.drain(..) {
                follower.cursor.told(slot, message, &mut news);
            }
        } else if applied >= follower.cursor.seen() {
            let page = running.replica.machine().page(follower.room, follower.cursor.wants());
            let read = follower.cursor.read(applied, page, &mut news);
            read.map_err(|error| format!("followers: {error}"))?;
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
