//! Scenarios NET6, NET7, NET9 to NET12 and B15 to B17: partitions, and who leads on which side.

use paxos_core::{LeadershipOptions, ProposerOptions};
use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::{millis, rules, seconds};

/// The time in which a leader that is gone is missed, and another elected: twice the silence, the
/// spread and the patience of a campaign.
fn two_time_outs() -> std::time::Duration {
    let LeadershipOptions { suspect_after, spread, .. } = LeadershipOptions::default();
    2 * (suspect_after + spread + ProposerOptions::default().patience)
}

/// The nodes from this one on, around the circle.
fn around(cluster: &Cluster, first: u64) -> Vec<u64> {
    let count = cluster.nodes().len() as u64;
    (0..count).map(|step| (first + step - 1) % count + 1).collect()
}

#[test]
fn net6_a_minority_does_nothing_and_a_majority_goes_on_within_two_time_outs() {
    for rule in rules() {
        for with_leader in [true, false] {
            let mut cluster = Cluster::under(5, &rule);
            let leader = cluster.run_until_led();
            let order = around(&cluster, leader);
            let minority = if with_leader { [order[0], order[1]] } else { [order[3], order[4]] };
            let others: Vec<_> =
                order.into_iter().filter(|node| !minority.contains(node)).collect();
            let led = cluster.leaders();
            for one in minority {
                others.iter().for_each(|other| cluster.cut(one, *other));
            }
            cluster.run_for(two_time_outs());
            let chosen = cluster.leader().expect("the majority elects");
            assert!(others.contains(&chosen), "led by n{chosen}, cut off: {minority:?}");
            assert!(minority.iter().all(|node| !cluster.leads(*node)), "nobody leads a minority");
            assert_eq!(cluster.leaders(), led + usize::from(with_leader));
            let (stuck, round) = (minority.map(|node| cluster.applied(node)), cluster.round());
            cluster.run_until_more(100);
            cluster.run_for(seconds(30));
            assert_eq!(
                minority.map(|node| cluster.applied(node)),
                stuck,
                "nothing is applied there"
            );
            assert_eq!(cluster.round(), round, "and no ballot is made in vain");
            // The clients' histories say whether anybody was answered there.
            cluster.finish();
        }
    }
}

#[test]
fn net6_one_node_cut_off_is_missed_by_nobody() {
    for rule in rules() {
        let mut cluster = Cluster::under(3, &rule);
        let leader = cluster.run_until_led();
        let (led, round) = (cluster.leaders(), cluster.round());
        cluster.isolate(leader % 3 + 1);
        cluster.run_until_more(100);
        cluster.heal();
        cluster.run_until_more(100);
        assert_eq!((cluster.leaders(), cluster.round()), (led, round));
        cluster.finish();
    }
}

#[test]
fn b16_net7_a_leader_that_hears_nobody_steps_down() {
    for rule in rules() {
        let mut cluster = Cluster::under(3, &rule);
        let leader = cluster.run_until_led();
        let led = cluster.leaders();
        for node in around(&cluster, leader).into_iter().skip(1) {
            cluster.cut_one_way(node, leader);
        }
        // Its heartbeats still arrive, so only it can know.
        cluster.run_for(two_time_outs());
        assert!(!cluster.leads(leader));
        let next = cluster.leader().expect("another leads");
        assert_eq!(cluster.leaders(), led + 1);
        let round = cluster.round();
        cluster.run_until_more(100);
        cluster.run_for(seconds(30));
        assert_eq!((cluster.leader(), cluster.round()), (Some(next), round), "and it stays so");
        cluster.finish();
    }
}

#[test]
fn net7_one_who_cannot_hear_the_leader_is_told_that_it_lives() {
    for rule in rules() {
        let mut cluster = Cluster::under(3, &rule);
        let leader = cluster.run_until_led();
        let follower = leader % 3 + 1;
        let (led, round) = (cluster.leaders(), cluster.round());
        cluster.cut_one_way(leader, follower);
        cluster.run_until_more(100);
        cluster.run_for(seconds(60));
        assert_eq!((cluster.leaders(), cluster.round()), (led, round), "no ballot is raised");
        assert_eq!(cluster.leader(), Some(leader));
        assert!(cluster.applied(follower) > 0, "what it misses it fetches from the third");
        cluster.finish();
    }
}

#[test]
fn net7_a_leader_that_nobody_hears_is_replaced() {
    for rule in rules() {
        let mut cluster = Cluster::under(5, &rule);
        let leader = cluster.run_until_led();
        let led = cluster.leaders();
        for node in around(&cluster, leader).into_iter().skip(1) {
            cluster.cut_one_way(leader, node);
        }
        cluster.run_for(two_time_outs());
        let next = cluster.leader().expect("another leads");
        assert_ne!(next, leader);
        cluster.run_until_more(100);
        assert_eq!(cluster.leaders(), led + 1);
        cluster.finish();
    }
}

