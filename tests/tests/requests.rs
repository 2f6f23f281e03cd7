//! Requests whose answers are lost, and requests that are repeated: each counts once.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs;

use paxos_core::Rejection;
use paxos_core::batch::COMMAND_MAX;
use paxos_net::client::{Client, ClientError};
use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::process::command;
use paxos_tests::processes::proxy::Proxy;
use paxos_tests::processes::{Cluster, Process};
use tempfile::TempDir;

/// A client's way to a node ends after so many datagrams from the node: early in the handshake,
/// between two answers, or never.
const DATAGRAMS: std::ops::Range<usize> = 2..20;

/// Rounds of attempts until one outcome was unknown.
const ROUNDS_MAX: usize = 20;

#[test]
fn an_unknown_outcome_comes_with_a_request_id_and_repeating_it_counts_once() {
    let cluster = Cluster::started();
    let leader = cluster.leader();
    let (mut counted, mut unknown) = (0, 0);
    // How many datagrams a request takes is up to QUIC: on a busy machine all may miss the moment.
    for _ in 0..ROUNDS_MAX {
        let begin = |cut| Attempt::begin(&cluster, leader, cut);
        for attempt in DATAGRAMS.map(begin).collect::<Vec<_>>() {
            let told = attempt.process.told();
            match told.code {
                Some(0) => counted += 1,
                Some(69) if told.stderr.contains("outcome unknown") => {
                    let id = request_id(&told.stderr);
                    let line = ["incr", "hits", "--request-id", &id, "--timeout", "60s"];
                    let first = cluster.told(&line).ok().to_owned();
                    assert_eq!(cluster.told(&line).ok(), first, "the same answer each time");
                    (counted, unknown) = (counted + 1, unknown + 1);
                }
                // It certainly had no effect.
                Some(69) => {}
                _ => panic!("after {} datagrams: {told:?}", attempt.cut),
            }
        }
        if unknown > 0 {
            break;
        }
    }
    assert!(unknown > 0, "no outcome was ever unknown");
    assert_eq!(cluster.get_via("hits", 1), counted);

    let line = ["incr", "hits", "--request-id", "999999:1"];
    // It may have run before its session ended, for all that anybody knows now.
    cluster.told(&line).failed_with(69, &["session 999999 has expired"]);
    assert_eq!(cluster.get_via("hits", 2), counted);
}

/// An increment through a node that falls silent after some datagrams.
struct Attempt {
    cut: usize,
    process: Process,
    _proxy: Proxy,
    _folder: TempDir,
}

impl Attempt {
    fn begin(cluster: &Cluster, node: u64, cut: usize) -> Attempt {
        let proxy = Proxy::start(cluster.address(node), cut);
        let address = proxy.address().to_string();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.toml");
        let text = fs::read_to_string(cluster.file()).unwrap();
        fs::write(&file, text.replace(cluster.address(node), &address)).unwrap();
        let client = cluster.folder().join("client");
        let mut line = vec!["incr", "hits", "--timeout", "1s", "--via", &address];
        line.extend(["--cluster", path_text(&file), "--identity", path_text(&client)]);
        let process = Process::start(command(line));
        Attempt { cut, process, _proxy: proxy, _folder: folder }
    }
}

/// The id in the line that is to be repeated.
fn request_id(complaint: &str) -> String {
    let line = complaint.lines().last().unwrap();
    assert!(line.contains("incr hits"), "{complaint}");
    let id = line.rsplit_once("--request-id ").expect(complaint).1.to_owned();
    assert!(complaint.contains(&format!("request id {id}\n")), "{complaint}");
    id
}

#[tokio::test]
async fn a_request_is_the_clients_own_and_has_a_limit() {
    let cluster = Cluster::started();
    let client = Client::new(cluster.client_config()).unwrap();

    let long = vec![0; COMMAND_MAX + 1];
    let error = client.execute(long.into()).await.unwrap_err();
    let (size, limit) = (COMMAND_MAX as u64 + 1, COMMAND_MAX as u64);
    assert_eq!(error, ClientError::TooLarge { size, limit });
    assert!(error.to_string().contains("exceed the limit of 1048576: split it"), "{error}");

    let session = client.open().await.unwrap();
    let command = |by| {
        let command = counter::Command::Incr { name: "hits".to_owned(), by };
        postcard::to_stdvec(&command).unwrap().into()
    };
    let first = client.execute_in(session, 1, command(1)).await.unwrap();
    assert_eq!(client.execute_in(session, 1, command(1)).await.unwrap(), first);
    let reused = client.execute_in(session, 1, command(2)).await.unwrap_err();
    let rejection = Rejection::SequenceReused { session, sequence: 1 };
    assert_eq!(reused, ClientError::Rejected(rejection));
    let skipped = client.execute_in(session, 3, command(1)).await.unwrap_err();
    let rejection = Rejection::BadSequence { session, expected: 2, found: 3 };
    assert_eq!(skipped, ClientError::Rejected(rejection));
    client.close().await;

    // Another client's certificate is no way into the session.
    let admin = cluster.folder().join("admin");
    let id = format!("{session}:2");
    let line = ["incr", "hits", "--request-id", &id, "--identity", path_text(&admin)];
    cluster.told(&line).failed_with(77, &["belongs to another client"]);
    assert_eq!(cluster.get_via("hits", 3), 1);
}
