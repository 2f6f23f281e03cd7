//! Scenarios R and CLUS: changes of membership while nodes and links fail.

use std::collections::BTreeMap;

use paxos_core::{MemberRole, NodeId, ReadLevel};
use paxos_tests::simulation::directed::Cluster;
use paxos_tests::simulation::{Plan, Rhythm, Trouble, run_as};

use crate::seconds;

fn other_than(leader: u64) -> u64 {
    leader % 3 + 1
}

#[test]
fn clus1_the_membership_changes_under_cuts_crashes_and_pauses() {
    let mut changes = 0;
    for seed in 0..40 {
        let changing = |plan: Plan| {
            let usual = Rhythm { every: plan.faults_for / 8, lasts: seconds(1) };
            let often = Rhythm { every: plan.faults_for / 20, ..usual };
            let mut troubles = BTreeMap::from([(Trouble::Change, often)]);
            for trouble in [Trouble::Cut, Trouble::Crash, Trouble::Pause] {
                troubles.insert(trouble, usual);
            }
            Plan { troubles, roles_change: true, ..plan.of_voters(3) }
        };
        let report = run_as(seed, changing).unwrap_or_else(|broken| panic!("{seed}: {broken}"));
        changes += report.faults.troubles[&Trouble::Change];
    }
    assert!(changes > 100, "{changes} changes in 40 runs");
}

#[test]
fn clus2_r6_a_leader_removes_itself_and_leaves_when_it_is_needed_no_more() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.run_until_led();
    cluster.change(leader, |known| known.without(NodeId(leader)));
    cluster.run_until_settled(1);
    cluster.run_until("the old leader is gone", seconds(10), |cluster| cluster.is_gone(leader));
    cluster.run_until_more(100);
    assert!(cluster.leader().is_some_and(|next| next != leader));
    cluster.finish();
}

#[test]
fn r10_a_removed_node_that_does_not_know_it_certifies_no_read_and_ends_when_it_hears_of_it() {
    for seed in 0..10 {
        let mut cluster = Cluster::planned(4, seed, |plan| plan);
        let leader = cluster.run_until_led();
        let removed = leader % 4 + 1;
        cluster.run_for(seconds(1));
        cluster.isolate(removed);
        cluster.burn_no_disks();
        cluster.change(leader, |known| known.without(NodeId(removed)));
        cluster.run_until_settled(1);
        let (applied, certified) = (cluster.applied(removed), cluster.certified(removed));
        cluster.read_at(removed, ReadLevel::Linearizable);
        cluster.read_at(removed, ReadLevel::Lease);
        cluster.run_until_more(50);
        assert!(!cluster.is_gone(removed), "it cannot know");
        assert_eq!(cluster.applied(removed), applied, "it hears nothing");
        assert_eq!(cluster.certified(removed), certified, "no read of it is certain");
        // Any member refuses it by name.
        cluster.heal();
        cluster.run_until("it is gone", seconds(10), |cluster| cluster.is_gone(removed));
        cluster.finish();
    }
}

#[test]
fn clus2_r6_of_two_nodes_the_one_that_stays_finishes_the_removal_of_the_leader() {
    for seed in 0..20 {
        let mut cluster = Cluster::planned(2, seed, |plan| plan);
        let leader = cluster.run_until_led();
        let stays = 3 - leader;
        cluster.change(leader, |known| known.without(NodeId(leader)));
        // The word of it is lost at some moment or other, and for long.
        let soon = std::time::Duration::from_millis(cluster.draw(40));
        cluster.run_for(soon);
        cluster.cut(leader, stays);
        cluster.run_for(seconds(5));
        cluster.heal();
        cluster.run_until_settled(1);
        cluster.run_until_more(20);
        assert_eq!(cluster.leader(), Some(stays));
        cluster.finish();
    }
}

#[test]
fn clus6_r9_a_removed_node_that_did_not_hear_of_it_comes_back_and_disturbs_nobody() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.run_until_led();
    let removed = other_than(leader);
    cluster.isolate(removed);
    cluster.change(leader, |known| known.without(NodeId(removed)));
    cluster.run_until_more(50);
    for _ in 0..5 {
        cluster.campaign(removed);
        cluster.run_for(seconds(2));
    }
    let (led, round) = (cluster.leaders(), cluster.round());
    cluster.heal();
    cluster.run_until("it is told, and ends", seconds(10), |cluster| cluster.is_gone(removed));
    cluster.run_until_more(50);
    assert_eq!((cluster.leader(), cluster.leaders()), (Some(leader), led));
    assert!(cluster.round() <= round, "its ballots are nobody's");
    assert_eq!(cluster.membership().next_id, NodeId(4), "its id is not given again");
    cluster.finish();
}

#[test]
fn clus7_of_two_changes_at_once_one_has_no_effect() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.run_until_led();
    let (one, other) = (other_than(leader), other_than(other_than(leader)));
    cluster.change(leader, |known| known.without(NodeId(one)));
    cluster.change(leader, |known| known.without(NodeId(other)));
    cluster.run_until_settled(1);
    cluster.run_until_more(100);
    assert_eq!((cluster.changes(), cluster.membership().members.len()), (1, 2));
    cluster.finish();
}

