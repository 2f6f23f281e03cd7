//! The desk, one input at a time.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use paxos_core::batch::{COMMAND_MAX, Commands};
use paxos_core::{
    Applied, Ballot, Change, Configurations, Membership, NodeId, Operation, Origin, Outcome,
    Proposal, ReadLevel, Refusal, Replica, SessionId, Slot, Time,
};
use paxos_net::protocol::{
    Call, ClientRequest, ClientResponse, Consistency, Refused, Relay, Response, Served, Unavailable,
};
use paxos_net::{Caller, Replies};

use super::Asker;
use super::desk::{Desk, GatewayOptions, Order};
use crate::messages::{AppliedBatch, Notice};

#[path = "../../../paxos-core/tests/support/sum.rs"]
mod sum;

use sum::Sum;

mod alone;
mod reads;
mod stateless;

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

fn desk(options: GatewayOptions) -> Desk {
    Desk::new(ME, 1, options)
}

fn led(node: Option<NodeId>) -> Notice {
    let leader = node.map(|node| Ballot { round: 1, node, incarnation: 1 });
    Notice::Led(Change { leader, why: String::new(), took: None })
}

fn caller() -> Caller {
    let replies = Replies::to(|_| {});
    Caller { identity: "client/ada".to_owned(), peer: false, replies }
}

fn run(id: u64, timeout_ms: u64) -> ClientRequest {
    let command = Bytes::from_static(b"x");
    let operation = Operation::Run { session: SessionId(1), sequence: id, command };
    ClientRequest { id, timeout_ms, call: Call::Operate(operation) }
}

fn read(id: u64) -> ClientRequest {
    let (query, consistency) = (Bytes::from_static(b"q"), Consistency::Linearizable);
    ClientRequest { id, timeout_ms: 1000, call: Call::Query { query, consistency } }
}

/// The answers among the orders.
fn answers(desk: &mut Desk) -> Vec<(u64, Response)> {
    let reply = |order| match order {
        Order::Reply(_, ClientResponse { id, response, .. }) => Some((id, response)),
        _ => None,
    };
    desk.orders().into_iter().filter_map(reply).collect()
}

/// How many commands are in a batch.
fn commands(proposal: &Proposal) -> usize {
    let Proposal::Commands(bytes) = proposal else { panic!("a change of membership") };
    Commands::decode(bytes).unwrap().entries.len()
}

/// The batches among the orders: ticket and number of commands.
fn batches(desk: &mut Desk) -> Vec<(u64, usize)> {
    let batch = |order| match order {
        Order::Propose(ticket, proposal) => Some((ticket, commands(&proposal))),
        _ => None,
    };
    desk.orders().into_iter().filter_map(batch).collect()
}

fn applied(number: u64, outcomes: Vec<Outcome>) -> Vec<AppliedBatch> {
    vec![AppliedBatch { origin: Origin { node: ME, incarnation: 1, number }, outcomes }]
}

#[test]
fn commands_gather_while_the_window_is_full_and_go_at_once_while_it_is_not() {
    let mut desk = desk(GatewayOptions { batches_in_flight: 1, ..GatewayOptions::default() });
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), caller(), vec![run(1, 1000)]);
    let [(first, 1)] = batches(&mut desk)[..] else { panic!("one command goes at once") };
    desk.requests(Time(0), caller(), vec![run(2, 1000)]);
    desk.requests(Time(0), caller(), vec![run(3, 1000)]);
    assert!(batches(&mut desk).is_empty(), "the window is full");
    let outcome = Outcome::Replied(Bytes::from_static(b"r"));
    desk.applied(Time(1), applied(first, vec![outcome.clone()]), Slot(1));
    let orders = desk.orders();
    assert!(matches!(&orders[0], Order::Reply(_, ClientResponse { id: 1, .. })));
    let Order::Propose(_, rest) = &orders[1] else { panic!("the rest goes together") };
    assert_eq!(commands(rest), 2);
}

fn membership() -> Membership {
    Membership::of_voters([(ME, "n1:1".to_owned()), (OTHER, "n2:1".to_owned())]).unwrap()
}

