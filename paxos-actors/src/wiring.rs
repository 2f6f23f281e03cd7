//! Who hears what: the addresses of a node's actors and links, and the routes between them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use actix::Recipient;
use paxos_core::{Envelope, Governance, Message, NodeId, RoleKind, receivers};
use paxos_net::protocol::Unavailable;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::messages::{
    Ask, Decided, Decision, Deliver, Describe, GatewayInput, Halt, Shelve, Write,
};
use crate::observer::{Observer, Shown};
use crate::roster::Roster;
use crate::watches::{Follow, Forsake};

/// Bytes that may wait for the log; beyond them the node drops what is addressed to its acceptor.
pub const WRITE_QUEUE_MAX: usize = 32 << 20;

/// Everything that the actors of one node reach each other by. It is complete before any of them
/// runs.
pub struct Wiring {
    /// The node.
    pub me: NodeId,
    /// Its run.
    pub incarnation: u64,
    /// Its time.
    pub clock: Clock,
    /// Who is shown what happens, if anybody is.
    pub observer: Option<Observer>,
    /// The roles that this process hosts.
    pub roles: BTreeMap<RoleKind, RoleAddress>,
    /// The log.
    pub log: Recipient<Write>,
    /// The state, if this process keeps it.
    pub state: Option<StateAddress>,
    /// The gateway.
    pub gateway: Recipient<GatewayInput>,
    /// Every actor, to stop it.
    pub halts: Vec<Recipient<Halt>>,
    /// Who takes part, and the links to them; set once the endpoint is there.
    pub roster: OnceLock<Roster>,
    /// Where the end of the node is reported.
    pub failures: UnboundedSender<Failure>,
    /// The node is being stopped: actors may end.
    pub stopping: AtomicBool,
    /// Bytes that wait for the log.
    pub writing: AtomicUsize,
    /// Messages dropped because something was full.
    pub dropped: AtomicU64,
    /// Requests that wait at the gateway.
    pub waiting: AtomicUsize,
}

/// How a role is reached.
pub struct RoleAddress {
    /// With messages.
    pub deliver: Recipient<Deliver>,
    /// With the question what it knows.
    pub describe: Recipient<Describe>,
}

/// How the state is reached.
pub struct StateAddress {
    /// The state machine.
    pub apply: Recipient<Decided>,
    /// The same, with queries.
    pub ask: Recipient<Ask>,
    /// The same, with those who watch.
    pub follow: Recipient<Follow>,
    /// The same, with the news that they watch in vain.
    pub forsake: Recipient<Forsake>,
    /// The snapshots.
    pub shelf: Recipient<Shelve>,
}

/// Shared by all actors of a node.
pub type Wires = Arc<Wiring>;

/// Messages on their way, by the role of this node that receives them.
type Sorted = BTreeMap<RoleKind, Vec<(NodeId, Message)>>;

impl Wiring {
    /// Sends envelopes on their way: to other nodes by their links, to this one by its roles.
    pub fn dispatch(&self, envelopes: impl IntoIterator<Item = Envelope>) {
        let mut inside = Sorted::new();
        for envelope in envelopes {
            self.show(&Shown::Sent(&envelope));
            let Envelope { from, to, message } = envelope;
            if to == self.me {
                sort(&mut inside, from, message);
            } else if let Some(roster) = self.roster.get() {
                roster.links.send(to, &message);
            }
        }
        for (role, batch) in inside {
            if let Some(address) = self.roles.get(&role) {
                address.deliver.do_send(Deliver(batch));
            }
        }
    }

    /// Hands messages of another node to the roles; what finds a full mailbox is dropped, as a
    /// network would drop it.
    pub fn receive(&self, from: NodeId, messages: Vec<Message>) {
        let mut inside = Sorted::new();
        for message in messages {
            self.show(&Shown::Received { from, message: &message });
            sort(&mut inside, from, message);
        }
        let choked = self.writing.load(Ordering::Relaxed) > WRITE_QUEUE_MAX;
        for (role, batch) in inside {
            let Some(address) = self.roles.get(&role) else { continue };
            let count = batch.len() as u64;
            let full = (choked && role == RoleKind::Acceptor)
                || address.deliver.try_send(Deliver(batch)).is_err();
            if full {
                self.dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Has the state machine do things. What keeps no state hosts no role that asks for it.
    pub fn decide(&self, decided: Vec<Decision>) {
        if let Some(state) = &self.state {
            state.apply.do_send(Decided(decided));
        }
    }

    /// Has queries answered.
    pub fn ask(&self, ask: Ask) {
        if let Some(state) = &self.state {
            state.ask.do_send(ask);
        }
    }

    /// Has somebody told what happens.
    pub fn follow(&self, follow: Follow) {
        if let Some(state) = &self.state {
            state.follow.do_send(follow);
        }
    }

    /// Has those who watch sent away.
    pub fn forsake(&self, why: Unavailable) {
        if let Some(state) = &self.state {
            state.forsake.do_send(Forsake(why));
        }
    }

    /// Has something done about snapshots.
    pub fn shelve(&self, job: Shelve) {
        if let Some(state) = &self.state {
            state.shelf.do_send(job);
        }
    }

    /// Shows what happens to whoever observes the node.
    pub fn show(&self, shown: &Shown<'_>) {
        if let Some(observer) = &self.observer {
            observer(shown);
        }
    }

    /// The memberships have changed, or the newest has settled.
    pub fn govern(&self, governance: Governance) {
        if let Some(Err(failure)) = self.roster.get().map(|roster| roster.govern(governance)) {
            self.fail(failure);
        }
    }

    /// The node cannot go on.
    pub fn fail(&self, failure: Failure) {
        if !self.stopping.load(Ordering::Relaxed) {
            // Nobody listens only when the node has already been taken down.
            self.failures.send(failure).ok();
        }
    }
}

fn sort(sorted: &mut Sorted, from: NodeId, message: Message) {
    if let [first, others @ ..] = receivers(&message) {
        for role in others {
            sorted.entry(*role).or_default().push((from, message.clone()));
        }
        sorted.entry(*first).or_default().push((from, message));
    }
}
