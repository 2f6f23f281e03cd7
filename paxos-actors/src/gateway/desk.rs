//! The gateway's desk: every request that waits, and for what. Pure, like a role: inputs in, orders
//! out, time as an argument.

mod endings;
mod reads;
mod transfers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use paxos_core::batch::COMMAND_MAX;
use paxos_core::{NodeId, Operation, Origin, Outcome, Proposal, ReadLevel, Slot, Time};
use paxos_net::protocol::{
    Call, ClientRequest, ClientResponse, Consistency, Forwarded, Refused, Relay, Response,
    Unavailable,
};
use paxos_net::{Caller, is_admin};

use super::gathering::gather;
use super::pending::{Asker, Pending};
use crate::messages::{AppliedBatch, Ask, Notice};
use crate::watches::Follow;
use reads::{Freshness, Reads};

/// Limits of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Batches of this gateway on their way at once; commands gather meanwhile. Default: 8.
    pub batches_in_flight: usize,
    /// A batch takes no more commands at this size, in bytes. Default: 256 KiB.
    pub batch_bytes: usize,
    /// Requests that may wait, one identity's up to a quarter of them; more are answered "busy".
    /// Default: 16,384.
    pub requests_max: usize,
    /// Bytes of payload that may wait; more are answered "busy". Default: 64 MiB.
    pub bytes_max: usize,
    /// Questions for reads of one level on their way at once; reads gather meanwhile. Default: 2.
    pub reads_in_flight: usize,
    /// A node that hears no leader, or is not answered by it, for so long sends whoever waits for
    /// it away: another node may reach a leader. A node that hears too few others for there to be
    /// a leader among them does so at once. Default: 500 ms, when an ordinary change of leaders is
    /// over.
    pub patience: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        GatewayOptions {
            batches_in_flight: 8,
            batch_bytes: 256 << 10,
            requests_max: 16_384,
            bytes_max: 64 << 20,
            reads_in_flight: 2,
            patience: Duration::from_millis(500),
        }
    }
}

/// What the desk wants done.
#[derive(Debug)]
pub enum Order {
    /// Hand a batch, or a change of membership, to the proposer of this node.
    Propose(u64, Proposal),
    /// Have a read stamped, and made certain.
    Read(u64, ReadLevel),
    /// Have this node hand over, if it leads.
    Transfer(Option<NodeId>),
    /// Have queries answered.
    Ask(Ask),
    /// Relay to the gateway of a node.
    Relay(NodeId, Relay),
    /// Answer somebody.
    Reply(Asker, ClientResponse),
    /// Tell somebody how the node is; the id is that of the request.
    Report(Asker, u64),
    /// Tell somebody who takes part.
    Members(Asker, u64),
    /// Have a client told what happens.
    Follow(Follow),
    /// Have those who wait for something to happen told that this node is cut off.
    Forsake(Unavailable),
    /// Tell somebody what changes of leadership the node remembers.
    Changes(Asker, u64),
    /// Have a snapshot made, and tell somebody of how much.
    Save(Asker, u64),
    /// Have somebody told a piece of a snapshot, from an offset on.
    Piece(Asker, u64, Option<Slot>, u64),
}

/// A batch on its way, with those of its requests that are not answered yet.
#[derive(Debug)]
struct Batch {
    slot: Option<Slot>,
    pending: Vec<Option<Pending>>,
}

/// A request that the gateway of the leader has been asked to serve.
#[derive(Debug)]
struct Relayed {
    to: NodeId,
    sent: Time,
    pending: Pending,
}

/// A relay that the leader's gateway did not take is tried again after this.
const RELAY_AGAIN: Duration = Duration::from_millis(10);

/// A relay whose answer has not come after this is sent again, under the same name.
const RELAY_REPEAT: Duration = Duration::from_secs(1);

