//! A gateway that hears of no leader, or is not answered by it.

use paxos_core::TopicFilter;

use super::*;

const PATIENCE: u64 = 500_000;
const QUORUM: Unavailable = Unavailable { reached: 2, total: 3, needed: 2 };
const TOO_FEW: Unavailable = Unavailable { reached: 1, total: 3, needed: 2 };

fn leaderless(reach: Unavailable) -> Desk {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.notice(Time(1), led(None));
    desk.reaches(reach);
    desk.tick(Time(2));
    desk.orders();
    desk
}

fn watch(id: u64) -> ClientRequest {
    let (topics, after) = (vec![TopicFilter::Prefix(String::new())], Default::default());
    ClientRequest { id, timeout_ms: 10_000, call: Call::Watch { topics, after, max: 10 } }
}

fn stale(id: u64) -> ClientRequest {
    let consistency = Consistency::Stale { at_least: Slot(9) };
    let call = Call::Query { query: Bytes::from_static(b"q"), consistency };
    ClientRequest { id, timeout_ms: 10_000, call }
}

fn gone(id: u64, why: Unavailable) -> (u64, Response) {
    (id, Response::Refused(Refused::Unavailable(why)))
}

#[test]
fn who_waits_for_a_leader_in_vain_is_sent_away_and_who_reads_what_is_here_is_not() {
    let mut desk = leaderless(QUORUM);
    desk.requests(Time(3), caller(), vec![run(1, 10_000), read(2), stale(3)]);
    desk.tick(Time(1 + PATIENCE));
    assert!(answers(&mut desk).is_empty());
    desk.tick(Time(2 + PATIENCE));
    assert_eq!(answers(&mut desk), [gone(1, QUORUM), gone(2, QUORUM)]);
    assert_eq!(desk.waiting(), 1);
    // Whoever comes later is not kept either, until somebody leads.
    desk.requests(Time(3 + PATIENCE), caller(), vec![run(4, 10_000)]);
    desk.tick(Time(4 + PATIENCE));
    assert_eq!(answers(&mut desk), [gone(4, QUORUM)]);
    desk.notice(Time(5 + PATIENCE), led(Some(ME)));
    desk.requests(Time(6 + PATIENCE), caller(), vec![run(5, 10_000)]);
    desk.tick(Time(6 + 2 * PATIENCE));
    assert_eq!(batches(&mut desk).len(), 1, "who leads himself waits for nobody");
    assert_eq!(desk.waiting(), 2);
}

#[test]
fn a_node_that_hears_too_few_to_have_a_leader_sends_everybody_away_at_once() {
    let mut desk = leaderless(TOO_FEW);
    desk.requests(Time(3), caller(), vec![run(1, 10_000)]);
    desk.tick(Time(3));
    assert_eq!(answers(&mut desk), [gone(1, TOO_FEW)]);
}

#[test]
fn what_may_have_been_logged_is_never_called_refused() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.reaches(TOO_FEW);
    desk.requests(Time(1), caller(), vec![run(1, 10_000)]);
    desk.notice(Time(2), led(None));
    desk.tick(Time(3));
    assert_eq!(answers(&mut desk), [(1, Response::Unknown { why: TOO_FEW })]);
}

#[test]
fn a_leader_that_answers_nothing_is_asked_for_nothing_more() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.requests(Time(1), caller(), vec![run(1, 10_000)]);
    let asked = relayed(&mut desk);
    desk.relayed(Time(PATIENCE - 1), OTHER, Relay::Tell(Vec::new()));
    desk.tick(Time(PATIENCE));
    assert!(answers(&mut desk).is_empty(), "it answers others");
    desk.tick(Time(2 * PATIENCE - 1));
    assert_eq!(answers(&mut desk), [(1, Response::Unknown { why: Unavailable::default() })]);
    let reply = Response::Done(Outcome::Replied(Bytes::new()));
    desk.relayed(Time(2 * PATIENCE), OTHER, tell(asked[0], reply));
    assert!(answers(&mut desk).is_empty(), "nobody waits for it any more");
    // A link that takes nothing is no better.
    desk.tick(Time(3 * PATIENCE));
    desk.requests(Time(3 * PATIENCE), caller(), vec![run(2, 10_000)]);
    for relay in relays(desk.orders()) {
        desk.relay_failed(Time(3 * PATIENCE), relay);
    }
    desk.tick(Time(4 * PATIENCE));
    let answers = answers(&mut desk);
    assert_eq!(answers, [gone(2, Unavailable::default())], "it has not left");
}

#[test]
fn who_led_and_does_not_hear_from_the_next_keeps_nobody_waiting_for_what_it_proposed() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(1), caller(), vec![run(1, 10_000)]);
    desk.notice(Time(2), led(Some(OTHER)));
    desk.relayed(Time(PATIENCE), OTHER, Relay::Tell(Vec::new()));
    desk.tick(Time(2 * PATIENCE - 1));
    assert!(answers(&mut desk).is_empty(), "it will hear what became of it");
    desk.tick(Time(2 * PATIENCE));
    assert_eq!(answers(&mut desk), [(1, Response::Unknown { why: Unavailable::default() })]);
}

#[test]
fn a_leader_whose_disk_stalls_is_not_lost() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.requests(Time(1), caller(), vec![run(1, 10_000)]);
    let asked = relayed(&mut desk);
    let mut questions = 0;
    for at in (10_000..6 * PATIENCE).step_by(10_000) {
        desk.tick(Time(at));
        // Whatever else is asked meanwhile is answered without a disk.
        for id in relayed(&mut desk).into_iter().filter(|id| !asked.contains(id)) {
            questions += 1;
            let (applied, level) = (Slot(1), ReadLevel::Lease);
            desk.relayed(Time(at + 1), OTHER, tell(id, Response::Index { applied, level }));
        }
        assert!(answers(&mut desk).is_empty(), "at {at}");
    }
    assert!((5..15).contains(&questions), "{questions}, and not one in each 250 ms");
    let response = Response::Done(Outcome::Replied(Bytes::new()));
    desk.relayed(Time(6 * PATIENCE), OTHER, tell(asked[0], response.clone()));
    assert_eq!(answers(&mut desk), [(1, response)]);
}

#[test]
fn who_watches_a_node_without_a_leader_is_sent_away_once() {
    let forsaken = |desk: &mut Desk| {
        let orders = desk.orders();
        orders.iter().filter(|order| matches!(order, Order::Forsake(_))).count()
    };
    let mut desk = leaderless(QUORUM);
    desk.tick(Time(1 + PATIENCE));
    assert_eq!(forsaken(&mut desk), 0);
    for at in 2..5 {
        desk.tick(Time(at + PATIENCE));
    }
    assert_eq!(forsaken(&mut desk), 1);
    desk.requests(Time(5 + PATIENCE), caller(), vec![watch(1)]);
    assert_eq!(answers(&mut desk), [gone(1, QUORUM)]);
    desk.notice(Time(6 + PATIENCE), led(Some(OTHER)));
    desk.requests(Time(7 + PATIENCE), caller(), vec![watch(2)]);
    desk.tick(Time(7 + 3 * PATIENCE));
    let orders = desk.orders();
    assert!(matches!(orders[..], [Order::Follow(_)]), "{orders:?}");
}
