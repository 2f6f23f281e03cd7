//! The light client against nodes with a stub behind them.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paxos_core::{NodeId, Rejection, SessionId, Slot};
use paxos_net::client::{Client, ClientError};
use paxos_net::codec::Codec;
use paxos_net::protocol::{ClientResponse, Consistency, Refused, Response, Served, Unavailable};
use support::{Mood, Stub, Sum, World, address, bind_again, encoded, replica, until};
use tokio::task::JoinSet;

/// Nodes 1, 2 and 3 with one state machine behind them.
fn three(world: &World) -> (Vec<Arc<Stub>>, Vec<paxos_net::endpoint::Endpoint>) {
    let replica = Arc::new(Mutex::new(replica()));
    let stubs: Vec<_> = (1..=3).map(|node| Stub::sharing(node, replica.clone())).collect();
    let endpoints = stubs.iter().map(|stub| world.endpoint(stub)).collect();
    (stubs, endpoints)
}

fn all(endpoints: &[paxos_net::endpoint::Endpoint]) -> Vec<(u64, &paxos_net::endpoint::Endpoint)> {
    (1..).zip(endpoints).collect()
}

#[tokio::test]
async fn commands_and_queries_in_both_codecs() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    for (codec, sum) in [(Codec::Binary, 5), (Codec::Json, 10)] {
        let mut config = world.client_config(&[(1, &endpoint)]);
        config.codec = codec;
        let client = Client::new(config).unwrap();
        assert_eq!(client.execute_as::<Sum>(&5).await, Ok(sum));
        let (slot, answer) = client.query_as::<Sum>(&(), Consistency::Linearizable).await.unwrap();
        assert_eq!(answer, sum);
        assert!(slot > Slot(0));
        client.close().await;
        assert_eq!(client.execute_as::<Sum>(&1).await, Err(ClientError::Closed));
    }
}

#[tokio::test]
async fn cli9_a_client_hears_of_members_that_come_and_go_while_it_is_connected() {
    let world = World::new();
    let (_stubs, mut endpoints) = three(&world);
    let addresses: Vec<_> = endpoints.iter().map(address).collect();
    let named = |nodes: &[u64]| -> BTreeMap<_, _> {
        nodes.iter().map(|node| (NodeId(*node), addresses[*node as usize - 1].clone())).collect()
    };
    let client = world.client(&[(1, &endpoints[0])]);
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1));
    let links = endpoints[0].links();
    links.name(Slot(5), &named(&[1, 2, 3]));
    // What is older comes late, and is not believed.
    links.name(Slot(4), &named(&[1]));
    links.name(Slot(9), &named(&[2, 3]));
    // The news are on the same connection as the answer, before it.
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(2));
    endpoints.remove(0).close().await;
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(3), "through a node that it met later");
    let known: Vec<_> = client.statuses().await.into_keys().collect();
    assert_eq!(known, [NodeId(2), NodeId(3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_share_one_connection() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.sessions_max = 500;
    let client = Client::new(config).unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..2000 {
        let client = client.clone();
        tasks.spawn(async move { client.execute_as::<Sum>(&1).await });
    }
    let sums: std::collections::BTreeSet<_> =
        tasks.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums.len(), 2000, "each ran exactly once");
    assert_eq!(endpoint.report().busy, 0, "the client keeps to what the node takes");
}

#[tokio::test]
async fn a_status_of_every_node_also_of_those_that_are_gone() {
    let world = World::new();
    let (_stubs, mut endpoints) = three(&world);
    let config = world.client_config(&all(&endpoints));
    let client = Client::new(config).unwrap();
    endpoints.remove(2).close().await;
    let statuses = client.statuses().await;
    assert_eq!(statuses.len(), 3);
    assert_eq!(statuses[&NodeId(1)].as_ref().unwrap().node, NodeId(1));
    assert_eq!(statuses[&NodeId(2)].as_ref().unwrap().node, NodeId(2));
    let gone = statuses[&NodeId(3)].as_ref().unwrap_err();
    assert!(matches!(gone, ClientError::Unreachable { .. }), "{gone}");
}

#[tokio::test]
async fn the_client_moves_to_the_leader_and_away_from_a_node_without_quorum() {
    let world = World::new();
    let (stubs, endpoints) = three(&world);
    for stub in &stubs {
        *stub.leader.lock().unwrap() = Some(NodeId(2));
    }
    let client = world.client(&all(&endpoints));
    client.execute_as::<Sum>(&1).await.unwrap();
    let before = stubs[1].asked.load(Ordering::Relaxed);
    client.execute_as::<Sum>(&1).await.unwrap();
    assert!(stubs[1].asked.load(Ordering::Relaxed) > before, "the leader is asked");

    stubs[1].set_mood(Mood::NoQuorum);
    for stub in &stubs {
        *stub.leader.lock().unwrap() = None;
    }
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(3));
}

