//! Scenarios S: mistakes about who may propose what, and about what counts.

use std::time::Duration;

use paxos_core::{Ballot, Inside, Message, NodeId, ProposerMessage, Random, Slot};

use crate::cluster::{Cluster, Fate};
use crate::{SECONDS, elect, retransmit, with_x_on_its_way};

#[test]
fn s1_a_late_lower_accept_does_not_overwrite() {
    let mut cluster = with_x_on_its_way(3);
    cluster.campaign(2);
    cluster.propose(2, "y");
    for acceptor in [2, 3] {
        cluster.deliver(&format!("n2 -> n{acceptor} prepare"));
        cluster.deliver(&format!("n{acceptor} -> n2 promise"));
    }
    // n1 accepts the higher ballot without having promised it: that must raise its promise.
    cluster.deliver("n2 -> n1 accept");
    cluster.deliver("n2 -> n2 accept");
    assert_eq!(cluster.chosen.len(), 1, "y is chosen");
    cluster.deliver("n1 -> n1 accept");
    assert_eq!(cluster.accepted(1, 1).as_deref(), Some("2.n2.1 'y'"));
    // What a later leader learns from n1 is y; with x there would be two chosen values.
    cluster.lose("n2 -> n3 accept");
    elect(&mut cluster, 3, &[1, 3]);
    cluster.settle();
    assert_eq!(cluster.applied(3)[0], "'y'");
}

#[test]
fn s2_a_restart_after_accept_without_prepare_keeps_the_promise() {
    let mut cluster = Cluster::of(3);
    cluster.campaign(1);
    cluster.propose(1, "x");
    cluster.deliver("n1 -> n1 prepare");
    cluster.deliver("n1 -> n3 prepare");
    cluster.deliver("n1 -> n1 promise");
    cluster.deliver("n3 -> n1 promise");
    cluster.campaign(2);
    cluster.propose(2, "y");
    cluster.deliver("n2 -> n2 prepare");
    cluster.deliver("n2 -> n1 prepare");
    cluster.deliver("n2 -> n2 promise");
    cluster.deliver("n1 -> n2 promise");
    cluster.lose("n2 -> n3 prepare");
    cluster.deliver("n2 -> n3 accept");
    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(cluster.promised(3).to_string(), "1.n2.1", "implied by what it accepted");
    cluster.deliver("n1 -> n3 accept");
    assert_eq!(cluster.in_flight("n3 -> n1"), ["n3 -> n1 nack 1.n1.1 promised 1.n2.1"]);
    assert_eq!(cluster.accepted(3, 1).as_deref(), Some("1.n2.1 'y'"));
}

#[test]
fn s3_a_restarted_proposer_never_uses_a_ballot_again() {
    let mut cluster = with_x_on_its_way(3);
    let first = cluster.ballot(1).unwrap();
    cluster.deliver("n1 -> n2 accept");
    cluster.crash(1);
    cluster.restart(1);
    cluster.lose("n1 -> n3 prepare");
    cluster.campaign(1);
    cluster.propose(1, "y");
    assert!(cluster.ballot(1) > Some(first), "{:?} again", cluster.ballot(1));
    for acceptor in [1, 3] {
        cluster.deliver(&format!("n1 -> n{acceptor} prepare"));
        cluster.deliver(&format!("n{acceptor} -> n1 promise"));
    }
    cluster.deliver("n1 -> n1 accept");
    // x comes late to n3, and the vote for x comes late to n1. Neither counts for y.
    cluster.deliver("n1 -> n3 accept 1.n1.1");
    cluster.deliver("n2 -> n1 accepted 1.n1.1");
    assert!(cluster.chosen.is_empty() && cluster.applied(1).is_empty());
    cluster.deliver("n1 -> n3 accept 1.n1.2");
    cluster.settle();
    elect(&mut cluster, 2, &[2, 3]);
    cluster.settle();
    assert_eq!(cluster.applied(2)[0], "'y'");
}

#[test]
fn s4_b8_a_first_leader_runs_phase_1_too() {
    let mut cluster = with_x_on_its_way(3);
    cluster.deliver("n1 -> n1 accept");
    cluster.deliver("n1 -> n2 accept");
    assert_eq!(cluster.chosen.len(), 1, "x is chosen under the lowest ballot there is");
    // n3's first ballot is higher. That alone entitles it to nothing.
    cluster.campaign(3);
    cluster.propose(3, "y");
    cluster.propose(3, "z");
    let asked = (1..=3).map(|node| format!("n3 -> n{node} prepare 1.n3.1 from #1"));
    assert_eq!(cluster.in_flight("n3 ->"), asked.collect::<Vec<_>>());
    cluster.settle();
    assert_eq!(cluster.applied(3), ["'x'", "'y'", "'z'"]);
}

