//! Stories of locks, each replica told the same ones; and everything else that clients may send.

use std::time::Duration;

use bytes::Bytes;
use paxos_core::batch::{Commands, Entry};
use paxos_core::{
    Ballot, Batch, Configurations, Membership, NodeId, Operation, Origin, Outcome, Rejection,
    Replica, SessionId, Slot, Time, Value,
};

use crate::machine::{Command, Done, LockService, Query, Standing};
use crate::{Answer, LockSession, Refusal, Terms, Token};

mod clients;
mod faults;
mod streams;

type Told = Result<Done, Refusal>;

const TERMS: Terms = Terms { ttl: Duration::from_secs(10), grace: Duration::from_secs(2) };

/// By then a session without a sign of life has ended, and not a microsecond before.
const SPAN: u64 = 12_500_000;

/// A replica of the service, with the sessions of two clients of the framework.
struct Story {
    replica: Replica<LockService>,
    slot: u64,
    now: u64,
    leader: u64,
    /// What was told, as topic and event.
    told: Vec<(String, crate::event::Event)>,
    sequences: [u64; 2],
}

impl Story {
    fn new() -> Story {
        let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
        let genesis = Configurations::genesis(Membership::of_voters(voters).unwrap());
        let replica = Replica::new(genesis);
        let mut story =
            Story { replica, slot: 0, now: 1, leader: 1, told: Vec::new(), sequences: [0; 2] };
        story.operate(0, Operation::Open);
        story.operate(1, Operation::Open);
        story
    }

    fn ballot(&self) -> Ballot {
        Ballot { round: self.leader, node: NodeId(1), incarnation: 1 }
    }

    fn batch(&mut self, bytes: Bytes) -> Vec<Outcome> {
        self.slot += 1;
        let batch = Batch { stamp: Time(self.now), by: self.ballot(), bytes };
        let applied = self.replica.apply(Slot(self.slot), &Value::Commands(batch));
        for event in applied.events {
            self.told.push((event.topic, postcard::from_bytes(&event.bytes).unwrap()));
        }
        self.replica.machine().check();
        applied.outcomes
    }

    fn operate(&mut self, client: usize, operation: Operation) -> Outcome {
        let origin = Origin { node: NodeId(1), incarnation: 1, number: self.slot };
        let identities = vec![format!("client/{client}")];
        let entries = vec![Entry { identity: 0, operation }];
        let outcomes = self.batch(Commands { origin, identities, entries }.encode());
        outcomes.into_iter().next().unwrap()
    }

    /// A client of the framework, 0 or 1, has a command run.
    fn run_as(&mut self, client: usize, command: &Command) -> Told {
        self.sequences[client] += 1;
        self.repeat(client, self.sequences[client], command)
    }

    fn repeat(&mut self, client: usize, sequence: u64, command: &Command) -> Told {
        let command = Bytes::from(postcard::to_stdvec(command).unwrap());
        let session = SessionId(client as u64 + 1);
        match self.operate(client, Operation::Run { session, sequence, command }) {
            Outcome::Replied(reply) => postcard::from_bytes(&reply).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, command: &Command) -> Told {
        self.run_as(0, command)
    }

    fn open(&mut self) -> LockSession {
        match self.run(&Command::Open { terms: TERMS }) {
            Ok(Done::Opened(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    fn acquire(&mut self, session: LockSession, name: &str) -> Result<Standing, Refusal> {
        let command = Command::Acquire { session, name: name.to_owned(), waits: true };
        match self.run(&command)? {
            Done::Standing(standing) => Ok(standing),
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, session: LockSession, name: &str, token: u64) -> Told {
        self.run(&Command::Release { session, name: name.to_owned(), token: Token(token) })
    }

    fn renew(&mut self, session: LockSession) -> Told {
        self.run(&Command::Renew { session })
    }

    /// Time goes on, and a batch without commands brings it.
    fn pass(&mut self, micros: u64) {
        self.now += micros;
        self.batch(Bytes::new());
    }

    /// Another leader stamps the next batches.
    fn change_leader(&mut self) {
        self.leader += 1;
    }

    fn holder(&self, name: &str) -> Option<(LockSession, Token)> {
        match self.replica.machine().query_of(Query::Show { name: name.to_owned() }) {
            Answer::Lock(lock) => lock.holder.map(|holder| (holder.session, holder.token)),
            other => panic!("{other:?}"),
        }
    }

    fn queue(&self, name: &str) -> Vec<LockSession> {
        match self.replica.machine().query_of(Query::Queue { name: name.to_owned(), skip: 0 }) {
            Answer::Queue(queue) => queue.into_iter().map(|waiter| waiter.session).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The topics of those to whom a lock was granted while they waited, in order.
    fn called(&self) -> Vec<&str> {
        let granted = self.told.iter().filter(|(topic, event)| {
            topic.starts_with("session/") && matches!(event, crate::event::Event::Granted { .. })
        });
        granted.map(|(topic, _)| topic.as_str()).collect()
    }
}

impl LockService {
    fn query_of(&self, query: Query) -> Answer {
        paxos_core::StateMachine::query(self, query)
    }
}

fn held(token: u64) -> Result<Standing, Refusal> {
    Ok(Standing::Held(Token(token)))
}

fn rejected(outcome: Outcome) -> Rejection {
    match outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}
