//! What clients of a lock service do: they take a lock, or queue for it, hold it for a while, take
//! another beside it, show tokens to what locks protect, renew, give back; give up waiting; or fall
//! silent, until their session is gone, and then go on as if nothing had been.

use std::time::Duration;

use paxos_core::batch::Commands;
use paxos_core::{Event, NodeId, Operation, Outcome, Random, Slot, Time, Value};

use super::demands::{Demand, LOCKS, TERMS, Told, terms};
use super::services::Service;
use super::world::World;
use crate::checkers::holders::Belief;
use crate::checkers::locks::{Asked, Step, Tally};
use crate::checkers::tokens;

/// A client of a lock service.
#[derive(Clone, Debug, Default)]
pub struct Locker {
    /// Its session, and the number of the terms.
    session: Option<(u64, u64)>,
    stage: Stage,
    /// What it was told to hold, each lock with its token, the newest last.
    held: Vec<(u64, u64)>,
    /// What it was granted, by lock.
    pub granted: Vec<(u64, tokens::Call)>,
    /// What it is sure to hold, by its own clock.
    pub sure: Vec<Belief>,
    /// Its clock is slow by so many thousandths.
    slow: u32,
    /// How often it was answered.
    pub answered: usize,
}

/// Where a locker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// It neither has a lock nor waits for one.
    #[default]
    Free,
    /// It waits for a lock, for which it asked first at this time.
    Waits { lock: u64, since: Time },
    /// It was told that it holds a lock, or some.
    Holds,
}

/// The slowest clock of a locker is slow by so many thousandths.
const SLOW_MAX: u64 = 50;

/// A locker gives so many signs of life in a ttl, if it has the time.
const SIGNS: u32 = 3;

/// One time in so many a locker that holds or waits falls silent for longer than its session lives.
const SILENT: u64 = 10;

impl Locker {
    /// The locker that a client is.
    pub fn of(client: u64) -> Locker {
        Locker { slow: (client * 10 % (SLOW_MAX + 10)) as u32, ..Locker::default() }
    }

    /// What it asks for next. In the end, and in a hurry, it leaves nothing behind.
    pub fn wish(&mut self, random: &mut Random, hurried: bool, is_last: bool) -> Demand {
        let chance = random.below(12);
        let (lock, terms) = (random.below(LOCKS), random.below(TERMS));
        let Some((session, _)) = self.session else { return Demand::Open { terms } };
        // Of several locks it gives back the newest first.
        let (newest, token) = self.held.last().copied().unwrap_or_default();
        let give_back = Demand::Release { session, lock: newest, token };
        let demand = match self.stage {
            Stage::Free if chance == 0 || hurried && is_last => Demand::Close { session },
            Stage::Free if chance == 1 => Demand::Renew { session },
            Stage::Free => Demand::Acquire { session, lock, waits: chance < 10 },
            Stage::Waits { .. } if chance == 0 && !hurried => Demand::Close { session },
            Stage::Waits { lock, .. } => Demand::Acquire { session, lock, waits: true },
            Stage::Holds => match chance {
                0 => Demand::Close { session },
                1..4 => give_back,
                _ if hurried => give_back,
                // Asked for the same it is told the same. For another it never waits, since who has
                // that may wait for this one.
                4..7 => Demand::Acquire { session, lock, waits: false },
                _ => Demand::Renew { session },
            },
        };
        // Who gives something back has done with it before it asks.
        match demand {
            Demand::Close { .. } => self.sure.clear(),
            Demand::Release { lock, .. } => self.sure.retain(|belief| belief.lock != lock),
            _ => {}
        }
        demand
    }

    /// What it asked for, first at this time, is answered.
    pub fn told(&mut self, (invoked, now): (Time, Time), demand: Demand, told: Told) {
        self.answered += 1;
        match (demand, told) {
            (Demand::Open { terms }, Told::Opened(session)) => {
                self.session = Some((session, terms));
            }
            (Demand::Acquire { lock, .. }, Told::Held(token)) => {
                if !self.held.contains(&(lock, token)) {
                    let since = match self.stage {
                        Stage::Waits { since, .. } => since,
                        Stage::Free | Stage::Holds => invoked,
                    };
                    let action = tokens::Action::Granted(token);
                    let call = tokens::Call { invoked: since.0, answered: now.0, action };
                    self.granted.push((lock, call));
                    self.held.push((lock, token));
                }
                self.stage = Stage::Holds;
                self.lives(invoked);
            }
            (Demand::Acquire { lock, .. }, Told::Waiting(_)) => {
                if !matches!(self.stage, Stage::Waits { .. }) {
                    self.stage = Stage::Waits { lock, since: invoked };
                }
            }
            (Demand::Renew { .. }, Told::Renewed) | (Demand::Acquire { .. }, Told::Taken) => {
                self.lives(invoked);
            }
            (Demand::Release { lock, .. }, Told::Released | Told::NotHolder) => {
                self.held.retain(|(held, _)| *held != lock);
                self.stage = if self.held.is_empty() { Stage::Free } else { Stage::Holds };
            }
            _ => {
                *self = Locker { session: None, stage: Stage::Free, ..std::mem::take(self) };
                self.held.clear();
                self.sure.clear();
            }
        }
    }