#[test]
fn s5_b9_a_leader_that_hears_of_a_higher_ballot_does_not_relabel_itself() {
    let mut cluster = with_x_on_its_way(3);
    cluster.settle();
    let higher = Ballot { round: 5, node: NodeId(3), incarnation: 1 };
    let ballot = cluster.ballot(1).unwrap();
    let nack = ProposerMessage::Nack { ballot, promised: higher };
    cluster.inject(3, 1, Message::Proposer(nack));
    cluster.settle();
    cluster.tell(1, Inside::Seen { ballot: higher });
    cluster.propose(1, "y");
    // The cluster checks that no accept goes out under a ballot that was not promised.
    assert_eq!(cluster.in_flight("n1 -> n2"), ["n1 -> n2 accept 1.n1.1 #2 'y'"]);
    cluster.settle();
    cluster.run_for(SECONDS);
    assert_eq!(cluster.ballot(1).unwrap().round, 6, "it campaigned anew, above what it heard of");
    cluster.propose(1, "z");
    cluster.settle();
    assert!(cluster.applied(2).ends_with(&["'z'".to_owned()]));
}

#[test]
fn s6_a_value_in_the_first_of_the_promises_is_adopted() {
    for order in [[2, 3], [3, 2]] {
        let mut cluster = with_x_on_its_way(3);
        cluster.deliver("n1 -> n1 accept");
        cluster.deliver("n1 -> n2 accept");
        cluster.crash(1);
        cluster.campaign(3);
        cluster.propose(3, "y");
        for acceptor in order {
            cluster.deliver(&format!("n3 -> n{acceptor} prepare"));
            cluster.deliver(&format!("n{acceptor} -> n3 promise"));
        }
        cluster.lose("n1 -> n3 accept");
        cluster.settle();
        assert_eq!(cluster.applied(3), ["'x'", "'y'"], "promises in the order {order:?}");
    }
}

#[test]
fn s7_b10_a_promise_or_a_vote_that_comes_twice_is_one() {
    let mut cluster = Cluster::of(5);
    cluster.campaign(1);
    cluster.propose(1, "x");
    cluster.deliver("n1 -> n1 prepare");
    cluster.deliver("n1 -> n2 prepare");
    cluster.deliver("n1 -> n1 promise");
    for _ in 0..4 {
        cluster.deliver_copy("n2 -> n1 promise");
    }
    assert!(!cluster.leads(1), "two promises of five");
    cluster.deliver("n1 -> n3 prepare");
    cluster.deliver("n3 -> n1 promise");
    assert!(cluster.leads(1));
    cluster.deliver("n1 -> n1 accept ");
    cluster.deliver_copy("n1 -> n2 accept ");
    cluster.deliver("n1 -> n1 accepted");
    for _ in 0..4 {
        cluster.deliver_copy("n2 -> n1 accepted");
        cluster.deliver_copy("n1 -> n2 accept");
    }
    assert!(cluster.applied(1).is_empty(), "two votes of five");
    cluster.deliver("n1 -> n3 accept");
    cluster.deliver("n3 -> n1 accepted");
    assert_eq!(cluster.applied(1), ["'x'"]);
}

#[test]
fn s8_a_superseded_accept_is_refused_by_everyone_who_promised_more() {
    let mut cluster = with_x_on_its_way(3);
    elect(&mut cluster, 3, &[2, 3]);
    cluster.deliver("n1 -> n2 accept");
    cluster.deliver("n1 -> n3 accept");
    assert_eq!((cluster.accepted(2, 1), cluster.accepted(3, 1)), (None, None));
    cluster.deliver("n2 -> n1 nack 1.n1.1 promised 1.n3.1");
    cluster.deliver("n3 -> n1 nack 1.n1.1 promised 1.n3.1");
    assert!(!cluster.leads(1), "two of three have refused");
    cluster.settle();
    assert_eq!(cluster.applied(3), ["noop"], "x was accepted by n1 alone, which nobody asked");
}

#[test]
fn s9_no_promise_leaves_before_its_sync_however_often_it_is_asked_for() {
    let mut cluster = Cluster::of(3);
    cluster.stall_disk(2);
    cluster.campaign(1);
    cluster.deliver_copy("n1 -> n2 prepare");
    cluster.deliver_copy("n1 -> n2 prepare");
    assert_eq!(cluster.times_sent("n2 ->"), 0, "the first is not durable yet");
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.promised(2), Ballot::ZERO, "it forgot, and nobody was told");
    cluster.deliver_copy("n1 -> n2 prepare");
    cluster.deliver("n1 -> n2 prepare");
    assert_eq!(cluster.times_sent("n2 -> n1 promise 1.n1.1"), 2);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.promised(2).to_string(), "1.n1.1", "now it is durable");
}

