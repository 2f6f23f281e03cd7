//! Who is not let in, and what they are told.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod support;

use paxos_core::{Message, NodeId};
use paxos_net::certs::Authority;
use paxos_net::client::{Client, ClientError};
use paxos_net::credentials::Credentials;
use paxos_net::endpoint::{BindError, Endpoint};
use paxos_net::identity::Identity;
use support::{CLUSTER, OTHER, Stub, World, address, raw, until};

fn name_of(error: &ClientError) -> String {
    assert!(matches!(error, ClientError::Certificate(_)), "{error}");
    assert!(error.certainly_not_applied());
    error.to_string()
}

#[tokio::test]
async fn g2_no_certificate_shows_with_its_reason_at_the_first_round_trip() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let ada = world.leaf(&Identity::client(CLUSTER, "ada").unwrap());
    let there = endpoint.local_addr().unwrap();
    let (_mine, connection) = raw::dial(there, &ada.authority, None, "paxos-client/1")
        .await
        .expect("in TLS 1.3 the one who dials believes that all is well");
    let reason = connection.closed().await.to_string();
    assert!(reason.contains("peer sent no certificates"), "{reason}");
}

#[tokio::test]
async fn g2_a_client_of_another_authority_is_told_why() {
    let (world, stranger) = (World::new(), World::new());
    let endpoint = world.endpoint(&Stub::new(1));

    // Its own certificate is foreign, and so is the node's to it.
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.credentials = stranger.ada();
    let error = Client::new(config).unwrap().status(NodeId(1)).await.unwrap_err();
    assert!(name_of(&error).contains("UnknownIssuer"), "{error}");

    // It trusts the node, and only the node can refuse.
    let mut config = world.client_config(&[(1, &endpoint)]);
    let mut leaf = stranger.leaf(&Identity::client(CLUSTER, "eve").unwrap());
    leaf.authority = world.leaf(&Identity::client(CLUSTER, "ada").unwrap()).authority;
    config.credentials = Credentials::of_leaf(&leaf).unwrap();
    let client = Client::new(config).unwrap();
    let error = client.status(NodeId(1)).await.unwrap_err();
    assert!(name_of(&error).contains("UnknownIssuer"), "{error}");
    let error = client.execute(support::encoded(&1u64)).await.unwrap_err();
    assert!(name_of(&error).contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn g3_a_client_on_the_peer_alpn_is_closed_with_code_and_text() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let there = endpoint.local_addr().unwrap();
    for identity in [Identity::client(CLUSTER, "ada"), Identity::admin(CLUSTER, "root")] {
        let leaf = world.leaf(&identity.unwrap());
        let (_mine, connection) =
            raw::dial(there, &leaf.authority, Some(&leaf), "paxos-peer/1").await.unwrap();
        match connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code, 258u32.into());
                assert_eq!(&close.reason[..], b"role not allowed on this ALPN");
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(endpoint.report().roles_refused, 2);
    assert!(stub.met.lock().unwrap().is_empty());
}

#[tokio::test]
async fn g4_a_huge_length_closes_the_connection_of_its_sender_only() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let good = world.client(&[(1, &endpoint)]);
    good.status(NodeId(1)).await.unwrap();

    let leaf = world.leaf(&Identity::client(CLUSTER, "eve").unwrap());
    let there = endpoint.local_addr().unwrap();
    let (_mine, connection) =
        raw::dial(there, &leaf.authority, Some(&leaf), "paxos-client-json/1").await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&raw::frame(br#"{"version":1}"#)).await.unwrap();
    raw::read(&mut receive).await;
    send.write_all(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3]).await.unwrap();
    let reason = connection.closed().await.to_string();
    assert!(reason.contains("a frame exceeds the limit"), "{reason}");
    assert_eq!(endpoint.report().too_large, 1);
    good.execute(support::encoded(&1u64)).await.unwrap();
}

