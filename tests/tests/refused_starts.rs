//! Nodes and clients that must not start: each is told why, with what to do, and the right exit
//! code, while the cluster goes on.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use paxos_net::{Authority, Identity};
use paxos_tests::processes::cluster::path_text;
use paxos_tests::processes::{Cluster, until};

/// The configuration is wrong.
const CONFIGURATION: i32 = 78;
/// A certificate was refused.
const CERTIFICATE: i32 = 77;

/// What a node says that must not start.
#[track_caller]
fn refused(cluster: &Cluster, node: u64, more: &[&str], words: &[&str]) {
    let told = cluster.serve(node, more).told();
    told.failed_with(CONFIGURATION, words);
    assert!(!told.stdout.contains("ready"), "{told:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Nodes 1 and 2 run; node 3 is the one to be spoilt.
#[test]
fn a_node_that_must_not_start_is_told_why_and_the_cluster_goes_on() {
    let (mut cluster, other) = (Cluster::made(), Cluster::made());
    cluster.start(1);
    cluster.start(2);
    assert_eq!(cluster.incr("hits", 1), 1);
    let folder = cluster.node_folder(3);
    let data = folder.join("data");

    // Of another cluster.
    let foreign = other.node_folder(3);
    let line = ["--identity", path_text(&foreign)];
    refused(&cluster, 3, &line, &["belongs to cluster", "check the path"]);

    // Of another node, the data alone or the whole folder.
    let second = cluster.node_folder(2);
    refused(
        &cluster,
        3,
        &["--identity", path_text(&second)],
        &["is using this", "stop that process"],
    );
    let kept = folder.join("kept");
    fs::rename(&data, &kept).unwrap();
    copy(&other.node_folder(2).join("data"), &data);
    refused(&cluster, 3, &[], &["belongs to cluster"]);
    fs::remove_dir_all(&data).unwrap();
    copy(&second.join("data"), &data);
    refused(&cluster, 3, &[], &["belongs to node n2, not to n3", "never be used by another"]);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&kept, &data).unwrap();

    // Of a newer version.
    let sheet = data.join("identity.json");
    let text = fs::read_to_string(&sheet).unwrap();
    fs::write(&sheet, text.replace("\"format\": 2", "\"format\": 3")).unwrap();
    refused(&cluster, 3, &[], &["identity.json has format version 3", "or a newer one"]);
    fs::write(&sheet, text).unwrap();

    // The port is somebody else's.
    let taken = UdpSocket::bind(cluster.address(3)).unwrap();
    refused(&cluster, 3, &[], &[cluster.address(3), "is in use", "choose another"]);
    drop(taken);

    // The cluster file does not know it, or cannot be understood.
    refused(&cluster, 4, &[], &["names no node 4", "1, 2, 3"]);
    let line = 1 + fs::read_to_string(cluster.file()).unwrap().lines().count();
    let sound = fs::read(cluster.file()).unwrap();
    fs::write(cluster.file(), [&sound[..], b"colour = \"red\"\n"].concat()).unwrap();
    let place = format!("cluster.toml:{line}: unknown field `colour`");
    refused(&cluster, 3, &[], &[&place]);
    cluster.told(&["get", "hits"]).failed_with(CONFIGURATION, &[&place]);
    fs::write(cluster.file(), sound).unwrap();

    // Nothing of all that has spoilt anything.
    assert_eq!(cluster.incr("hits", 1), 2);
    cluster.start(3);
    assert_eq!(cluster.get_via("hits", 3), 2);
}

#[test]
fn proc8_a8_a_node_without_its_data_is_refused_and_told_how_to_come_back() {
    let mut cluster = Cluster::started();
    assert_eq!(cluster.incr("hits", 1), 1);
    cluster.kill(3);
    let data = cluster.node_folder(3).join("data");
    fs::remove_dir_all(&data).unwrap();
    let words = ["missing or empty", "lost its memory", "new member under a new id"];
    refused(&cluster, 3, &[], &words);
    assert!(!data.exists(), "a node makes no data directory");
    fs::create_dir(&data).unwrap();
    refused(&cluster, 3, &[], &words);
    assert_eq!(
        fs::read_dir(&data)
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name() != "lock" })
            .count(),
        0
    );
    assert_eq!(cluster.incr("hits", 1), 2);
    // Nor do the other two become one and a half: a cluster without a quorum stalls.
    cluster.kill(1);
    refused(&cluster, 3, &[], &words);
    let told = cluster.told(&["incr", "hits", "--timeout", "2s"]);
    told.failed_with(69, &["reached 1 of 3, need 2"]);
    cluster.start(1);
    assert_eq!(cluster.incr("hits", 1), 3);
}

