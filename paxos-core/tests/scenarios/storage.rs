//! Scenarios A: what a disk that is slow, late or gone may and may not do to a promise or a vote.

use crate::cluster::{Cluster, Fate};
use crate::{elect, with_x_on_its_way};

#[test]
fn a5_what_was_voted_before_a_promise_is_in_the_promise() {
    let mut cluster = with_x_on_its_way(3);
    cluster.stall_disk(2);
    cluster.deliver("n1 -> n2 accept");
    cluster.campaign(3);
    cluster.deliver("n3 -> n2 prepare");
    assert_eq!(cluster.times_sent("n2 -> n1 accepted"), 0, "neither is durable");
    assert_eq!(cluster.times_sent("n2 -> n3 promise"), 0);
    cluster.sync(2);
    // The vote goes out late, but the promise knows of it: n3 proposes x.
    assert_eq!(cluster.in_flight("n2 -> n1"), ["n2 -> n1 accepted 1.n1.1 #1"]);
    let promise = "n2 -> n3 promise 1.n3.1 #1..end [#1 1.n1.1 'x']";
    assert_eq!(cluster.in_flight("n2 -> n3"), [promise]);
    cluster.deliver("n3 -> n3");
    cluster.deliver("n3 -> n3 promise");
    cluster.deliver("n2 -> n3 promise");
    cluster.deliver("n1 -> n1 accept");
    cluster.settle();
    assert_eq!(cluster.applied(3)[0], "'x'");
}

#[test]
fn a5_what_comes_after_a_promise_is_refused_even_before_the_promise_is_durable() {
    let mut cluster = with_x_on_its_way(3);
    cluster.stall_disk(2);
    cluster.campaign(3);
    cluster.deliver("n3 -> n2 prepare");
    cluster.deliver("n1 -> n2 accept");
    assert_eq!(cluster.in_flight("n2 -> n1"), ["n2 -> n1 nack 1.n1.1 promised 1.n3.1"]);
    cluster.sync(2);
    assert_eq!(cluster.in_flight("n2 -> n3"), ["n2 -> n3 promise 1.n3.1 #1..end []"]);
    assert_eq!(cluster.times_sent("n2 -> n1 accepted"), 0);
}

#[test]
fn a6_the_end_of_an_older_write_is_not_that_of_a_newer_one_in_its_place() {
    for writes in 1..=2 {
        let mut cluster = with_x_on_its_way(3);
        cluster.stall_disk(2);
        cluster.deliver("n1 -> n2 accept");
        cluster.campaign(3);
        cluster.propose(3, "y");
        elect(&mut cluster, 3, &[1, 3]);
        cluster.deliver("n3 -> n2 accept");
        (0..writes).for_each(|_| assert!(cluster.sync_one(2)));
        let first = "n2 -> n1 accepted 1.n1.1 #1".to_owned();
        let second = "n2 -> n3 accepted 1.n3.1 #1".to_owned();
        assert_eq!(cluster.in_flight("n2 ->"), [first, second][..writes]);
        cluster.deliver("n3 -> n3 accept");
        cluster.deliver("n3 -> n3 accepted");
        if writes == 1 {
            assert!(cluster.applied(3).is_empty(), "only x is durable at n2");
            cluster.crash(2);
            cluster.restart(2);
            assert_eq!(cluster.accepted(2, 1).as_deref(), Some("1.n1.1 'x'"));
        } else {
            cluster.deliver("n2 -> n3 accepted");
            assert_eq!(cluster.applied(3), ["'y'"]);
        }
    }
}

#[test]
fn a7_a_leaders_own_vote_waits_for_its_own_disk() {
    // A cluster of one has nobody else: before its sync nothing is chosen.
    let mut alone = Cluster::of(1);
    alone.campaign(1);
    alone.settle();
    alone.stall_disk(1);
    let ticket = alone.propose(1, "x");
    alone.settle();
    assert!(!alone.applied(1).contains(&"'x'".to_owned()), "it would be gone in a crash");
    alone.sync(1);
    alone.settle();
    assert!(alone.is_chosen(ticket));
    // Of three, the leader and one more are a quorum only once both have synced.
    let mut cluster = with_x_on_its_way(3);
    cluster.stall_disk(1);
    cluster.lose("n1 -> n3 accept");
    cluster.settle();
    assert_eq!(cluster.accepted(2, 1).as_deref(), Some("1.n1.1 'x'"));
    assert!(cluster.applied(1).is_empty() && cluster.chosen.is_empty());
    cluster.crash(1);
    // The others did not lose what n2 has, though n1 has forgotten its own.
    elect(&mut cluster, 3, &[2, 3]);
    cluster.settle();
    assert_eq!(cluster.applied(3), ["'x'"]);
    cluster.restart(1);
    assert_eq!(cluster.accepted(1, 1), None);
}

#[test]
fn a7_what_a_leader_has_answered_survives_its_end() {
    let mut cluster = with_x_on_its_way(3);
    cluster.stall_disk(1);
    cluster.lose("n1 -> n3 accept");
    cluster.settle();
    cluster.sync(1);
    cluster.settle();
    assert_eq!(cluster.applied(1), ["'x'"]);
    let read = cluster.read(1);
    cluster.settle();
    assert!(matches!(cluster.fate(read), Fate::Readable(_)));
    cluster.crash(1);
    elect(&mut cluster, 3, &[2, 3]);
    cluster.settle();
    assert_eq!(cluster.applied(3)[0], "'x'");
}
