//! What goes wrong with locks elsewhere.

use super::*;

#[test]
fn f2_a_lock_is_never_granted_to_a_waiter_whose_session_is_gone() {
    let mut story = Story::new();
    let [a, b, c] = [(); 3].map(|()| story.open());
    assert_eq!(story.acquire(a, "x"), held(1));
    assert_eq!(story.acquire(b, "x"), Ok(Standing::Waiting(1)));
    assert_eq!(story.acquire(c, "x"), Ok(Standing::Waiting(2)));
    // The holder and the next in line fall silent, and end in the same step.
    story.pass(SPAN / 2);
    story.renew(c).unwrap();
    story.pass(SPAN / 2);
    assert_eq!(story.holder("x"), Some((c, Token(2))));
    assert_eq!(story.called(), ["session/3"]);
    assert_eq!(story.acquire(b, "x"), Err(Refusal::SessionExpired { session: b }));
}

#[test]
fn f2_a_waiter_that_expires_leaves_the_queue_in_the_same_step() {
    let mut story = Story::new();
    let [a, b, c] = [(); 3].map(|()| story.open());
    for session in [a, b, c] {
        story.acquire(session, "x").unwrap();
    }
    story.pass(SPAN / 2);
    story.renew(a).unwrap();
    story.renew(c).unwrap();
    story.pass(SPAN / 2);
    assert_eq!((story.holder("x"), story.queue("x")), (Some((a, Token(1))), vec![c]));
    story.release(a, "x", 1).unwrap();
    assert_eq!(story.holder("x"), Some((c, Token(2))));
}

#[test]
fn f3_after_a_change_of_leader_every_session_has_its_whole_time_again() {
    let mut story = Story::new();
    let a = story.open();
    assert_eq!(story.acquire(a, "x"), held(1));
    story.pass(SPAN - 1);
    assert!(story.holder("x").is_some());
    // The last leader's time was nearly up; the next one's first batch brings more than that.
    story.change_leader();
    story.pass(SPAN / 2);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
    story.pass(SPAN - 1);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
    story.pass(1);
    assert_eq!(story.holder("x"), None);
}

#[test]
fn f3_a_late_batch_of_an_older_leader_ends_no_session_however_far_its_clock_is_ahead() {
    let mut story = Story::new();
    let a = story.open();
    assert_eq!(story.acquire(a, "x"), held(1));
    story.change_leader();
    story.renew(a).unwrap();
    // While nobody led, the clock of the first leader went on; its successor finds a batch of that
    // time behind its own.
    story.leader -= 1;
    story.pass(2 * SPAN);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
    story.leader += 1;
    story.pass(SPAN);
    story.pass(SPAN - 1);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
    story.pass(1);
    assert_eq!(story.holder("x"), None);
}

#[test]
fn f4_who_lost_a_lock_releases_nothing() {
    let mut story = Story::new();
    let (a, b) = (story.open(), story.open());
    story.acquire(a, "x").unwrap();
    story.pass(SPAN / 2);
    story.acquire(b, "x").unwrap();
    story.pass(SPAN / 2);
    assert_eq!(story.holder("x"), Some((b, Token(2))));
    let not = |token| Err(Refusal::NotHolder { name: "x".into(), token: Token(token) });
    assert_eq!(story.release(a, "x", 1), not(1));
    assert_eq!(story.release(a, "x", 2), not(2));
    // Its own session does not help who shows the token of an earlier grant.
    story.release(b, "x", 2).unwrap();
    assert_eq!(story.acquire(b, "x"), held(3));
    assert_eq!(story.release(b, "x", 2), not(2));
    assert_eq!(story.holder("x"), Some((b, Token(3))));
    assert!(story.release(b, "nothing", 1).is_err());
}

#[test]
fn f5_who_asks_twice_has_one_lock_and_one_token() {
    let mut story = Story::new();
    let (a, b) = (story.open(), story.open());
    let command = Command::Acquire { session: a, name: "x".into(), waits: true };
    let first = story.run(&command);
    // The same request again, and a new one to the same end.
    assert_eq!(story.repeat(0, story.sequences[0], &command), first);
    assert_eq!(story.run(&command), first);
    assert_eq!(first, Ok(Done::Standing(Standing::Held(Token(1)))));
    assert_eq!(story.acquire(b, "x"), Ok(Standing::Waiting(1)));
    assert_eq!(story.acquire(b, "x"), Ok(Standing::Waiting(1)));
    assert_eq!(story.queue("x"), [b]);
}

#[test]
fn f6_tokens_rise_across_snapshots_leaders_and_memberships() {
    let mut story = Story::new();
    let a = story.open();
    let mut last = 0;
    for round in 0..20 {
        match round % 4 {
            0 => story.replica = Replica::restore(&story.replica.snapshot()).unwrap(),
            1 => story.change_leader(),
            2 => change_membership(&mut story),
            _ => {}
        }
        let Ok(Standing::Held(token)) = story.acquire(a, "x") else { panic!("it is free") };
        assert!(token.0 > last, "{token} after {last}");
        last = token.0;
        story.release(a, "x", last).unwrap();
        story.renew(a).unwrap();
    }
}

