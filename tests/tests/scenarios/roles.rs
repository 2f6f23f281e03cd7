//! Roles apart: acceptors that keep no state, replicas that do not accept, and those between them.

use paxos_core::{MemberRole, NodeId};
use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::seconds;

/// So many witnesses, which come first, and so many learners.
fn apart(witnesses: u64, learners: u64, change: impl FnOnce(Plan) -> Plan) -> Cluster {
    Cluster::planned(3, 1, |plan| {
        let mut plan = plan.apart(witnesses, learners);
        plan.settings.snapshots.every_bytes = 256;
        change(plan)
    })
}

#[test]
fn witnesses_cut_what_more_replicas_have_than_can_be_lost() {
    let mut cluster = apart(3, 3, |plan| plan);
    cluster.crash(6);
    cluster.run_until_more(200);
    let cut = |cluster: &Cluster| (1..=3).all(|node| cluster.trimmed(node) > 50);
    cluster.run_until("all witnesses have cut", seconds(10), cut);
    // It takes a snapshot from another, since nobody has the log that it missed.
    cluster.restart(6);
    cluster.run_until_more(100);
    // Any one replica may be gone for good, and any one witness.
    cluster.crash(4);
    cluster.crash(1);
    cluster.run_until_more(100);
    cluster.finish();
}

#[test]
fn witnesses_cut_nothing_that_a_single_replica_has() {
    let mut cluster = apart(3, 2, |plan| plan);
    cluster.run_until_led();
    cluster.crash(5);
    let before = cluster.trimmed(1);
    cluster.run_until_more(200);
    assert!(cluster.trimmed(1) <= before + 64, "nor what the other had, and one window");
    cluster.restart(5);
    let cut = |cluster: &Cluster| cluster.trimmed(1) > before + 64;
    cluster.run_until("the other has caught up", seconds(10), cut);
    cluster.finish();
}

#[test]
fn a_read_replica_never_leads_and_nobody_hands_over_to_it() {
    let mut cluster = apart(3, 3, |mut plan| {
        plan.read_replicas.insert(NodeId(6));
        plan
    });
    for round in 0..6 {
        let leader = cluster.run_until_led();
        assert!(leader == 4 || leader == 5, "{leader} leads");
        let to = [None, Some(6), Some(9 - leader)][round % 3];
        cluster.transfer(leader, to);
        cluster.run_for(seconds(3));
        let next = cluster.leader();
        assert_eq!(next, Some(if to == Some(6) { leader } else { 9 - leader }), "{to:?}");
    }
    cluster.crash(4);
    cluster.crash(5);
    cluster.run_for(seconds(10));
    assert_eq!(cluster.leader(), None, "it is not even tried");
    cluster.finish();
}

#[test]
fn a_front_end_becomes_a_voter_and_a_learner_again() {
    let mut cluster = apart(3, 2, |plan| plan);
    let leader = cluster.run_until_led();
    cluster.change(leader, |known| known.with_role(NodeId(leader), MemberRole::Voter));
    cluster.run_until_settled(1);
    cluster.run_until_more(50);
    // With four acceptors three are needed: the new one is one of them.
    cluster.crash(1);
    cluster.run_until_more(50);
    cluster.restart(1);
    let leads = cluster.leader().expect("a quiet cluster is led");
    cluster.change(leads, |known| known.with_role(NodeId(leader), MemberRole::Learner));
    cluster.run_until_settled(2);
    cluster.crash(leader);
    cluster.run_until_more(50);
    cluster.restart(leader);
    cluster.run_until_more(50);
    cluster.finish();
}
