//! Reads at the desk of a follower and of a leader, and wishes for another leader.

use super::*;

fn read_at(id: u64, consistency: Consistency) -> ClientRequest {
    let query = Bytes::from_static(b"q");
    ClientRequest { id, timeout_ms: 1000, call: Call::Query { query, consistency } }
}

/// The questions for an index among the orders: name and level.
fn indices(desk: &mut Desk) -> Vec<(u64, ReadLevel)> {
    let relays = relays(desk.orders()).into_iter();
    let asked = relays.flat_map(|relay| match relay {
        Relay::Ask(forwarded) => forwarded,
        Relay::Tell(_) => Vec::new(),
    });
    let index = asked.filter_map(|forwarded| match forwarded.request.call {
        Call::ReadIndex { level } => Some((forwarded.request.id, level)),
        _ => None,
    });
    index.collect()
}

/// What the state machine is asked: ticket and the slot that it must have applied.
fn asks(desk: &mut Desk) -> Vec<(u64, Slot)> {
    let ask = |order| match order {
        Order::Ask(ask) => Some((ask.ticket, ask.applied)),
        _ => None,
    };
    desk.orders().into_iter().filter_map(ask).collect()
}

fn index(applied: u64, level: ReadLevel) -> Response {
    Response::Index { applied: Slot(applied), level }
}

fn answer_here(desk: &mut Desk, now: u64, ticket: u64, slot: u64) -> Vec<Served> {
    desk.answered(Time(now), ticket, Slot(slot), vec![Ok(Bytes::from_static(b"a"))]);
    let served = |(_, response)| match response {
        Response::Answer { served, .. } => Some(served),
        _ => None,
    };
    answers(desk).into_iter().filter_map(served).collect()
}

fn follower() -> Desk {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk
}

#[test]
fn a_follower_reads_its_own_state_once_it_has_applied_what_the_leader_names() {
    let mut desk = follower();
    let lease = Consistency::Lease;
    desk.requests(Time(0), caller(), vec![read(1), read_at(2, lease), read(3)]);
    let levels = [ReadLevel::Linearizable, ReadLevel::Lease];
    let [(one, first), (two, second)] = indices(&mut desk)[..] else { panic!("one for each") };
    assert_eq!([first, second], levels);
    // No lease was valid, so the second was confirmed too: that is what it is labelled with.
    for (name, slot) in [(one, 7), (two, 8)] {
        let told = tell(name, index(slot, ReadLevel::Linearizable));
        desk.relayed(Time(1), OTHER, told);
        assert_eq!(asks(&mut desk), [(name, Slot(slot))]);
    }
    desk.answered(Time(2), one, Slot(9), vec![Ok(Bytes::new()), Ok(Bytes::new())]);
    assert_eq!(answers(&mut desk).len(), 2, "they shared the question");
    assert_eq!(answer_here(&mut desk, 2, two, 9), [Served::Linearizable]);
}

#[test]
fn c3_a_question_is_asked_anew_under_another_name_and_an_answer_to_the_old_one_is_nobodys() {
    let mut desk = follower();
    desk.requests(Time(0), caller(), vec![ClientRequest { timeout_ms: 5000, ..read(1) }]);
    let [(old, _)] = indices(&mut desk)[..] else { panic!() };
    desk.notice(Time(1), led(None));
    desk.notice(Time(2), led(Some(NodeId(3))));
    let [(new, _)] = indices(&mut desk)[..] else { panic!("of the new leader") };
    assert_ne!(old, new);
    desk.relayed(Time(3), OTHER, tell(old, index(5, ReadLevel::Lease)));
    assert!(asks(&mut desk).is_empty());
    // So is one that nobody answers while the leader answers others, and one that was refused.
    desk.relayed(Time(900_000), NodeId(3), Relay::Tell(Vec::new()));
    desk.tick(Time(1_000_002));
    let [(again, _)] = indices(&mut desk)[..] else { panic!("anew") };
    assert_ne!(again, new);
    let mut desk = follower();
    desk.requests(Time(0), caller(), vec![read_at(1, Consistency::Lease)]);
    let [(old, _)] = indices(&mut desk)[..] else { panic!() };
    desk.relayed(Time(1), OTHER, tell(old, Response::Refused(Refused::Busy)));
    assert!(indices(&mut desk).is_empty(), "not at once");
    desk.tick(Time(20_000));
    assert_eq!(indices(&mut desk).len(), 1);
}

