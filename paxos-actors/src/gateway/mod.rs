//! The gateway: where clients' requests become batches, and outcomes become answers. Any node's
//! gateway serves any client; one that does not lead relays to the leader's.

mod desk;
mod gathering;
mod pending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture,
    WrapFuture,
};
use paxos_core::{
    Change, Envelope, Inside, Membership, Message, NodeId, RoleKind, Slot, Status, Took,
};
use paxos_net::protocol::{
    ClientResponse, MembersReport, NodeReport, Refused, Relay, Response, Unavailable,
};

use desk::Order;
pub use desk::{Desk, GatewayOptions};
pub use pending::Asker;

use crate::failure::Failure;
use crate::journal::Journal;
use crate::messages::{Decision, Describe, GatewayInput, Halt, Notice, Shelve};
use crate::roster::Roster;
use crate::wiring::Wires;

/// How often the desk looks for requests whose time is over.
const TICK: Duration = Duration::from_millis(10);

/// How often the gateway asks the leadership whom it reaches.
const REACH: Duration = Duration::from_millis(200);

/// Inputs that may wait for the gateway before clients are told to try again.
pub const MAILBOX: usize = 4096;

/// The actor around a [`Desk`].
pub struct GatewayActor {
    desk: Desk,
    wires: Wires,
    address: String,
    genesis: Membership,
    applied: Slot,
    /// The leader as known now, for those who cannot ask an actor; 0: none.
    leader: Arc<AtomicU64>,
    journal: Journal,
}

impl GatewayActor {
    /// The gateway of a node that clients reach at `address`, in a cluster that was bootstrapped
    /// with this membership.
    pub fn new(
        options: GatewayOptions,
        (address, genesis): (String, Membership),
        applied: Slot,
        leader: Arc<AtomicU64>,
        wires: Wires,
    ) -> Self {
        let mut desk = Desk::new(wires.me, wires.incarnation, options);
        if wires.state.is_none() {
            desk = desk.without_state(genesis.learners().collect());
        }
        GatewayActor { desk, wires, address, genesis, applied, leader, journal: Journal::default() }
    }

    fn inside(&self, message: Inside) {
        let (from, to) = (self.wires.me, self.wires.me);
        self.wires.dispatch([Envelope { from, to, message: Message::Inside(message) }]);
    }

    fn obey(&mut self, context: &mut Context<Self>) {
        let mut clients: Vec<(Arc<paxos_net::Caller>, Vec<ClientResponse>)> = Vec::new();
        let mut peers: Vec<(NodeId, Vec<ClientResponse>)> = Vec::new();
        for order in self.desk.orders() {
            match order {
                Order::Propose(ticket, proposal) => {
                    self.inside(Inside::Propose { ticket, proposal });
                }
                Order::Read(ticket, level) => self.inside(Inside::Read { ticket, level }),
                Order::Transfer(to) => self.inside(Inside::Transfer { to }),
                Order::Ask(ask) => self.wires.ask(ask),
                Order::Follow(follow) => self.wires.follow(follow),
                Order::Forsake(why) => self.wires.forsake(why),
                Order::Relay(to, relay) => self.relay(to, relay),
                Order::Report(asker, id) => self.report(asker, id, context),
                Order::Members(Asker::Client(caller), id) => {
                    clients.push((caller, vec![self.members(id)]));
                }
                Order::Changes(Asker::Client(caller), id) => {
                    let response = Response::Changes(self.journal.changes());
                    let leader = self.desk.leader();
                    clients.push((caller, vec![ClientResponse { id, leader, response }]));
                }
                Order::Save(Asker::Client(caller), id) => {
                    self.wires.decide(vec![Decision::Save]);
                    let response = Response::Saving { upto: self.applied.next() };
                    let leader = self.desk.leader();
                    clients.push((caller, vec![ClientResponse { id, leader, response }]));
                }
                Order::Piece(Asker::Client(caller), id, upto, offset) => {
                    self.wires.shelve(Shelve::Tell { caller, id, upto, offset });
                }
                // A gateway does not relay these: they concern the node that is asked.
                Order::Members(Asker::Peer(_), _)
                | Order::Changes(Asker::Peer(_), _)
                | Order::Save(Asker::Peer(_), _)
                | Order::Piece(Asker::Peer(_), ..) => {}
                Order::Reply(Asker::Client(caller), response) => match clients.last_mut() {
                    Some((last, batch)) if Arc::ptr_eq(last, &caller) => batch.push(response),
                    _ => clients.push((caller, vec![response])),
                },
                Order::Reply(Asker::Peer(peer), response) => match peers.last_mut() {
                    Some((last, batch)) if *last == peer => batch.push(response),
                    _ => peers.push((peer, vec![response])),
                },
            }
        }
        self.wires.waiting.store(self.desk.waiting(), Ordering::Relaxed);
        for (caller, responses) in clients {
            caller.replies.send(responses);
        }
        for (peer, responses) in peers {
            self.tell(peer, responses);
        }
    }

    fn relay(&mut self, to: NodeId, relay: Relay) {
        let roster = self.wires.roster.get();
        if !roster.is_some_and(|roster| roster.links.relay(to, &relay)) {
            self.desk.relay_failed(self.wires.clock.now(), relay);
        }
    }