#[tokio::test]
async fn sec6_nonsense_of_a_peer_is_counted_and_closes_its_connection_on_repeat() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let leaf = world.leaf(&Identity::peer(CLUSTER, NodeId(2)));
    let there = endpoint.local_addr().unwrap();
    let (_mine, connection) =
        raw::dial(there, &leaf.authority, Some(&leaf), "paxos-peer-json/1").await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let hello = format!(
        r#"{{"cluster":"{CLUSTER}","genesis":7,"node":2,"incarnation":1,"nonce":1,"version":2}}"#
    );
    send.write_all(&raw::frame(hello.as_bytes())).await.unwrap();
    assert!(raw::read(&mut receive).await.starts_with(br#"{"Welcome""#));

    let mut lane = connection.open_uni().await.unwrap();
    lane.write_all(&[0]).await.unwrap();
    lane.write_all(&raw::frame(b"nonsense")).await.unwrap();
    let sound =
        br#"{"Acceptor":{"Confirm":{"ballot":{"round":1,"node":2,"incarnation":1},"round":1}}}"#;
    lane.write_all(&raw::frame(sound)).await.unwrap();
    until("what is sound arrives", || stub.messages.lock().unwrap().len() == 1).await;
    assert!(matches!(stub.messages.lock().unwrap()[0], (NodeId(2), Message::Acceptor(_))));
    // A peer cannot say what only roles of one node tell each other.
    lane.write_all(&raw::frame(br#"{"Inside":{"Read":{"ticket":1}}}"#)).await.unwrap();
    let reason = connection.closed().await.to_string();
    assert!(reason.contains("cannot be decoded"), "{reason}");
    assert_eq!(endpoint.report().undecodable, 2);
}

#[tokio::test]
async fn sec7_garbage_on_the_port_disturbs_nobody() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let client = world.client(&[(1, &endpoint)]);
    client.status(NodeId(1)).await.unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..2000u32 {
        let mut packet = vec![0xc3, 0, 0, 0, 1, 8];
        packet.extend(round.to_le_bytes().iter().cycle().take(1194));
        socket.send_to(&packet, endpoint.local_addr().unwrap()).unwrap();
    }
    client.execute(support::encoded(&1u64)).await.unwrap();
}

#[tokio::test]
async fn g7_sec12_an_unknown_protocol_is_refused_in_tls() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let leaf = world.leaf(&Identity::peer(CLUSTER, NodeId(2)));
    let there = endpoint.local_addr().unwrap();
    let refused = raw::dial(there, &leaf.authority, Some(&leaf), "paxos-peer/9").await;
    let words = refused.err().unwrap().to_string();
    assert!(words.contains("120"), "{words}");
}

#[tokio::test]
async fn r8_sec3_a_node_that_is_not_the_one_dialed_is_refused_by_name() {
    let world = World::new();
    let (one, three) = (Stub::new(1), Stub::new(3));
    let (first, third) = (world.endpoint(&one), world.endpoint(&three));
    let link = first.link(NodeId(2), address(&third));
    until("the reason is reported", || link.report().last_error.is_some()).await;
    let words = link.report().last_error.unwrap();
    assert!(words.contains("peer-2.") && words.contains("peer-3."), "{words}");
    assert!(three.met.lock().unwrap().is_empty() && !one.is_up(2));
}

#[tokio::test]
async fn sec1_a_peer_of_another_authority_is_refused() {
    let (world, stranger) = (World::new(), World::new());
    let endpoint = world.endpoint(&Stub::new(1));
    let foreign = stranger.endpoint(&Stub::new(2));
    let link = foreign.link(NodeId(1), address(&endpoint));
    until("the reason is reported", || link.report().last_error.is_some()).await;
    let words = link.report().last_error.unwrap();
    assert!(words.contains("UnknownIssuer"), "{words}");
}

#[tokio::test]
async fn clus9_sec13_two_clusters_of_one_authority_do_not_mix() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let there = endpoint.local_addr().unwrap();
    for (identity, alpn) in [
        (Identity::peer(OTHER, NodeId(2)), "paxos-peer/1"),
        (Identity::client(OTHER, "ada").unwrap(), "paxos-client/1"),
    ] {
        let leaf = world.leaf(&identity);
        let (_mine, connection) =
            raw::dial(there, &leaf.authority, Some(&leaf), alpn).await.unwrap();
        let reason = connection.closed().await.to_string();
        assert!(reason.contains("another cluster"), "{reason}");
    }
    assert!(stub.met.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_certificate_of_another_node_is_refused_at_the_start() {
    let world = World::new();
    let mut config = world.config(&Stub::new(1));
    config.node = NodeId(2);
    let error = Endpoint::bind(config).err().unwrap();
    assert!(matches!(error, BindError::WrongIdentity { .. }), "{error}");
    assert!(error.to_string().contains("peer/1"), "{error}");
}

#[tokio::test]
async fn a_client_with_the_certificate_of_another_cluster_is_refused_at_the_start() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let leaf =
        Authority::create(OTHER).unwrap().issue(&Identity::client(OTHER, "ada").unwrap()).unwrap();
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.credentials = Credentials::of_leaf(&leaf).unwrap();
    let error = Client::new(config).err().unwrap();
    assert!(name_of(&error).contains("it is for cluster"), "{error}");
}

#[tokio::test]
async fn sec8_sources_that_must_prove_their_address_get_in() {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let mut config = world.config(&two);
    config.limits.half_open_retry = 0;
    let second = Endpoint::bind(config).unwrap();
    let first = world.endpoint(&one);
    let _link = first.link(NodeId(2), address(&second));
    until("the link is up", || one.is_up(2)).await;
    world.client(&[(2, &second)]).execute(support::encoded(&1u64)).await.unwrap();
}

#[tokio::test]
async fn sec8_above_the_hard_limit_handshakes_are_refused_and_counted() {
    let world = World::new();
    let mut config = world.config(&Stub::new(1));
    config.limits.half_open_max = 0;
    let endpoint = Endpoint::bind(config).unwrap();
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = std::time::Duration::from_millis(300);
    let error = Client::new(config).unwrap().status(NodeId(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(endpoint.report().handshakes_refused > 0);
}