#[test]
fn a_change_of_membership_travels_alone_and_only_for_an_admin() {
    let mut desk = desk(GatewayOptions::default());
    let (base, membership) = (Slot(1), Box::new(membership()));
    let change = |id| {
        let call = Call::Reconfigure { base, membership: membership.clone() };
        ClientRequest { id, timeout_ms: 1000, call }
    };
    let admin = Caller { identity: "admin/ada".to_owned(), ..caller() };
    desk.requests(Time(0), caller(), vec![run(1, 1000), change(2)]);
    let identity = caller().identity;
    let refused = Response::Refused(Refused::NotAllowed { identity });
    assert_eq!(answers(&mut desk), [(2, refused)]);
    desk.requests(Time(0), admin, vec![change(3), run(4, 1000)]);
    desk.notice(Time(0), led(Some(ME)));
    let orders = desk.orders();
    let [Order::Propose(_, first), Order::Propose(number, alone), Order::Propose(_, last)] =
        &orders[..]
    else {
        panic!("{orders:?}")
    };
    assert_eq!((commands(first), commands(last)), (1, 1));
    let Proposal::Reconfigure(change) = alone else { panic!("{alone:?}") };
    assert_eq!((change.base, change.by.as_str()), (base, "admin/ada"));
    assert_eq!((change.origin.number, &change.membership), (*number, &*membership));
    let outcome = Outcome::Reconfigured(Slot(300));
    desk.applied(Time(1), applied(*number, vec![outcome.clone()]), Slot(9));
    assert_eq!(answers(&mut desk), [(3, Response::Done(outcome))]);
}

#[test]
fn a_batch_whose_slot_holds_something_else_is_proposed_again() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), caller(), vec![run(1, 1000)]);
    let [(first, 1)] = batches(&mut desk)[..] else { panic!() };
    desk.notice(Time(0), Notice::Proposed(first, Slot(7)));
    desk.applied(Time(1), vec![], Slot(6));
    assert!(desk.orders().is_empty(), "slot 7 is not decided yet");
    desk.applied(Time(1), vec![], Slot(7));
    let [(second, 1)] = batches(&mut desk)[..] else { panic!("it goes again") };
    assert_ne!(first, second);
}

#[test]
fn a_batch_that_a_snapshot_passed_by_goes_again_and_is_never_called_refused() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), caller(), vec![run(1, 1000), run(2, 1000)]);
    let [(first, 2)] = batches(&mut desk)[..] else { panic!() };
    desk.notice(Time(0), Notice::Proposed(first, Slot(7)));
    desk.restored(Time(1), Slot(6));
    assert!(desk.orders().is_empty(), "slot 7 is not covered");
    desk.restored(Time(1), Slot(9));
    let [(second, 2)] = batches(&mut desk)[..] else { panic!("it goes again") };
    assert_ne!(first, second);
    // Nobody knows what became of it the first time.
    desk.notice(Time(2), Notice::Refused(second, Refusal::NotLeader));
    desk.notice(Time(2), led(None));
    desk.tick(Time(2_000_000));
    let answers = answers(&mut desk);
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(_, answer)| matches!(answer, Response::Unknown { .. })));
}

#[test]
fn cli6_a_command_above_the_limit_is_refused_with_the_limit() {
    let mut desk = desk(GatewayOptions::default());
    let operation = |size: usize| Operation::Run {
        session: SessionId(1),
        sequence: 1,
        command: vec![0; size].into(),
    };
    for (size, refused) in [(COMMAND_MAX - 1, false), (COMMAND_MAX, false), (COMMAND_MAX + 1, true)]
    {
        let call = Call::Operate(operation(size));
        desk.requests(Time(0), caller(), vec![ClientRequest { id: 1, timeout_ms: 1000, call }]);
        let answers = answers(&mut desk);
        let too_large =
            Response::Refused(Refused::TooLarge { size: size as u64, limit: COMMAND_MAX as u64 });
        assert_eq!(answers == [(1, too_large)], refused, "{size}");
    }
}

