//! Garbage, floods and impostors at the port of running nodes: none of it reaches the service, and
//! the cluster goes on meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::net::UdpSocket;

use paxos_core::{Operation, Rejection, SessionId};
use paxos_net::Limits;
use paxos_net::protocol::{Call, ClientRequest, Refused, Response};
use paxos_tests::processes::raw::{Conversation, Raw};
use paxos_tests::processes::{Cluster, Load};

/// Commands that a client sends without waiting for an answer.
const FLOOD: u64 = 10_000;
/// What each of them carries.
const PAYLOAD: usize = 1 << 10;
/// The stated bound: a node never needs more memory than this, in bytes, whatever a client sends.
const MEMORY_MAX: u64 = 512 << 20;

/// Bytes without rhyme, the same in each run.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn sec6_sec7_garbage_on_the_port_disturbs_nobody() {
    let cluster = Cluster::started();
    let load = Load::start(cluster.client_config(), 2, "hits");
    load.await_more(20);

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for index in 0..3000usize {
        let mut bytes = garbage(index % 1400 + 1);
        // Some look like the beginning of a handshake.
        if index % 3 == 0 {
            bytes[0] |= 0xc0;
        }
        let node = index as u64 % 3 + 1;
        // The system may say that nobody wants it.
        socket.send_to(&bytes, cluster.address(node)).ok();
    }
    load.await_more(20);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for node in 1..=3 {
            streams_of_garbage(&cluster, node).await;
        }
    });
    load.await_more(20);
    let acknowledged = load.stop();
    for node in 1..=3 {
        assert_eq!(cluster.get_via("hits", node), acknowledged);
    }
}

/// Each kind of garbage loses its own connection, and is told why.
async fn streams_of_garbage(cluster: &Cluster, node: u64) {
    let endless = u32::MAX.to_le_bytes().to_vec();
    let nonsense = [&[200, 0, 0, 0][..], &garbage(200)].concat();
    for bytes in [endless, nonsense, garbage(100_000)] {
        let raw = Raw::dial(cluster, "client", node, "paxos-client/1").await;
        let (mut send, _receive) = raw.connection.open_bi().await.unwrap();
        // It may be closed before all is sent.
        send.write_all(&bytes).await.ok();
        let reason = raw.connection.closed().await.to_string();
        assert!(reason.contains("no sound Hello"), "{reason}");
    }
    let raw = Raw::dial(cluster, "client", node, "paxos-peer/1").await;
    let reason = raw.connection.closed().await.to_string();
    assert!(reason.contains("role not allowed"), "{reason}");

    // After a sound beginning.
    let mut conversation = Conversation::begin(cluster, node).await;
    let reason = conversation.say(&[&[9, 0, 0, 0][..], &[0xff; 9]].concat()).await;
    assert!(reason.contains("cannot be decoded"), "{reason}");
    let mut conversation = Conversation::begin(cluster, node).await;
    let reason = conversation.say(&u32::MAX.to_le_bytes()).await;
    assert!(reason.contains("exceeds the limit"), "{reason}");
}

#[test]
fn sec15_a_client_with_ten_thousand_commands_at_once_is_told_busy_and_another_goes_on() {
    let mut cluster = Cluster::started();
    let leader = cluster.leader();
    let load = Load::start(cluster.client_config_via(leader), 2, "hits");
    load.await_more(20);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let responses = runtime.block_on(async {
        let mut conversation = Conversation::begin(&cluster, leader).await;
        let limit = Limits::default().requests_per_connection as u64;
        assert_eq!(conversation.welcome.requests, limit, "the limit is told beforehand");
        conversation.ask_at_once(&flood()).await
    });

    let (mut busy, mut logged) = (0, 0);
    for answer in &responses {
        match &answer.response {
            Response::Refused(Refused::Busy) => busy += 1,
            // There is no such session; that was found out in the log's order.
            Response::Refused(Refused::Rejected(Rejection::SessionExpired { .. })) => logged += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(busy + logged, FLOOD, "each is answered once");
    assert!(busy > 0 && logged > 0, "busy {busy}, logged {logged}");
    load.await_more(20);
    let acknowledged = load.stop();
    assert_eq!(cluster.get_via("hits", leader), acknowledged);
    for node in 1..=3 {
        let peak = cluster.node(node).memory_peak();
        assert!(peak < MEMORY_MAX, "node {node} took {peak} bytes");
    }
}

fn flood() -> Vec<ClientRequest> {
    let request = |id| {
        let command = vec![0; PAYLOAD].into();
        let session = SessionId(u64::MAX);
        let operation = Operation::Run { session, sequence: 1, command };
        ClientRequest { id, timeout_ms: 60_000, call: Call::Operate(operation) }
    };
    (1..=FLOOD).map(request).collect()
}