fn change_membership(story: &mut Story) {
    let configurations = story.replica.configurations();
    let (base, newest) = configurations.newest();
    let change = Box::new(paxos_core::Reconfigure {
        base: *base,
        membership: newest.clone(),
        origin: Origin { node: NodeId(1), incarnation: 1, number: 0 },
        by: "admin/1".to_owned(),
    });
    story.slot += 1;
    story.replica.apply(Slot(story.slot), &Value::Reconfigure(change));
}

#[test]
fn f7_of_a_thousand_who_wait_only_the_next_is_called_and_in_their_order() {
    let mut story = Story::new();
    let sessions: Vec<_> = (0..1_000).map(|_| story.open()).collect();
    for session in &sessions {
        story.acquire(*session, "x").unwrap();
    }
    for (index, session) in sessions.iter().enumerate().take(20) {
        // In the order in which they came, also under another leader and from a snapshot.
        if index % 5 == 4 {
            story.change_leader();
            story.replica = Replica::restore(&story.replica.snapshot()).unwrap();
        }
        assert_eq!(story.holder("x"), Some((*session, Token(index as u64 + 1))));
        story.told.clear();
        story.release(*session, "x", index as u64 + 1).unwrap();
        assert_eq!(story.called(), [format!("session/{}", sessions[index + 1])]);
    }
}

#[test]
fn d12_time_is_what_the_log_says_and_expiry_is_in_the_log() {
    let mut story = Story::new();
    let a = story.open();
    story.acquire(a, "x").unwrap();
    assert_eq!(story.replica.due(), Some(Time(1 + SPAN)));
    story.pass(SPAN - 1);
    // A leader whose clock is behind turns nothing back.
    story.now -= SPAN - 1;
    story.pass(0);
    assert_eq!(story.replica.time(), Time(SPAN));
    story.now += SPAN - 1;
    assert!(story.holder("x").is_some());
    let mut other = Replica::<LockService>::restore(&story.replica.snapshot()).unwrap();
    story.pass(1);
    assert_eq!(story.holder("x"), None);
    let (stamp, by) = (Time(story.now), story.ballot());
    let batch = Batch { stamp, by, bytes: Bytes::new() };
    other.apply(Slot(story.slot), &Value::Commands(batch));
    assert_eq!(other.snapshot(), story.replica.snapshot());
}

#[test]
fn the_session_of_another_client_is_refused() {
    let mut story = Story::new();
    let a = story.open();
    story.acquire(a, "x").unwrap();
    let not_yours = Err(Refusal::NotYours { session: a });
    let acquire = Command::Acquire { session: a, name: "y".into(), waits: true };
    let release = Command::Release { session: a, name: "x".into(), token: Token(1) };
    for command in [Command::Renew { session: a }, Command::Close { session: a }, acquire, release]
    {
        assert_eq!(story.run_as(1, &command), not_yours, "{command:?}");
    }
    assert_eq!(story.holder("x"), Some((a, Token(1))));
}

#[test]
fn who_does_not_wait_is_told_that_it_is_taken() {
    let mut story = Story::new();
    let (a, b) = (story.open(), story.open());
    story.acquire(a, "x").unwrap();
    let command = Command::Acquire { session: b, name: "x".into(), waits: false };
    assert_eq!(story.run(&command), Ok(Done::Standing(Standing::Taken)));
    assert!(story.queue("x").is_empty());
    story.run(&Command::Close { session: a }).unwrap();
    assert_eq!(story.run(&command), Ok(Done::Standing(Standing::Held(Token(2)))));
}

#[test]
fn names_terms_and_numbers_have_limits() {
    let mut story = Story::new();
    let terms = Terms { ttl: Duration::from_secs(1), grace: Duration::from_secs(1) };
    assert_eq!(story.run(&Command::Open { terms }), Err(Refusal::BadTerms));
    let a = story.open();
    assert_eq!(story.acquire(a, "two words"), Err(Refusal::BadName));
    for number in 0..crate::sessions::NAMES_MAX {
        story.acquire(a, &format!("{number}")).unwrap();
    }
    assert_eq!(story.acquire(a, "more"), Err(Refusal::TooManyNames));
    assert_eq!(story.acquire(a, "7"), held(1));
}

#[test]
fn lists_have_what_is_held_in_the_order_of_names() {
    let mut story = Story::new();
    let a = story.open();
    for name in ["b", "a/1", "a/2", "a", "a/3"] {
        story.acquire(a, name).unwrap();
    }
    story.release(a, "a/2", 1).unwrap();
    let list = |prefix: &str, after: &str| {
        let query = Query::List { prefix: prefix.to_owned(), after: after.to_owned() };
        let Answer::Locks(locks) = story.replica.machine().query_of(query) else { panic!() };
        locks.into_iter().map(|lock| lock.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list("", ""), "a a/1 a/3 b");
    assert_eq!(list("a/", ""), "a/1 a/3");
    assert_eq!(list("a/", "a/1"), "a/3");
    assert_eq!(list("", "a/3"), "b");
    assert_eq!(list("c", ""), "");
}