#[test]
fn cli10_a_deadline_that_passes_in_the_queue_is_a_refusal_and_in_flight_unknown() {
    let mut desk = desk(GatewayOptions::default());
    let reach = Unavailable { reached: 2, total: 3, needed: 2 };
    desk.reaches(reach);
    desk.requests(Time(0), caller(), vec![run(1, 10)]);
    desk.tick(Time(9_999));
    assert!(desk.orders().is_empty());
    desk.tick(Time(10_000));
    assert_eq!(answers(&mut desk), [(1, Response::Refused(Refused::Unavailable(reach)))]);

    desk.notice(Time(10_000), led(Some(ME)));
    assert!(batches(&mut desk).is_empty(), "what was refused is never proposed");
    desk.requests(Time(10_000), caller(), vec![run(2, 10)]);
    desk.tick(Time(20_000));
    assert_eq!(answers(&mut desk), [(2, Response::Unknown { why: reach })]);
}

#[test]
fn beyond_the_limits_requests_are_busy() {
    let mut desk = desk(GatewayOptions { requests_max: 8, ..GatewayOptions::default() });
    desk.requests(Time(0), caller(), vec![run(1, 10), run(2, 10), run(3, 10)]);
    assert_eq!(answers(&mut desk), [(3, Response::Refused(Refused::Busy))]);
    desk.tick(Time(10_000));
    assert_eq!(answers(&mut desk).len(), 2);
    desk.requests(Time(10_000), caller(), vec![run(4, 10), run(5, 10)]);
    assert!(desk.orders().is_empty(), "what was answered makes room");
}

#[test]
fn a_gateway_that_does_not_lead_relays_and_passes_the_answer_on() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.requests(Time(0), caller(), vec![run(41, 1000)]);
    let orders = desk.orders();
    let [Order::Relay(OTHER, Relay::Ask(forwarded))] = &orders[..] else { panic!("{orders:?}") };
    let ids: Vec<_> = forwarded.iter().map(|forwarded| forwarded.request.id).collect();
    let response = Response::Done(Outcome::Replied(Bytes::from_static(b"r")));
    let told = ClientResponse { id: ids[0], leader: Some(OTHER), response: response.clone() };
    desk.relayed(Time(1), OTHER, Relay::Tell(vec![told.clone(), told]));
    assert_eq!(answers(&mut desk), [(41, response)], "once");
}

#[test]
fn what_was_relayed_to_a_lost_leader_goes_to_the_next_and_may_have_had_an_effect() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.requests(Time(0), caller(), vec![run(1, 10)]);
    desk.orders();
    desk.notice(Time(0), led(None));
    desk.link_changed(Time(0), OTHER, false);
    assert!(desk.orders().is_empty(), "nobody leads");
    desk.tick(Time(10_000));
    assert!(matches!(answers(&mut desk)[..], [(1, Response::Unknown { .. })]));

    desk.notice(Time(10_000), led(Some(OTHER)));
    desk.requests(Time(10_000), caller(), vec![run(2, 1000)]);
    desk.orders();
    desk.notice(Time(10_001), led(Some(ME)));
    assert_eq!(batches(&mut desk).len(), 1);
}

#[test]
fn a_relay_is_never_relayed_again() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    let forwarded =
        paxos_net::protocol::Forwarded { identity: "client/ada".to_owned(), request: run(9, 1000) };
    desk.relayed(Time(0), NodeId(3), Relay::Ask(vec![forwarded]));
    let orders = desk.orders();
    let [Order::Reply(Asker::Peer(NodeId(3)), response)] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!(response.response, Response::Refused(Refused::Busy));
}