    /// Answers the gateway of a peer, each answer in a frame of its own: together they may be too
    /// long. For what is lost here it asks again, by session and sequence.
    fn tell(&self, peer: NodeId, responses: Vec<ClientResponse>) {
        let roster = self.wires.roster.get();
        for response in responses {
            let told = Relay::Tell(vec![response]);
            if !roster.is_some_and(|roster| roster.links.relay(peer, &told)) {
                self.wires.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn members(&self, id: u64) -> ClientResponse {
        let known = self.wires.roster.get().map(Roster::known);
        let response = known.map_or(Response::Refused(Refused::Busy), |governance| {
            let (from, membership) = governance.configurations.newest().clone();
            let (genesis, settled) = (self.genesis.clone(), governance.settled);
            let next = self.applied.next();
            let report = MembersReport { genesis, from, membership, settled, next };
            Response::Members(Box::new(report))
        });
        ClientResponse { id, leader: self.desk.leader(), response }
    }

    /// Asks every role of this node what it knows, then answers.
    fn report(&self, asker: Asker, id: u64, context: &mut Context<Self>) {
        let (wires, address, applied) = (self.wires.clone(), self.address.clone(), self.applied);
        let leader = self.desk.leader();
        context.spawn(
            async move {
                let status = describe(&wires, None).await;
                let roster = wires.roster.get();
                let known = roster.map(Roster::known);
                let member = known.as_ref().and_then(|governance| {
                    governance.configurations.newest().1.members.get(&wires.me)
                });
                let report = NodeReport {
                    node: wires.me,
                    address,
                    role: member.map(|member| member.role),
                    hosts: wires.roles.keys().copied().collect(),
                    status,
                    applied,
                    links: roster.map(|roster| roster.links.report()).unwrap_or_default(),
                };
                let response = Response::Status(Box::new(report));
                let response = ClientResponse { id, leader, response };
                match asker {
                    Asker::Client(caller) => caller.replies.send(vec![response]),
                    Asker::Peer(_) => {}
                }
            }
            .into_actor(self),
        );
    }

    /// Writes a change of leadership down; whether it is news of who leads, and not only of how far
    /// the leader is.
    fn led(&mut self, change: &Change) -> bool {
        let leader = change.leader.map(|ballot| ballot.node);
        let (why, took) = (&change.why, change.took);
        tracing::info!(node = %self.wires.me, ?leader, why, ?took, "leadership changed");
        let id = leader.map_or(0, |leader| leader.0);
        self.leader.store(id, Ordering::Relaxed);
        self.journal.note(SystemTime::now(), change.clone());
        !matches!(change.took, Some(Took::Ready(_)))
    }

    fn measure_reach(&self) -> ResponseActFuture<Self, ()> {
        let wires = self.wires.clone();
        let describe = async move { describe(&wires, Some(RoleKind::Leadership)).await };
        Box::pin(describe.into_actor(self).map(|status, actor, _| {
            actor.desk.reaches(Unavailable {
                reached: status.reached_weight,
                total: status.total_weight,
                needed: status.needed_weight,
            });
        }))
    }
}

/// What the roles of a node, or one of them, know.
async fn describe(wires: &Wires, only: Option<RoleKind>) -> Status {
    let mut status = Status::default();
    for (kind, role) in &wires.roles {
        if only.is_none_or(|only| only == *kind)
            && let Ok(described) = role.describe.send(Describe(status.clone())).await
        {
            status = described.0;
        }
    }
    status
}

impl Actor for GatewayActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(TICK, |actor, context| {
            actor.desk.tick(actor.wires.clock.now());
            actor.obey(context);
        });
        context.spawn(self.measure_reach());
        context.run_interval(REACH, |actor, context| {
            context.spawn(actor.measure_reach());
        });
    }
}

impl Drop for GatewayActor {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor("gateway"));
    }
}

impl Handler<Halt> for GatewayActor {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}

impl Handler<GatewayInput> for GatewayActor {
    type Result = ();

    fn handle(&mut self, input: GatewayInput, context: &mut Context<Self>) {
        let now = self.wires.clock.now();
        match input {
            GatewayInput::Requests(caller, requests) => self.desk.requests(now, caller, requests),
            GatewayInput::Relayed(from, relay) => self.desk.relayed(now, from, relay),
            GatewayInput::LinkChanged(peer, up) => self.desk.link_changed(now, peer, up),
            GatewayInput::Notices(notices) => {
                for notice in notices {
                    let news = match &notice {
                        Notice::Led(change) => self.led(change),
                        _ => true,
                    };
                    if news {
                        self.desk.notice(now, notice);
                    }
                }
            }
            GatewayInput::Applied(batches, upto) => {
                self.applied = upto;
                self.desk.applied(now, batches, upto);
            }
            GatewayInput::Restored(upto) => {
                self.applied = upto;
                self.desk.restored(now, upto);
            }
            GatewayInput::Answered { ticket, slot, answers } => {
                self.desk.answered(now, ticket, slot, answers);
            }
        }
        self.obey(context);
    }
}
