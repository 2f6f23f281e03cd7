//! Links between nodes.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use paxos_core::message::{Heartbeat, LeadershipMessage, LearnerMessage};
use paxos_core::{
    AcceptorMessage, ArchiveMessage, Ballot, Batch, Manifest, Message, NodeId, Slot, Time, Value,
};
use paxos_net::codec::Codec;
use paxos_net::protocol::{ClientResponse, PeerRefusal, Refused, Relay, Response};
use support::{Stub, World, address, bind_again, until};

const BALLOT: Ballot = Ballot { round: 1, node: NodeId(1), incarnation: 1 };

fn accept(slot: u64, size: usize) -> Message {
    let value = Value::Commands(Batch {
        stamp: Time(1),
        by: paxos_core::Ballot::ZERO,
        bytes: Bytes::from(vec![7; size]),
    });
    Message::Acceptor(AcceptorMessage::Accept { ballot: BALLOT, slot: Slot(slot), value })
}

fn accepted(slot: u64) -> Message {
    Message::Learner(LearnerMessage::Accepted { ballot: BALLOT, slot: Slot(slot) })
}

fn heartbeat(sequence: u64) -> Message {
    Message::Leadership(LeadershipMessage::Heartbeat(Heartbeat {
        incarnation: 1,
        sequence,
        sent: Time(5),
        leading: None,
        hears: None,
        next: Slot(1),
        saved: Slot(0),
        campaigns: true,
    }))
}

async fn every_lane_arrives(codec: Codec) {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let mut config = world.config(&one);
    config.codec = codec;
    let first = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let second = world.endpoint(&two);
    let there = first.link(NodeId(2), address(&second));
    let back = second.link(NodeId(1), address(&first));
    until("both links are up", || one.is_up(2) && two.is_up(1)).await;

    for slot in 1..=50 {
        there.send(&accept(slot, 10_000));
        there.send(&accepted(slot));
    }
    there.send(&accept(51, paxos_core::batch::BATCH_MAX));
    let why = Response::Refused(Refused::Busy);
    let relay = Relay::Tell(vec![ClientResponse { id: 1, leader: None, response: why }]);
    assert!(there.relay(&relay));
    back.send(&accepted(99));
    until("everything has arrived", || {
        two.messages.lock().unwrap().len() == 101
            && two.relays.lock().unwrap().len() == 1
            && one.messages.lock().unwrap().len() == 1
    })
    .await;
    let arrived = two.messages.lock().unwrap().clone();
    assert!(arrived.iter().all(|(from, _)| *from == NodeId(1)));
    let votes: Vec<_> = arrived
        .iter()
        .map(|(_, message)| message.clone())
        .filter(|message| matches!(message, Message::Learner(_)))
        .collect();
    assert_eq!(votes, (1..=50).map(accepted).collect::<Vec<_>>(), "a lane keeps its order");
    assert!(arrived.contains(&(NodeId(1), accept(51, paxos_core::batch::BATCH_MAX))));
    assert_eq!(two.relays.lock().unwrap()[0], (NodeId(1), relay));

    // A datagram may be lost, so it is repeated as in life.
    let mut sequence = 0;
    until("a heartbeat has arrived", || {
        sequence += 1;
        there.send(&heartbeat(sequence));
        let all = two.messages.lock().unwrap();
        all.iter().any(|(_, message)| matches!(message, Message::Leadership(_)))
    })
    .await;
    let report = there.report();
    assert!(report.up && report.sent > 100 && report.rtt_us.is_some(), "{report:?}");
}