#[test]
fn s10_answers_that_share_a_sync_keep_their_own_ballots() {
    for crash in [false, true] {
        let mut cluster = with_x_on_its_way(3);
        elect(&mut cluster, 2, &[1, 2]);
        cluster.stall_disk(3);
        cluster.deliver("n1 -> n3 prepare");
        cluster.deliver("n2 -> n3 accept");
        assert_eq!(cluster.times_sent("n3 ->"), 0);
        if crash {
            cluster.crash(3);
            cluster.restart(3);
            assert_eq!(cluster.promised(3), Ballot::ZERO);
            assert_eq!(cluster.times_sent("n3 ->"), 0);
        } else {
            cluster.sync(3);
            // A promise of the ballot that asked, never of the one that came after it.
            let answers = ["n3 -> n1 promise 1.n1.1 #1..end []", "n3 -> n2 accepted 2.n2.1 #1"];
            assert_eq!(cluster.in_flight("n3 ->"), answers);
        }
    }
}

#[test]
fn s11_promises_and_refusals_with_a_silent_minority_come_to_an_end() {
    let mut cluster = Cluster::governed(5);
    cluster.crash(5);
    cluster.campaign(1);
    cluster.campaign(2);
    // n3 and n4 hear the higher ballot of n2 first, which never reaches n1 and n2.
    cluster.deliver("n2 -> n3 prepare");
    cluster.deliver("n2 -> n4 prepare");
    cluster.lose("n2 -> n1 prepare");
    cluster.lose("n2 -> n2 prepare");
    cluster.deliver("n1 -> n");
    for answer in ["n1 -> n1 promise", "n2 -> n1 promise", "n3 -> n2 promise", "n4 -> n2 promise"] {
        cluster.deliver(answer);
    }
    cluster.deliver("n3 -> n1 nack");
    cluster.deliver("n4 -> n1 nack");
    assert!(!cluster.leads(1) && !cluster.leads(2), "two promises of five each, n5 is silent");
    cluster.run_for(SECONDS);
    let leader = (1..=4).find(|node| cluster.leads(*node)).expect("one leads in the end");
    let ticket = cluster.propose(leader, "x");
    cluster.settle();
    assert!(cluster.is_chosen(ticket));
}

#[test]
fn s12_b23_an_accept_repeated_for_an_old_slot_changes_nothing() {
    let mut cluster = with_x_on_its_way(3);
    // Copies stay on their way throughout.
    for node in [1, 2] {
        cluster.deliver_copy(&format!("n1 -> n{node} accept "));
        cluster.deliver(&format!("n{node} -> n1 accepted"));
    }
    assert_eq!(cluster.applied(1), ["'x'"]);
    let sent = cluster.times_sent("n1 -> n2 accept 1.n1.1 #1 ");
    cluster.propose(1, "y");
    cluster.deliver_copy("n1 -> n2 accept 1.n1.1 #1 ");
    cluster.settle();
    cluster.run_for(SECONDS);
    assert_eq!(cluster.times_sent("n1 -> n2 accept 1.n1.1 #1 "), sent, "its timer is gone");
    assert_eq!(cluster.applied(1), ["'x'", "'y'"]);
    assert_eq!(cluster.applied(2), ["'x'", "'y'"]);
}

#[test]
fn s15_b24_a_message_for_the_next_slot_is_kept() {
    let mut cluster = with_x_on_its_way(3);
    cluster.propose(1, "y");
    for node in [1, 2] {
        cluster.deliver(&format!("n1 -> n{node} accept"));
        cluster.deliver(&format!("n{node} -> n1 accepted"));
    }
    // n3 hears of #2 first, all of it, and of #1 only then.
    cluster.deliver("n1 -> n3 accept 1.n1.1 #2");
    cluster.deliver("n1 -> n3 chosen 1.n1.1 #2");
    assert!(cluster.applied(3).is_empty());
    cluster.deliver("n1 -> n3 chosen 1.n1.1 #1");
    cluster.deliver("n1 -> n3 accept 1.n1.1 #1");
    assert_eq!(cluster.applied(3), ["'x'", "'y'"], "at once, with no timer in between");
    assert_eq!(cluster.times_sent("n3 -> n1 fetch"), 0);
}

#[test]
fn s16_a_round_of_accepts_lost_as_a_whole_is_made_good_by_one_retransmission() {
    let mut cluster = with_x_on_its_way(3);
    cluster.lose("n1 -> n1 accept");
    cluster.lose("n1 -> n2 accept");
    cluster.lose("n1 -> n3 accept");
    assert!(cluster.chosen.is_empty());
    cluster.run_for(retransmit() * 11 / 10);
    assert_eq!(cluster.applied(1), ["'x'"]);
    assert_eq!(cluster.times_sent("n1 -> n2 accept"), 2);
    // The same with links that fail and come back.
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    let ticket = cluster.propose(1, "y");
    cluster.settle();
    cluster.heal();
    assert!(!cluster.is_chosen(ticket));
    cluster.run_for(2 * retransmit());
    assert!(cluster.is_chosen(ticket));
}

