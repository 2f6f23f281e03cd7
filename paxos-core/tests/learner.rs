//! The learner alone: what it keeps, what it counts, what it asks for and answers.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::time::Duration;

use paxos_core::{
    AcceptorMessage, Ballot, Batch, Configurations, Effect, Heartbeat, Input, Inside,
    LeadershipMessage, Learner, LearnerMessage, LearnerOptions, Member, MemberRole, Membership,
    Message, NodeId, Record, Recovered, Restored, Role, Slot, Status, Time, Value,
};

const ME: NodeId = NodeId(1);
const ALPHA: u64 = 4;

fn learner(options: LearnerOptions) -> Learner {
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    let membership = Membership::of_voters(voters).unwrap().with_alpha(ALPHA).unwrap();
    Learner::recover(
        ME,
        options,
        Restored::nothing(Configurations::genesis(membership)),
        &Recovered::default(),
    )
}

fn plain() -> Learner {
    learner(LearnerOptions::default())
}

fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node), incarnation: 1 }
}

fn value(text: &'static str) -> Value {
    Value::Commands(Batch {
        stamp: Time(0),
        by: paxos_core::Ballot::ZERO,
        bytes: text.as_bytes().into(),
    })
}

fn hear(learner: &mut Learner, now: u64, from: u64, message: Message) -> Vec<Effect> {
    let mut effects = Vec::new();
    learner.handle(Time(now), Input::Message(NodeId(from), message), &mut effects);
    effects
}

fn accept(learner: &mut Learner, ballot: Ballot, slot: u64, text: &'static str) -> Vec<Effect> {
    let message = AcceptorMessage::Accept { ballot, slot: Slot(slot), value: value(text) };
    hear(learner, 0, ballot.node.0, Message::Acceptor(message))
}

fn vote(learner: &mut Learner, from: u64, ballot: Ballot, slot: u64) -> Vec<Effect> {
    let message = LearnerMessage::Accepted { ballot, slot: Slot(slot) };
    hear(learner, 0, from, Message::Learner(message))
}

fn chosen(learner: &mut Learner, ballot: Ballot, slot: u64, text: Option<&'static str>) {
    let message = LearnerMessage::Chosen { ballot, slot: Slot(slot), value: text.map(value) };
    hear(learner, 0, ballot.node.0, Message::Learner(message));
}

