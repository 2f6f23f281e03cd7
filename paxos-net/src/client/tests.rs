//! Tests of a wire that need its insides.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_core::{ClusterId, Message, NodeId};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::wire::Dialer;
use crate::certs::Authority;
use crate::codec::{Codec, Protocol};
use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, EndpointConfig};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::network::Network;
use crate::protocol::*;
use crate::service::{Caller, Service};
use crate::tls;

const CLUSTER: ClusterId = ClusterId(0xfeed);

/// Keeps requests until it is told to answer them.
#[derive(Default)]
struct Keeper(Mutex<Vec<(Caller, ClientRequest)>>);

impl Service for Keeper {
    fn meet(&self, _: Hello, _: SocketAddr) -> oneshot::Receiver<Result<(), PeerRefusal>> {
        oneshot::channel().1
    }

    fn messages(&self, _: NodeId, _: Vec<Message>) {}

    fn relayed(&self, _: NodeId, _: Relay) {}

    fn requests(&self, caller: Caller, requests: Vec<ClientRequest>) {
        let mut kept = self.0.lock().unwrap();
        kept.extend(requests.into_iter().map(|request| (caller.clone(), request)));
    }

    fn welcome(&self) -> Option<NodeId> {
        None
    }

    fn link_changed(&self, _: NodeId, _: bool) {}

    fn refused(&self, _: NodeId, _: PeerRefusal) {}
}

#[tokio::test]
async fn sec15_of_a_thousand_requests_at_once_the_excess_is_busy() {
    let authority = Authority::create(CLUSTER).unwrap();
    let issued = |identity| Credentials::of_leaf(&authority.issue(&identity).unwrap()).unwrap();
    let keeper = Arc::new(Keeper::default());
    let endpoint = Endpoint::bind(EndpointConfig {
        node: NodeId(1),
        cluster: CLUSTER,
        genesis: 1,
        incarnation: 1,
        nonce: 1,
        credentials: issued(Identity::peer(CLUSTER, NodeId(1))),
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        codec: Codec::Binary,
        limits: Limits::default(),
        addresses: BTreeMap::new(),
        service: keeper.clone(),
    })
    .unwrap();
    let ada = issued(Identity::client(CLUSTER, "ada").unwrap());
    let alpn = Protocol::Client.alpn(Codec::Binary);
    let mut config = quinn::ClientConfig::new(Arc::new(tls::dialing(&ada, alpn).unwrap()));
    config.transport_config(Arc::new(Limits::default().client()));
    let network = Network::default();
    let (quic, entropy) = (super::bind(&network).unwrap(), network.entropy);
    let news = Arc::default();
    let dialer = Dialer { quic, config, codec: Codec::Binary, cluster: CLUSTER, entropy, news };
    let address = endpoint.local_addr().unwrap().to_string();
    let deadline = Instant::now() + Duration::from_secs(30);
    let wire = Arc::new(dialer.dial(NodeId(1), &address, deadline).await.unwrap());
    assert_eq!(wire.welcome().requests, 256);

    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let wire = wire.clone();
        calls.spawn(async move { wire.call(Call::Status, 30_000).await.unwrap().response });
    }
    for _ in 0..1000 - 256 {
        let response = calls.join_next().await.unwrap().unwrap();
        assert_eq!(response, Response::Refused(Refused::Busy));
    }
    assert_eq!(endpoint.report().busy, 1000 - 256);
    let kept = std::mem::take(&mut *keeper.0.lock().unwrap());
    assert_eq!(kept.len(), 256);
    let why = Unavailable::default();
    for (caller, request) in kept {
        assert_eq!(caller.identity, "client/ada");
        assert!(!caller.peer);
        let response = Response::Unknown { why };
        caller.replies.send(vec![ClientResponse { id: request.id, leader: None, response }]);
    }
    for response in calls.join_all().await {
        assert_eq!(response, Response::Unknown { why });
    }
}
