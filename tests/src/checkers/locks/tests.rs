//! The rules of locks, broken one by one.

use super::*;
use lock::{LockSession, Token};

/// What happens in one slot, at a millisecond of replicated time, under a leader.
struct Scene(u64, u64, Option<(Demand, Told)>, Vec<(String, Event)>);

/// A second without a sign of life, and 50 ms for clocks that differ.
const OPEN: Demand = Demand::Open { terms: 3 };

fn acquire(session: u64, waits: bool) -> Demand {
    Demand::Acquire { session, lock: 0, waits }
}

fn on_lock(event: Event) -> (String, Event) {
    ("lock/lock-0".into(), event)
}

fn granted(session: u64, token: u64) -> (String, Event) {
    let (session, token) = (LockSession(session), Token(token));
    on_lock(Event::Granted { session, token, identity: String::new() })
}

fn called(session: u64, token: u64) -> (String, Event) {
    (format!("session/{session}"), granted(session, token).1)
}

fn queued(session: u64) -> (String, Event) {
    on_lock(Event::Queued { session: LockSession(session) })
}

fn left(session: u64) -> (String, Event) {
    on_lock(Event::Left { session: LockSession(session) })
}

fn gone(session: u64) -> (String, Event) {
    (format!("session/{session}"), Event::Gone { session: LockSession(session) })
}

fn expired(session: u64, token: u64) -> (String, Event) {
    on_lock(Event::Expired { session: LockSession(session), token: Token(token) })
}

fn released(session: u64, token: u64) -> (String, Event) {
    on_lock(Event::Released { session: LockSession(session), token: Token(token) })
}

/// Three sessions; the first has the lock, the others wait for it; all since the beginning.
fn queue() -> Vec<Scene> {
    let open = |id| Scene(0, 1, Some((OPEN, Told::Opened(id))), Vec::new());
    let wait = |id| Scene(0, 1, Some((acquire(id, true), Told::Waiting(id - 1))), vec![queued(id)]);
    let first = Scene(0, 1, Some((acquire(1, true), Told::Held(1))), vec![granted(1, 1)]);
    vec![open(1), open(2), open(3), first, wait(2), wait(3)]
}

fn play(scenes: impl IntoIterator<Item = Scene>) -> Result<Locks, String> {
    let mut locks = Locks::default();
    for (place, Scene(millis, round, asked, told)) in scenes.into_iter().enumerate() {
        let asked = asked.map(|(demand, told)| {
            let (by, sequence, told) = (SessionId(1), place as u64 + 1, Some(told));
            Asked { by, sequence, demand, told }
        });
        let by = Ballot { round, node: NodeId(1), incarnation: 1 };
        let step = Step { stamp: Some((Time(millis * 1000), by)), asked, told };
        locks.applied(NodeId(1), Slot(place as u64 + 1), step)?;
    }
    Ok(locks)
}

/// What is said of the queue when this comes behind it.
fn then(scenes: impl IntoIterator<Item = Scene>) -> Result<Locks, String> {
    play(queue().into_iter().chain(scenes))
}

#[track_caller]
fn broken(scene: Scene, words: &str) {
    let said = then([scene]).map(|_| ()).unwrap_err();
    assert!(said.starts_with("locks: ") && said.contains(words), "{said}");
}

const RELEASE: Demand = Demand::Release { session: 1, lock: 0, token: 1 };

#[test]
fn who_waits_is_served_in_turn_and_who_is_silent_loses_it() {
    let release = Scene(
        9,
        1,
        Some((RELEASE, Told::Released)),
        vec![released(1, 1), granted(2, 2), called(2, 2)],
    );
    let renew = Scene(100, 1, Some((Demand::Renew { session: 2 }, Told::Renewed)), vec![]);
    let late = Scene(200, 1, Some((RELEASE, Told::NotHolder)), vec![]);
    // The third is silent longest, then the first, and the second was heard at 100.
    let waited = Scene(1050, 1, None, vec![left(3), gone(3)]);
    let free = Scene(1059, 1, None, vec![gone(1)]);
    let over = Scene(1150, 1, None, vec![gone(2), expired(2, 2)]);
    let gone = Scene(1200, 1, Some((acquire(2, true), Told::Expired)), vec![]);
    let mut locks = then([release, renew, late, waited, free, over, gone]).unwrap();
    assert!(locks.end(true).is_ok());
    assert_eq!((locks.take_lost(), locks.holder(0)), (vec![(0, 2)], None));
    let tally = Tally { grants: 2, handed_over: 1, expired: 1, renewed: 1, ..locks.tally() };
    assert_eq!(locks.tally(), Tally { left: 1, late: 2, fenced: 0, ..tally });
    assert!(locks.shown(0, &(None, 2, vec![])).is_ok());
    assert!(locks.shown(0, &(Some((2, 2)), 2, vec![])).is_err());
}