#[tokio::test]
async fn via_stays_where_it_is_told_to() {
    let world = World::new();
    let (stubs, endpoints) = three(&world);
    for stub in &stubs {
        *stub.leader.lock().unwrap() = Some(NodeId(2));
    }
    let mut config = world.client_config(&all(&endpoints));
    config.via = Some(address(&endpoints[2]));
    let client = Client::new(config).unwrap();
    for _ in 0..5 {
        client.execute_as::<Sum>(&1).await.unwrap();
    }
    assert_eq!(stubs[1].asked.load(Ordering::Relaxed), 0);
    let mut config = world.client_config(&all(&endpoints));
    config.via = Some("h9:1".to_owned());
    let error = Client::new(config).err().unwrap();
    assert!(error.to_string().contains("h9:1 is not an address in the cluster file"), "{error}");
}

#[tokio::test]
async fn no_quorum_is_said_in_words_and_nothing_was_applied() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = Duration::from_millis(500);
    let client = Client::new(config).unwrap();
    stub.set_mood(Mood::NoQuorum);
    let error = client.execute_as::<Sum>(&1).await.unwrap_err();
    assert_eq!(error, ClientError::Unavailable(Unavailable { reached: 1, total: 3, needed: 2 }));
    assert_eq!(error.to_string(), "no quorum: reached 1 of 3, need 2");
    assert!(error.certainly_not_applied());
}

#[tokio::test]
async fn d14_a_deadline_ends_a_call_and_an_open_outcome_names_the_request() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let client = world.client(&[(1, &endpoint)]);
    let session = client.open().await.unwrap();
    stub.set_mood(Mood::Hold);
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = Duration::from_millis(500);
    let hasty = Client::new(config).unwrap();
    let error = hasty.execute_in(session, 1, encoded(&5u64)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unknown { sequence: 1, .. }), "{error}");
    assert!(error.to_string().contains(&format!("request id {session}:1")), "{error}");
    assert!(!error.certainly_not_applied());
    stub.set_mood(Mood::Answer);
    assert_eq!(client.execute_in(session, 1, encoded(&5u64)).await, Ok(encoded(&5u64)));
    assert_eq!(client.execute_in(session, 1, encoded(&5u64)).await, Ok(encoded(&5u64)));
}

#[tokio::test]
async fn d10_an_increment_whose_outcome_is_unknown_can_be_repeated_and_counts_once() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = Duration::from_secs(2);
    let client = Client::new(config).unwrap();
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1));
    stub.set_mood(Mood::Hold);
    let error = client.execute_as::<Sum>(&5).await.unwrap_err();
    let ClientError::Unknown { session, sequence, .. } = error else { panic!("{error}") };
    // It runs after its deadline, when nobody waits for it any more.
    stub.release();
    stub.set_mood(Mood::Answer);
    for _ in 0..3 {
        let again = client.execute_in(session, sequence, encoded(&5u64)).await;
        assert_eq!(again, Ok(encoded(&6u64)), "the same answer, however often it is asked for");
    }
    // Another increment is another command, in a session whose last outcome is known.
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(7));
}

#[tokio::test]
async fn d10_lost_answers_are_asked_for_again_and_nothing_runs_twice() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let client = world.client(&[(1, &endpoint)]);
    stub.set_mood(Mood::LoseAnswers);
    for sum in 1..=10 {
        assert_eq!(client.execute_as::<Sum>(&1).await, Ok(sum));
    }
}

#[tokio::test]
async fn a_session_that_ended_is_replaced_for_a_fresh_command_only() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let client = world.client(&[(1, &endpoint)]);
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1));
    let other = world.client(&[(1, &endpoint)]);
    let expired = other.execute_in(SessionId(77), 1, encoded(&1u64)).await;
    // Under a request id of somebody's choice it may have run before the session ended.
    assert!(matches!(expired, Err(ClientError::Unknown { sequence: 1, .. })), "{expired:?}");
    stub.crowd_out_sessions();
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(2));
}

#[tokio::test]
async fn too_long_a_command_and_nonsense_are_refused() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let client = world.client(&[(1, &endpoint)]);
    let long = vec![0u8; paxos_core::batch::COMMAND_MAX + 1].into();
    let error = client.execute(long).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    let error = client.execute(bytes::Bytes::new()).await.unwrap_err();
    assert_eq!(error, ClientError::Rejected(Rejection::NotACommand));
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1), "the session goes on");
}

#[tokio::test]
async fn a_client_survives_the_restart_of_the_only_node() {
    let world = World::new();
    let replica = Arc::new(Mutex::new(replica()));
    let stub = Stub::sharing(1, replica.clone());
    let endpoint = world.endpoint(&stub);
    let place = endpoint.local_addr().unwrap();
    let client = world.client(&[(1, &endpoint)]);
    assert_eq!(client.execute_as::<Sum>(&1).await, Ok(1));
    endpoint.close().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.execute_as::<Sum>(&1).await }
    });
    let again = Stub::sharing(1, replica);
    let _endpoint = bind_again(|| {
        let mut config = world.config(&again);
        config.bind = place;
        config
    })
    .await;
    assert_eq!(waiting.await.unwrap(), Ok(2));
}

