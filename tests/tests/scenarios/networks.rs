//! Scenarios NET1 to NET5 and NET8: links that lose, double, reorder, delay, are slow, and flap.

use paxos_core::LeadershipOptions;
use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::{millis, rules, seconds};

#[test]
fn net1_loss_on_one_nodes_links_deposes_nobody_and_loss_everywhere_stops_nobody() {
    for rule in rules() {
        for seed in 0..3 {
            let mut cluster = Cluster::planned(5, seed, |plan| plan.under(&rule));
            let leader = cluster.run_until_led();
            let follower = leader % 5 + 1;
            let led = cluster.leaders();
            cluster.loss_to(follower, 300);
            cluster.run_for(seconds(20));
            assert_eq!(
                cluster.leaders(),
                led,
                "seed {seed}: a quorum heard the leader all the time"
            );
            let before = cluster.answered();
            for loss in [10, 100, 300] {
                cluster.weather(loss, 0, 0);
                cluster.run_until_more(100);
            }
            assert!(cluster.faults().lost > 500 && cluster.answered() > before);
            cluster.finish();
        }
    }
}

#[test]
fn net2_messages_that_come_twice_at_once_or_a_minute_later_count_once() {
    for rule in rules() {
        for seed in 0..2 {
            let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
            cluster.weather(0, 1000, 0);
            let leader = cluster.run_until_led();
            // Copies of one leadership arrive in the next.
            cluster.run_for(seconds(10));
            cluster.crash(leader);
            cluster.run_until_more(100);
            cluster.restart(leader);
            cluster.run_for(seconds(30));
            assert!(cluster.faults().duplicated > 5000, "{:?}", cluster.faults());
            assert_eq!(cluster.leaders(), 2, "seed {seed}: no copy deposes anybody");
            cluster.finish();
        }
    }
}

#[test]
fn net3_messages_that_overtake_each_other_change_nothing() {
    for rule in rules() {
        for seed in 0..3 {
            let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
            cluster.weather(0, 0, 1000);
            cluster.run_until_more(100);
            // Heartbeats too may be late by more than a time-out; somebody leads now and then.
            cluster.run_until("one leads", seconds(20), |cluster| cluster.leader().is_some());
            let leader = cluster.leader().unwrap();
            cluster.crash(leader);
            cluster.run_until_more(100);
            cluster.restart(leader);
            cluster.run_until_more(100);
            assert!(cluster.faults().reordered > 3000);
            cluster.finish();
        }
    }
}

#[test]
fn net4_delay_below_the_time_out_elects_nobody_and_a_clogged_path_only_delays() {
    for rule in rules() {
        let mut cluster =
            Cluster::planned(3, 1, |plan| Plan { latency: millis(80), ..plan.under(&rule) });
        let leader = cluster.run_until_led();
        let led = cluster.leaders();
        cluster.run_for(seconds(60));
        assert_eq!(cluster.leaders(), led, "delays below the time-out elect nobody");
        // The way to one follower is clogged for long: a quorum goes on without it, and it is
        // neither
        // a candidate then nor lost for ever.
        let follower = leader % 3 + 1;
        for _ in 0..3 {
            cluster.clog(leader, follower, seconds(5));
            let before = cluster.answered();
            cluster.run_for(seconds(5));
            assert!(cluster.answered() > before);
            cluster.run_for(seconds(5));
            assert!(cluster.applied(leader) - cluster.applied(follower) < 20, "it has caught up");
        }
        assert_eq!(cluster.leaders(), led);
        cluster.finish();
    }
}

#[test]
fn net5_a_slow_link_sets_nobodys_pace_but_its_own() {
    for rule in rules() {
        let mut cluster = Cluster::planned(3, 1, |plan| plan.under(&rule));
        let leader = cluster.run_until_led();
        let led = cluster.leaders();
        cluster.run_for(seconds(20));
        let before = cluster.answered();
        cluster.run_for(seconds(20));
        let usual = cluster.answered() - before;
        // Less gets through to one follower than the cluster decides.
        let (slow, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        for from in [leader, other] {
            cluster.slow(from, slow, 1500);
        }
        let (before, lost) = (cluster.answered(), cluster.faults().lost);
        // Whatever arrives late is fetched at once in a piece, so the lag comes and goes.
        let mut lag = 0;
        for _ in 0..200 {
            cluster.run_for(millis(100));
            lag = lag.max(cluster.applied(leader) - cluster.applied(slow));
        }
        let meanwhile = cluster.answered() - before;
        assert!(meanwhile > usual * 3 / 4, "{meanwhile} operations instead of {usual}");
        assert!(lag > 50, "the link was not slow: a lag of {lag}");
        cluster.run_for(seconds(40));
        assert!(cluster.faults().lost > lost, "the queue of the link has a limit");
        assert_eq!(cluster.leaders(), led, "and nobody was deposed");
        // When the link is itself again, the slow one catches up, whatever was dropped.
        cluster.finish();
    }
}

#[test]
fn net8_a_flapping_link_costs_a_bounded_number_of_ballots() {
    for rule in rules() {
        let time_out = LeadershipOptions::default().suspect_after;
        for period in [time_out / 2, time_out, time_out * 2] {
            for alone in [true, false] {
                let mut cluster = Cluster::under(5, &rule);
                let leader = cluster.run_until_led();
                let (round, before) = (cluster.round(), cluster.answered());
                let began = cluster.now();
                while cluster.now().since(began) < seconds(30) {
                    // All links of a node that leads at first, or one of them.
                    if alone {
                        cluster.isolate(leader);
                    } else {
                        cluster.cut(leader, leader % 5 + 1);
                    }
                    cluster.run_for(period / 2);
                    cluster.heal();
                    cluster.run_for(period / 2);
                }
                let (ballots, more) = (cluster.round() - round, cluster.answered() - before);
                let what = format!("{ballots} ballots, {more} answers, {period:?}, alone: {alone}");
                assert!(ballots <= if alone { 15 } else { 0 }, "{what}");
                assert!(more > 60, "{what}");
                cluster.finish();
            }
        }
    }
}

#[test]
fn net8_links_that_go_whenever_somebody_leads_cost_two_ballots_each_time() {
    for rule in rules() {
        let mut cluster = Cluster::under(5, &rule);
        cluster.run_until_led();
        let (round, before, times) = (cluster.round(), cluster.answered(), 60);
        for _ in 0..times {
            cluster.run_until("one leads", seconds(5), |cluster| cluster.leader().is_some());
            cluster.leader().into_iter().for_each(|leader| cluster.isolate(leader));
            cluster.run_for(millis(300));
            cluster.heal();
            cluster.run_for(millis(300));
        }
        let (ballots, more) = (cluster.round() - round, cluster.answered() - before);
        assert!(ballots <= 2 * times, "{ballots} ballots");
        assert!(more > 200, "{more} answers");
        cluster.finish();
    }
}