#[test]
fn a_read_that_the_proposer_refuses_waits_for_the_next_leader() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(ME)));
    desk.requests(Time(0), caller(), vec![read(1)]);
    let orders = desk.orders();
    let [Order::Read(ticket, _)] = orders[..] else { panic!("{orders:?}") };
    desk.notice(Time(0), led(None));
    desk.notice(Time(0), Notice::Refused(ticket, Refusal::NotLeader));
    assert!(desk.orders().is_empty());
    desk.notice(Time(1), led(Some(ME)));
    let orders = desk.orders();
    let [Order::Read(ticket, _)] = orders[..] else { panic!("{orders:?}") };
    desk.notice(Time(1), Notice::ReadReady(ticket, Slot(5), ReadLevel::Linearizable));
    let orders = desk.orders();
    let [Order::Ask(ask)] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(ask.applied, Slot(4));
    desk.answered(Time(2), ticket, Slot(6), vec![Ok(Bytes::from_static(b"a"))]);
    let answer = Response::Answer {
        slot: Slot(6),
        answer: Bytes::from_static(b"a"),
        served: Served::Linearizable,
    };
    assert_eq!(answers(&mut desk), [(1, answer)]);
}

#[test]
fn replies_reach_the_caller_who_asked() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let replies = Replies::to(move |responses| keep.lock().unwrap().extend(responses));
    let mut desk = desk(GatewayOptions { requests_max: 0, ..GatewayOptions::default() });
    let caller = Caller { identity: "client/ada".to_owned(), peer: false, replies };
    desk.requests(Time(0), caller, vec![run(3, 10)]);
    for order in desk.orders() {
        let Order::Reply(Asker::Client(caller), response) = order else { panic!() };
        caller.replies.send(vec![response]);
    }
    assert_eq!(seen.lock().unwrap()[0].id, 3);
}

/// The ids of the requests that are relayed now.
fn relayed(desk: &mut Desk) -> Vec<u64> {
    let asked = |order| match order {
        Order::Relay(_, Relay::Ask(forwarded)) => forwarded,
        _ => Vec::new(),
    };
    let forwarded = desk.orders().into_iter().flat_map(asked);
    forwarded.map(|forwarded| forwarded.request.id).collect()
}

fn tell(id: u64, response: Response) -> Relay {
    Relay::Tell(vec![ClientResponse { id, leader: None, response }])
}

#[test]
fn an_answer_to_an_earlier_run_of_the_gateway_is_nobodys() {
    let mut before = Desk::new(ME, 1, GatewayOptions::default());
    before.notice(Time(0), led(Some(OTHER)));
    before.requests(Time(0), caller(), vec![run(1, 5000)]);
    let old = relayed(&mut before);
    let mut after = Desk::new(ME, 2, GatewayOptions::default());
    after.notice(Time(0), led(Some(OTHER)));
    after.requests(Time(0), caller(), vec![run(77, 5000)]);
    relayed(&mut after);
    let reply = Outcome::Replied(Bytes::from_static(b"to the old command"));
    after.relayed(Time(1), OTHER, tell(old[0], Response::Done(reply)));
    assert!(answers(&mut after).is_empty());
}

#[test]
fn a_refusal_is_not_certain_of_what_an_earlier_leader_may_have_logged() {
    let expired = paxos_core::Rejection::SessionExpired { session: SessionId(1) };
    let refusals = [
        (999_000, Refused::Unavailable(Unavailable::default())),
        (999_000, Refused::Busy),
        (3, Refused::Rejected(expired)),
    ];
    for (at, refusal) in refusals {
        let mut desk = desk(GatewayOptions::default());
        desk.notice(Time(0), led(Some(OTHER)));
        desk.requests(Time(0), caller(), vec![run(1, 1000)]);
        relayed(&mut desk);
        desk.link_changed(Time(1), OTHER, false);
        desk.notice(Time(2), led(Some(NodeId(3))));
        let again = relayed(&mut desk);
        let last = again[again.len() - 1];
        desk.relayed(Time(at), NodeId(3), tell(last, Response::Refused(refusal.clone())));
        let answers = answers(&mut desk);
        assert!(matches!(answers[..], [(1, Response::Unknown { .. })]), "{refusal}: {answers:?}");
    }
}

