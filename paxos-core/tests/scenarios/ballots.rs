//! Scenarios B: what a new leader takes over, under which ballot, and whose votes count for it.

use paxos_core::{
    AcceptorMessage, Ballot, Batch, Configurations, Input, Learner, LearnerMessage, Membership,
    Message, NodeId, Promise, ProposerMessage, Quorums, Random, Role, Slot, Time, Value,
};

use crate::cluster::{Cluster, Fate};
use crate::{SECONDS, elect, retransmit, with_x_on_its_way, x_on_its_way};

#[test]
fn b1_the_value_of_the_highest_ballot_is_adopted_in_whichever_promise_it_comes() {
    for order in [[4, 5], [5, 4]] {
        let mut cluster = with_x_on_its_way(5);
        cluster.propose(1, "more");
        cluster.deliver("n1 -> n4 accept");
        cluster.campaign(2);
        cluster.propose(2, "y");
        elect(&mut cluster, 2, &[2, 3, 5]);
        cluster.deliver("n2 -> n5 accept");
        cluster.crash(1);
        cluster.crash(2);
        // n4 reports the longer log, n5 the newer one; either may complete the quorum.
        elect(&mut cluster, 3, &[3, order[0], order[1]]);
        cluster.settle();
        assert_eq!(cluster.applied(3), ["'y'", "'more'"], "promises in the order {order:?}");
    }
}

#[test]
fn b2_two_that_hold_something_in_a_slot_do_not_hold_the_same() {
    let mut cluster = x_on_its_way(Cluster::governed(3), 3);
    cluster.deliver("n1 -> n3 accept");
    cluster.lose("n1 -> n1 accept");
    cluster.lose("n1 -> n2 accept");
    cluster.campaign(2);
    cluster.propose(2, "y");
    elect(&mut cluster, 2, &[1, 2]);
    cluster.lose("n2 -> n3 accept");
    for node in [1, 2] {
        cluster.deliver(&format!("n2 -> n{node} accept"));
        cluster.deliver(&format!("n{node} -> n2 accepted 2.n2.1"));
    }
    // The word that #1 is chosen carries no value: n3 is an acceptor, and has one in #1.
    let chosen = cluster.in_flight("n2 -> n3 chosen");
    assert_eq!(chosen, ["n2 -> n3 chosen 2.n2.1 #1"]);
    assert_eq!(cluster.accepted(3, 1).as_deref(), Some("1.n1.1 'x'"));
    cluster.deliver("n2 -> n3 chosen");
    assert!(cluster.applied(3).is_empty(), "x is of another ballot");
    cluster.run_for(SECONDS);
    assert_eq!(cluster.applied(3), ["'y'"]);
}

/// n1 has proposed v1 to v12; what of it reached whom is the story's to say.
fn with_twelve_on_their_way(n: u64) -> Cluster {
    let mut cluster = Cluster::of(n);
    cluster.campaign(1);
    let tickets: Vec<_> = (1..=12).map(|slot| cluster.propose(1, &format!("v{slot}"))).collect();
    let quorum: Vec<_> = (1..=n / 2 + 1).collect();
    elect(&mut cluster, 1, &quorum);
    assert_eq!(cluster.fate(tickets[11]), Fate::Proposed(Slot(12)));
    cluster
}

#[test]
fn b3_a_gap_below_a_reported_slot_is_filled_before_anything_above_it_is_applied() {
    let mut cluster = with_twelve_on_their_way(3);
    cluster.lose("n1 -> n2 accept 1.n1.1 #11 ");
    cluster.deliver("n1 -> n2 accept");
    cluster.crash(1);
    cluster.lose("n1 -> n3");
    elect(&mut cluster, 3, &[2, 3]);
    let ballot = cluster.ballot(3).unwrap();
    assert!(ballot > Ballot { round: 1, node: NodeId(1), incarnation: 1 });
    let filled = format!("n3 -> n2 accept {ballot} #11 ");
    assert_eq!(cluster.in_flight(&filled), [format!("{filled}noop")]);
    cluster.lose(&filled);
    cluster.lose(&format!("n3 -> n3 accept {ballot} #11 "));
    cluster.settle();
    assert_eq!(cluster.chosen.get(&Slot(12)).unwrap().to_string(), "'v12'");
    assert_eq!(cluster.applied(3).len(), 10, "12 waits for 11");
    cluster.run_for(retransmit() * 2);
    assert_eq!(cluster.applied(3)[9..], ["'v10'", "noop", "'v12'"]);
}

#[test]
fn b3_a_gap_in_one_promise_is_filled_from_another() {
    for order in [[2, 4], [4, 2]] {
        let mut cluster = with_twelve_on_their_way(5);
        cluster.lose("n1 -> n2 accept 1.n1.1 #11 ");
        cluster.deliver("n1 -> n2 accept");
        cluster.deliver("n1 -> n4 accept 1.n1.1 #11 ");
        cluster.lose("n1 -> n4 accept");
        cluster.crash(1);
        cluster.lose("n1 -> n5");
        cluster.lose("n1 -> n3");
        elect(&mut cluster, 5, &[5, order[0], order[1]]);
        cluster.settle();
        assert_eq!(cluster.applied(5)[9..], ["'v10'", "'v11'", "'v12'"], "{order:?}");
    }
}