#[tokio::test]
async fn every_lane_arrives_in_binary() {
    every_lane_arrives(Codec::Binary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_arrives_in_json() {
    every_lane_arrives(Codec::Json).await;
}

/// A snapshot of hundreds of MB is on its way: as much of it waits on its lane as may, at any time.
#[tokio::test]
async fn b25_a_snapshot_on_its_way_holds_nothing_else_up() {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = 200;
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let (first, second) = (world.endpoint(&one), world.endpoint(&two));
    let there = first.link(NodeId(2), address(&second));
    let _back = second.link(NodeId(1), address(&first));
    until("both links are up", || one.is_up(2) && two.is_up(1)).await;
    let piece = || {
        let snapshot = Manifest { upto: Slot(9), bytes: 1 << 30, crc32c: 0 };
        let bytes = Bytes::from(vec![7; PIECE]);
        Message::Archive(ArchiveMessage::Piece { snapshot, offset: 0, bytes })
    };
    let arrived = |wanted: fn(&Message) -> bool| {
        two.messages.lock().unwrap().iter().filter(|(_, message)| wanted(message)).count()
    };
    let pieces = || arrived(|message| matches!(message, Message::Archive(_)));
    let mut sequence = 0;
    while pieces() < PIECES {
        // More than the lane holds: what does not fit is dropped, and the lane is full.
        (0..5).for_each(|_| there.send(&piece()));
        let before = pieces();
        sequence += 1;
        there.send(&accepted(sequence));
        let beats = arrived(|message| matches!(message, Message::Leadership(_)));
        let votes = sequence as usize;
        // A datagram may be lost, so it is repeated as in life.
        until("a vote and a heartbeat have overtaken the snapshot", || {
            there.send(&heartbeat(sequence));
            arrived(|message| matches!(message, Message::Learner(_))) >= votes
                && arrived(|message| matches!(message, Message::Leadership(_))) > beats
        })
        .await;
        let overtaken = pieces() - before;
        assert!(overtaken <= 8, "{overtaken} pieces arrived first");
        until("the snapshot goes on too", || pieces() > before).await;
    }
}

#[tokio::test]
async fn a_link_that_is_down_drops_and_counts() {
    let world = World::new();
    let endpoint = world.endpoint(&Stub::new(1));
    let link = endpoint.link(NodeId(2), "127.0.0.1:9".to_owned());
    link.send(&accepted(1));
    assert!(!link.relay(&Relay::Ask(Vec::new())));
    let report = link.report();
    assert_eq!((report.up, report.sent, report.dropped), (false, 0, 2));
}

#[tokio::test]
async fn a_restarted_peer_is_found_again_before_any_timeout() {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let mut config = world.config(&one);
    // Only a stateless reset can end the connection before the test gives up.
    config.limits.peer_idle = Duration::from_secs(600);
    let first = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let credentials = world.config(&two).credentials;
    let second = world.config(&two);
    let mut second =
        paxos_net::endpoint::EndpointConfig { credentials: credentials.clone(), ..second };
    second.limits.peer_idle = Duration::from_secs(600);
    second.limits.client_idle = Duration::from_secs(600);
    let silent = mute::endpoint(second).await;
    let place = silent.address;
    let link = first.link(NodeId(2), place.to_string());
    until("the link is up", || one.is_up(2)).await;

    silent.crash();
    let again = Stub::new(2);
    let began = Instant::now();
    let _second = bind_again(|| {
        let mut config = world.config(&again);
        config.credentials = credentials.clone();
        config.bind = place;
        config.incarnation = 2;
        config
    })
    .await;
    until("messages arrive at the new run", || {
        link.send(&accepted(1));
        !again.messages.lock().unwrap().is_empty()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(600));
}

/// An endpoint in a runtime of its own, which can vanish without a word, as a killed process does.
mod mute {
    use std::net::SocketAddr;
    use std::thread::JoinHandle;

    use paxos_net::endpoint::{Endpoint, EndpointConfig};
    use tokio::sync::oneshot;

    pub struct Mute {
        pub address: SocketAddr,
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    }

    pub async fn endpoint(config: EndpointConfig) -> Mute {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let endpoint = runtime.block_on(async {
                let endpoint = Endpoint::bind(config).unwrap();
                tell.send(endpoint.local_addr().unwrap()).unwrap();
                stopped.await.ok();
                endpoint
            });
            // The tasks die first: nobody is left to send the farewell.
            drop(runtime);
            drop(endpoint);
        });
        Mute { address: told.await.unwrap(), stop, thread }
    }

    impl Mute {
        pub fn crash(self) {
            self.stop.send(()).unwrap();
            self.thread.join().unwrap();
        }
    }
}

#[tokio::test]
async fn a_refused_hello_is_told_on_both_sides() {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let refusal = PeerRefusal::OlderIncarnation { node: NodeId(1), known: 9, found: 1 };
    *two.verdict.lock().unwrap() = Some(refusal.clone());
    let (first, second) = (world.endpoint(&one), world.endpoint(&two));
    let link = first.link(NodeId(2), address(&second));
    until("the refusal is heard", || !one.refusals.lock().unwrap().is_empty()).await;
    assert_eq!(one.refusals.lock().unwrap()[0], (NodeId(2), refusal));
    until("the reason is reported", || link.report().last_error.is_some()).await;
    let words = link.report().last_error.unwrap();
    assert!(words.contains("run 9") && words.contains("remove the node"), "{words}");
    assert!(!one.is_up(2));
}

#[tokio::test]
async fn nodes_of_different_genesis_refuse_each_other() {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let mut config = world.config(&one);
    config.genesis = 8;
    let first = paxos_net::endpoint::Endpoint::bind(config).unwrap();
    let second = world.endpoint(&two);
    let _link = first.link(NodeId(2), address(&second));
    until("the refusal is heard", || !one.refusals.lock().unwrap().is_empty()).await;
    let expected = PeerRefusal::OtherGenesis { ours: 7, theirs: 8 };
    assert_eq!(one.refusals.lock().unwrap()[0], (NodeId(2), expected));
    assert!(two.met.lock().unwrap().is_empty(), "the service is not asked about strangers");
}

#[tokio::test]
async fn a_dropped_link_closes() {
    let world = World::new();
    let (one, two) = (Stub::new(1), Stub::new(2));
    let (first, second) = (world.endpoint(&one), world.endpoint(&two));
    let link = first.link(NodeId(2), address(&second));
    until("the link is up", || one.is_up(2)).await;
    drop(link);
    until("the link is down", || !one.is_up(2)).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = World::new();
    let first = world.endpoint(&Stub::new(1));
    let mut config = world.config(&Stub::new(2));
    config.bind = first.local_addr().unwrap();
    let error = paxos_net::endpoint::Endpoint::bind(config).err().unwrap().to_string();
    assert!(error.contains("in use") && error.contains(&address(&first)), "{error}");
}