#[test]
fn a_relay_without_an_answer_is_sent_again_under_its_name() {
    let mut desk = desk(GatewayOptions::default());
    desk.notice(Time(0), led(Some(OTHER)));
    desk.requests(Time(0), caller(), vec![run(1, 5000)]);
    let first = relayed(&mut desk);
    // It answers others meanwhile.
    desk.relayed(Time(900_000), OTHER, Relay::Tell(Vec::new()));
    desk.tick(Time(999_999));
    assert!(relayed(&mut desk).is_empty());
    desk.tick(Time(1_000_000));
    assert_eq!(relayed(&mut desk), first);
}

#[test]
fn one_identity_leaves_room_for_others() {
    let mut desk = desk(GatewayOptions { requests_max: 8, ..GatewayOptions::default() });
    let greedy = (1..=8).map(|id| run(id, 1000)).collect();
    desk.requests(Time(0), caller(), greedy);
    assert_eq!(answers(&mut desk).len(), 6, "a quarter is its share");
    let other = Caller { identity: "client/eve".to_owned(), ..caller() };
    desk.requests(Time(0), other, vec![run(9, 1000)]);
    assert!(desk.orders().is_empty(), "another waits like everybody");
}

/// What a replica makes of the batches among the orders, as the gateway hears it.
fn run_all(replica: &mut Replica<Sum>, orders: &[Order]) -> Vec<AppliedBatch> {
    let mut applied = Vec::new();
    for order in orders {
        let Order::Propose(_, proposal) = order else { continue };
        let slot = replica.applied().next();
        let value = proposal.clone().stamped(Time(0), Ballot::ZERO);
        let Applied { origin, outcomes, .. } = replica.apply(slot, &value);
        applied.push(AppliedBatch { origin: origin.unwrap(), outcomes });
    }
    applied
}

fn add(id: u64, sequence: u64, by: u64) -> ClientRequest {
    let command = postcard::to_stdvec(&by).unwrap().into();
    let operation = Operation::Run { session: SessionId(1), sequence, command };
    ClientRequest { id, timeout_ms: 5000, call: Call::Operate(operation) }
}

fn relays(orders: Vec<Order>) -> Vec<Relay> {
    let relay = |order| match order {
        Order::Relay(_, relay) => Some(relay),
        // An answer to a gateway travels as a relay too.
        Order::Reply(Asker::Peer(_), response) => Some(Relay::Tell(vec![response])),
        _ => None,
    };
    orders.into_iter().filter_map(relay).collect()
}

#[test]
fn b21_a_command_lost_on_its_way_to_the_leader_is_sent_again_and_runs_once() {
    // Lost is: nothing; the request; the answer.
    for lost in 0..3 {
        let mut replica = Replica::<Sum>::new(Configurations::genesis(membership()));
        let (mut near, mut far) =
            (desk(GatewayOptions::default()), Desk::new(OTHER, 1, GatewayOptions::default()));
        near.notice(Time(0), led(Some(OTHER)));
        far.notice(Time(0), led(Some(OTHER)));
        let open = ClientRequest { id: 1, timeout_ms: 5000, call: Call::Operate(Operation::Open) };
        let mut told = Vec::new();
        for (turn, request) in [open, add(2, 1, 5)].into_iter().enumerate() {
            near.requests(Time(0), caller(), vec![request]);
            for (attempt, now) in
                [Time(0), Time(1_000_000), Time(2_000_000)].into_iter().enumerate()
            {
                near.tick(now);
                let loses = turn == 1 && attempt == 0;
                for relay in relays(near.orders()) {
                    if !(loses && lost == 1) {
                        far.relayed(now, ME, relay);
                    }
                }
                let orders = far.orders();
                far.applied(now, run_all(&mut replica, &orders), replica.applied());
                for relay in relays(far.orders()) {
                    if !(loses && lost == 2) {
                        near.relayed(now, OTHER, relay);
                    }
                }
                let answered = near.orders().into_iter().filter_map(|order| match order {
                    Order::Reply(Asker::Client(_), response) => Some(response),
                    _ => None,
                });
                told.extend(answered.map(|answer| (answer.id, answer.response)));
            }
        }
        let five = Bytes::from(postcard::to_stdvec(&5u64).unwrap());
        let expected = [
            (1, Response::Done(Outcome::Opened(SessionId(1)))),
            (2, Response::Done(Outcome::Replied(five))),
        ];
        assert_eq!(told, expected, "each is answered, once; lost: {lost}");
        assert_eq!(replica.machine().0, 5, "lost: {lost}");
    }
}

