//! Scenario S22: a network that only delays and reorders, and one node that is hard to reach.

use paxos_core::NodeId;
use paxos_tests::simulation::{Plan, Report, run_as};

const SEEDS: u64 = 150;

fn every_seed(change: impl Fn(Plan) -> Plan, check: impl Fn(&Report) -> Result<(), String>) {
    for seed in 0..SEEDS {
        let report = run_as(seed, &change).and_then(|report| check(&report).map(|()| report));
        match report {
            Ok(report) => assert!(report.answered >= 100, "seed {seed}: too little was done"),
            Err(broken) => panic!("seed {seed}: {broken}"),
        }
    }
}

#[test]
fn s22_a_network_that_only_delays_and_reorders_stops_nobody() {
    every_seed(
        |plan| plan.with_the_usual().only_reordering(),
        |report| {
            let faults = &report.faults;
            let nothing_worse = faults.lost + faults.duplicated + faults.total() == 0;
            let plenty = faults.reordered > 300;
            (nothing_worse && plenty)
                .then_some(())
                .ok_or(format!("not what was asked for: {faults:?}"))
        },
    );
}

#[test]
fn s22_a_node_that_hardly_anything_reaches_stops_nobody_and_catches_up() {
    every_seed(
        |plan| plan.with_the_usual().losing_to(NodeId(1), 600),
        |report| {
            let plenty = report.faults.lost > 100;
            plenty.then_some(()).ok_or(format!("hardly anything was lost: {:?}", report.faults))
        },
    );
}

#[test]
fn s22_nor_does_a_node_that_nothing_reaches_until_the_network_heals() {
    every_seed(
        |plan| plan.with_the_usual().losing_to(NodeId(2), 1000),
        |report| (report.faults.lost > 100).then_some(()).ok_or("nothing was lost".to_owned()),
    );
}

#[test]
fn a_disk_slower_than_every_time_out_does_not_keep_a_cluster_without_a_leader() {
    for seed in 0..20 {
        let report = run_as(seed, Plan::with_slow_disks);
        assert!(report.is_ok(), "seed {seed}: {report:?}");
    }
}
