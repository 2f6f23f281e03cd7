//! Scenarios of snapshots that are fetched while peers and receivers come and go.

use paxos_core::ArchiveOptions;
use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::{millis, seconds};

/// Snapshots that are rare, and fetched in so many pieces that it takes seconds.
fn slowly(plan: Plan) -> Plan {
    let mut plan = plan;
    plan.settings.snapshots.every_bytes = 20_000;
    let (piece_bytes, bytes_per_second, patience) = (32, 100, seconds(2));
    plan.settings.archive =
        ArchiveOptions { piece_bytes, bytes_per_second, patience, ..ArchiveOptions::default() };
    plan
}

/// A cluster in which node 3 was away for longer than the logs of the others reach back, and has
/// begun to fetch a snapshot.
fn fetching(seed: u64) -> Cluster {
    let mut cluster = Cluster::planned(3, seed, slowly);
    cluster.run_until_led();
    cluster.crash(3);
    cluster.run_until_more(2000);
    cluster.restart(3);
    cluster.run_until("node 3 fetches", seconds(60), |cluster| cluster.fetched(3) >= 96);
    cluster
}

#[test]
fn clus4_a_fetch_outlives_the_peer_that_it_began_with() {
    let mut cluster = fetching(1);
    let begun = cluster.fetched(3);
    // For longer than anybody is waited for.
    cluster.isolate(3);
    cluster.run_for(seconds(3));
    assert_eq!(cluster.fetched(3), begun);
    cluster.heal();
    let applied = cluster.applied(3);
    cluster.run_until("node 3 goes on behind it", seconds(60), |cluster| {
        let fetched = cluster.fetched(3);
        let went_on = cluster.applied(3) > applied;
        assert!(fetched >= begun || went_on, "{fetched} bytes of {begun} are left");
        went_on
    });
    cluster.finish();
}

#[test]
fn clus4_a_receiver_that_crashes_goes_on_with_what_is_sound() {
    let mut resumed = 0;
    for seed in 0..20 {
        let mut cluster = fetching(seed);
        // The power of the receiver fails at any moment of it, and takes what was not synced.
        for _ in 0..3 {
            let soon = millis(cluster.draw(800));
            cluster.run_for(soon);
            cluster.crash(3);
            cluster.restart(3);
        }
        cluster.run_until_more(200);
        resumed += cluster.resumed();
        cluster.finish();
    }
    assert!(resumed > 0, "no fetch was gone on with");
}
