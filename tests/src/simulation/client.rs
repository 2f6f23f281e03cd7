//! Simulated clients of a replicated counter, chat or lock service: one operation at a time,
//! retried under its session and sequence until it is answered.

use bytes::Bytes;
use paxos_core::batch::{Commands, Entry};
use paxos_core::{NodeId, Operation, Origin, Random, ReadLevel, SessionId, Time};

use super::demands::{Demand, Told};
use super::lockers::Locker;
use super::services::{Service, Speech};
use crate::checkers::counter_history::{Action, Call};
use crate::checkers::positions;

#[path = "../../../paxos-core/tests/support/sum.rs"]
mod sum;

pub use sum::Sum;

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its number, from 0.
    pub id: u64,
    /// Its session, once open.
    pub session: Option<SessionId>,
    /// The sequence of its last command.
    pub sequence: u64,
    /// What it uses.
    pub service: Service,
    /// Whether it may rely on leases.
    pub leases: bool,
    /// Operations left, the present one included.
    pub left: u64,
    /// What it waits for.
    pub present: Option<Present>,
    /// The node that it asks.
    pub node: NodeId,
    /// Attempts at the present operation.
    pub tries: u32,
    /// Attempts so far: names each, so that late answers to old ones are told apart.
    pub attempts: u64,
    /// What it has seen of the counter.
    pub history: Vec<Call>,
    /// What it has said, by room.
    pub said: Vec<(u64, positions::Call)>,
    /// How it stands with locks.
    pub locker: Locker,
}

/// An operation that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// When it was invoked.
    pub invoked: Time,
    /// What it is.
    pub wish: Wish,
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A session.
    Open,
    /// To add this much.
    Add(u64),
    /// To read, made certain like this.
    Read(ReadLevel),
    /// To say something.
    Say(Speech),
    /// To have a lock, or no longer.
    Lock(Demand),
}

impl Client {
    /// A client with so many operations before it.
    pub fn new(id: u64, operations: u64, service: Service, leases: bool) -> Self {
        Client {
            id,
            service,
            session: None,
            sequence: 0,
            leases,
            left: operations,
            present: None,
            node: NodeId(1),
            tries: 0,
            attempts: 0,
            history: Vec::new(),
            said: Vec::new(),
            locker: Locker::of(id),
        }
    }

    /// Begins the next operation, if one is left.
    pub fn begin(&mut self, now: Time, random: &mut Random, hurried: bool) -> bool {
        let wish = match self.session {
            _ if self.left == 0 => return false,
            None => Wish::Open,
            Some(_) if self.service == Service::Chat => {
                self.sequence += 1;
                Wish::Say(Speech::new(self.id, self.sequence, random.below(1 << 16)))
            }
            Some(_) if self.service == Service::Lock => {
                self.sequence += 1;
                Wish::Lock(self.locker.wish(random, hurried, self.left == 1))
            }
            Some(_) if random.below(4) == 0 => match random.below(2) {
                0 if self.leases => Wish::Read(ReadLevel::Lease),
                _ => Wish::Read(ReadLevel::Linearizable),
            },
            Some(_) => {
                self.sequence += 1;
                Wish::Add(1 + random.below(9))
            }
        };
        self.present = Some(Present { invoked: now, wish });
        self.tries = 0;
        true
    }

    /// The batch that asks for it; `None` for a read.
    pub fn batch(&self, node: NodeId, incarnation: u64) -> Option<Bytes> {
        let command = match self.present?.wish {
            Wish::Open => None,
            Wish::Add(by) => Some(by),
            Wish::Say(speech) => Some(speech.command()),
            Wish::Lock(demand) => Some(demand.command()),
            Wish::Read(_) => return None,
        };
        let operation = match command {
            None => Operation::Open,
            Some(command) => Operation::Run {
                session: self.session?,
                sequence: self.sequence,
                command: postcard::to_stdvec(&command).ok()?.into(),
            },
        };
        let commands = Commands {
            origin: Origin { node, incarnation, number: self.ticket() },
            identities: vec![format!("client/{}", self.id)],
            entries: vec![Entry { identity: 0, operation }],
        };
        Some(commands.encode())
    }

    /// Names the present attempt.
    pub fn ticket(&self) -> u64 {
        (self.id << 32) | self.attempts
    }

    /// The client of a ticket, and whether the attempt it names is the present one.
    pub fn of_ticket(ticket: u64) -> (usize, u64) {
        ((ticket >> 32) as usize, ticket & 0xffff_ffff)
    }

    /// The operation is answered.
    pub fn end(&mut self, now: Time, value: u64) {
        let Some(Present { invoked, wish }) = self.present.take() else { return };
        let action = match wish {
            Wish::Open => return self.session = Some(SessionId(value)),
            Wish::Add(by) => Action::Increment { by, became: Some(value) },
            Wish::Read(_) => Action::Read(value),
            Wish::Say(speech) => {
                self.left -= 1;
                return self.heard(now, invoked, speech, value);
            }
            Wish::Lock(demand) => {
                self.locker.told((invoked, now), demand, Told::of(value));
                // Nobody stops while it waits for a lock, or has one.
                self.left = (self.left - 1).max(u64::from(!self.locker.is_free()));
                return;
            }
        };
        self.left -= 1;
        self.history.push(Call { invoked: invoked.0, answered: Some(now.0), action });
    }

    /// What it said has got its numbers.
    fn heard(&mut self, now: Time, invoked: Time, speech: Speech, first: u64) {
        for (value, position) in speech.lines().zip(first..) {
            let action = positions::Action::Append { value, position: Some(position) };
            let call = positions::Call { invoked: invoked.0, answered: Some(now.0), action };
            self.said.push((speech.room(), call));
        }
    }
}
