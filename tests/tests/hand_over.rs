//! Leadership moves when an admin asks, and when the leader's node is told to stop: real nodes.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_tests::processes::{Cluster, Form, Load, until};

#[test]
fn clus3_leadership_moves_when_asked_and_when_its_node_stops_and_no_client_is_refused() {
    for form in Form::ALL {
        moves(&mut Cluster::started_as(form));
    }
}

fn moves(cluster: &mut Cluster) {
    let load = Load::start(cluster.client_config(), 8, "hits");
    load.await_more(100);
    let old = cluster.leader();
    let heir = cluster.form().heir(old);
    let transfer = ["leader", "transfer", &heir.to_string()];
    cluster.told(&transfer).failed_with(77, &["is no admin's certificate"]);
    cluster.told_admin(&["leader", "transfer", "9"]).failed(64);
    cluster.told_admin(&transfer).ok();
    until("the heir leads", || (cluster.leader() == heir).then_some(()));
    let shown = cluster.told(&["leader", "show", "-o", "json"]);
    assert!(shown.ok().contains(&format!(r#""leader":{heir}"#)), "{shown:?}");
    load.await_more(100);

    let stopped = cluster.take(heir);
    stopped.signal(rustix::process::Signal::TERM);
    let told = stopped.told();
    assert_eq!(told.code, Some(0), "{told:?}");
    load.await_more(100);
    cluster.start(heir);
    let acknowledged = load.stop();
    cluster.await_level();
    for node in cluster.form().nodes() {
        assert_eq!(cluster.get_via("hits", node), acknowledged, "through node {node}");
    }
}
