//! Locks, judged from the log: what each slot asks for and when, in replicated time, and what nodes
//! answer and tell. A lock has one holder at a time, whose grant ends when it gives it back or when
//! its session has shown no sign of life for its time; tokens rise; who waits is served in turn.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use lock::event::Event;
use paxos_core::{Ballot, NodeId, SessionId, Slot, Time};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use crate::simulation::demands::{Demand, Told, terms};

/// What a slot brings.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Its stamp, and whose that is.
    pub stamp: Option<(Time, Ballot)>,
    /// What was asked for.
    pub asked: Option<Asked>,
    /// What was told, by topic, in order.
    pub told: Vec<(String, Event)>,
}

/// A command, as the log has it, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The session of the client, not that of the locks.
    pub by: SessionId,
    /// The command's number in it.
    pub sequence: u64,
    /// What it asks for.
    pub demand: Demand,
    /// The answer; `None` if it was not run.
    pub told: Option<Told>,
}

/// What there was to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Grants,
    pub grants: u64,
    /// those of them to one who had waited,
    pub handed_over: u64,
    /// and those that ended since their session had.
    pub expired: u64,
    /// Signs of life of one who held a lock.
    pub renewed: u64,
    /// Waits that ended without a grant.
    pub left: u64,
    /// Demands by a session that had ended, or by a grant that was over.
    pub late: u64,
    /// Tokens that were refused by what the lock protects.
    pub fenced: u64,
}

impl Tally {
    /// Adds what there was to judge elsewhere.
    pub fn add(&mut self, other: Tally) {
        let Tally { grants, handed_over, expired, renewed, left, late, fenced } = other;
        self.grants += grants;
        self.handed_over += handed_over;
        self.expired += expired;
        self.renewed += renewed;
        self.left += left;
        self.late += late;
        self.fenced += fenced;
    }
}

/// Watches the locks.
#[derive(Debug, Default)]
pub struct Locks {
    /// Slots that wait for one before them.
    ahead: BTreeMap<Slot, Step>,
    /// What was answered and told in each slot so far, in short.
    heard: Vec<u64>,
    time: Time,
    led: Ballot,
    /// The last command of each client, and its answer.
    answered: BTreeMap<SessionId, (u64, Told)>,
    /// The highest session.
    opened: u64,
    sessions: BTreeMap<u64, Session>,
    locks: BTreeMap<u64, Lock>,
    /// Grants that ended since nothing was heard of who had them: lock and token.
    lost: Vec<(u64, u64)>,
    /// What was told in the present slot and is not explained yet.
    told: Vec<(String, Event)>,
    tally: Tally,
}

/// A session that lives.
#[derive(Clone, Copy, Debug)]
struct Session {
    span: Duration,
    until: Time,
}

#[derive(Clone, Debug, Default)]
struct Lock {
    last: u64,
    /// Session and token.
    holder: Option<(u64, u64)>,
    queue: VecDeque<u64>,
}

type Checked = Result<(), String>;

