//! A cluster of endpoints with a stub behind each.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod raw;
#[path = "../../../paxos-core/tests/support/sum.rs"]
mod sum;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use paxos_core::batch::{Commands, Entry};
use paxos_core::{
    Batch, ClusterId, Configurations, Membership, Message, NodeId, Operation, Origin, Outcome,
    Reconfigure, Replica, Status, Time, Value,
};
use paxos_net::certs::{Authority, Leaf};
use paxos_net::client::{Client, ClientConfig};
use paxos_net::cluster_file::ClusterFile;
use paxos_net::codec::Codec;
use paxos_net::credentials::Credentials;
use paxos_net::endpoint::{BindError, Endpoint, EndpointConfig};
use paxos_net::identity::Identity;
use paxos_net::limits::Limits;
use paxos_net::protocol::*;
use paxos_net::service::{Caller, Service};
use serde::Serialize;
use tokio::sync::oneshot;

pub use sum::Sum;

pub const CLUSTER: ClusterId = ClusterId(0xfeed);
pub const OTHER: ClusterId = ClusterId(0xbad);

/// Waits for something that must come to pass, for as long as a slow machine may need.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the stub does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers them from a state machine of its own.
    Answer,
    /// Keeps them.
    Hold,
    /// Says there is no quorum.
    NoQuorum,
    /// Answers, and loses every first answer to a command.
    LoseAnswers,
}

pub struct Stub {
    pub node: NodeId,
    pub messages: Mutex<Vec<(NodeId, Message)>>,
    pub relays: Mutex<Vec<(NodeId, Relay)>>,
    pub links: Mutex<BTreeMap<NodeId, bool>>,
    pub refusals: Mutex<Vec<(NodeId, PeerRefusal)>>,
    pub met: Mutex<Vec<Hello>>,
    pub verdict: Mutex<Option<PeerRefusal>>,
    pub held: Mutex<Vec<(Caller, ClientRequest)>>,
    pub mood: Mutex<Mood>,
    pub leader: Mutex<Option<NodeId>>,
    pub asked: AtomicU64,
    replica: Arc<Mutex<Replica<Sum>>>,
}

/// The state machine of a cluster of one node, in which a change of membership governs at once.
pub fn replica() -> Replica<Sum> {
    let membership = Membership::of_voters([(NodeId(1), "h1:1".to_owned())]).unwrap();
    Replica::new(Configurations::genesis(membership.with_alpha(1).unwrap()))
}

impl Stub {
    pub fn new(node: u64) -> Arc<Self> {
        Self::sharing(node, Arc::new(Mutex::new(replica())))
    }

    /// A stub that answers from the same state machine as others.
    pub fn sharing(node: u64, replica: Arc<Mutex<Replica<Sum>>>) -> Arc<Self> {
        Arc::new(Stub {
            node: NodeId(node),
            messages: Mutex::default(),
            relays: Mutex::default(),
            links: Mutex::default(),
            refusals: Mutex::default(),
            met: Mutex::default(),
            verdict: Mutex::default(),
            held: Mutex::default(),
            mood: Mutex::new(Mood::Answer),
            leader: Mutex::new(None),
            asked: AtomicU64::new(0),
            replica,
        })
    }

    pub fn is_up(&self, peer: u64) -> bool {
        self.links.lock().unwrap().get(&NodeId(peer)) == Some(&true)
    }

    pub fn set_mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Another client opens one session when there is room for no other.
    pub fn crowd_out_sessions(&self) {
        self.keep_sessions(1);
        self.answer("client/eve", Call::Operate(Operation::Open));
        self.keep_sessions(10_000);
    }

    fn keep_sessions(&self, max: u64) {
        let mut replica = self.replica.lock().unwrap();
        let (base, mut membership) = replica.configurations().newest().clone();
        membership.sessions.max = max;
        let origin = Origin { node: self.node, incarnation: 1, number: 1 };
        let change = Reconfigure { base, membership, origin, by: "admin/ada".to_owned() };
        let slot = replica.applied().next();
        let applied = replica.apply(slot, &Value::Reconfigure(Box::new(change)));
        assert_eq!(applied.outcomes, [Outcome::Reconfigured(slot.next())]);
    }

    /// Carries out what was held, and answers it.
    pub fn release(&self) {
        for (caller, ClientRequest { id, call, .. }) in self.held.lock().unwrap().drain(..) {
            let response = self.answer(&caller.identity, call);
            caller.replies.send(vec![ClientResponse { id, leader: None, response }]);
        }
    }

    fn answer(&self, identity: &str, call: Call) -> Response {
        match call {
            Call::Ping => Response::Pong,
            Call::Status => Response::Status(Box::new(NodeReport {
                node: self.node,
                address: format!("h{}:1", self.node.0),
                role: None,
                hosts: Vec::new(),
                status: Status::default(),
                applied: self.replica.lock().unwrap().applied(),
                links: BTreeMap::new(),
            })),
            Call::Changes => Response::Changes(Vec::new()),
            Call::Members
            | Call::Reconfigure { .. }
            | Call::Save
            | Call::Piece { .. }
            | Call::Watch { .. } => Response::Refused(Refused::Busy),
            Call::Query { query, .. } => {
                let replica = self.replica.lock().unwrap();
                let answer = replica.query(&query).unwrap();
                let (slot, served) = (replica.applied(), Served::Linearizable);
                Response::Answer { slot, answer, served }
            }
            Call::ReadIndex { level } => {
                let applied = self.replica.lock().unwrap().applied();
                Response::Index { applied, level }
            }
            Call::Transfer { from, .. } => Response::Led { leader: from },
            Call::Operate(operation) => {
                let commands = Commands {
                    origin: Origin { node: self.node, incarnation: 1, number: 1 },
                    identities: vec![identity.to_owned()],
                    entries: vec![Entry { identity: 0, operation }],
                };
                let bytes = commands.encode();
                let value =
                    Value::Commands(Batch { stamp: Time(1), by: paxos_core::Ballot::ZERO, bytes });
                let mut replica = self.replica.lock().unwrap();
                let slot = replica.applied().next();
                let mut applied = replica.apply(slot, &value);
                Response::Done(applied.outcomes.remove(0))
            }
        }
    }
}