#[test]
fn s17_of_clients_that_race_none_is_left_in_silence() {
    let (mut refused, mut outrun) = (0, 0);
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::governed(3);
        let mut tickets = Vec::new();
        for round in 0..6 {
            for node in [1, 2] {
                cluster.campaign(node);
                tickets.push(cluster.propose(node, &format!("r{round}n{node}")));
            }
            cluster.run_shuffled(Duration::from_millis(random.below(60)), &mut random);
        }
        cluster.run_for(SECONDS);
        // A slot behind the end of the log is decided when the log grows past it.
        let leader = (1..=3).find(|node| cluster.leads(*node)).expect("one leads in the end");
        let last: Vec<_> = (0..12).map(|n| cluster.propose(leader, &format!("last{n}"))).collect();
        cluster.run_for(SECONDS);
        for ticket in tickets.into_iter().chain(last) {
            match cluster.fate(ticket) {
                Fate::Refused => {
                    assert!(!cluster.is_chosen(ticket), "seed {seed}: refused, and yet chosen");
                    refused += 1;
                }
                Fate::Proposed(slot) => {
                    let held = cluster.chosen.get(&slot);
                    assert!(held.is_some(), "seed {seed}: {slot} was never decided");
                    outrun += usize::from(!cluster.is_chosen(ticket));
                }
                other => panic!("seed {seed}: ticket {ticket} is left {other:?}"),
            }
        }
        assert_eq!(cluster.applied(1), cluster.applied(2), "seed {seed}");
    }
    assert!(refused > 100 && outrun > 10, "hardly a race: {refused} refused, {outrun} outrun");
}

#[test]
fn s18_messages_that_come_again_late_and_in_any_order_change_nothing() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::governed(3);
        cluster.run_for(SECONDS / 5);
        for round in 0..3 {
            for node in 1..=3 {
                cluster.campaign(node);
                cluster.propose(node, &format!("r{round}n{node}"));
            }
            cluster.run_shuffled(SECONDS / 50, &mut random);
        }
        cluster.run_for(SECONDS);
        let before = cluster.applied(1);
        cluster.replay(&mut random);
        cluster.settle();
        assert!(cluster.applied(1).starts_with(&before), "seed {seed}");
        cluster.run_for(SECONDS);
        let leader = (1..=3).find(|node| cluster.leads(*node)).expect("one leads in the end");
        let ticket = cluster.propose(leader, "x");
        cluster.run_for(SECONDS);
        assert!(cluster.is_chosen(ticket), "seed {seed}: nobody went deaf");
        assert_eq!(cluster.applied(1), cluster.applied(3), "seed {seed}");
    }
}

#[test]
fn s21_no_value_is_mistaken_for_nothing_and_the_first_slot_is_1() {
    let values = ["0", "", "\0", "None", "noop", "null", "false"];
    let mut cluster = Cluster::of(3);
    cluster.campaign(1);
    let tickets: Vec<_> = values.iter().map(|value| cluster.propose(1, value)).collect();
    // Nobody's first accepts arrive: what is repeated must be the very same.
    cluster.deliver("n1 -> n1 prepare");
    cluster.deliver("n1 -> n2 prepare");
    cluster.deliver("n1 -> n1 promise");
    cluster.deliver("n2 -> n1 promise");
    cluster.lose("n1 -> n1 accept");
    cluster.lose("n1 -> n2 accept");
    cluster.lose("n1 -> n3");
    cluster.run_for(2 * retransmit());
    assert_eq!(cluster.chosen.keys().next(), Some(&Slot(1)));
    assert_eq!(cluster.fate(tickets[0]), Fate::Proposed(Slot::FIRST));
    assert_eq!(cluster.applied(1).len(), values.len());
    assert!(tickets.iter().all(|ticket| cluster.is_chosen(*ticket)));
    let sent = cluster.times_sent("n1 -> n2 accept");
    // A new leader finds them all, and takes none for a free slot.
    cluster.crash(1);
    cluster.campaign(3);
    let fresh = cluster.propose(3, "after");
    cluster.settle();
    assert_eq!(cluster.fate(fresh), Fate::Proposed(Slot(values.len() as u64 + 1)));
    cluster.run_for(SECONDS);
    assert_eq!(cluster.times_sent("n1 -> n2 accept"), sent);
    assert_eq!(cluster.applied(2).len(), values.len() + 1);
}