    /// What it holds, it holds for a ttl from when it sent what was answered.
    fn lives(&mut self, sent: Time) {
        let Some(ttl) = self.ttl() else { return };
        let until = sent.after(ttl + ttl * self.slow / 1000);
        let sure = |(lock, token): &(u64, u64)| Belief { lock: *lock, token: *token, until };
        self.sure = self.held.iter().map(sure).collect();
    }

    /// What it would show to whatever its newest lock protects.
    pub fn shows(&self) -> Option<(u64, u64)> {
        self.held.last().copied()
    }

    /// Whether it neither has a lock nor waits for one.
    pub fn is_free(&self) -> bool {
        self.stage == Stage::Free
    }

    /// How long it may be until it has to give a sign of life, if it has to.
    fn busy(&self) -> Option<Duration> {
        self.ttl().filter(|_| self.stage != Stage::Free).map(|ttl| ttl / SIGNS)
    }

    fn ttl(&self) -> Option<Duration> {
        self.session.map(|(_, number)| terms(number).ttl)
    }
}

impl World<'_> {
    /// How long a client may pause at most until its next operation, if it is a locker that has to
    /// give signs of life, or that has had enough.
    pub(super) fn locker_pauses(&mut self, id: usize) -> Option<Duration> {
        let busy = self.clients[id].locker.busy()?;
        let silent = self.healed.is_none() && self.random.below(SILENT) == 0;
        Some(if silent { busy * SIGNS * 4 } else { busy })
    }

    /// What a client is sure of may have changed.
    pub(super) fn mind_belief(&mut self, id: usize) -> Result<(), String> {
        let sure = &self.clients[id].locker.sure;
        let in_force = |lock| self.locks.holder(lock).map(|(_, token)| token);
        self.holders.believes(self.now, id, sure, in_force)
    }

    /// A node has applied a slot: what it asked for and told about locks is judged.
    pub(super) fn hear_locks(
        &mut self,
        node: NodeId,
        slot: Slot,
        value: &Value,
        (outcomes, events): (&[Outcome], &[Event]),
    ) -> Result<(), String> {
        if self.plan.service != Service::Lock {
            return Ok(());
        }
        let mut step = Step::default();
        if let Value::Commands(batch) = value {
            step.stamp = Some((batch.stamp, batch.by));
            step.asked = asked(&batch.bytes, outcomes);
        }
        for event in events {
            let told = postcard::from_bytes(&event.bytes);
            let told = told.map_err(|error| format!("locks: told what is no event: {error}"))?;
            step.told.push((event.topic.clone(), told));
        }
        self.locks.applied(node, slot, step)?;
        let lost = self.locks.take_lost();
        lost.into_iter().try_for_each(|(lock, token)| self.holders.lost(self.now, lock, token))
    }

    /// In the end nodes show what is due, and what clients were told of their tokens fits. Answers
    /// what there was to judge, and how many demands were answered.
    pub(super) fn check_locks(&self) -> Result<(Tally, usize), String> {
        if self.plan.service != Service::Lock {
            return Ok((Tally::default(), 0));
        }
        self.locks.end(self.plan.alarms)?;
        for running in self.running.values().filter(|running| running.next().is_some()) {
            for lock in 0..LOCKS {
                let machine = running.replica.machine();
                let Some(view) = machine.lock(lock) else { continue };
                let holder = view.holder.map(|holder| (holder.session.0, holder.token.0));
                let queue = machine.queue(lock).into_iter().map(|session| session.0).collect();
                self.locks.shown(lock, &(holder, view.last.0, queue))?;
            }
        }
        let lockers = || self.clients.iter().map(|client| &client.locker);
        for lock in 0..LOCKS {
            let granted = lockers().flat_map(|locker| &locker.granted);
            let calls: Vec<_> =
                granted.filter(|(of, _)| *of == lock).map(|(_, call)| *call).collect();
            tokens::check(&calls)?;
        }
        let tally = Tally { fenced: self.holders.refused(), ..self.locks.tally() };
        Ok((tally, lockers().map(|locker| locker.answered).sum()))
    }

    /// A locker begins its next operation: it may show its token before, in time or late.
    pub(super) fn use_lock(&mut self, id: usize) -> Result<(), String> {
        if self.plan.service != Service::Lock {
            return Ok(());
        }
        let locker = &self.clients[id].locker;
        match locker.shows() {
            Some(shown) if self.random.below(2) == 0 => {
                let (lock, token) = shown;
                let sure = |belief: &Belief| belief.lock == lock && belief.until > self.now;
                let is_sure = locker.sure.iter().any(sure);
                let taken = self.holders.shown(id, shown, is_sure)?;
                let how = if taken { "takes" } else { "refuses" };
                self.told(NodeId(0), || {
                    format!("what lock {lock} protects {how} token {token} of client {id}")
                });
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a batch asks for, if it is a command about locks, and the answer.
fn asked(batch: &[u8], outcomes: &[Outcome]) -> Option<Asked> {
    let commands = Commands::decode(batch)?;
    let [entry] = commands.entries.as_slice() else { return None };
    let Operation::Run { session: by, sequence, command } = &entry.operation else { return None };
    let demand = Demand::of(postcard::from_bytes(command).ok()?)?;
    let told = match outcomes {
        [Outcome::Replied(reply)] => postcard::from_bytes(reply).ok().map(Told::of),
        _ => None,
    };
    Some(Asked { by: *by, sequence: *sequence, demand, told })
}