#[test]
fn b4_a_page_that_was_lost_is_not_an_empty_one() {
    let mut cluster = Cluster::paged(3, 1);
    cluster.campaign(1);
    for value in ["x", "y", "z"] {
        cluster.propose(1, value);
    }
    elect(&mut cluster, 1, &[1, 2]);
    cluster.deliver("n1 -> n2 accept");
    cluster.crash(1);
    cluster.lose("n1 -> n3");
    cluster.campaign(3);
    let fresh = cluster.propose(3, "w");
    cluster.deliver("n3 -> n3 prepare");
    cluster.deliver("n3 -> n3 promise");
    cluster.deliver("n3 -> n2 prepare");
    cluster.deliver("n2 -> n3 promise");
    let ballot = cluster.ballot(3).unwrap();
    cluster.deliver(&format!("n3 -> n2 prepare {ballot} from #2"));
    cluster.lose(&format!("n2 -> n3 promise {ballot} #2..#3"));
    // The third page comes, as it may when a request was sent twice.
    let third = AcceptorMessage::Prepare { ballot, first: Slot(3), after: None };
    cluster.inject(3, 2, Message::Acceptor(third));
    cluster.deliver("n3 -> n2 prepare");
    cluster.deliver(&format!("n2 -> n3 promise {ballot} #3..end [#3"));
    assert!(cluster.leads(3));
    assert_eq!(cluster.in_flight("n3 -> n2 accept").len(), 1, "of #2 nothing is known");
    assert_eq!(cluster.fate(fresh), Fate::Silent);
    cluster.run_for(SECONDS);
    assert_eq!(cluster.applied(3), ["'x'", "'y'", "'z'", "'w'"]);
}

#[test]
fn b5_what_an_acceptor_has_cut_off_is_learned_and_never_proposed() {
    let mut cluster = x_on_its_way(Cluster::governed(3), 3);
    cluster.propose(1, "y");
    cluster.cut(1, 3);
    cluster.lose("n1 -> n3");
    cluster.settle();
    assert_eq!(cluster.applied(2), ["'x'", "'y'"]);
    cluster.crash(1);
    cluster.heal();
    // n3 never saw #1 and #2, and n2 has cut its log above them.
    cluster.campaign(3);
    let fresh = cluster.propose(3, "z");
    cluster.deliver("n3 -> n3 prepare");
    cluster.deliver("n3 -> n3 promise");
    cluster.deliver("n3 -> n2 prepare");
    cluster.lose("n2 -> n3 promise");
    let ballot = cluster.ballot(3).unwrap();
    let (first, trimmed) = (Slot::FIRST, Slot(3));
    let promise = Promise { ballot, first, next: None, trimmed, accepted: vec![] };
    cluster.inject(2, 3, Message::Proposer(ProposerMessage::Promise(promise)));
    cluster.deliver("n2 -> n3 promise");
    assert!(cluster.leads(3));
    assert_eq!(cluster.fate(fresh), Fate::Proposed(Slot(3)));
    let read = cluster.read(3);
    cluster.deliver("n3 -> n2 accept");
    cluster.deliver("n3 -> n3 accept");
    assert!(cluster.applied(3).is_empty() && cluster.fate(read) == Fate::Silent);
    cluster.run_for(SECONDS);
    assert_eq!(cluster.applied(3), ["'x'", "'y'", "'z'"], "it asked n2 for them");
    for slot in ["#1 ", "#2 "] {
        assert_eq!(cluster.times_sent(&format!("n3 -> n2 accept {ballot} {slot}")), 0);
    }
    assert!(matches!(cluster.fate(read), Fate::Readable(_)));
}

#[test]
fn b7_two_nodes_of_one_id_raise_an_alarm_and_decide_nothing() {
    let mut cluster = with_x_on_its_way(3);
    cluster.deliver("n1 -> n2 accept");
    cluster.deliver("n2 -> n1 accepted");
    assert_eq!(cluster.alarms(2), 0);
    // The other n1 is in the same run, and so at the same ballot.
    let ballot = cluster.ballot(1).unwrap();
    let value = Value::Commands(Batch {
        stamp: Time(0),
        by: paxos_core::Ballot::ZERO,
        bytes: b"y".as_slice().into(),
    });
    let twin = AcceptorMessage::Accept { ballot, slot: Slot(1), value };
    cluster.inject(1, 2, Message::Acceptor(twin));
    cluster.deliver("n1 -> n2 accept 1.n1.1 #1 'y'");
    assert!(cluster.alarms(2) > 0, "it is noticed");
    assert_eq!(cluster.accepted(2, 1).as_deref(), Some("1.n1.1 'x'"));
    assert!(cluster.in_flight("n2 -> n1 accepted").is_empty(), "there is no vote for y");
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.accepted(2, 1).as_deref(), Some("1.n1.1 'x'"));
    cluster.settle();
    assert_eq!(cluster.applied(1), ["'x'"]);
}

