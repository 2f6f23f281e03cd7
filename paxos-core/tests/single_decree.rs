//! Paxos for one value, message by message: acceptors, a proposer and a learner used alone, with no
//! driver, no disk and no clock. A good place to begin reading.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use paxos_core::acceptor::Answer;
use paxos_core::{
    Acceptor, AcceptorMessage, Ballot, Configurations, Effect, Envelope, Input, Inside, Learner,
    Membership, Message, NodeId, Proposal, Proposer, ProposerOptions, Role, Slot, Time, Value,
};

const NOON: Time = Time(0);

fn three() -> Configurations {
    let voters = (1..=3).map(|id| (NodeId(id), String::new()));
    Configurations::genesis(Membership::of_voters(voters).unwrap())
}

fn tell(role: &mut impl Role, from: u64, message: Message) -> Vec<Effect> {
    let mut effects = Vec::new();
    role.handle(NOON, Input::Message(NodeId(from), message), &mut effects);
    effects
}

fn sent(effects: &[Effect]) -> Vec<&Envelope> {
    let mut sent = Vec::new();
    for effect in effects {
        if let Effect::Send(envelope) = effect {
            sent.push(envelope);
        }
    }
    sent
}

/// The acceptor's answer, once its record is synced; here the disk is as fast as thought.
fn ask(acceptor: &mut Acceptor, from: u64, message: &Message) -> Message {
    let Message::Acceptor(message) = message else { panic!("{message} is not for an acceptor") };
    match acceptor.step(NOON, NodeId(from), message.clone()) {
        Answer::After(persist) => persist.then[0].message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_value_is_chosen_by_hand() {
    let mut acceptors = [Acceptor::new(NodeId(1)), Acceptor::new(NodeId(2))];
    let mut proposer = Proposer::new(NodeId(1), 1, ProposerOptions::default(), three());
    let mut learner = Learner::new(NodeId(1), three());

    // Phase 1a: "promise me 1.n1.1".
    let asked = tell(&mut proposer, 1, Message::Inside(Inside::Campaign { after: None }));
    let prepare = sent(&asked)[0].message.clone();
    assert_eq!(prepare.to_string(), "prepare 1.n1.1 from #1");
    let x = Inside::Propose { ticket: 1, proposal: Proposal::Commands(b"x".as_slice().into()) };
    tell(&mut proposer, 1, Message::Inside(x));

    // Phase 1b: two of three promise, and have accepted nothing yet.
    let promises = acceptors.each_mut().map(|acceptor| ask(acceptor, 1, &prepare));
    assert_eq!(promises[1].to_string(), "promise 1.n1.1 #1..end []");
    let first = tell(&mut proposer, 1, promises[0].clone());
    assert!(first.is_empty(), "one is no quorum");
    let effects = tell(&mut proposer, 2, promises[1].clone());
    assert!(effects.contains(&Effect::Proposed { ticket: 1, slot: Slot::FIRST }));

    // Phase 2a: "accept x". The learner of the leader's node hears it too.
    let accepts = sent(&effects);
    let accept = &accepts.iter().find(|sent| sent.to == NodeId(2)).unwrap().message;
    assert_eq!(accept.to_string(), "accept 1.n1.1 #1 'x'");
    tell(&mut learner, 1, accept.clone());

    // Phase 2b: two votes, and x is chosen.
    let votes = acceptors.each_mut().map(|acceptor| ask(acceptor, 1, accept));
    assert_eq!(votes[0].to_string(), "accepted 1.n1.1 #1");
    assert!(tell(&mut learner, 1, votes[0].clone()).is_empty());
    let effects = tell(&mut learner, 2, votes[1].clone());
    let applied = effects.iter().find_map(|effect| match effect {
        Effect::Apply { slot: Slot(1), value } => Some(value),
        _ => None,
    });
    assert!(matches!(applied, Some(Value::Commands(batch)) if batch.bytes == b"x"[..]));

    // Another proposer, later: it must take x, whatever it wanted.
    let ballot = Ballot { round: 2, node: NodeId(3), incarnation: 1 };
    let first = Slot::FIRST;
    let prepare = Message::Acceptor(AcceptorMessage::Prepare { ballot, first, after: None });
    let promise = ask(&mut acceptors[1], 3, &prepare);
    assert_eq!(promise.to_string(), "promise 2.n3.1 #1..end [#1 1.n1.1 'x']");
}
