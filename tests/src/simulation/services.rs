//! What a simulated cluster serves: a counter, a chat and locks in one state machine. The clients
//! of a run use one of them, so that plans, troubles and planted bugs are the same for all.

use chat::machine::{Answer, Query, Said, topic};
use chat::{Chat, Happening, Line, Message, Page, Span};
use lock::machine::LockView;
use lock::{LockService, LockSession};
use paxos_core::{Context, Event, RestoreError, StateMachine, Time};
use serde::{Deserialize, Serialize};

use super::client::Sum;
use super::demands::{DEMANDS, Demand, Told, lock_name};

/// Which of the services the clients of a run use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// The counter.
    #[default]
    Counter,
    /// The chat, with followers.
    Chat,
    /// The lock service, with lockers.
    Lock,
}

/// From here on a command is not what a counter adds, but what is said.
const SAY: u64 = 1 << 63;

/// The rooms that clients of a chat speak in.
pub const ROOMS: u64 = 3;

/// A command says so many messages at most.
const LINES_MAX: u64 = 3;

/// Stands before a state that a chat is part of: no counter gets so far.
const WITH_CHAT: u64 = u64::MAX;

/// The same for one that locks are part of.
const WITH_LOCKS: u64 = u64::MAX - 1;

/// The state.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Services {
    sum: Sum,
    chat: Chat,
    locks: LockService,
}

/// Something that a client says, as a command of [`Services`]: no two say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech(u64);

impl Speech {
    /// What a client says as its so manieth command.
    pub fn new(client: u64, sequence: u64, chance: u64) -> Speech {
        let (room, lines) = (chance % ROOMS, chance / ROOMS % LINES_MAX);
        Speech(SAY | (client & 0xffff) << 40 | (sequence & 0xffff_ffff) << 8 | lines << 4 | room)
    }

    /// The command.
    pub fn command(self) -> u64 {
        self.0
    }

    /// The room.
    pub fn room(self) -> u64 {
        self.0 & 0xf
    }

    /// What is said there: each line a number that stands for nothing else.
    pub fn lines(self) -> impl Iterator<Item = u64> {
        (0..=(self.0 >> 4 & 0xf)).map(move |line| self.0 & !0xff | line)
    }
}

/// The name of a room.
pub fn room_name(room: u64) -> String {
    format!("room-{room}")
}

/// The topic under which is told what is said in a room.
pub fn room_topic(room: u64) -> String {
    topic(&room_name(room))
}

impl StateMachine for Services {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, context: &mut Context<'_>, command: u64) -> u64 {
        if command < DEMANDS {
            return self.sum.apply(context, command);
        }
        if command < SAY {
            let demand = Demand::of(command).map(Demand::to_service);
            let told = demand.map(|demand| Told::by_service(self.locks.apply(context, demand)));
            return told.unwrap_or(Told::Refused).reply();
        }
        let speech = Speech(command);
        let line = |number: u64| Line { said_at: 0, text: number.to_string() };
        let (room, lines) = (room_name(speech.room()), speech.lines().map(line).collect());
        match self.chat.apply(context, chat::Command::Say { room, lines }) {
            Ok(Said { first, .. }) => first,
            // The first id is 1.
            Err(_) => 0,
        }
    }

    fn query(&self, (): ()) -> u64 {
        self.sum.query(())
    }

    fn due(&self) -> Option<Time> {
        self.sum.due().into_iter().chain(self.locks.due()).min()
    }

    fn wake(&mut self, context: &mut Context<'_>) {
        let now = context.time;
        let is_due = |due: Option<Time>| due.is_some_and(|due| due <= now);
        if is_due(self.sum.due()) {
            self.sum.wake(context);
        }
        if is_due(self.locks.due()) {
            self.locks.wake(context);
        }
    }

    fn led(&mut self, context: &mut Context<'_>) {
        self.sum.led(context);
        self.locks.led(context);
    }

    fn snapshot(&self) -> Vec<u8> {
        let Services { sum, chat, locks } = self;
        let speaks = *chat != Chat::default();
        let encoded = match *locks != LockService::default() {
            true => postcard::to_stdvec(&(WITH_LOCKS, self)),
            false if speaks => postcard::to_stdvec(&(WITH_CHAT, sum, chat)),
            false => return sum.snapshot(),
        };
        encoded.expect("plain data always encodes")
    }

    fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let wrong = |error: postcard::Error| RestoreError(error.to_string());
        let (begin, rest) = postcard::take_from_bytes::<u64>(snapshot).map_err(wrong)?;
        match begin {
            WITH_LOCKS => postcard::from_bytes(rest).map_err(wrong),
            WITH_CHAT => {
                let (sum, chat) = postcard::from_bytes(rest).map_err(wrong)?;
                Ok(Services { sum, chat, ..Services::default() })
            }
            _ => Ok(Services { sum: Sum::restore(snapshot)?, ..Services::default() }),
        }
    }
}