/// The state of a gateway.
#[derive(Debug)]
pub struct Desk {
    me: NodeId,
    incarnation: u64,
    options: GatewayOptions,
    /// Who keeps the state, where this node does not.
    elsewhere: Option<Vec<NodeId>>,
    leader: Option<NodeId>,
    /// Since when no leader is known.
    leaderless: Option<Time>,
    /// When the leader's gateway answered last, or nothing was asked of it.
    answered: Time,
    /// Those who watch were sent away, and are.
    forsakes: bool,
    reach: Unavailable,
    commands: VecDeque<Pending>,
    queries: VecDeque<Pending>,
    batches: BTreeMap<u64, Batch>,
    reads: BTreeMap<u64, Reads>,
    relayed: BTreeMap<u64, Relayed>,
    /// Questions for reads that are on their way, by level.
    asking: BTreeMap<ReadLevel, usize>,
    freshness: Freshness,
    /// Those who want this node to hand over.
    transfers: Vec<Pending>,
    /// Requests that wait, by identity.
    shares: BTreeMap<Arc<str>, usize>,
    waiting: usize,
    bytes: usize,
    names: u64,
    relay_after: Time,
    expires: Option<Time>,
    orders: Vec<Order>,
}

impl Desk {
    /// The desk of a node in one run.
    pub fn new(me: NodeId, incarnation: u64, options: GatewayOptions) -> Self {
        Desk {
            me,
            incarnation,
            options,
            elsewhere: None,
            leader: None,
            leaderless: None,
            answered: Time(0),
            forsakes: false,
            reach: Unavailable::default(),
            commands: VecDeque::new(),
            queries: VecDeque::new(),
            batches: BTreeMap::new(),
            reads: BTreeMap::new(),
            relayed: BTreeMap::new(),
            asking: BTreeMap::new(),
            freshness: Freshness::default(),
            transfers: Vec::new(),
            shares: BTreeMap::new(),
            waiting: 0,
            bytes: 0,
            // No two runs share a name: an answer to an earlier one must not be taken for ours.
            names: incarnation << RUN_SHIFT,
            relay_after: Time(0),
            expires: None,
            orders: Vec::new(),
        }
    }

    /// The same of a node that keeps no state, unlike these. It has the leader's gateway answer
    /// whatever that can, and refuses what asks for the state that is here.
    pub fn without_state(mut self, replicas: Vec<NodeId>) -> Self {
        self.elsewhere = Some(replicas);
        self
    }

    /// The leader as known now.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// What is to be done now.
    pub fn orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Whom the node reaches, for answers to those who wait in vain.
    pub fn reaches(&mut self, reach: Unavailable) {
        self.reach = reach;
    }

    /// Requests of a client.
    pub fn requests(&mut self, now: Time, caller: Caller, requests: Vec<ClientRequest>) {
        let identity: Arc<str> = caller.identity.as_str().into();
        let asker = Asker::Client(Arc::new(caller));
        for request in requests {
            self.admit(now, asker.clone(), identity.clone(), request);
        }
        self.pump(now);
    }

    /// What another gateway relays.
    pub fn relayed(&mut self, now: Time, from: NodeId, relay: Relay) {
        match relay {
            Relay::Ask(forwarded) => {
                for Forwarded { identity, request } in forwarded {
                    self.admit(now, Asker::Peer(from), identity.into(), request);
                }
            }
            Relay::Tell(responses) => {
                if self.leader == Some(from) {
                    self.answered = now;
                }
                responses.into_iter().for_each(|response| self.told(now, response));
            }
        }
        self.pump(now);
    }