/// Where a command is when its leader goes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Queued,
    Handed,
    Proposed,
    Relayed,
}

/// A desk with one command of a client at a stage.
fn desk_at(stage: Stage) -> (Desk, Option<u64>) {
    let mut desk = desk(GatewayOptions::default());
    match stage {
        Stage::Queued => {}
        Stage::Handed | Stage::Proposed => desk.notice(Time(0), led(Some(ME))),
        Stage::Relayed => desk.notice(Time(0), led(Some(OTHER))),
    }
    desk.requests(Time(0), caller(), vec![run(1, 1000)]);
    let ticket = batches(&mut desk).first().map(|(ticket, _)| *ticket);
    if let (Stage::Proposed, Some(ticket)) = (stage, ticket) {
        desk.notice(Time(0), Notice::Proposed(ticket, Slot(7)));
    }
    (desk, ticket)
}

#[test]
fn b22_whatever_a_command_waits_for_when_the_leader_goes_it_gets_one_answer() {
    for stage in [Stage::Queued, Stage::Handed, Stage::Proposed, Stage::Relayed] {
        for next in [None, Some(ME), Some(OTHER)] {
            let (mut desk, _) = desk_at(stage);
            desk.notice(Time(1), led(None));
            desk.link_changed(Time(1), OTHER, false);
            desk.notice(Time(2), led(next));
            desk.orders();
            // Nobody ever says a word of it again.
            let mut told = Vec::new();
            for now in (0..3_000_000).step_by(100_000) {
                desk.tick(Time(now));
                told.extend(answers(&mut desk));
            }
            let what = format!("{stage:?}, then led by {next:?}: {told:?}");
            let [(1, response)] = &told[..] else { panic!("{what}") };
            let never_left = matches!(stage, Stage::Queued) && next.is_none();
            let refused = matches!(response, Response::Refused(Refused::Unavailable(_)));
            let unknown = matches!(response, Response::Unknown { .. });
            assert!(if never_left { refused } else { unknown }, "{what}");
        }
    }
}

#[test]
fn d13_a_command_that_was_proposed_is_never_called_refused() {
    // The leader is gone, and the slot of the batch is not known to be decided.
    let (mut desk, ticket) = desk_at(Stage::Proposed);
    let ticket = ticket.unwrap();
    desk.notice(Time(1), led(None));
    assert!(answers(&mut desk).is_empty(), "nothing is certain");
    desk.tick(Time(1_000_000));
    assert!(matches!(answers(&mut desk)[..], [(1, Response::Unknown { .. })]));
    // Its commit, which comes later, contradicts nobody.
    let outcome = Outcome::Replied(Bytes::from_static(b"r"));
    desk.applied(Time(1_000_001), applied(ticket, vec![outcome.clone()]), Slot(7));
    assert!(answers(&mut desk).is_empty());

    // In time, the commit is the answer, whoever leads by then.
    let (mut desk, ticket) = desk_at(Stage::Proposed);
    desk.notice(Time(1), led(None));
    desk.notice(Time(2), led(Some(OTHER)));
    desk.applied(Time(3), applied(ticket.unwrap(), vec![outcome.clone()]), Slot(7));
    assert_eq!(answers(&mut desk), [(1, Response::Done(outcome))]);

    // What the proposer has not taken was not proposed: it waits, and in the end was refused.
    let (mut desk, ticket) = desk_at(Stage::Handed);
    desk.notice(Time(1), led(None));
    desk.notice(Time(1), Notice::Refused(ticket.unwrap(), Refusal::NotLeader));
    assert!(answers(&mut desk).is_empty(), "it waits for the next leader");
    desk.tick(Time(1_000_000));
    let answers = answers(&mut desk);
    assert!(matches!(answers[..], [(1, Response::Refused(Refused::Unavailable(_)))]));
}
