//! Both codecs: what goes in comes out, and the bytes stay what they are.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use paxos_core::batch::{BATCH_MAX, COMMAND_MAX};
use paxos_core::message::{AcceptedValue, Promise};
use paxos_core::{
    AcceptorMessage, AcceptorOptions, ArchiveMessage, Ballot, Batch, ClusterId, Heartbeat,
    LeadershipMessage, LearnerMessage, LearnerOptions, Manifest, Membership, Message, NodeId,
    Operation, Origin, Outcome, ProposerMessage, Reconfigure, SessionId, Slot, Time, Value,
};
use paxos_net::codec::Codec;
use paxos_net::frame::{self, CLIENT_FRAME_MAX, PEER_FRAME_MAX};
use paxos_net::protocol::*;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn ballots() -> impl Strategy<Value = Ballot> {
    any::<(u64, u64, u64)>().prop_map(|(round, node, incarnation)| Ballot {
        round,
        node: NodeId(node),
        incarnation,
    })
}

fn slots() -> impl Strategy<Value = Slot> {
    any::<u64>().prop_map(Slot)
}

fn payloads() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from)
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Noop),
        (any::<u64>(), payloads()).prop_map(|(stamp, bytes)| Value::Commands(Batch {
            stamp: Time(stamp),
            by: paxos_core::Ballot::ZERO,
            bytes
        })),
        (slots(), prop::collection::btree_map(any::<u64>().prop_map(NodeId), ".{0,20}", 1..4))
            .prop_map(|(base, addresses)| {
                let membership = Membership::of_voters(addresses).unwrap();
                let origin = Origin { node: NodeId(1), incarnation: 2, number: 3 };
                let by = "admin/ada".to_owned();
                Value::Reconfigure(Box::new(Reconfigure { base, membership, origin, by }))
            }),
    ]
}

fn acceptor_messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        (ballots(), slots(), prop::option::of(ballots()))
            .prop_map(|(ballot, first, after)| AcceptorMessage::Prepare { ballot, first, after }),
        (ballots(), slots(), values()).prop_map(|(ballot, slot, value)| AcceptorMessage::Accept {
            ballot,
            slot,
            value
        }),
        (ballots(), any::<u64>())
            .prop_map(|(ballot, round)| AcceptorMessage::Confirm { ballot, round }),
    ]
    .prop_map(Message::Acceptor)
}

fn proposer_messages() -> impl Strategy<Value = Message> {
    let accepted = (slots(), ballots(), values()).prop_map(|(slot, ballot, value)| AcceptedValue {
        slot,
        ballot,
        value,
    });
    let accepted = prop::collection::vec(accepted, 0..4);
    prop_oneof![
        (ballots(), slots(), prop::option::of(slots()), slots(), accepted).prop_map(
            |(ballot, first, next, trimmed, accepted)| {
                ProposerMessage::Promise(Promise { ballot, first, next, trimmed, accepted })
            }
        ),
        (ballots(), ballots())
            .prop_map(|(ballot, promised)| ProposerMessage::Nack { ballot, promised }),
        (ballots(), any::<u64>(), any::<bool>()).prop_map(|(ballot, round, granted)| {
            ProposerMessage::Confirmed { ballot, round, granted }
        }),
    ]
    .prop_map(Message::Proposer)
}

fn learner_messages() -> impl Strategy<Value = Message> {
    let chosen = prop::collection::vec((ballots(), values()), 0..4);
    prop_oneof![
        (ballots(), slots()).prop_map(|(ballot, slot)| LearnerMessage::Accepted { ballot, slot }),
        (ballots(), slots(), prop::option::of(values()))
            .prop_map(|(ballot, slot, value)| LearnerMessage::Chosen { ballot, slot, value }),
        slots().prop_map(|first| LearnerMessage::Fetch { first }),
        (slots(), chosen, slots(), prop::option::of(slots())).prop_map(
            |(first, chosen, upto, snapshot)| LearnerMessage::Fill {
                first,
                chosen,
                upto,
                snapshot
            }
        ),
    ]
    .prop_map(Message::Learner)
}

fn leadership_messages() -> impl Strategy<Value = Message> {
    let ballot = || prop::option::of(ballots());
    prop_oneof![
        (any::<(u64, u64, u64)>(), ballot(), ballot(), slots()).prop_map(
            |((incarnation, sequence, sent), leading, hears, next)| {
                let sent = Time(sent);
                LeadershipMessage::Heartbeat(Heartbeat {
                    incarnation,
                    sequence,
                    sent,
                    leading,
                    hears,
                    next,
                    saved: Slot(0),
                    campaigns: true,
                })
            }
        ),
        ballots().prop_map(|ballot| LeadershipMessage::Succeed { ballot }),
    ]
    .prop_map(Message::Leadership)
}