    fn admit(&mut self, now: Time, asker: Asker, identity: Arc<str>, request: ClientRequest) {
        let ClientRequest { id, timeout_ms, call } = request;
        if let Call::Operate(Operation::Run { command, .. }) = &call
            && command.len() > COMMAND_MAX
        {
            let (size, limit) = (command.len() as u64, COMMAND_MAX as u64);
            return self.reply(asker, id, Response::Refused(Refused::TooLarge { size, limit }));
        }
        let deadline = now.after(Duration::from_millis(timeout_ms.min(TIMEOUT_MAX_MS)));
        let pending = Pending { asker, id, identity, call, deadline, exposed: false };
        match pending.call {
            Call::Status => return self.orders.push(Order::Report(pending.asker, pending.id)),
            Call::Members => return self.orders.push(Order::Members(pending.asker, pending.id)),
            Call::Changes => return self.orders.push(Order::Changes(pending.asker, pending.id)),
            Call::Ping => return self.answer(pending, Response::Pong),
            _ if pending.call.needs_admin() && !is_admin(&pending.identity) => {
                let identity = pending.identity.to_string();
                return self.answer(pending, Response::Refused(Refused::NotAllowed { identity }));
            }
            _ if self.elsewhere.is_some() && pending.call.needs_state_here() => {
                let ask = self.elsewhere.clone().unwrap_or_default();
                return self.answer(pending, Response::Refused(Refused::NoState { ask }));
            }
            Call::Watch { .. } if self.forsakes => {
                return self.answer(pending, Response::Refused(Refused::Unavailable(self.reach)));
            }
            Call::Watch { topics, after, max } => {
                // A gateway does not relay it: any node answers for itself.
                if let (Asker::Client(caller), id, until) = (pending.asker, id, deadline) {
                    self.orders.push(Order::Follow(Follow {
                        caller,
                        id,
                        topics,
                        after,
                        max,
                        until,
                    }));
                }
                return;
            }
            Call::Save => return self.orders.push(Order::Save(pending.asker, pending.id)),
            Call::Piece { upto, offset } => {
                return self.orders.push(Order::Piece(pending.asker, pending.id, upto, offset));
            }
            _ => {}
        }
        let share = self.shares.get(&pending.identity).copied().unwrap_or_default();
        if self.waiting >= self.options.requests_max
            || share >= self.options.requests_max.div_ceil(4)
            || self.bytes + pending.size() > self.options.bytes_max
        {
            return self.answer(pending, Response::Refused(Refused::Busy));
        }
        self.waiting += 1;
        *self.shares.entry(pending.identity.clone()).or_default() += 1;
        self.bytes += pending.size();
        self.expires = Some(self.expires.map_or(deadline, |known| known.min(deadline)));
        match pending.call {
            Call::Query { consistency: Consistency::Stale { at_least }, .. } => {
                self.read_here(at_least, pending);
                self.freshen(now);
            }
            _ if pending.call.is_logged() => self.commands.push_back(pending),
            _ => self.queries.push_back(pending),
        }
    }

    fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    fn reply(&mut self, asker: Asker, id: u64, response: Response) {
        let response = ClientResponse { id, leader: self.leader, response };
        self.orders.push(Order::Reply(asker, response));
    }

    fn answer(&mut self, pending: Pending, response: Response) {
        self.reply(pending.asker, pending.id, response);
    }

    fn settle(&mut self, pending: Pending, response: Response) {
        let response = pending.honest(response, self.reach);
        if let Some(share) = self.shares.get_mut(&pending.identity) {
            *share -= 1;
            if *share == 0 {
                self.shares.remove(&pending.identity);
            }
        }
        self.waiting -= 1;
        self.bytes -= pending.size();
        self.answer(pending, response);
    }

    fn put_back(&mut self, pending: Pending) {
        match pending.call.is_logged() {
            true => self.commands.push_front(pending),
            false => self.queries.push_front(pending),
        }
    }

    /// Sends on what can go.
    fn pump(&mut self, now: Time) {
        let Some(leader) = self.leader else { return };
        self.transfer(leader);
        if leader == self.me {
            self.propose();
            self.read(now);
        } else if now >= self.relay_after {
            if self.elsewhere.is_none() {
                self.read_by(now, leader);
            }
            self.relay(now, leader);
        }
    }

    fn propose(&mut self) {
        while self.batches.len() < self.options.batches_in_flight {
            let number = self.names + 1;
            let origin = Origin { node: self.me, incarnation: self.incarnation, number };
            let gathered = gather(&mut self.commands, origin, self.options.batch_bytes);
            let Some((proposal, pending)) = gathered else { break };
            self.names = number;
            self.batches.insert(number, Batch { slot: None, pending });
            self.orders.push(Order::Propose(number, proposal));
        }
    }