/// Only one node reaches a quorum, and the leader is another.
#[test]
fn net9_b15_a_leader_without_a_quorum_makes_room_for_the_one_who_has_it() {
    for rule in rules() {
        for seed in 0..5 {
            let mut cluster = Cluster::planned(5, seed, |plan| plan.under(&rule));
            let leader = cluster.run_until_led();
            let order = around(&cluster, leader);
            let hub = order[2];
            let (led, round) = (cluster.leaders(), cluster.round());
            let links: Vec<_> =
                order.iter().filter(|node| **node != hub).map(|n| (hub, *n)).collect();
            cluster.keep_only(&links);
            cluster.run_until("the hub leads", seconds(10), |cluster| {
                cluster.leader() == Some(hub) && !cluster.leads(leader)
            });
            cluster.run_until_more(100);
            cluster.run_for(seconds(20));
            let changes = cluster.leaders() - led;
            assert!(changes <= 2, "seed {seed}: {changes} changes of the leader");
            assert!(
                cluster.round() <= round + 10,
                "seed {seed}: {} rounds",
                cluster.round() - round
            );
            cluster.finish();
        }
    }
}

/// The leader is cut off, the only one who reaches a quorum lags behind.
#[test]
fn net10_b15_a_node_that_lags_wins_and_learns_what_it_missed_from_its_promises() {
    for rule in rules() {
        for seed in 0..5 {
            let mut cluster = Cluster::planned(5, seed, |plan| plan.under(&rule));
            let leader = cluster.run_until_led();
            let order = around(&cluster, leader);
            let hub = order[1];
            cluster.isolate(hub);
            cluster.run_until_more(200);
            let behind = cluster.applied(hub);
            assert!(behind + 20 < cluster.applied(leader));
            let (led, round) = (cluster.leaders(), cluster.round());
            let links: Vec<_> = order[2..].iter().map(|node| (hub, *node)).collect();
            cluster.keep_only(&links);
            cluster.run_until("the hub leads", seconds(10), |cluster| {
                cluster.leader() == Some(hub) && !cluster.leads(leader)
            });
            cluster.run_until_more(100);
            assert!(cluster.applied(hub) > cluster.applied(leader), "it has caught up, and more");
            let changes = cluster.leaders() - led;
            assert!(changes <= 2, "seed {seed}: {changes} changes of the leader");
            assert!(
                cluster.round() <= round + 10,
                "seed {seed}: {} rounds",
                cluster.round() - round
            );
            cluster.finish();
        }
    }
}

#[test]
fn net11_b15_three_in_a_line_change_their_leader_once_at_most() {
    for rule in rules() {
        for seed in 0..4 {
            let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
            let leader = cluster.run_until_led();
            let order = around(&cluster, leader);
            let led = cluster.leaders();
            // The two ends do not reach each other; the leader is one of them.
            cluster.cut(order[0], order[2]);
            cluster.run_until_more(100);
            let round = cluster.round();
            cluster.run_for(seconds(40));
            let changes = cluster.leaders() - led;
            assert!(changes <= 1, "seed {seed}: {changes} changes of the leader");
            assert_eq!(cluster.round(), round, "seed {seed}: ballots stop growing");
            cluster.run_until_more(100);
            cluster.finish();
        }
    }
}

#[test]
fn net12_two_halves_that_one_node_joins_settle_on_a_leader() {
    for rule in rules() {
        for (voters, seed) in [(5, 1), (5, 2), (7, 3), (7, 4)] {
            let mut cluster = Cluster::planned(voters, seed, |plan| plan.under(&rule));
            let leader = cluster.run_until_led();
            let order = around(&cluster, leader);
            // The leader is in one half, the bridge in none.
            let half = voters as usize / 2;
            let (bridge, one, other) = (order[half], &order[..half], &order[half + 1..]);
            let led = cluster.leaders();
            for node in one {
                other.iter().for_each(|far| cluster.cut(*node, *far));
            }
            cluster.run_until_more(100);
            let round = cluster.round();
            cluster.run_for(seconds(20));
            let changes = cluster.leaders() - led;
            assert!(changes <= 2, "{voters} nodes: {changes} changes of the leader");
            assert_eq!(cluster.round(), round, "{voters} nodes: ballots stop growing");
            // Whoever leads, the bridge serves both halves.
            cluster.crash(one[0]);
            cluster.run_until_more(50);
            assert!(cluster.applied(bridge) > 0);
            cluster.finish();
        }
    }
}

#[test]
fn b17_a_node_that_was_alone_for_long_deposes_nobody_when_it_comes_back() {
    for rule in rules() {
        let mut cluster =
            Cluster::planned(3, 1, |plan| Plan { think: millis(2000), ..plan.under(&rule) });
        let leader = cluster.run_until_led();
        let (led, round) = (cluster.leaders(), cluster.round());
        let alone = leader % 3 + 1;
        cluster.isolate(alone);
        cluster.run_for(seconds(600));
        cluster.heal();
        cluster.run_for(seconds(60));
        assert_eq!((cluster.leaders(), cluster.round()), (led, round));
        assert_eq!(cluster.leader(), Some(leader));
        cluster.finish();
    }
}
