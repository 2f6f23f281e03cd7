//! A request that waits at a gateway, and what may be said of it.

use std::sync::Arc;

use paxos_core::{NodeId, Time, TopicFilter};
use paxos_net::Caller;
use paxos_net::protocol::{
    Call, ClientRequest, Consistency, Forwarded, Refused, Response, Unavailable,
};

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub enum Asker {
    /// A client of this node.
    Client(Arc<Caller>),
    /// The gateway of another node.
    Peer(NodeId),
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) asker: Asker,
    pub(super) id: u64,
    pub(super) identity: Arc<str>,
    pub(super) call: Call,
    pub(super) deadline: Time,
    /// It may have been logged already by somebody whose answer did not come.
    pub(super) exposed: bool,
}

impl Pending {
    /// The bytes that limits count.
    pub(super) fn size(&self) -> usize {
        match &self.call {
            Call::Operate(operation) => operation.size(),
            Call::Query { query, .. } => query.len() + 32,
            Call::Watch { topics, .. } => topics.iter().map(TopicFilter::size).sum(),
            Call::Reconfigure { membership, .. } => 64 * membership.members.len(),
            Call::Members
            | Call::Changes
            | Call::Save
            | Call::Piece { .. }
            | Call::Status
            | Call::Ping
            | Call::ReadIndex { .. }
            | Call::Transfer { .. } => 0,
        }
    }

    /// Whether it waits for a leader, and not for the state of this node.
    pub(super) fn wants_a_leader(&self) -> bool {
        !matches!(self.call, Call::Query { consistency: Consistency::Stale { .. }, .. })
    }

    /// It in the form of a relay.
    pub(super) fn forward(&self, id: u64, now: Time) -> Forwarded {
        let timeout_ms = self.deadline.since(now).as_millis() as u64;
        let request = ClientRequest { id, timeout_ms, call: self.call.clone() };
        Forwarded { identity: self.identity.to_string(), request }
    }

    /// What may be said of it: a refusal is certain only of what nobody else may have logged. A
    /// session that has expired since may have served it before.
    pub(super) fn honest(&self, response: Response, why: Unavailable) -> Response {
        let uncertain = matches!(
            &response,
            Response::Refused(Refused::Busy | Refused::Unavailable(_))
        ) || matches!(&response, Response::Refused(Refused::Rejected(why)) if why.may_have_run());
        if uncertain && self.exposed && self.call.is_logged() {
            return Response::Unknown { why };
        }
        response
    }
}
