//! What the roles tell of themselves.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_core::{
    Acceptor, AcceptorMessage, Archive, ArchiveOptions, Ballot, Configurations, Elector, Heartbeat,
    Input, Inside, LeadershipMessage, LeadershipOptions, Manifest, Membership, Message, NodeId,
    Policy, Promise, Proposal, Proposer, ProposerMessage, ProposerOptions, Role, Slot, Status,
    Time,
};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

fn genesis() -> Configurations {
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    Configurations::genesis(Membership::of_voters(voters).unwrap())
}

fn ballot(round: u64, node: NodeId) -> Ballot {
    Ballot { round, node, incarnation: 1 }
}

fn hear(role: &mut dyn Role, now: u64, from: NodeId, message: Message) {
    role.handle(Time(now), Input::Message(from, message), &mut Vec::new());
}

fn status(role: &dyn Role) -> Status {
    let mut status = Status::default();
    role.describe(&mut status);
    status
}

#[test]
fn an_acceptor_tells_what_it_has_promised() {
    let mut acceptor = Acceptor::new(ME);
    let ballot = ballot(3, PEER);
    let prepare = AcceptorMessage::Prepare { ballot, first: Slot::FIRST, after: None };
    hear(&mut acceptor, 0, PEER, Message::Acceptor(prepare));
    assert_eq!(status(&acceptor), Status { promised: ballot, ..Status::default() });
}

#[test]
fn a_proposer_tells_how_many_slots_are_on_their_way() {
    let mut proposer = Proposer::new(ME, 1, ProposerOptions::default(), genesis());
    assert_eq!(status(&proposer).in_flight, 0);
    let inside = Message::Inside;
    hear(&mut proposer, 0, ME, inside(Inside::Campaign { after: None }));
    for node in [ME, PEER] {
        let (ballot, first, next) = (ballot(1, ME), Slot::FIRST, None);
        let page = Promise { ballot, first, next, trimmed: Slot(0), accepted: Vec::new() };
        hear(&mut proposer, 0, node, Message::Proposer(ProposerMessage::Promise(page)));
    }
    for ticket in 0..2 {
        let proposal = Proposal::Commands(b"x".as_slice().into());
        hear(&mut proposer, 0, ME, inside(Inside::Propose { ticket, proposal }));
    }
    assert_eq!(status(&proposer).in_flight, 3, "the first slot of a leadership too");
}

#[test]
fn an_archive_tells_the_last_slot_of_its_newest_snapshot() {
    let mut archive = Archive::new(ME, ArchiveOptions::default());
    assert_eq!(status(&archive).saved, Slot(0));
    let snapshot = |upto: u64| Manifest { upto: Slot(upto), bytes: 1, crc32c: 0 };
    let stored = Inside::Stored { snapshots: vec![snapshot(5), snapshot(9)] };
    hear(&mut archive, 0, ME, Message::Inside(stored));
    assert_eq!(status(&archive), Status { saved: Slot(8), ..Status::default() });
}

#[test]
fn a_leadership_tells_whom_it_hears_and_forgets_who_was_silent_for_the_whole_time() {
    let options = LeadershipOptions::default();
    let silence = options.suspect_after.as_micros() as u64;
    let policy = Policy::new(ME, 1, options, genesis(), 1, Time(0));
    let mut elector = Elector::new(ME, policy);
    let leading = Some(ballot(3, PEER));
    let heartbeat = Heartbeat {
        incarnation: 1,
        sequence: 1,
        sent: Time(0),
        leading,
        hears: leading,
        next: Slot::FIRST,
        saved: Slot(0),
        campaigns: true,
    };
    let heartbeat = LeadershipMessage::Heartbeat(heartbeat);
    hear(&mut elector, 100, PEER, Message::Leadership(heartbeat));
    // It does something all the time: a long pause would say that this node itself was stopped.
    let word = Message::Inside(Inside::Saved { upto: Slot(1), oldest: Slot(1) });
    for ago in (1..9).rev() {
        hear(&mut elector, 100 + silence - ago * 30_000, ME, word.clone());
    }
    hear(&mut elector, 100 + silence - 1, ME, word.clone());
    let all = |leader, reached: &[NodeId]| Status {
        leader,
        reached: reached.iter().copied().collect(),
        reached_weight: reached.len() as u64,
        total_weight: 3,
        needed_weight: 2,
        ..Status::default()
    };
    assert_eq!(status(&elector), all(leading, &[ME, PEER]));
    hear(&mut elector, 100 + silence, ME, word);
    assert_eq!(status(&elector), all(None, &[ME]));
}
