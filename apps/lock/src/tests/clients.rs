//! Clients that vanish, sleep, come back late or come back under another name.

use super::*;

#[test]
fn cli2_of_a_client_that_crashed_the_lock_is_free_when_logged_time_says_so() {
    let mut story = Story::new();
    let (a, b) = (story.open(), story.open());
    assert_eq!(story.acquire(a, "x"), held(1));
    assert_eq!(story.acquire(b, "x"), Ok(Standing::Waiting(1)));
    story.pass(SPAN - 1);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
    story.renew(b).unwrap();
    story.pass(1);
    assert_eq!(story.holder("x"), Some((b, Token(2))));
}

#[test]
fn cli3_who_slept_too_long_is_told_that_its_session_expired() {
    let mut story = Story::new();
    let a = story.open();
    assert_eq!(story.acquire(a, "x"), held(1));
    story.pass(SPAN);
    let expired = Err(Refusal::SessionExpired { session: a });
    assert_eq!(story.renew(a), expired);
    assert_eq!(story.run(&Command::Close { session: a }), expired);
    assert_eq!(story.acquire(a, "x"), Err(Refusal::SessionExpired { session: a }));
    let b = story.open();
    assert!(b > a, "numbers are not used again");
    assert_eq!(story.acquire(b, "x"), held(2));
}

#[test]
fn cli4_a_renewal_and_the_end_of_its_session_are_decided_by_the_log() {
    // In the very batch that brings the end, the end comes first.
    let mut story = Story::new();
    let a = story.open();
    story.acquire(a, "x").unwrap();
    story.now += SPAN;
    assert_eq!(story.renew(a), Err(Refusal::SessionExpired { session: a }));
    assert_eq!(story.holder("x"), None);

    // In a batch before that the renewal counts, and the end is that much later.
    let mut story = Story::new();
    let a = story.open();
    story.acquire(a, "x").unwrap();
    story.now += SPAN - 1;
    assert_eq!(story.renew(a), Ok(Done::Renewed));
    story.pass(SPAN - 1);
    assert_eq!(story.holder("x"), Some((a, Token(1))));
}

#[test]
fn cli5_a_client_whose_session_made_room_for_others_is_told_so_and_runs_nothing() {
    let mut story = Story::new();
    let a = story.open();
    let command = Command::Acquire { session: a, name: "x".into(), waits: true };
    let bytes = Bytes::from(postcard::to_stdvec(&command).unwrap());
    let sequence = story.sequences[0] + 1;
    let run = Operation::Run { session: SessionId(1), sequence, command: bytes };
    assert!(matches!(story.operate(0, run.clone()), Outcome::Replied(_)));
    story.sequences[0] = sequence;
    story.release(a, "x", 1).unwrap();
    // Those of both clients are the idlest when the table is full.
    let max = story.replica.configurations().newest().1.sessions.max;
    for _ in 0..max {
        story.operate(1, Operation::Open);
    }
    let told = rejected(story.operate(0, run));
    assert!(matches!(told, Rejection::SessionExpired { .. }), "{told:?}");
    // What it held lives by its own time, and nothing was done twice.
    assert_eq!(story.holder("x"), None);
}

#[test]
fn d11_a_late_copy_of_what_an_ended_session_sent_changes_nothing() {
    let mut story = Story::new();
    let a = story.open();
    let acquire = Command::Acquire { session: a, name: "x".into(), waits: true };
    story.run(&acquire).unwrap();
    let late = story.sequences[0];
    story.run(&Command::Close { session: a }).unwrap();
    let b = story.open();
    assert_ne!(a, b);
    // By the framework's session it is stale, and by a new one it names a session that is gone.
    let bytes = Bytes::from(postcard::to_stdvec(&acquire).unwrap());
    let copy = Operation::Run { session: SessionId(1), sequence: late, command: bytes };
    assert!(matches!(rejected(story.operate(0, copy)), Rejection::BadSequence { .. }));
    assert_eq!(story.run(&acquire), Err(Refusal::SessionExpired { session: a }));
    assert_eq!(story.holder("x"), None);
}
