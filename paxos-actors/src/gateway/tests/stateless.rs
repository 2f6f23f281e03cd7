//! A gateway whose node keeps no state.

use super::*;

fn witness() -> Desk {
    let mut desk = desk(GatewayOptions::default()).without_state(vec![OTHER, NodeId(3)]);
    desk.notice(Time(0), led(Some(OTHER)));
    desk
}

fn query(id: u64, consistency: Consistency) -> ClientRequest {
    let call = Call::Query { query: Bytes::from_static(b"q"), consistency };
    ClientRequest { id, timeout_ms: 1000, call }
}

#[test]
fn reads_go_to_the_leader_whole_as_commands_do() {
    let mut desk = witness();
    let requests = vec![run(1, 1000), read(2), query(3, Consistency::Lease)];
    desk.requests(Time(0), caller(), requests);
    let asked: Vec<_> = relays(desk.orders())
        .into_iter()
        .flat_map(|relay| match relay {
            Relay::Ask(forwarded) => forwarded,
            Relay::Tell(_) => Vec::new(),
        })
        .map(|forwarded| forwarded.request)
        .collect();
    assert_eq!(asked.len(), 3);
    let (slot, answer, served) = (Slot(7), Bytes::from_static(b"a"), Served::Linearizable);
    let answer = Response::Answer { slot, answer, served };
    desk.relayed(Time(1), OTHER, tell(asked[1].id, answer.clone()));
    assert_eq!(answers(&mut desk), [(2, answer)]);
    assert_eq!(desk.waiting(), 2);
}

#[test]
fn what_asks_for_the_state_that_is_here_is_told_who_has_it() {
    let mut desk = witness();
    let stale = Consistency::Stale { at_least: Slot(0) };
    desk.requests(Time(0), caller(), vec![query(1, stale)]);
    let refused = Response::Refused(Refused::NoState { ask: vec![OTHER, NodeId(3)] });
    assert_eq!(answers(&mut desk), [(1, refused)]);
}