impl Service for Stub {
    fn meet(&self, hello: Hello, _: SocketAddr) -> oneshot::Receiver<Result<(), PeerRefusal>> {
        self.met.lock().unwrap().push(hello);
        let (tell, told) = oneshot::channel();
        let verdict = self.verdict.lock().unwrap().clone();
        tell.send(verdict.map_or(Ok(()), Err)).unwrap();
        told
    }

    fn messages(&self, from: NodeId, messages: Vec<Message>) {
        let mut all = self.messages.lock().unwrap();
        all.extend(messages.into_iter().map(|message| (from, message)));
    }

    fn relayed(&self, from: NodeId, relay: Relay) {
        self.relays.lock().unwrap().push((from, relay));
    }

    fn requests(&self, caller: Caller, requests: Vec<ClientRequest>) {
        let leader = *self.leader.lock().unwrap();
        let mood = *self.mood.lock().unwrap();
        for request in requests {
            let before = self.asked.fetch_add(1, Ordering::Relaxed);
            let ClientRequest { id, call, .. } = request.clone();
            let reply = |response| {
                caller.replies.send(vec![ClientResponse { id, leader, response }]);
            };
            match mood {
                Mood::Hold => self.held.lock().unwrap().push((caller.clone(), request)),
                Mood::NoQuorum => {
                    let why = Unavailable { reached: 1, total: 3, needed: 2 };
                    reply(Response::Refused(Refused::Unavailable(why)));
                }
                Mood::Answer => reply(self.answer(&caller.identity, call)),
                Mood::LoseAnswers => {
                    let response = self.answer(&caller.identity, call);
                    let replied = matches!(response, Response::Done(Outcome::Replied(_)));
                    if replied && before.is_multiple_of(2) {
                        reply(Response::Unknown { why: Unavailable::default() });
                    } else {
                        reply(response);
                    }
                }
            }
        }
    }

    fn welcome(&self) -> Option<NodeId> {
        *self.leader.lock().unwrap()
    }

    fn link_changed(&self, peer: NodeId, up: bool) {
        self.links.lock().unwrap().insert(peer, up);
    }

    fn refused(&self, by: NodeId, refusal: PeerRefusal) {
        self.refusals.lock().unwrap().push((by, refusal));
    }
}

/// Makes certificates and endpoints of one cluster.
pub struct World {
    pub authority: Authority,
}

impl World {
    pub fn new() -> Self {
        World { authority: Authority::create(CLUSTER).unwrap() }
    }

    pub fn leaf(&self, identity: &Identity) -> Leaf {
        self.authority.issue(identity).unwrap()
    }

    pub fn credentials(&self, identity: &Identity) -> Credentials {
        Credentials::of_leaf(&self.leaf(identity)).unwrap()
    }

    pub fn ada(&self) -> Credentials {
        self.credentials(&Identity::client(CLUSTER, "ada").unwrap())
    }

    pub fn config(&self, stub: &Arc<Stub>) -> EndpointConfig {
        EndpointConfig {
            node: stub.node,
            cluster: CLUSTER,
            genesis: 7,
            incarnation: 1,
            nonce: 1,
            credentials: self.credentials(&Identity::peer(CLUSTER, stub.node)),
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            codec: Codec::Binary,
            limits: Limits::default(),
            addresses: BTreeMap::new(),
            service: stub.clone(),
        }
    }

    pub fn endpoint(&self, stub: &Arc<Stub>) -> Endpoint {
        Endpoint::bind(self.config(stub)).unwrap()
    }

    pub fn client(&self, nodes: &[(u64, &Endpoint)]) -> Client {
        Client::new(self.client_config(nodes)).unwrap()
    }

    pub fn client_config(&self, nodes: &[(u64, &Endpoint)]) -> ClientConfig {
        let nodes = nodes.iter().map(|(node, endpoint)| (NodeId(*node), address(endpoint)));
        let file = ClusterFile::new(CLUSTER, nodes.collect());
        let mut config = ClientConfig::new(file, self.ada());
        config.timeout = Duration::from_secs(30);
        config
    }
}

pub fn address(endpoint: &Endpoint) -> String {
    endpoint.local_addr().unwrap().to_string()
}

/// Binds to a port that a closed endpoint may not have left yet.
pub async fn bind_again(mut config: impl FnMut() -> EndpointConfig) -> Endpoint {
    let mut found = None;
    until("the port is free again", || match Endpoint::bind(config()) {
        Ok(endpoint) => {
            found = Some(endpoint);
            true
        }
        Err(BindError::InUse { .. }) => false,
        Err(error) => panic!("{error}"),
    })
    .await;
    found.unwrap()
}

pub fn encoded<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(postcard::to_stdvec(value).unwrap())
}
