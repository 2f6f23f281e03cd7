//! Scenarios A2, B14, B19, B20, B22, PROC2 and PROC6: nodes that lose power, stand still, come
//! back, and compete.

use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::{millis, rules, seconds};

#[test]
fn a2_disk13_what_was_answered_is_there_when_the_power_of_all_has_failed() {
    for seed in 0..20 {
        let mut cluster = Cluster::planned(3, seed, |plan| Plan { think: millis(2), ..plan });
        cluster.run_until_led();
        for _ in 0..5 {
            // Somewhere between a proposal and its answer, on every disk at once.
            let moment = cluster.draw(100_000);
            cluster.run_for(std::time::Duration::from_micros(moment));
            cluster.nodes().into_iter().for_each(|node| cluster.crash(node));
            cluster.run_for(seconds(1));
            cluster.nodes().into_iter().for_each(|node| cluster.restart(node));
            // An answer that contradicts one given before breaks the histories, checked at the end.
            cluster.run_until_more(20);
        }
        assert!(cluster.faults().torn > 0);
        cluster.finish();
    }
}

#[test]
fn b14_two_that_campaign_at_the_same_moment_again_and_again_settle() {
    for rule in rules() {
        for seed in 0..5 {
            let mut cluster = Cluster::planned(3, seed, |plan| Plan {
                latency: millis(100),
                ..plan.under(&rule)
            });
            let leader = cluster.run_until_led();
            cluster.crash(leader);
            let rivals = [leader % 3 + 1, (leader + 1) % 3 + 1];
            let round = cluster.round();
            rivals.into_iter().for_each(|node| cluster.campaign(node));
            cluster.run_for(seconds(60));
            let ballots = cluster.round() - round;
            assert!(ballots <= 20, "seed {seed}: {ballots} ballots");
            let (stable, round) = (cluster.leader(), cluster.round());
            assert!(stable.is_some());
            cluster.run_for(seconds(60));
            assert_eq!((cluster.leader(), cluster.round()), (stable, round), "seed {seed}");
            cluster.finish();
        }
    }
}

#[test]
fn b19_disk11_a_leader_whose_disk_stalls_or_who_stands_still_costs_one_change_at_most() {
    for rule in rules() {
        for seed in 0..5 {
            for stalls in [true, false] {
                let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
                let leader = cluster.run_until_led();
                let (led, round) = (cluster.leaders(), cluster.round());
                if stalls {
                    cluster.stall_disk(leader, seconds(3));
                } else {
                    cluster.pause(leader, millis(1500));
                }
                cluster.run_for(seconds(30));
                let changes = cluster.leaders() - led;
                assert!(changes <= 1, "seed {seed}, disk: {stalls}: {changes} changes");
                assert!(cluster.round() <= round + 3, "seed {seed}: {}", cluster.round() - round);
                // Reads and commands that it held meanwhile are checked with the histories.
                cluster.run_until_more(100);
                cluster.finish();
            }
        }
    }
}

#[test]
fn b20_after_a_restart_of_all_one_leads_within_a_few_time_outs() {
    for rule in rules() {
        for seed in 0..20 {
            let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
            cluster.run_until_led();
            cluster.nodes().into_iter().for_each(|node| cluster.crash(node));
            cluster.run_for(seconds(5));
            let round = cluster.round();
            cluster.nodes().into_iter().for_each(|node| cluster.restart(node));
            cluster.run_until("one leads", seconds(2), |cluster| cluster.leader().is_some());
            cluster.run_until_more(20);
            assert!(cluster.round() <= round + 4, "seed {seed}: {}", cluster.round() - round);
            cluster.finish();
        }
    }
}

