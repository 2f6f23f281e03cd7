//! Scenarios B, continued: who campaigns, when, and how often.

use std::time::Duration;

use paxos_core::{
    Ballot, DetectorOptions, Heartbeat, LeadershipMessage, Message, NodeId, PhiOptions,
    ProposerMessage, ProposerOptions, Rule, Slot, Time,
};

use crate::cluster::Cluster;
use crate::{SECONDS, elect};

#[test]
fn b14_refusals_make_one_new_campaign_a_time_out_and_not_one_each() {
    let mut cluster = Cluster::of(5);
    elect(&mut cluster, 1, &[1, 2, 3]);
    cluster.settle();
    let patience = ProposerOptions::default().patience;
    let step = patience / 10;
    let (steps, first) = (100, cluster.ballot(1).unwrap());
    for _ in 0..steps {
        // Two of five refuse whatever it has, again and again, and always for a higher ballot.
        let ballot = cluster.ballot(1).expect("three of five are with it");
        let promised = Ballot { round: ballot.round + 1, node: NodeId(5), incarnation: 1 };
        for (from, times) in [(4, 3), (5, 3)] {
            for _ in 0..times {
                let nack = ProposerMessage::Nack { ballot, promised };
                cluster.inject(from, 1, Message::Proposer(nack));
            }
        }
        for node in [4, 5] {
            cluster.cut(1, node);
        }
        cluster.run_for(step);
    }
    let campaigns = cluster.times_sent("n1 -> n1 prepare") - 1;
    assert!((5..=steps / 10 + 1).contains(&campaigns), "{campaigns} campaigns");
    assert!(cluster.ballot(1).unwrap().round <= first.round + 2 * campaigns as u64);
    let ticket = cluster.propose(1, "x");
    cluster.run_for(SECONDS);
    assert!(cluster.is_chosen(ticket), "and it still leads");
}

#[test]
fn b14_proc2_the_first_refusal_that_a_leader_of_the_past_hears_deposes_nobody() {
    for second in ["n1 -> n1 nack", "n2 -> n1 nack"] {
        let mut cluster = Cluster::of(3);
        elect(&mut cluster, 1, &[1, 2, 3]);
        cluster.settle();
        // n1 stands still for long, and others elect n3 meanwhile.
        cluster.now = cluster.now.after(SECONDS);
        elect(&mut cluster, 3, &[1, 2, 3]);
        let ballot = cluster.ballot(3);
        cluster.propose(1, "x");
        cluster.deliver("n1 -> n");
        cluster.deliver("n3 -> n1 nack");
        assert_eq!(cluster.times_sent("n1 -> n2 prepare 1.n1.1"), 1);
        assert_eq!(cluster.times_sent("n1 -> n2 prepare"), 1, "more refusals are on their way");
        cluster.deliver(second);
        assert_eq!(cluster.ballot(1), None, "two of three have refused: it knows");
        cluster.settle();
        cluster.run_for(SECONDS);
        assert!(cluster.leads(3) && cluster.ballot(3) == ballot, "n3 goes on");
    }
}

#[test]
fn b18_a_leader_of_the_past_keeps_nobody_waiting() {
    let phi = DetectorOptions::Phi(PhiOptions::default());
    for rule in
        [Rule::Heartbeat, Rule::FailureDetector(DetectorOptions::Fixed), Rule::FailureDetector(phi)]
    {
        let mut cluster = Cluster::governed_by(5, rule);
        elect(&mut cluster, 1, &[1, 2, 3, 4, 5]);
        cluster.settle();
        let old = cluster.ballot(1).unwrap();
        elect(&mut cluster, 2, &[2, 3, 4, 5]);
        cluster.crash(2);
        for node in 2..=5 {
            cluster.cut(1, node);
        }
        cluster.settle();
        // n1 does not know that it was replaced, and everybody goes on hearing it.
        let interval = Duration::from_millis(50);
        let led = |cluster: &Cluster| (3..=5).find(|node| cluster.leads(*node));
        for beat in 1..=100 {
            for node in 3..=5 {
                let heartbeat = Heartbeat {
                    incarnation: 1,
                    sequence: 1_000_000 + beat,
                    sent: Time(0),
                    leading: Some(old),
                    hears: Some(old),
                    next: Slot(1),
                    saved: Slot(0),
                    campaigns: true,
                };
                let heartbeat = LeadershipMessage::Heartbeat(heartbeat);
                cluster.inject(1, node, Message::Leadership(heartbeat));
            }
            cluster.run_for(interval);
            if led(&cluster).is_some() {
                break;
            }
        }
        let leader = led(&cluster).expect("one of those that promised more leads");
        let ticket = cluster.propose(leader, "x");
        cluster.run_for(SECONDS);
        assert!(cluster.is_chosen(ticket));
    }
}