#[test]
fn a_leader_names_the_slot_to_a_peer_without_waiting_until_it_has_applied_it() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    let call = Call::ReadIndex { level: ReadLevel::Lease };
    let request = ClientRequest { id: 9, timeout_ms: 1000, call };
    let forwarded = paxos_net::protocol::Forwarded { identity: "peer/2".to_owned(), request };
    desk.relayed(Time(0), OTHER, Relay::Ask(vec![forwarded]));
    let orders = desk.orders();
    let [Order::Read(ticket, ReadLevel::Lease)] = orders[..] else { panic!("{orders:?}") };
    desk.notice(Time(1), Notice::ReadReady(ticket, Slot(5), ReadLevel::Lease));
    assert_eq!(answers(&mut desk), [(9, index(4, ReadLevel::Lease))]);
    assert_eq!(desk.waiting(), 0);
}

#[test]
fn c11_a_stale_read_waits_for_its_slot_and_says_when_the_node_was_up_to_date() {
    let mut desk = follower();
    let stale = |id, at_least| read_at(id, Consistency::Stale { at_least: Slot(at_least) });
    desk.requests(Time(0), caller(), vec![stale(1, 6)]);
    let orders = desk.orders();
    let [Order::Ask(ask), Order::Relay(OTHER, Relay::Ask(forwarded))] = &orders[..] else {
        panic!("at once, and a question beside it: {orders:?}")
    };
    assert_eq!(ask.applied, Slot(6));
    let (ticket, question) = (ask.ticket, forwarded[0].request.id);
    assert_eq!(answer_here(&mut desk, 1000, ticket, 6), [Served::Stale { behind_ms: None }]);
    // The question was sent at 0. Its answer names slot 7: a state of slot 6 is not known to be
    // so new, one of slot 7 is.
    desk.relayed(Time(20_000), OTHER, tell(question, index(7, ReadLevel::Lease)));
    for (applied, behind_ms) in [(6, None), (7, Some(30))] {
        desk.requests(Time(25_000), caller(), vec![stale(2, 0)]);
        let [(ticket, Slot(0))] = asks(&mut desk)[..] else { panic!("asked a moment ago") };
        let served = answer_here(&mut desk, 30_000, ticket, applied);
        assert_eq!(served, [Served::Stale { behind_ms }]);
    }
}

fn transfer(to: Option<NodeId>) -> ClientRequest {
    ClientRequest { id: 5, timeout_ms: 1000, call: Call::Transfer { from: ME, to } }
}

fn admin() -> Caller {
    Caller { identity: "admin/ada".to_owned(), ..caller() }
}

#[test]
fn only_an_admin_moves_leadership() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), caller(), vec![transfer(None)]);
    let identity = "client/ada".to_owned();
    assert_eq!(answers(&mut desk), [(5, Response::Refused(Refused::NotAllowed { identity }))]);
}

#[test]
fn a_wish_for_another_leader_is_granted_once() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), admin(), vec![transfer(Some(OTHER))]);
    assert!(matches!(desk.orders()[..], [Order::Transfer(Some(OTHER))]));
    desk.notice(Time(1), led(None));
    assert!(desk.orders().is_empty(), "nobody leads yet");
    desk.notice(Time(2), led(Some(OTHER)));
    assert_eq!(answers(&mut desk), [(5, Response::Led { leader: OTHER })]);
    // The same wish again finds that the node does not lead any more.
    desk.requests(Time(3), admin(), vec![transfer(None)]);
    assert_eq!(answers(&mut desk), [(5, Response::Led { leader: OTHER })]);
    assert_eq!(desk.waiting(), 0);
}

#[test]
fn who_leads_on_says_so() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), admin(), vec![transfer(None)]);
    desk.orders();
    desk.notice(Time(1), led(Some(ME)));
    let refused = Response::Refused(Refused::NotHandedOver { why: String::new() });
    assert_eq!(answers(&mut desk), [(5, refused)]);
}