    /// Passes everything on to the leader, but no reads where there is a state to read; what was
    /// itself passed on goes back, or two gateways that each take the other for the leader would
    /// play ball with it.
    fn relay(&mut self, now: Time, leader: NodeId) {
        let (mut forwarded, mut bytes) = (Vec::new(), 0);
        let all = self.elsewhere.is_some();
        let goes = |pending: &Pending| all || matches!(pending.call, Call::Transfer { .. });
        let (going, reads): (Vec<_>, Vec<_>) = self.queries.drain(..).partition(goes);
        self.queries = reads.into();
        let waiting: Vec<_> = self.commands.drain(..).chain(going).collect();
        for pending in waiting {
            if matches!(pending.asker, Asker::Peer(_)) {
                self.settle(pending, Response::Refused(Refused::Busy));
                continue;
            }
            bytes += pending.size();
            if !forwarded.is_empty() && bytes > RELAY_BYTES {
                let chunk = std::mem::take(&mut forwarded);
                self.orders.push(Order::Relay(leader, Relay::Ask(chunk)));
                bytes = pending.size();
            }
            let id = self.name();
            forwarded.push(pending.forward(id, now));
            self.relayed.insert(id, Relayed { to: leader, sent: now, pending });
        }
        if !forwarded.is_empty() {
            self.orders.push(Order::Relay(leader, Relay::Ask(forwarded)));
        }
    }

    /// A relay found the link down or full: nothing of it has left.
    pub fn relay_failed(&mut self, now: Time, relay: Relay) {
        self.relay_after = now.after(RELAY_AGAIN);
        let Relay::Ask(forwarded) = relay else { return };
        for Forwarded { request, .. } in forwarded.into_iter().rev() {
            match self.relayed.remove(&request.id) {
                Some(Relayed { pending, .. }) => self.put_back(pending),
                None => self.put_reads_back(request.id),
            }
        }
    }

    fn told(&mut self, now: Time, told: ClientResponse) {
        let Some(Relayed { pending, .. }) = self.relayed.remove(&told.id) else {
            return self.index_told(now, told);
        };
        let again =
            matches!(told.response, Response::Refused(Refused::Busy | Refused::Unavailable(_)));
        if again && pending.deadline > now.after(RELAY_AGAIN) {
            self.relay_after = now.after(RELAY_AGAIN);
            self.put_back(pending);
        } else {
            self.settle(pending, told.response);
        }
    }

    /// Our link to a node came up or went down: its answers may be lost.
    pub fn link_changed(&mut self, now: Time, peer: NodeId, up: bool) {
        if !up {
            self.call_back(|to| to == peer);
        }
        self.pump(now);
    }

    /// Takes back what waits for an answer of some node. It may have been logged; sessions make it
    /// safe to send it again.
    fn call_back(&mut self, from: impl Fn(NodeId) -> bool) {
        self.reads_asked_of(&from).into_iter().for_each(|name| self.put_reads_back(name));
        let lost: Vec<_> =
            self.relayed.iter().filter(|(_, it)| from(it.to)).map(|(id, _)| *id).collect();
        for id in lost.into_iter().rev() {
            if let Some(Relayed { pending, .. }) = self.relayed.remove(&id) {
                self.put_back(Pending { exposed: true, ..pending });
            }
        }
    }

    /// What the proposer and the leadership say.
    pub fn notice(&mut self, now: Time, notice: Notice) {
        match notice {
            Notice::Proposed(ticket, slot) => {
                if let Some(batch) = self.batches.get_mut(&ticket) {
                    batch.slot = Some(slot);
                }
            }
            Notice::Refused(ticket, _) => self.refused(ticket),
            Notice::ReadReady(ticket, next, level) => {
                self.certain(ticket, Slot(next.0 - 1), level);
            }
            Notice::Led(change) => {
                self.leader = change.leader.map(|ballot| ballot.node);
                self.handed_over(change.why);
                if let Some(leader) = self.leader {
                    (self.leaderless, self.forsakes) = (None, false);
                    self.answered = now;
                    self.call_back(|to| to != leader);
                }
                self.pump(now);
            }
        }
    }