impl Locks {
    /// A node applies a slot. Every one must answer and tell the same; the first is judged.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn applied(&mut self, node: NodeId, slot: Slot, step: Step) -> Checked {
        if let Some(known) = self.heard.get(slot.0 as usize - 1) {
            return match *known == short(&step) {
                true => Ok(()),
                false => Err(format!("locks: {node} makes something else of {slot}: {step:?}")),
            };
        }
        if let Some(known) = self.ahead.get(&slot).filter(|known| short(known) != short(&step)) {
            return Err(format!("locks: {node} makes of {slot} {step:?}, and another {known:?}"));
        }
        self.ahead.entry(slot).or_insert(step);
        while let Some(step) = self.ahead.remove(&self.next()) {
            let slot = self.next();
            self.heard.push(short(&step));
            self.judge(step).map_err(|broken| format!("locks: in slot {slot}: {broken}"))?;
        }
        Ok(())
    }

    fn next(&self) -> Slot {
        Slot(self.heard.len() as u64 + 1)
    }

    /// The grant of a lock that is in force, by session and token.
    pub fn holder(&self, lock: u64) -> Option<(u64, u64)> {
        self.locks.get(&lock)?.holder
    }

    /// Which grants have ended since it was asked last, and not by their holder's wish.
    pub fn take_lost(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.lost)
    }

    /// What there was to judge so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What a node shows of a lock in the end: holder, last token, and queue.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn shown(&self, lock: u64, shown: &(Option<(u64, u64)>, u64, Vec<u64>)) -> Checked {
        let Lock { last, holder, queue } = self.locks.get(&lock).cloned().unwrap_or_default();
        let due = (holder, last, Vec::from(queue));
        match due == *shown {
            true => Ok(()),
            false => Err(format!("locks: of lock {lock} is shown {shown:?}, and due is {due:?}")),
        }
    }

    /// The run is over, and nothing more is due, or some of it did not happen.
    ///
    /// # Errors
    /// What is violated, in words.
    pub fn end(&self, all_happened: bool) -> Checked {
        if let Some((slot, _)) = self.ahead.first_key_value() {
            let next = self.next();
            return Err(format!("locks: nobody applied {next}, and somebody applied {slot}"));
        }
        match self.sessions.first_key_value().filter(|_| all_happened) {
            Some((id, session)) => Err(format!("locks: session {id} lives beyond {session:?}")),
            None => Ok(()),
        }
    }

    fn judge(&mut self, step: Step) -> Checked {
        let Step { stamp, asked, told } = step;
        self.told = told;
        if let Some((stamp, by)) = stamp {
            self.time = self.time.max(stamp);
            if by != self.led {
                // By another leader's clock: everybody has the whole time again.
                self.led = by;
                let time = self.time;
                self.sessions.values_mut().for_each(|it| it.until = time.after(it.span));
            }
        }
        self.pass_time()?;
        if let Some(asked) = asked {
            self.asked(asked)?;
        }
        self.nothing_else()
    }

    /// What is told must have had a reason.
    fn nothing_else(&self) -> Checked {
        let holder = |topic: &String| {
            let mut locks = self.locks.iter();
            locks.find(|(lock, _)| *topic == lock_topic(**lock)).and_then(|(_, it)| it.holder)
        };
        for (topic, event) in &self.told {
            if let (Event::Granted { session, .. }, Some((by, _))) = (event, holder(topic)) {
                return Err(format!("{topic} is given to {session}, and {by} holds it"));
            }
        }
        for (topic, event) in &self.told {
            if let (Event::Expired { session, .. }, Some(_)) = (event, holder(topic)) {
                return Err(format!("{topic} is taken from {session} before its time"));
            }
        }
        match self.told.first() {
            Some((topic, event)) => Err(format!("{topic} is told without reason: {event:?}")),
            None => Ok(()),
        }
    }

    /// Sessions end whose time is over.
    fn pass_time(&mut self) -> Checked {
        let time = self.time;
        let over = |(id, it): (&u64, &Session)| (it.until <= time).then_some((it.until, *id));
        let mut over: Vec<_> = self.sessions.iter().filter_map(over).collect();
        over.sort_unstable();
        // All of them leave the queues before anybody is served.
        let mut vacant = Vec::new();
        for (until, id) in over {
            let ended = self.end_session(id, true, &mut vacant);
            ended.map_err(|broken| format!("{broken}: session {id} was over at {until}"))?;
            if !self.is_told(&session_topic(id), |it| matches!(it, Event::Gone { .. })) {
                return Err(format!("session {id} was over at {until}, and is not told so"));
            }
        }
        vacant.into_iter().try_for_each(|lock| self.serve(lock))
    }

    fn end_session(&mut self, id: u64, late: bool, vacant: &mut Vec<u64>) -> Checked {
        self.sessions.remove(&id);
        for lock in self.locks.keys().copied().collect::<Vec<_>>() {
            let Some(it) = self.locks.get_mut(&lock) else { continue };
            let before = it.queue.len();
            it.queue.retain(|waiter| *waiter != id);
            if it.queue.len() < before {
                self.tally.left += 1;
                let left = |it: &Event| matches!(it, Event::Left { session } if session.0 == id);
                if !self.is_told(&lock_topic(lock), left) {
                    return Err(format!("{id} still waits for lock {lock}"));
                }
            } else if let Some((_, token)) = it.holder.filter(|(holder, _)| *holder == id) {
                it.holder = None;
                vacant.push(lock);
                if late {
                    self.lost.push((lock, token));
                    self.tally.expired += 1;
                }
                let over = |it: &Event| match it {
                    Event::Expired { session, token: by } if late => {
                        (session.0, by.0) == (id, token)
                    }
                    Event::Released { session, token: by } => {
                        !late && (session.0, by.0) == (id, token)
                    }
                    _ => false,
                };
                if !self.is_told(&lock_topic(lock), over) {
                    return Err(format!("{id} still has grant {token} of lock {lock}"));
                }
            }
        }
        Ok(())
    }

    /// A lock that is free goes to who has waited longest, and it alone is called.
    fn serve(&mut self, lock: u64) -> Checked {
        let Some(first) = self.locks.entry(lock).or_default().queue.pop_front() else {
            return Ok(());
        };
        let token = self.granted(lock, first)?;
        self.tally.handed_over += 1;
        let called = |it: &Event| match it {
            Event::Granted { session, token: by, .. } => (session.0, by.0) == (first, token),
            _ => false,
        };
        match self.is_told(&session_topic(first), called) {
            true => Ok(()),
            false => Err(format!("{first} is given lock {lock}, and is not called")),
        }
    }

    /// It is told that a free lock goes to this session; answers the token.
    fn granted(&mut self, lock: u64, to: u64) -> Result<u64, String> {
        let topic = lock_topic(lock);
        let grant = |told: &(String, Event)| match &told.1 {
            Event::Granted { session, token, .. } if told.0 == topic => Some((session.0, token.0)),
            _ => None,
        };
        let place = self.told.iter().position(|told| grant(told).is_some());
        let Some((session, token)) = place.and_then(|place| grant(&self.told.remove(place))) else {
            return Err(format!("lock {lock} is free, and {to} is next and is not given it"));
        };
        if session != to {
            return Err(format!("lock {lock} is given to {session}, where {to} is next"));
        }
        let it = self.locks.entry(lock).or_default();
        if token <= it.last {
            return Err(format!("lock {lock} is granted with {token} after {}", it.last));
        }
        (it.last, it.holder) = (token, Some((session, token)));
        self.tally.grants += 1;
        Ok(token)
    }

    /// Whether this is told of a topic, once more than it was explained so far.
    fn is_told(&mut self, topic: &str, is: impl Fn(&Event) -> bool) -> bool {
        let place = self.told.iter().position(|(about, event)| about == topic && is(event));
        place.map(|place| self.told.remove(place)).is_some()
    }

    fn asked(&mut self, asked: Asked) -> Checked {
        let Asked { by, sequence, demand, told } = asked;
        let before = self.answered.get(&by).copied();
        if let Some((last, answer)) = before.filter(|(last, _)| sequence <= *last) {
            return match told {
                Some(told) if sequence == last && told != answer => {
                    Err(format!("{demand:?} was answered {answer:?}, and now {told:?}"))
                }
                _ => Ok(()),
            };
        }
        let Some(told) = told else { return Ok(()) };
        self.answered.insert(by, (sequence, told));
        let due = self.due(demand, told)?;
        if told == due {
            return Ok(());
        }
        let lock = match demand {
            Demand::Acquire { lock, .. } => self.holder(lock),
            _ => None,
        };
        Err(format!("{demand:?} is answered {told:?}, and due is {due:?}; it is held by {lock:?}"))
    }

    /// What has to be answered, given the answer where that has a choice.
    fn due(&mut self, demand: Demand, told: Told) -> Result<Told, String> {
        let session = match demand {
            Demand::Open { terms: number } => {
                let Told::Opened(id) = told else { return Ok(Told::Opened(self.opened + 1)) };
                if id <= self.opened {
                    return Err(format!("session {id} is opened after {}", self.opened));
                }
                self.opened = id;
                let terms = terms(number);
                let span = terms.ttl + terms.ttl * 5 / 100 + terms.grace;
                let until = self.time.after(span);
                self.sessions.insert(id, Session { span, until });
                return Ok(told);
            }
            Demand::Release { session, lock, token } => {
                if self.holder(lock) != Some((session, token)) {
                    self.tally.late += 1;
                    return Ok(Told::NotHolder);
                }
                session
            }
            Demand::Acquire { session, .. }
            | Demand::Renew { session }
            | Demand::Close { session } => session,
        };
        let Some(it) = self.sessions.get_mut(&session) else {
            self.tally.late += 1;
            return Ok(Told::Expired);
        };
        it.until = self.time.after(it.span);
        match demand {
            Demand::Acquire { lock, waits, .. } => return self.acquired(session, lock, waits),
            Demand::Renew { .. } | Demand::Open { .. } => {
                let holds = |it: &Lock| it.holder.is_some_and(|(holder, _)| holder == session);
                self.tally.renewed += u64::from(self.locks.values().any(holds));
            }
            Demand::Close { .. } => {
                let mut vacant = Vec::new();
                self.end_session(session, false, &mut vacant)?;
                vacant.into_iter().try_for_each(|lock| self.serve(lock))?;
                return Ok(Told::Closed);
            }
            Demand::Release { lock, .. } => {
                let holder = self.locks.entry(lock).or_default().holder.take();
                let back = |it: &Event| match it {
                    Event::Released { session, token } => Some((session.0, token.0)) == holder,
                    _ => false,
                };
                if !self.is_told(&lock_topic(lock), back) {
                    return Err(format!("lock {lock} is given back, and is not told so"));
                }
                self.serve(lock)?;
                return Ok(Told::Released);
            }
        }
        Ok(Told::Renewed)
    }

    fn acquired(&mut self, session: u64, lock: u64, waits: bool) -> Result<Told, String> {
        let it = self.locks.entry(lock).or_default();
        match it.holder {
            None => return self.granted(lock, session).map(Told::Held),
            Some((holder, token)) if holder == session => {
                self.tally.renewed += 1;
                return Ok(Told::Held(token));
            }
            Some(_) => {}
        }
        if let Some(place) = it.queue.iter().position(|waiter| *waiter == session) {
            return Ok(Told::Waiting(place as u64 + 1));
        }
        if !waits {
            return Ok(Told::Taken);
        }
        it.queue.push_back(session);
        let ahead = it.queue.len() as u64;
        let queued = |it: &Event| matches!(it, Event::Queued { session: id } if id.0 == session);
        match self.is_told(&lock_topic(lock), queued) {
            true => Ok(Told::Waiting(ahead)),
            false => {
                Err(format!("lock {lock} is held, and {session} does not come to wait for it"))
            }
        }
    }
}

fn short(step: &Step) -> u64 {
    let mut hasher = FxHasher::default();
    step.asked.hash(&mut hasher);
    for (topic, event) in &step.told {
        (topic, format!("{event:?}")).hash(&mut hasher);
    }
    hasher.finish()
}

fn lock_topic(lock: u64) -> String {
    format!("lock/lock-{lock}")
}

fn session_topic(session: u64) -> String {
    format!("session/{session}")
}

#[cfg(test)]
mod tests;