#[tokio::test]
async fn nobody_there_is_said_for_each_node() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.cluster.nodes = BTreeMap::from([
        (NodeId(1), "127.0.0.1:9".to_owned()),
        (NodeId(2), "no-such-host.invalid:1".to_owned()),
    ]);
    config.timeout = Duration::from_millis(300);
    let error = Client::new(config).unwrap().execute_as::<Sum>(&1).await.unwrap_err();
    let words = error.to_string();
    assert!(words.starts_with("reached 0 of 2 nodes: "), "{words}");
    assert!(error.certainly_not_applied());
}

#[tokio::test]
async fn g5_a_client_that_never_reads_is_closed_and_counted() {
    let world = World::new();
    let stub = Stub::new(1);
    let mut config = world.config(&stub);
    config.limits.client_queue_bytes = 1 << 20;
    let endpoint = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let client = world.client(&[(1, &endpoint)]);
    stub.set_mood(Mood::Hold);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.query(encoded(&()), Consistency::Linearizable).await }
    });
    until("the request is there", || !stub.held.lock().unwrap().is_empty()).await;
    let (caller, _) = stub.held.lock().unwrap()[0].clone();
    // More than all windows hold, at one go: as if nothing of it were read.
    let answer = bytes::Bytes::from(vec![0; 512 << 10]);
    for id in 0..64 {
        let response = Response::Answer {
            slot: Slot(1),
            answer: answer.clone(),
            served: Served::Linearizable,
        };
        caller.replies.send(vec![ClientResponse { id: 1000 + id, leader: None, response }]);
    }
    until("it is counted", || endpoint.report().slow_clients == 1).await;
    asking.abort();
}

#[tokio::test]
async fn an_answer_that_no_frame_carries_is_refused_and_not_silent() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let client = world.client(&[(1, &endpoint)]);
    stub.set_mood(Mood::Hold);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.query(encoded(&()), Consistency::Linearizable).await }
    });
    until("the request is there", || !stub.held.lock().unwrap().is_empty()).await;
    let (caller, request) = stub.held.lock().unwrap().remove(0);
    let answer = bytes::Bytes::from(vec![0; 4 << 20]);
    let response = Response::Answer { slot: Slot(1), answer, served: Served::Linearizable };
    caller.replies.send(vec![ClientResponse { id: request.id, leader: None, response }]);
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    assert_eq!(ClientError::from(Refused::Busy), ClientError::Busy);
}

#[tokio::test]
async fn connections_of_one_identity_are_limited() {
    let world = World::new();
    let mut config = world.config(&Stub::new(1));
    config.limits.connections_per_identity = 1;
    let endpoint = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let first = world.client(&[(1, &endpoint)]);
    first.execute_as::<Sum>(&1).await.unwrap();
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = Duration::from_millis(500);
    let error = Client::new(config).unwrap().execute_as::<Sum>(&1).await.unwrap_err();
    assert!(error.to_string().contains("too many connections"), "{error}");
    first.close().await;
    world.client(&[(1, &endpoint)]).execute_as::<Sum>(&1).await.unwrap();
}

#[tokio::test]
async fn sec9_a_request_that_never_ends_is_not_waited_for() {
    let world = World::new();
    let mut config = world.config(&Stub::new(1));
    config.limits.request_deadline = Duration::from_millis(50);
    let endpoint = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let leaf = world.leaf(&paxos_net::Identity::client(support::CLUSTER, "eve").unwrap());
    let there = endpoint.local_addr().unwrap();
    let (_mine, connection) =
        support::raw::dial(there, &leaf.authority, Some(&leaf), "paxos-client-json/1")
            .await
            .unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&support::raw::frame(br#"{"version":1}"#)).await.unwrap();
    support::raw::read(&mut receive).await;
    send.write_all(&[100, 0, 0, 0, b'{']).await.unwrap();
    let reason = connection.closed().await.to_string();
    assert!(reason.contains("did not arrive in time"), "{reason}");
}

#[tokio::test]
async fn a_host_of_several_addresses_is_reached_at_the_one_that_answers() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let mut config = world.client_config(&[(1, &endpoint)]);
    // Often ::1 first, where nobody listens.
    let port = endpoint.local_addr().unwrap().port();
    config.cluster.nodes.insert(NodeId(1), format!("localhost:{port}"));
    assert_eq!(Client::new(config).unwrap().execute_as::<Sum>(&1).await, Ok(1));
}

#[tokio::test]
async fn a_query_that_nobody_answers_names_the_node() {
    let world = World::new();
    let stub = Stub::new(1);
    let endpoint = world.endpoint(&stub);
    let mut config = world.client_config(&[(1, &endpoint)]);
    config.timeout = Duration::from_millis(300);
    stub.set_mood(Mood::Hold);
    let client = Client::new(config).unwrap();
    let error = client.query_as::<Sum>(&(), Consistency::Linearizable).await.unwrap_err();
    assert!(error.to_string().contains("no answer from node 1 in time"), "{error}");
    assert!(error.certainly_not_applied());
}