    /// The proposer did not take it, so it certainly was not logged: it waits for the next leader.
    fn refused(&mut self, ticket: u64) {
        if let Some(batch) = self.batches.remove(&ticket) {
            batch.pending.into_iter().rev().flatten().for_each(|pending| self.put_back(pending));
        }
        self.put_reads_back(ticket);
    }

    /// Everything up to a slot is applied, among it these batches of this gateway.
    pub fn applied(&mut self, now: Time, applied: Vec<AppliedBatch>, upto: Slot) {
        self.freshness.applied(upto);
        for AppliedBatch { origin, outcomes } in applied {
            let Some(batch) = self.batches.remove(&origin.number) else { continue };
            for (pending, outcome) in batch.pending.into_iter().zip(outcomes) {
                let Some(pending) = pending else { continue };
                let response = match outcome {
                    Outcome::Rejected(rejection) => Response::Refused(Refused::Rejected(rejection)),
                    done => Response::Done(done),
                };
                self.settle(pending, response);
            }
        }
        // The slot of a batch holds something else: it was certainly not applied, and never will.
        let lost = self.in_slots_upto(upto);
        lost.into_iter().rev().for_each(|ticket| self.refused(ticket));
        self.pump(now);
    }

    fn in_slots_upto(&self, upto: Slot) -> Vec<u64> {
        let passed = |batch: &Batch| batch.slot.is_some_and(|slot| slot <= upto);
        let batches = self.batches.iter().filter(|(_, batch)| passed(batch));
        batches.map(|(ticket, _)| *ticket).collect()
    }

    /// The state covers everything up to a slot, and nobody here has seen what became of the
    /// batches in between. They may have been applied; sessions make it safe to send them again.
    pub fn restored(&mut self, now: Time, upto: Slot) {
        for ticket in self.in_slots_upto(upto).into_iter().rev() {
            let Some(batch) = self.batches.remove(&ticket) else { continue };
            for pending in batch.pending.into_iter().rev().flatten() {
                self.put_back(Pending { exposed: true, ..pending });
            }
        }
        self.pump(now);
    }

    /// Answers those whose time is over, and tries again what waited for a link.
    pub fn tick(&mut self, now: Time) {
        if self.expires.is_some_and(|expires| expires <= now) {
            self.withdraw(|pending| pending.deadline <= now);
        }
        self.send_away(now);
        self.repeat_relays(now);
        self.repeat_indices(now);
        self.pump(now);
    }

    /// Asks again for what was answered to nobody: a relay or its answer may be lost, and nothing
    /// else repeats them.
    fn repeat_relays(&mut self, now: Time) {
        let due = |relayed: &&mut Relayed| relayed.sent.after(RELAY_REPEAT) <= now;
        let mut again = Vec::new();
        for (id, relayed) in self.relayed.iter_mut() {
            let Some(relayed) = Some(relayed).filter(due) else { continue };
            relayed.sent = now;
            relayed.pending.exposed = true;
            again.push((relayed.to, relayed.pending.forward(*id, now)));
        }
        for (to, forwarded) in again {
            self.orders.push(Order::Relay(to, Relay::Ask(vec![forwarded])));
        }
    }
}

/// Names below this many bits count within a run; above them stands the run.
const RUN_SHIFT: u32 = 40;

/// A relay takes no more requests at this size, in bytes; one that is larger travels alone.
const RELAY_BYTES: usize = 256 << 10;

/// A request waits no longer than this, in milliseconds, whatever its client says: if that is gone,
/// nobody tells us. Clients that are more patient ask again.
const TIMEOUT_MAX_MS: u64 = 60_000;