fn fill(learner: &mut Learner, from: u64, first: u64, texts: &[&'static str], upto: u64) {
    let chosen = texts.iter().map(|text| (ballot(1, 2), value(text))).collect();
    let (first, upto) = (Slot(first), Slot(upto));
    let message = LearnerMessage::Fill { first, chosen, upto, snapshot: None };
    hear(learner, 0, from, Message::Learner(message));
}

fn beat(learner: &mut Learner, now: u64, from: u64, next: u64) -> Vec<Effect> {
    let (incarnation, sequence, sent) = (1, now, Time(now));
    let (leading, hears, next) = (None, None, Slot(next));
    let (saved, campaigns) = (Slot(0), true);
    let heartbeat =
        Heartbeat { incarnation, sequence, sent, leading, hears, next, saved, campaigns };
    hear(learner, now, from, Message::Leadership(LeadershipMessage::Heartbeat(heartbeat)))
}

fn known(learner: &Learner) -> Vec<(u64, Value)> {
    learner.chosen(Slot::FIRST).map(|(slot, value)| (slot.0, value.clone())).collect()
}

fn status(learner: &Learner) -> Status {
    let mut status = Status { dropped: 10, alarms: 20, ..Status::default() };
    learner.describe(&mut status);
    status
}

/// Who is asked, from which slot.
fn asked(effects: &[Effect]) -> Vec<(u64, u64)> {
    let fetch = |effect: &Effect| match effect {
        Effect::Send(envelope) => match envelope.message {
            Message::Learner(LearnerMessage::Fetch { first }) => Some((envelope.to.0, first.0)),
            _ => None,
        },
        _ => None,
    };
    effects.iter().filter_map(fetch).collect()
}

#[test]
fn what_lies_within_twice_the_window_is_kept_and_nothing_beyond() {
    let mut learner = plain();
    for slot in (1..=2 * ALPHA + 1).rev() {
        chosen(&mut learner, ballot(1, 2), slot, Some("x"));
    }
    assert_eq!(learner.next(), Slot(2 * ALPHA + 1));
    chosen(&mut learner, ballot(1, 2), 1, Some("y"));
    assert_eq!(known(&learner).len(), 2 * ALPHA as usize, "what lies behind changes nothing");
}

#[test]
fn a_ballot_beyond_every_limit_is_not_held() {
    let mut learner = plain();
    let beyond = ballot(Ballot::ROUND_MAX + 1, 2);
    accept(&mut learner, beyond, 1, "x");
    chosen(&mut learner, beyond, 1, None);
    chosen(&mut learner, beyond, 1, Some("x"));
    assert_eq!(learner.next(), Slot::FIRST);
}

#[test]
fn of_two_values_that_of_the_higher_ballot_is_held() {
    for order in [[1, 2], [2, 1]] {
        let mut learner = plain();
        for round in order {
            accept(&mut learner, ballot(round, 2), 1, if round == 1 { "old" } else { "new" });
        }
        chosen(&mut learner, ballot(2, 2), 1, None);
        assert_eq!(known(&learner), [(1, value("new"))], "in the order {order:?}");
        assert_eq!(status(&learner).alarms, 20);
    }
}

#[test]
fn a_value_of_a_lower_ballot_than_the_chosen_one_is_not_handed_out() {
    let mut learner = plain();
    accept(&mut learner, ballot(1, 2), 1, "old");
    chosen(&mut learner, ballot(2, 2), 1, None);
    assert_eq!(learner.next(), Slot::FIRST);
    accept(&mut learner, ballot(3, 3), 1, "new");
    assert_eq!(known(&learner), [(1, value("new"))], "a later ballot has the chosen value too");
}

#[test]
fn two_values_of_one_ballot_raise_an_alarm_each_time() {
    let mut learner = plain();
    accept(&mut learner, ballot(1, 2), 1, "x");
    accept(&mut learner, ballot(1, 2), 1, "x");
    assert_eq!(status(&learner).alarms, 20);
    accept(&mut learner, ballot(1, 2), 1, "y");
    accept(&mut learner, ballot(1, 2), 1, "z");
    assert_eq!(status(&learner).alarms, 22);
    chosen(&mut learner, ballot(1, 2), 1, None);
    assert_eq!(known(&learner), [(1, value("x"))]);
}

#[test]
fn votes_count_within_the_window_and_for_its_own_ballots_only() {
    let mut learner = plain();
    for (mine, slot) in [(ballot(1, 1), ALPHA), (ballot(1, 1), ALPHA + 1), (ballot(1, 2), 1)] {
        accept(&mut learner, mine, slot, "x");
        vote(&mut learner, 2, mine, slot);
        let told = vote(&mut learner, 3, mine, slot);
        assert_eq!(!told.is_empty(), slot == ALPHA, "{mine} {slot}: {told:?}");
    }
    assert_eq!(learner.next(), Slot::FIRST);
}

#[test]
fn only_the_ballots_own_node_can_say_what_is_chosen() {
    let mut learner = plain();
    let message =
        LearnerMessage::Chosen { ballot: ballot(1, 2), slot: Slot::FIRST, value: Some(value("x")) };
    for _ in 0..2 {
        hear(&mut learner, 0, 3, Message::Learner(message.clone()));
    }
    assert_eq!(learner.next(), Slot::FIRST);
    assert_eq!(status(&learner).dropped, 12);
    hear(&mut learner, 0, 2, Message::Learner(message));
    assert_eq!(status(&learner).chosen, Slot(1));
}

#[test]
fn a_fetch_is_answered_with_no_more_than_limits_and_the_asker_allow() {
    let answered = |learner: &mut Learner, first: u64| {
        let fetch = LearnerMessage::Fetch { first: Slot(first) };
        let effects = hear(learner, 0, 3, Message::Learner(fetch));
        let [Effect::Send(envelope)] = effects.as_slice() else { panic!("{effects:?}") };
        match envelope.message.clone() {
            Message::Learner(LearnerMessage::Fill { first, chosen, upto, .. }) => {
                (first.0, chosen.len(), upto.0)
            }
            other => panic!("{other:?}"),
        }
    };
    let full = |options: LearnerOptions| {
        let mut learner = learner(options);
        (1..=3 * ALPHA).for_each(|slot| chosen(&mut learner, ballot(1, 2), slot, Some("four")));
        learner
    };
    let window = 2 * ALPHA as usize;
    let upto = 3 * ALPHA + 1;
    assert_eq!(answered(&mut full(LearnerOptions::default()), 1), (1, window, upto));
    assert_eq!(answered(&mut full(LearnerOptions::default()), upto), (upto, 0, upto));
    let values = LearnerOptions { fill_values: 3, ..LearnerOptions::default() };
    assert_eq!(answered(&mut full(values), 2), (2, 3, upto));
    // The value that reaches the limit is the last.
    let size = value("four").size();
    let bytes = LearnerOptions { fill_bytes: 2 * size, ..LearnerOptions::default() };
    assert_eq!(answered(&mut full(bytes), 1), (1, 2, upto));
    let bytes = LearnerOptions { fill_bytes: 2 * size + 1, ..LearnerOptions::default() };
    assert_eq!(answered(&mut full(bytes), 1), (1, 3, upto));
}

#[test]
fn what_others_know_is_fetched_after_a_while_from_one_after_the_other() {
    let mut learner = plain();
    let options = LearnerOptions::default();
    let after = options.fetch_after.as_micros() as u64;
    let timeout = options.fetch_timeout.as_micros() as u64;
    assert!(beat(&mut learner, 0, 2, 1).is_empty() && learner.next_deadline().is_none());
    beat(&mut learner, 0, 2, 3);
    beat(&mut learner, 0, 3, 3);
    assert_eq!(learner.next_deadline(), Some(Time(after)));
    let ring = |learner: &mut Learner, now: u64| {
        let mut effects = Vec::new();
        learner.handle(Time(now), Input::Timeout, &mut effects);
        asked(&effects)
    };
    assert_eq!(ring(&mut learner, after - 1), []);
    assert_eq!(ring(&mut learner, after), [(2, 1)]);
    assert_eq!(ring(&mut learner, after + timeout - 1), []);
    assert_eq!(ring(&mut learner, after + timeout), [(3, 1)]);
    assert_eq!(ring(&mut learner, after + 2 * timeout), [(2, 1)]);
    fill(&mut learner, 2, 1, &["x", "y"], 3);
    assert_eq!(learner.next(), Slot(3));
    assert_eq!(learner.next_deadline(), None, "nothing is missing any more");
}

#[test]
fn an_answer_that_helps_is_followed_by_the_next_question_at_once() {
    let mut learner = plain();
    beat(&mut learner, 0, 2, 9);
    let after = Duration::from_secs(1).as_micros() as u64;
    learner.handle(Time(after), Input::Timeout, &mut Vec::new());
    let chosen = vec![(ballot(1, 2), value("x"))];
    let answer = |first: u64| {
        let (first, chosen) = (Slot(first), chosen.clone());
        let upto = Slot(9);
        Message::Learner(LearnerMessage::Fill { first, chosen, upto, snapshot: None })
    };
    let effects = hear(&mut learner, after, 2, answer(1));
    assert_eq!(asked(&effects), [(2, 2)]);
    let effects = hear(&mut learner, after, 2, answer(1));
    assert_eq!(asked(&effects), [], "the same again is no progress");
}

#[test]
fn what_is_proposed_beyond_the_window_is_not_held_nor_is_it_chosen_there() {
    let beyond = 2 * ALPHA + 1;
    let fill_up = |learner: &mut Learner| {
        (1..beyond).for_each(|slot| chosen(learner, ballot(1, 2), slot, Some("x")));
    };
    let mut one = plain();
    accept(&mut one, ballot(1, 2), beyond, "x");
    fill_up(&mut one);
    chosen(&mut one, ballot(1, 2), beyond, None);
    assert_eq!(one.next(), Slot(beyond), "the value came too early");
    let mut other = plain();
    chosen(&mut other, ballot(1, 2), beyond, None);
    fill_up(&mut other);
    accept(&mut other, ballot(1, 2), beyond, "x");
    assert_eq!(other.next(), Slot(beyond), "word of it came too early");
}

#[test]
fn an_impossible_ballot_neither_gives_a_value_nor_makes_a_gap() {
    let mut learner = plain();
    let beyond = ballot(Ballot::ROUND_MAX + 1, 2);
    chosen(&mut learner, beyond, 1, None);
    assert_eq!(learner.next_deadline(), None);
    accept(&mut learner, beyond, 1, "x");
    chosen(&mut learner, ballot(1, 2), 1, None);
    assert_eq!(learner.next(), Slot::FIRST);
}

#[test]
fn only_who_knows_more_is_asked() {
    let mut learner = plain();
    beat(&mut learner, 0, 2, 1);
    beat(&mut learner, 0, 3, 3);
    let mut now = 0;
    for _ in 0..3 {
        now = learner.next_deadline().unwrap().0.max(now);
        let mut effects = Vec::new();
        learner.handle(Time(now), Input::Timeout, &mut effects);
        assert_eq!(asked(&effects), [(3, 1)]);
    }
}

#[test]
fn who_accepts_is_told_what_is_chosen_and_who_does_not_gets_the_value_too() {
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    let mut membership = Membership::of_voters(voters).unwrap();
    let reader = Member { role: MemberRole::Learner, address: String::new() };
    membership.members.insert(NodeId(4), reader);
    let mut learner = Learner::new(ME, Configurations::genesis(membership));
    let mine = ballot(1, 1);
    accept(&mut learner, mine, 1, "x");
    vote(&mut learner, 2, mine, 1);
    let effects = vote(&mut learner, 3, mine, 1);
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(envelope) => match &envelope.message {
                Message::Learner(LearnerMessage::Chosen { value, .. }) => {
                    Some((envelope.to.0, value.clone()))
                }
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(told, [(2, None), (3, None), (4, Some(value("x")))]);
}

/// A learner of a log that holds these slots, and of a snapshot that ends before `next`.
fn recovered(slots: &[u64], next: u64) -> Learner {
    let mut log = Recovered::default();
    for slot in slots {
        let (slot, value) = (Slot(*slot), Some(value("x")));
        log.absorb(Record::Chosen { slot, ballot: ballot(1, 2), value });
    }
    let next = Slot(next);
    let restored = Restored { next, ..Restored::nothing(plain().configurations().clone()) };
    Learner::recover(ME, LearnerOptions::default(), restored, &log)
}

#[test]
fn a_restart_goes_on_where_log_and_snapshot_end_together() {
    let holds = |learner: &Learner| {
        let slots = learner.chosen(Slot::FIRST).map(|(slot, _)| slot.0).collect::<Vec<_>>();
        (slots, learner.next().0)
    };
    assert_eq!(holds(&recovered(&[1, 2, 3], 2)), (vec![1, 2, 3], 4), "the log leads further");
    assert_eq!(holds(&recovered(&[1, 2, 3], 4)), (vec![1, 2, 3], 4), "both end there");
    assert_eq!(holds(&recovered(&[1, 2, 5, 6], 5)), (vec![5, 6], 7), "the snapshot fills a hole");
    assert_eq!(holds(&recovered(&[1, 2], 5)), (vec![], 5), "the snapshot leads further");
}

/// What is said to be safe when these nodes have said what their snapshots cover.
fn safe(replicas: u64, saved: &[(u64, u64)]) -> Option<Slot> {
    let voters = (1..=5).map(|id| (NodeId(id), format!("n{id}:1")));
    let mut membership = Membership::of_voters(voters).unwrap();
    membership.snapshot_replicas = replicas;
    let mut learner = Learner::new(ME, Configurations::genesis(membership));
    let mut found = None;
    for (sequence, (from, saved)) in (1..).zip(saved) {
        let heartbeat = Heartbeat {
            incarnation: 1,
            sequence,
            sent: Time(0),
            leading: None,
            hears: None,
            next: Slot::FIRST,
            saved: Slot(*saved),
            campaigns: true,
        };
        let message = LeadershipMessage::Heartbeat(heartbeat);
        for effect in hear(&mut learner, 0, *from, Message::Leadership(message)) {
            if let Effect::Send(envelope) = effect
                && let Message::Inside(Inside::Safe { below }) = envelope.message
            {
                found = Some(below);
            }
        }
    }
    found
}

#[test]
fn nothing_is_safe_that_fewer_have_than_the_membership_asks_for_or_a_quorum_lacks() {
    assert_eq!(safe(1, &[(2, 9), (3, 9)]), None, "the other three are a phase 1 quorum");
    assert_eq!(safe(1, &[(2, 9), (3, 8), (4, 7)]), Some(Slot(7)));
    assert_eq!(safe(4, &[(2, 9), (3, 8), (4, 7)]), None);
    assert_eq!(safe(4, &[(2, 9), (3, 8), (4, 7), (5, 6)]), Some(Slot(6)));
}

/// A snapshot of every slot below `next` is here.
fn restored(next: u64) -> Message {
    let next = Slot(next);
    let restored = Restored { next, ..Restored::nothing(plain().configurations().clone()) };
    Message::Inside(Inside::Restored(restored))
}

/// What goes to the state machine: `r5` goes on from a snapshot, `a5` applies a slot.
fn decided(effects: &[Effect]) -> Vec<String> {
    let decision = |effect: &Effect| match effect {
        Effect::Restore { next } => Some(format!("r{}", next.0)),
        Effect::Apply { slot, .. } => Some(format!("a{}", slot.0)),
        _ => None,
    };
    effects.iter().filter_map(decision).collect()
}

#[test]
fn d1_d2_d3_snapshots_and_values_go_to_the_state_in_one_order_and_never_back() {
    let mut learner = plain();
    let theirs = ballot(1, 2);
    let chosen = |slot| {
        let (slot, value) = (Slot(slot), Some(value("x")));
        Message::Learner(LearnerMessage::Chosen { ballot: theirs, slot, value })
    };
    // Values wait behind a gap; the snapshot that fills it comes first, then they.
    for slot in [5, 6] {
        assert_eq!(decided(&hear(&mut learner, 0, 2, chosen(slot))), [] as [&str; 0]);
    }
    assert_eq!(decided(&hear(&mut learner, 0, 1, restored(5))), ["r5", "a5", "a6"]);
    // Another within the same moment, and a newer one: the newest wins.
    assert_eq!(decided(&hear(&mut learner, 0, 1, restored(9))), ["r9"]);
    assert_eq!(decided(&hear(&mut learner, 0, 1, restored(12))), ["r12"]);
    // What is older than the state, or as old, is of no use.
    for older in [5, 9, 12] {
        assert_eq!(decided(&hear(&mut learner, 0, 1, restored(older))), [] as [&str; 0]);
        assert_eq!(learner.next(), Slot(12));
    }
}
