//! Roles in processes of their own: witnesses, front ends and read replicas, as people meet them.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::{Cluster, Form, Load, told, until};

fn role(cluster: &Cluster, node: u64) -> String {
    let status = cluster.status();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    let found = nodes.find(|it| it["node"].as_u64() == Some(node)).unwrap();
    found["role"].as_str().unwrap_or("down").to_owned()
}

#[test]
fn each_process_hosts_what_its_role_needs_and_serves_what_it_can() {
    let mut cluster = Cluster::started_as(Form::Apart);
    assert_eq!(cluster.incr("hits", 3), 3);
    let roles: Vec<_> = (1..=6).map(|node| role(&cluster, node)).collect();
    let [w, f] = ["witness", "front-end"];
    assert_eq!(roles, [w, w, w, f, f, "read-replica"]);
    for node in 1..=6 {
        assert_eq!(cluster.get_via("hits", node), 3, "whoever is asked, node {node}");
    }
    let at = |node: u64, read: &str| {
        cluster.told(&["get", "hits", "--read", read, "--via", cluster.address(node)])
    };
    assert_eq!(at(6, "stale").ok(), "3");
    assert_eq!(at(6, "lease").ok(), "3");
    assert_eq!(at(1, "lease").ok(), "3");
    at(1, "stale").failed_with(64, &["this node keeps no state: ask n4 or n5 or n6"]);
    for _ in 0..8 {
        assert_eq!(cluster.told(&["get", "hits", "--read", "stale"]).ok(), "3", "some node");
    }
    cluster.told_admin(&["leader", "transfer", "6"]).failed_with(75, &["leadership stays"]);

    for (node, hosts) in [
        (1, "hosts       acceptor, leadership\n"),
        (4, "hosts       proposer, learner, leadership, archive\n"),
        (6, "hosts       learner, leadership, archive\n"),
    ] {
        let process = cluster.take(node);
        process.signal(rustix::process::Signal::TERM);
        let said = process.told();
        assert!(said.code == Some(0) && said.stdout.contains(hosts), "{said:?}");
        cluster.start(node);
    }
    assert_eq!(cluster.incr("hits", 1), 4);
    cluster.await_level();
    cluster.kill(4);
    cluster.kill(5);
    let replica = cluster.address(6).to_owned();
    assert_eq!(cluster.told(&["get", "hits", "--read", "stale", "--via", &replica]).ok(), "4");
    let nobody = cluster.told(&["incr", "hits", "--timeout", "2s"]);
    nobody.failed_with(75, &["no answer in time from a leader"]);
}

#[test]
fn members_of_roles_apart_come_change_and_go() {
    let mut cluster = Cluster::started_as(Form::Apart);
    let load = Load::start(cluster.client_config(), 4, "hits");
    load.await_more(50);
    let admin = |cluster: &Cluster, line: &[&str]| cluster.told_admin(line);
    admin(&cluster, &["members", "promote", "1"]).failed_with(64, &["keeping the state"]);

    // One that accepts only, and its like goes.
    let witness = cluster.admit(&["members", "add", "ADDRESS", "--role", "witness"]);
    cluster.start(witness);
    admin(&cluster, &["members", "remove", "1"]).ok();
    let gone = cluster.take(1).told();
    gone.failed_with(78, &["was removed from the cluster"]);
    load.await_more(50);

    // A front end becomes a voter: its process begins anew by itself, with an acceptor.
    let promote = ["members", "promote", "5"];
    until("it is promoted", || (admin(&cluster, &promote).code == Some(0)).then_some(()));
    until("it says so", || (role(&cluster, 5) == "voter").then_some(()));
    let anew = "hosts       acceptor, proposer, learner, leadership, archive";
    cluster.node(5).line_with(anew);
    // Of four acceptors it is one of the three that are needed.
    cluster.kill(2);
    load.await_more(50);
    cluster.start(2);
    admin(&cluster, &["members", "demote", "5"]).ok();
    load.await_more(50);

    admin(&cluster, &["members", "remove", "6"]).ok();
    cluster.take(6).told().failed_with(78, &["was removed from the cluster"]);
    let few = ["1 members would keep the state, and 2 must"];
    admin(&cluster, &["members", "remove", "4"]).failed_with(64, &few);
    let replica = cluster.admit(&["members", "add", "ADDRESS", "--role", "read-replica"]);
    cluster.start(replica);
    admin(&cluster, &["members", "remove", "4"]).ok();
    cluster.take(4).told().failed_with(78, &["was removed from the cluster"]);
    load.await_more(50);
    let acknowledged = load.stop();
    for node in [2, 3, 5, witness, replica] {
        assert_eq!(cluster.get_via("hits", node), acknowledged, "through node {node}");
    }
}

#[test]
fn init_refuses_what_nobody_could_lead_and_warns_of_what_never_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let init = |name: &str, line: &[&str]| {
        let dir = folder.path().join(name);
        told([&["init", "--dir", path_text(&dir)], line].concat())
    };
    let witnesses = ["--witnesses", "h1:1,h2:1,h3:1"];
    init("a", &witnesses).failed_with(64, &["nobody could lead"]);
    init("b", &["--front-ends", "h1:1"]).failed(64);
    init("c", &[&witnesses[..], &["--front-ends", "h3:1"]].concat())
        .failed_with(64, &["h3:1 is the address of two nodes"]);
    let few = init("d", &[&witnesses[..], &["--front-ends", "h4:1"]].concat());
    few.ok();
    assert!(few.stderr.contains("1 of the nodes keep the state, and 2 would have to"), "{few:?}");
    let enough = init("e", &[&witnesses[..], &["--front-ends", "h4:1,h5:1"]].concat());
    assert_eq!((enough.code, enough.stderr.as_str()), (Some(0), ""));
}