#[test]
fn b11_of_four_three_are_needed_for_a_write_and_for_a_read() {
    let mut cluster = Cluster::of(4);
    cluster.campaign(1);
    cluster.propose(1, "x");
    cluster.deliver("n1 -> n");
    for node in [1, 2] {
        cluster.deliver(&format!("n{node} -> n1 promise"));
    }
    assert!(!cluster.leads(1), "two promises of four");
    cluster.deliver("n3 -> n1 promise");
    cluster.deliver("n1 -> n");
    for node in [1, 2] {
        cluster.deliver(&format!("n{node} -> n1 accepted"));
    }
    assert!(cluster.applied(1).is_empty(), "two votes of four");
    cluster.deliver("n3 -> n1 accepted");
    assert_eq!(cluster.applied(1), ["'x'"]);
    cluster.settle();
    let read = cluster.read(1);
    cluster.deliver("n1 -> n");
    for node in [1, 2] {
        cluster.deliver(&format!("n{node} -> n1 confirmed"));
    }
    assert_eq!(cluster.fate(read), Fate::Silent, "two answers of four");
    cluster.deliver("n4 -> n1 confirmed");
    assert_eq!(cluster.fate(read), Fate::Readable(Slot(2)));
    // Other sizes may be chosen, but never so that two quorums need not meet.
    let four = || (1..=4).map(NodeId);
    assert!(Quorums::flexible(four(), 2, 2).is_err());
    assert!(Quorums::flexible(four(), 3, 2).is_ok());
}

#[test]
fn b12_a_slot_is_chosen_by_votes_for_that_slot_in_whatever_order_they_come() {
    const SLOTS: u64 = 6;
    let ballot = Ballot { round: 1, node: NodeId(1), incarnation: 1 };
    let voters = (1..=5).map(|node| (NodeId(node), String::new()));
    let genesis = Configurations::genesis(Membership::of_voters(voters).unwrap());
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut learner = Learner::new(NodeId(1), genesis.clone());
        let mut out = Vec::new();
        let mut hear = |from, message| {
            learner.handle(Time(0), Input::Message(NodeId(from), message), &mut out);
            learner.next()
        };
        for slot in (1..=SLOTS).map(Slot) {
            let value = Value::Noop;
            hear(1, Message::Acceptor(AcceptorMessage::Accept { ballot, slot, value }));
        }
        // No acceptor votes in order, nor for everything.
        let mut votes = std::collections::BTreeMap::<u64, std::collections::BTreeSet<u64>>::new();
        for _ in 0..random.below(50) {
            let (from, slot) = (1 + random.below(5), 1 + random.below(SLOTS));
            let vote = LearnerMessage::Accepted { ballot, slot: Slot(slot) };
            let next = hear(from, Message::Learner(vote));
            votes.entry(slot).or_default().insert(from);
            let chosen = |slot: &u64| votes.get(slot).is_some_and(|from| from.len() >= 3);
            let expected = (1..=SLOTS).find(|slot| !chosen(slot)).unwrap_or(SLOTS + 1);
            assert_eq!(next, Slot(expected), "seed {seed}: {votes:?}");
        }
    }
}

#[test]
fn b13_votes_for_an_old_ballot_of_a_leader_that_came_back_do_not_count() {
    let mut cluster = with_x_on_its_way(5);
    cluster.deliver("n1 -> n2 accept");
    assert_eq!(cluster.in_flight("n2 -> n1 accepted"), ["n2 -> n1 accepted 1.n1.1 #1"]);
    // Another leads meanwhile, and n1 again, by acceptors who know nothing of x.
    elect(&mut cluster, 5, &[3, 4, 5]);
    for node in 1..=5 {
        cluster.lose(&format!("n5 -> n{node} accept"));
    }
    cluster.deliver("n1 -> n3 accept");
    cluster.deliver("n1 -> n4 accept");
    cluster.deliver("n1 -> n5 accept");
    cluster.lose("n1 -> n1 accept");
    for node in [3, 4, 5] {
        cluster.deliver(&format!("n{node} -> n1 nack"));
    }
    assert!(!cluster.leads(1));
    cluster.campaign(1);
    cluster.propose(1, "y");
    let ballot = cluster.ballot(1).unwrap();
    for node in [1, 3, 4] {
        cluster.deliver(&format!("n1 -> n{node} prepare {ballot}"));
        cluster.deliver(&format!("n{node} -> n1 promise {ballot}"));
    }
    for node in [1, 3] {
        cluster.deliver(&format!("n1 -> n{node} accept {ballot} #1 'y'"));
        cluster.deliver(&format!("n{node} -> n1 accepted {ballot}"));
    }
    cluster.deliver("n2 -> n1 accepted 1.n1.1 #1");
    assert!(cluster.applied(1).is_empty(), "two votes for y, and one for another ballot");
    cluster.deliver(&format!("n1 -> n4 accept {ballot}"));
    cluster.deliver(&format!("n4 -> n1 accepted {ballot}"));
    assert_eq!(cluster.applied(1), ["'y'"]);
}