#[test]
fn a9_proc9_an_older_copy_of_a_nodes_data_is_refused_and_has_no_vote() {
    let mut cluster = Cluster::started();
    cluster.await_level();
    cluster.kill(3);
    let data = cluster.node_folder(3).join("data");
    let backup = cluster.folder().join("backup");
    copy(&data, &backup);
    // It goes on from there, one run or two, and promises and votes what the copy knows nothing of.
    let mut hits = 0;
    for runs in 1..=2 {
        for _ in 0..runs {
            cluster.start(3);
            hits += 1;
            assert_eq!(cluster.incr("hits", 1), hits);
            cluster.await_level();
            cluster.kill(3);
        }
        let newest = cluster.folder().join(format!("newest-{runs}"));
        fs::rename(&data, &newest).unwrap();
        copy(&backup, &data);
        let words = ["refuses this node: node n3 was met in run", "older than what"];
        cluster.serve(3, &[]).told().failed_with(CONFIGURATION, &words);
        hits += 1;
        assert_eq!(cluster.incr("hits", 1), hits);
        // The newest data is as good as ever.
        fs::remove_dir_all(&data).unwrap();
        copy(&newest, &data);
    }
    cluster.start(3);
    assert_eq!(cluster.get_via("hits", 3), hits);
}

#[test]
fn proc10_a_nodes_identity_is_that_of_one_process() {
    let mut cluster = Cluster::started();
    cluster.await_level();

    // The same folder: the second is refused at once.
    let free = paxos_app::ports::free_addresses(1).unwrap().remove(0);
    refused(&cluster, 3, &["--bind", &free], &["another process is using this data directory"]);

    // A copy of it, elsewhere: one of the two is told by the others, and ends.
    let twin = cluster.folder().join("twin");
    copy(&cluster.node_folder(3), &twin);
    let mut copied = cluster.serve(3, &["--identity", path_text(&twin), "--bind", &free]);
    let ended = until("one of the two ends", || {
        [&mut copied, cluster.node(3)].map(|process| process.has_ended()).iter().position(|x| *x)
    });
    let (ended, other) = match ended {
        0 => (copied, cluster.take(3)),
        _ => (cluster.take(3), copied),
    };
    ended
        .told()
        .failed_with(CONFIGURATION, &["refuses this node: node n3", "a copy of it runs elsewhere"]);
    assert_eq!(cluster.incr("hits", 1), 1);
    drop(other);
    assert_eq!(cluster.incr("hits", 1), 2);
}

#[test]
fn sec14_a_key_that_others_can_read_is_refused_by_name() {
    let mut cluster = Cluster::made();
    let expose = |folder: &Path, mode| {
        fs::set_permissions(folder.join("key.pem"), Permissions::from_mode(mode)).unwrap();
    };
    expose(&cluster.node_folder(3), 0o644);
    refused(&cluster, 3, &[], &["node-3/key.pem", "chmod 600"]);
    let client = cluster.folder().join("client");
    expose(&client, 0o640);
    let told = cluster.told(&["get", "hits"]);
    told.failed_with(CONFIGURATION, &["client/key.pem", "mode 0640", "chmod 600"]);
    expose(&client, 0o600);
    expose(&cluster.node_folder(3), 0o600);
    cluster.start_all();
    assert_eq!(cluster.incr("hits", 1), 1);
}

#[test]
fn a_client_with_a_certificate_of_others_is_refused_and_told_so() {
    let (mut cluster, other) = (Cluster::made(), Cluster::made());
    cluster.start_all();

    // The folder of another cluster's client.
    let foreign = other.folder().join("client");
    for line in [&["get", "hits"][..], &["incr", "hits"], &["status"]] {
        let line = [line, &["--identity", path_text(&foreign)]].concat();
        cluster.told(&line).failed_with(CERTIFICATE, &["certificate", "cluster"]);
    }

    // One that claims to be of this cluster, by an authority of its own.
    let id = cluster.client_config().cluster.cluster;
    let forged = Authority::create(id).unwrap();
    let leaf = forged.issue(&Identity::client(id, "client").unwrap()).unwrap();
    let folder = cluster.folder().join("forged");
    leaf.save(&folder).unwrap();
    for line in [&["get", "hits"][..], &["incr", "hits"], &["status"]] {
        let line = [line, &["--identity", path_text(&folder)]].concat();
        cluster.told(&line).failed_with(CERTIFICATE, &["certificate"]);
    }

    // An address that is in no cluster file.
    let line = ["get", "hits", "--via", "127.0.0.1:1"];
    cluster.told(&line).failed_with(CONFIGURATION, &["127.0.0.1:1 is not an address"]);
    assert_eq!(cluster.incr("hits", 1), 1);
}