impl Services {
    /// Messages of a room.
    pub fn page(&self, room: u64, (span, limit): (Span, u64)) -> Page {
        match self.chat.query(Query::History { room: room_name(room), span, limit }) {
            Answer::History(page) => page,
            _ => Page { first: 1, last: 0, messages: Vec::new() },
        }
    }

    /// A lock, as the service shows it.
    pub fn lock(&self, lock: u64) -> Option<LockView> {
        match self.locks.query(lock::Query::Show { name: lock_name(lock) }) {
            lock::Answer::Lock(view) => Some(view),
            _ => None,
        }
    }

    /// Those who wait for a lock, the next first.
    pub fn queue(&self, lock: u64) -> Vec<LockSession> {
        match self.locks.query(lock::Query::Queue { name: lock_name(lock), skip: 0 }) {
            lock::Answer::Queue(queue) => queue.into_iter().map(|waiter| waiter.session).collect(),
            _ => Vec::new(),
        }
    }

    /// The id of the newest message of a room.
    pub fn last(&self, room: u64) -> u64 {
        self.page(room, (Span::Before(u64::MAX), 0)).last
    }

    /// What was told as something said in a room.
    pub fn said(event: &Event) -> Option<Message> {
        match postcard::from_bytes(&event.bytes).ok()? {
            Happening::Said(message) => Some(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_core::{SessionId, Slot};
    use std::collections::BTreeSet;

    fn apply(services: &mut Services, command: u64) -> u64 {
        let mut events = Vec::new();
        let mut context = Context::new(Slot(1), Time(0), SessionId(1), "client/1", &mut events);
        services.apply(&mut context, command)
    }

    #[test]
    fn one_counts_as_alone_and_the_other_speaks() {
        let mut services = Services::default();
        assert_eq!(apply(&mut services, 7), 7);
        assert!(services.due().is_some(), "the counter has an alarm");
        assert_eq!(Sum::restore(&services.snapshot()).unwrap(), services.sum);
        assert_eq!(Services::restore(&services.snapshot()).unwrap(), services);
        let speech = Speech::new(3, 9, 5);
        assert_eq!((speech.room(), speech.lines().count()), (2, 2));
        assert_eq!(apply(&mut services, speech.command()), 1);
        assert_eq!(apply(&mut services, speech.command()), 3);
        assert_eq!((services.last(2), services.last(0)), (4, 0));
        let all = services.page(2, (Span::After(0), 9)).messages;
        let texts: BTreeSet<_> = all.into_iter().map(|message| message.text).collect();
        assert_eq!(texts, speech.lines().map(|line| line.to_string()).collect());
        assert_eq!(Services::restore(&services.snapshot()).unwrap(), services);
    }

    #[test]
    fn locks_are_beside_them_and_part_of_every_snapshot() {
        let mut services = Services::default();
        let mut ask = |demand: Demand| Told::of(apply(&mut services, demand.command()));
        assert_eq!(ask(Demand::Open { terms: 3 }), Told::Opened(1));
        assert_eq!(ask(Demand::Open { terms: 3 }), Told::Opened(2));
        assert_eq!(ask(Demand::Acquire { session: 1, lock: 2, waits: false }), Told::Held(1));
        assert_eq!(ask(Demand::Acquire { session: 2, lock: 2, waits: true }), Told::Waiting(1));
        assert_eq!(ask(Demand::Release { session: 2, lock: 2, token: 1 }), Told::NotHolder);
        assert_eq!(ask(Demand::Renew { session: 9 }), Told::Expired);
        assert_eq!(apply(&mut services, DEMANDS | 0x3f << 56), Told::Refused.reply());
        assert_eq!(services.queue(2), [LockSession(2)]);
        assert_eq!(services.lock(2).unwrap().holder.unwrap().session, LockSession(1));
        let speech = Speech::new(3, 9, 5);
        assert_eq!(apply(&mut services, speech.command()), 1);
        assert_eq!(Services::restore(&services.snapshot()).unwrap(), services);
        let alarm = Time(1_050_000);
        assert_eq!((services.sum.due(), services.due()), (None, Some(alarm)));
        let mut events = Vec::new();
        let mut context = Context::new(Slot(2), alarm, SessionId(0), "", &mut events);
        services.wake(&mut context);
        assert_eq!((services.due(), services.lock(2).unwrap().holder), (None, None));
    }

    #[test]
    fn no_two_speeches_have_a_line_in_common() {
        let mut lines = BTreeSet::new();
        for (client, sequence) in [(0, 1), (0, 2), (1, 1), (1, 2), (8, 300)] {
            for line in Speech::new(client, sequence, 8).lines() {
                assert!(lines.insert(line) && line >= SAY);
            }
        }
    }
}