#[test]
fn two_holders_are_seen() {
    broken(Scene(9, 1, Some((acquire(2, true), Told::Held(2))), vec![granted(2, 2)]), "Held(2)");
    broken(Scene(9, 1, None, vec![granted(2, 2), called(2, 2)]), "and 1 holds it");
    let over = vec![gone(1), expired(1, 1), granted(2, 2), called(2, 2)];
    broken(Scene(1049, 1, None, over), "and 1 holds it");
    broken(Scene(1049, 1, None, vec![expired(1, 1)]), "before its time");
}

#[test]
fn a_grant_that_outlives_its_session_is_seen() {
    broken(Scene(1050, 1, None, vec![]), "1 still has grant 1");
    let forgotten = vec![left(2), gone(2), gone(3), gone(1), expired(1, 1)];
    broken(Scene(1050, 1, None, forgotten), "3 still waits");
    // Another leader gives everybody the whole time again.
    assert!(then([Scene(1049, 2, None, vec![]), Scene(2098, 2, None, vec![])]).is_ok());
    let lives = then([Scene(1049, 1, None, vec![])]).unwrap();
    assert!(lives.end(false).is_ok() && lives.end(true).is_err());
}

#[test]
fn tokens_that_do_not_rise_are_seen() {
    let told = vec![released(1, 1), granted(2, 1), called(2, 1)];
    broken(Scene(9, 1, Some((RELEASE, Told::Released)), told), "granted with 1 after 1");
}

#[test]
fn whoever_is_overtaken_or_forgotten_is_seen() {
    let release = |told| Scene(9, 1, Some((RELEASE, Told::Released)), told);
    broken(release(vec![released(1, 1), granted(3, 2), called(3, 2)]), "where 2 is next");
    broken(release(vec![released(1, 1)]), "not given it");
    broken(release(vec![released(1, 1), granted(2, 2)]), "not called");
    broken(release(vec![granted(2, 2), called(2, 2)]), "not told so");
    let behind = Some((acquire(3, true), Told::Waiting(1)));
    broken(Scene(9, 1, behind, vec![]), "Waiting(2)");
}

#[test]
fn wrong_answers_are_seen() {
    broken(Scene(9, 1, Some((OPEN, Told::Opened(3))), vec![]), "after 3");
    let renew = Some((Demand::Renew { session: 1 }, Told::Expired));
    broken(Scene(9, 1, renew, vec![]), "due is Renewed");
    broken(Scene(9, 1, Some((RELEASE, Told::NotHolder)), vec![]), "given back");
    broken(Scene(9, 1, None, vec![queued(1)]), "without reason");
    // The command of the last slot comes again, and is answered as it was, or not.
    let mut locks = then([]).unwrap();
    let asked =
        |told| Asked { by: SessionId(1), sequence: 6, demand: acquire(3, true), told: Some(told) };
    let step = |told| Step { asked: Some(asked(told)), ..Step::default() };
    assert!(locks.applied(NodeId(1), Slot(7), step(Told::Waiting(2))).is_ok());
    assert!(locks.applied(NodeId(2), Slot(7), step(Told::Waiting(2))).is_ok());
    assert!(locks.applied(NodeId(2), Slot(7), step(Told::Waiting(1))).is_err(), "of two nodes");
    assert!(locks.applied(NodeId(1), Slot(8), step(Told::Waiting(1))).is_err());
    assert!(locks.applied(NodeId(1), Slot(10), Step::default()).is_ok());
    assert!(locks.end(false).is_err(), "nobody applied the ninth");
}
