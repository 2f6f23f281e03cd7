//! What arrives from the network, on its way to the actors. Every method returns at once; what
//! finds no room is refused or dropped and counted, never queued without bound.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use paxos_core::{Message, NodeId, PeerRun};
use paxos_net::protocol::{
    ClientRequest, ClientResponse, Hello, PeerRefusal, Refused, Relay, Response,
};
use paxos_net::{Caller, Service};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::messages::{GatewayInput, Write};
use crate::wiring::Wires;

/// The network's view of a node.
pub struct Ingress {
    wires: Wires,
    leader: Arc<AtomicU64>,
    /// The newest run of each peer.
    runs: Mutex<BTreeMap<NodeId, PeerRun>>,
}

impl Ingress {
    /// The ingress of a node that has met these runs of its peers.
    pub fn new(wires: Wires, leader: Arc<AtomicU64>, runs: BTreeMap<NodeId, PeerRun>) -> Self {
        Ingress { wires, leader, runs: Mutex::new(runs) }
    }

    /// Compares a peer's run with the newest known. What is news must be durable before the answer.
    fn acquaint(&self, hello: &Hello) -> Result<Option<PeerRun>, PeerRefusal> {
        let node = hello.node;
        let run = PeerRun { incarnation: hello.incarnation, nonce: hello.nonce };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        match runs.get(&node) {
            Some(known) if run.incarnation < known.incarnation => {
                let (known, found) = (known.incarnation, run.incarnation);
                Err(PeerRefusal::OlderIncarnation { node, known, found })
            }
            Some(known) if *known == run => Ok(None),
            Some(known) if run.incarnation == known.incarnation => {
                Err(PeerRefusal::IdentityTaken { node, incarnation: run.incarnation })
            }
            Some(_) | None => {
                runs.insert(node, run);
                Ok(Some(run))
            }
        }
    }
}

impl Service for Ingress {
    fn meet(&self, hello: Hello, from: SocketAddr) -> oneshot::Receiver<Result<(), PeerRefusal>> {
        let (answer, answered) = oneshot::channel();
        let Some(roster) = self.wires.roster.get() else { return answered };
        match roster.meet(hello.node, from).and_then(|()| self.acquaint(&hello)) {
            Err(refusal) => {
                tracing::warn!(%refusal, "a peer was refused");
                // The connection may be gone.
                answer.send(Err(refusal)).ok();
            }
            Ok(run) => {
                let (done, synced) = oneshot::channel();
                self.wires.log.do_send(Write::Remember { node: hello.node, run, done });
                tokio::spawn(async move {
                    if synced.await.is_ok() {
                        answer.send(Ok(())).ok();
                    }
                });
            }
        }
        answered
    }

    fn messages(&self, from: NodeId, messages: Vec<Message>) {
        self.wires.receive(from, messages);
    }

    fn relayed(&self, from: NodeId, relay: Relay) {
        if self.wires.gateway.try_send(GatewayInput::Relayed(from, relay)).is_err() {
            self.wires.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn requests(&self, caller: Caller, requests: Vec<ClientRequest>) {
        let ids: Vec<_> = requests.iter().map(|request| request.id).collect();
        let replies = caller.replies.clone();
        if self.wires.gateway.try_send(GatewayInput::Requests(caller, requests)).is_err() {
            let leader = self.welcome();
            let busy =
                |id| ClientResponse { id, leader, response: Response::Refused(Refused::Busy) };
            replies.send(ids.into_iter().map(busy).collect());
        }
    }

    fn welcome(&self) -> Option<NodeId> {
        match self.leader.load(Ordering::Relaxed) {
            0 => None,
            leader => Some(NodeId(leader)),
        }
    }

    fn link_changed(&self, peer: NodeId, up: bool) {
        tracing::info!(%peer, up, "link changed");
        self.wires.gateway.do_send(GatewayInput::LinkChanged(peer, up));
    }

    fn refused(&self, by: NodeId, refusal: PeerRefusal) {
        if matches!(
            refusal,
            PeerRefusal::OlderIncarnation { .. }
                | PeerRefusal::IdentityTaken { .. }
                | PeerRefusal::Removed { .. }
        ) {
            self.wires.fail(Failure::Refused { by, refusal });
        } else {
            tracing::warn!(%by, %refusal, "a peer refuses this node");
        }
    }
}
