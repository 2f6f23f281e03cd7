//! Scenarios C: reads that a leader must not answer, or not yet.

use crate::cluster::Fate;
use crate::{SECONDS, elect, with_x_on_its_way};
use paxos_core::Slot;

#[test]
fn c1_c2_a_new_leader_reads_only_behind_all_that_its_quorum_reported() {
    let mut cluster = with_x_on_its_way(3);
    for acceptor in [1, 2] {
        cluster.deliver(&format!("n1 -> n{acceptor} accept"));
        cluster.deliver(&format!("n{acceptor} -> n1 accepted"));
    }
    assert_eq!(cluster.applied(1), ["'x'"], "x is chosen, and its client may know");
    // The word of it reaches nobody else.
    cluster.lose("n1 -> n3 accept");
    cluster.lose("n1 -> n2 chosen");
    cluster.lose("n1 -> n3 chosen");
    elect(&mut cluster, 2, &[2, 3]);
    let read = cluster.read(2);
    assert!(cluster.applied(2).is_empty());
    assert_eq!(cluster.fate(read), Fate::Silent, "what n2 knows is older than x");
    // However many confirm that it leads.
    cluster.run_for(std::time::Duration::ZERO);
    cluster.settle();
    cluster.run_for(SECONDS);
    let Fate::Readable(next) = cluster.fate(read) else { panic!("{:?}", cluster.fate(read)) };
    assert!(next >= Slot(2), "the slot that was looked at is the one that is answered");
    assert_eq!(cluster.applied(2)[0], "'x'");
}

#[test]
fn c4_a_leader_that_reaches_no_quorum_answers_no_read() {
    let mut cluster = with_x_on_its_way(3);
    cluster.settle();
    assert_eq!(cluster.applied(1)[0], "'x'");
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    let read = cluster.read(1);
    cluster.settle();
    assert_eq!(cluster.fate(read), Fate::Silent, "its own word is no quorum");
    cluster.run_for(SECONDS);
    assert_eq!(cluster.fate(read), Fate::Refused);
    assert!(!cluster.leads(1));
}
