//! Scenarios D12 and CLI2: a cluster of which nobody wants anything any more.

use paxos_tests::simulation::Plan;
use paxos_tests::simulation::directed::Cluster;

use crate::seconds;

/// Sessions end soon, and proposers are told what is due.
fn forgetful(mut plan: Plan) -> Plan {
    plan.membership.sessions.idle = seconds(5);
    Plan { alarms: true, ..plan }
}

/// A story ends when nothing is due any more, and all states are equal.
#[test]
fn cli2_d12_sessions_of_an_idle_cluster_end_whoever_leads_it() {
    for seed in 0..5 {
        let mut cluster = Cluster::planned(3, seed, forgetful);
        let leader = cluster.run_until_led();
        cluster.run_until_more(20);
        let before = cluster.time_of(leader);
        cluster.crash(leader);
        cluster.run_until_more(20);
        cluster.rest();
        cluster.run_for(seconds(20));
        let heir = cluster.leader().expect("two of three elect");
        assert_ne!(heir, leader);
        assert_eq!(cluster.sessions(heir), 0, "it proposed what nobody else did");
        assert!(cluster.time_of(heir) >= before.after(seconds(5)), "time goes on, not back");
        cluster.restart(leader);
        cluster.finish();
    }
}