#[test]
fn r4_clus8_a_change_that_is_chosen_governs_although_everybody_restarts_before_it_does() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.run_until_led();
    cluster.change(leader, |known| known.added(MemberRole::Voter, "n4:1".to_owned()));
    cluster.run_until("it is chosen", seconds(10), |cluster| cluster.changes() == 1);
    (1..=3).for_each(|node| cluster.crash(node));
    cluster.run_for(seconds(1));
    (1..=3).for_each(|node| cluster.restart(node));
    cluster.run_until_settled(1);
    assert!(cluster.membership().members.contains_key(&NodeId(4)));
    // With four voters two are no quorum.
    cluster.crash(1);
    cluster.crash(2);
    cluster.run_for(seconds(1));
    let answered = cluster.answered();
    cluster.run_for(seconds(10));
    assert_eq!(cluster.answered(), answered);
    cluster.finish();
}

#[test]
fn r3_r5_a_change_that_its_leader_could_not_have_chosen_is_finished_or_void_but_not_forgotten() {
    for seed in 0..20 {
        let mut cluster = Cluster::planned(3, seed, |plan| plan);
        let leader = cluster.run_until_led();
        let add = |address: &str| {
            let address = address.to_owned();
            move |known: &paxos_core::Membership| known.added(MemberRole::Learner, address)
        };
        cluster.change(leader, add("first:1"));
        let soon = std::time::Duration::from_millis(cluster.draw(8));
        cluster.run_for(soon);
        cluster.isolate(leader);
        cluster.run_until("another leads", seconds(10), |cluster| {
            cluster.leader().is_some_and(|next| next != leader)
        });
        let next = cluster.leader().expect("it was just seen");
        cluster.run_until_more(10);
        cluster.change(next, add("second:1"));
        cluster.run_until_more(100);
        cluster.heal();
        cluster.run_until_more(100);
        // Whichever came first: two of them never give the same id to two nodes.
        let members = &cluster.membership().members;
        assert_eq!(members.len(), 3 + cluster.changes());
        assert!((1..=2).contains(&cluster.changes()));
        cluster.finish();
    }
}

#[test]
fn r7_a_voter_that_has_not_heard_of_a_change_votes_for_whom_it_does_not_know() {
    let mut cluster = Cluster::of(3);
    let leader = cluster.run_until_led();
    let (lags, third) = (other_than(leader), other_than(other_than(leader)));
    cluster.isolate(lags);
    cluster.change(leader, |known| known.added(MemberRole::Voter, "n4:1".to_owned()));
    cluster.run_until_more(50);
    cluster.run_until_settled(1);
    // Three of four are needed now, and the two that know each other are not enough.
    cluster.crash(leader);
    cluster.heal();
    cluster.run_until_more(50);
    assert!(cluster.leader().is_some_and(|next| next == third || next == 4 || next == lags));
    cluster.finish();
}

#[test]
fn r11_r12_a_learner_never_counts_and_is_a_learner_still_after_a_restart() {
    let mut cluster = Cluster::of(2);
    let leader = cluster.run_until_led();
    cluster.change(leader, |known| known.added(MemberRole::Learner, "n3:1".to_owned()));
    cluster.run_until_settled(1);
    cluster.run_until_more(50);
    cluster.crash(3);
    cluster.run_until_more(50);
    cluster.restart(3);
    cluster.crash(3 - leader);
    cluster.run_for(seconds(2));
    let answered = cluster.answered();
    cluster.run_for(seconds(10));
    assert_eq!(cluster.answered(), answered, "a voter and a learner are no majority");
    cluster.restart(3 - leader);
    cluster.run_until_more(50);
    let leader = cluster.leader().expect("there are two voters again");
    cluster.change(leader, |known| known.with_role(NodeId(3), MemberRole::Voter));
    cluster.run_until_settled(2);
    cluster.crash(leader);
    cluster.run_until_more(50);
    cluster.finish();
}

#[test]
fn r1_a_cluster_shrinks_and_grows_again_and_the_wiped_node_has_another_name() {
    let mut cluster = Cluster::of(3);
    for (step, removed) in [3, 2].into_iter().enumerate() {
        cluster.run_until_more(20);
        let leader = cluster.leader().expect("a quiet cluster is led");
        cluster.change(leader, |known| known.without(NodeId(removed)));
        cluster.run_until_settled(step + 1);
    }
    for step in 2..4 {
        cluster.run_until_more(20);
        let leader = cluster.leader().expect("a quiet cluster is led");
        let address = format!("again-{step}:1");
        cluster.change(leader, |known| known.added(MemberRole::Voter, address));
        cluster.run_until_settled(step + 1);
    }
    let members: Vec<_> = cluster.membership().members.keys().map(|node| node.0).collect();
    assert_eq!(members, [1, 4, 5]);
    cluster.crash(1);
    cluster.run_until_more(50);
    cluster.finish();
}

#[test]
fn clus1_all_voters_are_replaced_one_by_one_under_load() {
    let mut cluster = Cluster::of(3);
    for removed in 1..=3 {
        cluster.run_until_more(30);
        let leader = cluster.leader().expect("a quiet cluster is led");
        let address = format!("new-{removed}:1");
        cluster.change(leader, |known| {
            known.without(NodeId(removed))?.added(MemberRole::Voter, address)
        });
        cluster.run_until_settled(removed as usize);
        cluster.run_until("the old one is gone", seconds(20), |it| it.is_gone(removed));
        cluster.run_until_more(30);
    }
    let members: Vec<_> = cluster.membership().members.keys().map(|node| node.0).collect();
    assert_eq!(members, [4, 5, 6]);
    cluster.finish();
}