#[test]
fn b22_what_is_under_way_while_leaders_change_gets_its_answer() {
    for rule in rules() {
        for seed in 0..4 {
            let busy = |plan: Plan| Plan { think: millis(10), ..plan.under(&rule) };
            let mut cluster = Cluster::planned(3, seed, busy);
            cluster.run_until_led();
            for turn in 0..12 {
                let moment = cluster.draw(50);
                cluster.run_for(millis(moment));
                let Some(leader) = cluster.leader() else { continue };
                match turn % 3 {
                    0 => cluster.campaign(leader % 3 + 1),
                    1 => cluster.pause(leader, millis(700)),
                    _ => {
                        cluster.crash(leader);
                        cluster.run_for(millis(500));
                        cluster.restart(leader);
                    }
                }
                cluster.run_for(seconds(1));
            }
            assert!(cluster.leaders() > 8, "seed {seed}: leaders hardly changed");
            // No client waits for ever, and none was told what did not happen.
            cluster.finish();
        }
    }
}

#[test]
fn proc2_a_node_that_stood_still_has_lost_what_it_led_before_it_answers() {
    for rule in rules() {
        for pause in [millis(100), millis(400), seconds(2), seconds(10), seconds(60)] {
            for seed in 0..2 {
                let mut cluster = Cluster::planned(3, seed, |plan| Plan {
                    think: millis(60),
                    ..plan.under(&rule)
                });
                let leader = cluster.run_until_led();
                let (led, round) = (cluster.leaders(), cluster.round());
                cluster.pause(leader, pause);
                cluster.run_for(pause);
                // It wakes with reads and commands in its queues that it was asked for as the
                // leader.
                cluster.run_for(millis(1000));
                if pause >= seconds(2) {
                    assert!(!cluster.leads(leader), "it was replaced, and knows it soon");
                }
                cluster.run_for(seconds(10));
                let changes = cluster.leaders() - led;
                assert!(changes <= 1, "{pause:?}, seed {seed}: {changes} changes");
                assert!(
                    cluster.round() <= round + 3,
                    "{pause:?}: {} rounds",
                    cluster.round() - round
                );
                cluster.run_until_more(50);
                cluster.finish();
            }
        }
    }
}

#[test]
fn proc2_nodes_that_all_stood_still_together_go_on_under_the_same_leader() {
    for rule in rules() {
        for pause in [millis(400), seconds(2), seconds(60)] {
            for seed in 0..5 {
                let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
                let leader = cluster.run_until_led();
                let (led, round) = (cluster.leaders(), cluster.round());
                // A host that runs them all is suspended, say.
                cluster.nodes().into_iter().for_each(|node| cluster.pause(node, pause));
                cluster.run_for(pause + seconds(5));
                let what =
                    format!("{pause:?}, seed {seed}: silence while nobody ran proves nothing");
                assert_eq!((cluster.leaders(), cluster.round()), (led, round), "{what}");
                assert_eq!(cluster.leader(), Some(leader), "{what}");
                cluster.finish();
            }
        }
    }
}

#[test]
fn proc6_a_storm_of_restarts_ends_with_the_last_of_them() {
    for rule in rules() {
        for (seed, together) in [(1, true), (2, true), (3, false), (4, false)] {
            let mut cluster = Cluster::planned(3, seed, |plan| plan.under(&rule));
            cluster.run_until_led();
            let round = cluster.round();
            let (mut starts, turns) = (0, 40);
            for turn in 0..turns {
                let all = cluster.nodes();
                let falling = if together { all } else { vec![turn % 3 + 1] };
                falling.iter().for_each(|node| cluster.crash(*node));
                let down = cluster.draw(200);
                cluster.run_for(millis(down));
                falling.iter().for_each(|node| cluster.restart(*node));
                starts += falling.len() as u64;
                let up = cluster.draw(500);
                cluster.run_for(millis(up));
            }
            assert!(
                cluster.round() <= round + 2 * starts,
                "rounds leap: {}",
                cluster.round() - round
            );
            let round = cluster.round();
            cluster.run_until("one leads", seconds(3), |cluster| cluster.leader().is_some());
            cluster.run_until_more(50);
            assert!(cluster.round() <= round + 4, "no thundering election");
            cluster.finish();
        }
    }
}