proptest! {
    #[test]
    fn every_message_reads_back(
        message in prop_oneof![
            acceptor_messages(),
            proposer_messages(),
            learner_messages(),
            leadership_messages(),
        ],
    ) {
        for codec in [Codec::Binary, Codec::Json] {
            let bytes = codec.encode(&message);
            prop_assert_eq!(codec.decode::<Message>(&bytes), Ok(message.clone()));
            prop_assert!(codec.decode::<Message>(&bytes[..bytes.len() - 1]).is_err());
            let mut longer = bytes;
            longer.push(b'x');
            prop_assert!(codec.decode::<Message>(&longer).is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for codec in [Codec::Binary, Codec::Json] {
            codec.decode::<Message>(&bytes).ok();
            codec.decode::<Relay>(&bytes).ok();
            codec.decode::<ClientRequest>(&bytes).ok();
            codec.decode::<ClientResponse>(&bytes).ok();
            codec.decode::<HelloAnswer>(&bytes).ok();
        }
    }
}

const BALLOT: Ballot = Ballot { round: 3, node: NodeId(2), incarnation: 1 };

fn batch() -> Value {
    Value::Commands(Batch {
        stamp: Time(300),
        by: Ballot { round: 2, node: NodeId(1), incarnation: 1 },
        bytes: Bytes::from_static(b"hello"),
    })
}

fn golden<T>(value: &T, binary: &[u8], json: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = String::from_utf8(Codec::Json.encode(value)).unwrap();
    assert_eq!(text, json);
    assert_eq!(Codec::Binary.encode(value), binary, "{json}");
    assert_eq!(Codec::Json.decode::<T>(json.as_bytes()).as_ref(), Ok(value));
    assert_eq!(Codec::Binary.decode::<T>(binary).as_ref(), Ok(value));
}

#[test]
fn golden_bytes_of_messages() {
    golden(
        &Message::Acceptor(AcceptorMessage::Prepare {
            ballot: BALLOT,
            first: Slot(9),
            after: None,
        }),
        &[0, 0, 3, 2, 1, 9, 0],
        r#"{"Acceptor":{"Prepare":{"ballot":{"round":3,"node":2,"incarnation":1},"first":9,"after":null}}}"#,
    );
    golden(
        &Message::Acceptor(AcceptorMessage::Accept {
            ballot: BALLOT,
            slot: Slot(9),
            value: batch(),
        }),
        b"\x00\x01\x03\x02\x01\x09\x01\xac\x02\x02\x01\x01\x05hello",
        r#"{"Acceptor":{"Accept":{"ballot":{"round":3,"node":2,"incarnation":1},"slot":9,"value":{"Commands":{"stamp":300,"by":{"round":2,"node":1,"incarnation":1},"bytes":"aGVsbG8="}}}}}"#,
    );
    let accepted = vec![AcceptedValue { slot: Slot(9), ballot: BALLOT, value: Value::Noop }];
    golden(
        &Message::Proposer(ProposerMessage::Promise(Promise {
            ballot: BALLOT,
            first: Slot(9),
            next: Some(Slot(10)),
            trimmed: Slot(4),
            accepted,
        })),
        &[1, 0, 3, 2, 1, 9, 1, 10, 4, 1, 9, 3, 2, 1, 0],
        r#"{"Proposer":{"Promise":{"ballot":{"round":3,"node":2,"incarnation":1},"first":9,"next":10,"trimmed":4,"accepted":[{"slot":9,"ballot":{"round":3,"node":2,"incarnation":1},"value":"Noop"}]}}}"#,
    );
    golden(
        &Message::Learner(LearnerMessage::Accepted { ballot: BALLOT, slot: Slot(9) }),
        &[2, 0, 3, 2, 1, 9],
        r#"{"Learner":{"Accepted":{"ballot":{"round":3,"node":2,"incarnation":1},"slot":9}}}"#,
    );
    golden(
        &Message::Learner(LearnerMessage::Fill {
            first: Slot(9),
            chosen: vec![(BALLOT, batch())],
            upto: Slot(10),
            snapshot: None,
        }),
        b"\x02\x03\x09\x01\x03\x02\x01\x01\xac\x02\x02\x01\x01\x05hello\x0a\x00",
        r#"{"Learner":{"Fill":{"first":9,"chosen":[[{"round":3,"node":2,"incarnation":1},{"Commands":{"stamp":300,"by":{"round":2,"node":1,"incarnation":1},"bytes":"aGVsbG8="}}]],"upto":10,"snapshot":null}}}"#,
    );
    golden(
        &Message::Leadership(LeadershipMessage::Heartbeat(Heartbeat {
            incarnation: 7,
            sequence: 1,
            sent: Time(300),
            leading: None,
            hears: Some(BALLOT),
            next: Slot(9),
            saved: Slot(0),
            campaigns: true,
        })),
        &[3, 0, 7, 1, 0xac, 2, 0, 1, 3, 2, 1, 9, 0, 1],
        r#"{"Leadership":{"Heartbeat":{"incarnation":7,"sequence":1,"sent":300,"leading":null,"hears":{"round":3,"node":2,"incarnation":1},"next":9,"saved":0,"campaigns":true}}}"#,
    );
    let snapshot = Manifest { upto: Slot(9), bytes: 300, crc32c: 5 };
    let bytes = Bytes::from_static(b"hello");
    golden(
        &Message::Archive(ArchiveMessage::Piece { snapshot, offset: 7, bytes }),
        b"\x04\x01\x09\xac\x02\x05\x07\x05hello",
        r#"{"Archive":{"Piece":{"snapshot":{"upto":9,"bytes":300,"crc32c":5},"offset":7,"bytes":"aGVsbG8="}}}"#,
    );
}

#[test]
fn golden_bytes_of_what_clients_and_nodes_say() {
    let hello = Hello {
        cluster: ClusterId(0xfeed),
        genesis: 300,
        node: NodeId(2),
        incarnation: 1,
        nonce: 5,
        version: 1,
    };
    golden(
        &hello,
        b"\x200000000000000000000000000000feed\xac\x02\x02\x01\x05\x01",
        r#"{"cluster":"0000000000000000000000000000feed","genesis":300,"node":2,"incarnation":1,"nonce":5,"version":1}"#,
    );
    let refusal = PeerRefusal::IdentityTaken { node: NodeId(2), incarnation: 1 };
    golden(
        &HelloAnswer::Refused(refusal),
        &[1, 4, 2, 1],
        r#"{"Refused":{"IdentityTaken":{"node":2,"incarnation":1}}}"#,
    );
    let command = Bytes::from_static(b"hi");
    let run = Operation::Run { session: SessionId(7), sequence: 1, command };
    let request = ClientRequest { id: 4, timeout_ms: 500, call: Call::Operate(run) };
    golden(
        &request,
        b"\x04\xf4\x03\x00\x01\x07\x01\x02hi",
        r#"{"id":4,"timeout_ms":500,"call":{"Operate":{"Run":{"session":7,"sequence":1,"command":"aGk="}}}}"#,
    );
    golden(
        &Relay::Ask(vec![Forwarded { identity: "client/ada".to_owned(), request }]),
        b"\x00\x01\x0aclient/ada\x04\xf4\x03\x00\x01\x07\x01\x02hi",
        r#"{"Ask":[{"identity":"client/ada","request":{"id":4,"timeout_ms":500,"call":{"Operate":{"Run":{"session":7,"sequence":1,"command":"aGk="}}}}}]}"#,
    );
    let query = Call::Query {
        query: Bytes::from_static(b"q"),
        consistency: Consistency::Stale { at_least: Slot(9) },
    };
    golden(
        &ClientRequest { id: 5, timeout_ms: 0, call: query },
        &[5, 0, 1, 1, b'q', 2, 9],
        r#"{"id":5,"timeout_ms":0,"call":{"Query":{"query":"cQ==","consistency":{"Stale":{"at_least":9}}}}}"#,
    );
    let (from, to) = (NodeId(1), Some(NodeId(2)));
    golden(
        &ClientRequest { id: 6, timeout_ms: 0, call: Call::Transfer { from, to } },
        &[6, 0, 5, 1, 1, 2],
        r#"{"id":6,"timeout_ms":0,"call":{"Transfer":{"from":1,"to":2}}}"#,
    );
    let served = Served::Stale { behind_ms: Some(300) };
    let answer = Response::Answer { slot: Slot(9), answer: Bytes::from_static(b"a"), served };
    golden(
        &ClientResponse { id: 6, leader: None, response: answer },
        &[6, 0, 1, 9, 1, b'a', 2, 1, 0xac, 2],
        r#"{"id":6,"leader":null,"response":{"Answer":{"slot":9,"answer":"YQ==","served":{"Stale":{"behind_ms":300}}}}}"#,
    );
    let reply = Outcome::Replied(Bytes::from_static(b"ok"));
    golden(
        &ClientResponse { id: 4, leader: Some(NodeId(2)), response: Response::Done(reply) },
        b"\x04\x01\x02\x00\x01\x02ok",
        r#"{"id":4,"leader":2,"response":{"Done":{"Replied":"b2s="}}}"#,
    );
    let why = Unavailable { reached: 1, total: 3, needed: 2 };
    golden(
        &ClientResponse {
            id: 4,
            leader: None,
            response: Response::Refused(Refused::Unavailable(why)),
        },
        &[4, 0, 3, 2, 1, 3, 2],
        r#"{"id":4,"leader":null,"response":{"Refused":{"Unavailable":{"reached":1,"total":3,"needed":2}}}}"#,
    );
    golden(
        &ClientWelcome {
            version: 1,
            cluster: ClusterId(0xfeed),
            node: NodeId(1),
            leader: Some(NodeId(2)),
            addresses: BTreeMap::from([(NodeId(1), "h1:1".to_owned())]),
            requests: 256,
        },
        b"\x01\x200000000000000000000000000000feed\x01\x01\x02\x01\x01\x04h1:1\x80\x02",
        r#"{"version":1,"cluster":"0000000000000000000000000000feed","node":1,"leader":2,"addresses":{"1":"h1:1"},"requests":256}"#,
    );
}

#[test]
fn words_for_people() {
    let why = |reached, total, needed| Unavailable { reached, total, needed }.to_string();
    assert_eq!(why(1, 3, 2), "no quorum: reached 1 of 3, need 2");
    assert!(why(2, 3, 2).starts_with("no answer in time from a leader"));
    assert!(why(0, 0, 0).contains("no members"));
}

/// Batches as large as any, after one that just does not fill a page.
fn large_values() -> [Value; 2] {
    let batch = |bytes| {
        Value::Commands(Batch {
            stamp: Time(u64::MAX),
            by: paxos_core::Ballot::ZERO,
            bytes: vec![0xff; bytes].into(),
        })
    };
    [batch((1 << 20) - 1), batch(BATCH_MAX)]
}

#[test]
fn d16_whatever_is_admitted_fits_into_every_frame_that_must_carry_it() {
    let ballot = Ballot { round: u64::MAX, node: NodeId(u64::MAX), incarnation: u64::MAX };
    let (first, upto) = (Slot(u64::MAX), Slot(u64::MAX));
    let slot = Slot(u64::MAX);
    let value = large_values()[1].clone();
    let accept = AcceptorMessage::Accept { ballot, slot, value: value.clone() };
    let chosen = LearnerMessage::Chosen { ballot, slot, value: Some(value.clone()) };
    // Pages end with the value that reaches their limit, so the last one comes on top.
    let page = |values: Vec<Value>| {
        let accepted =
            values.iter().map(|value| AcceptedValue { slot, ballot, value: value.clone() });
        let promise = Promise {
            ballot,
            first,
            next: Some(slot),
            trimmed: slot,
            accepted: accepted.collect(),
        };
        let chosen = values.into_iter().map(|value| (ballot, value)).collect();
        let fill = LearnerMessage::Fill { first, chosen, upto, snapshot: Some(slot) };
        [Message::Proposer(ProposerMessage::Promise(promise)), Message::Learner(fill)]
    };
    let empty = Value::Commands(Batch {
        stamp: Time(u64::MAX),
        by: paxos_core::Ballot::ZERO,
        bytes: Bytes::new(),
    });
    let most = AcceptorOptions::default().page_values.max(LearnerOptions::default().fill_values);
    let mut messages = vec![Message::Acceptor(accept), Message::Learner(chosen)];
    messages.extend(page(large_values().to_vec()));
    messages.extend(page(vec![empty; most]));
    let command = vec![0xff; COMMAND_MAX].into();
    let session = SessionId(u64::MAX);
    let operation = Operation::Run { session, sequence: u64::MAX, command };
    let call = Call::Operate(operation);
    let request = ClientRequest { id: u64::MAX, timeout_ms: u64::MAX, call };
    let identity = "\u{1f600}".repeat(64);
    let forwarded = Forwarded { identity, request: request.clone() };
    let relay = Relay::Ask(vec![forwarded]);
    for codec in [Codec::Binary, Codec::Json] {
        for message in &messages {
            let fits = frame::append(&mut Vec::new(), codec, message, PEER_FRAME_MAX);
            assert!(fits.is_ok(), "{codec:?}: {fits:?}");
        }
        assert!(frame::append(&mut Vec::new(), codec, &relay, PEER_FRAME_MAX).is_ok());
        assert!(frame::append(&mut Vec::new(), codec, &request, CLIENT_FRAME_MAX).is_ok());
    }
}
