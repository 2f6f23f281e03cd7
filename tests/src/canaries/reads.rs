//! Bugs of linearizable reads.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{
    AcceptorMessage, Ballot, Configurations, Effect, Envelope, Input, Inside, Membership, Message,
    NodeId, Promise, Proposer, ProposerMessage, ProposerOptions, ReadLevel, Role, Slot, Time,
};
use serde_json::json;

use super::How::{Script, Seeds};
use super::plants::{acceptors, drifting, edit, proposers, usual};
use super::{Against, Canary};
use crate::simulation::{Actor, Plant};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "reads-without-asking",
        against: Against::Safety,
        rule: "a leader answers a read only when a quorum has confirmed it since",
        source: "the read rule of `Proposer`",
        how: Seeds(usual),
        plant: reads_without_asking,
    },
    Canary {
        id: "reads-by-an-older-round",
        against: Against::Safety,
        rule: "an answer confirms only what was asked before its question was sent",
        source: "the read rule of `Rounds`",
        how: Script(an_answer_to_an_older_round),
        plant: reads_by_an_older_round,
    },
    Canary {
        id: "reads-before-the-barrier",
        against: Against::Safety,
        rule: "a new leader reads only when all that its quorum reported is known to be chosen",
        source: "B5",
        how: Seeds(usual),
        plant: reads_before_the_barrier,
    },
    Canary {
        id: "anybody-reads",
        against: Against::Safety,
        rule: "only a leader answers linearizable reads",
        source: "the read rule of `Proposer`",
        how: Seeds(usual),
        plant: anybody_reads,
    },
    Canary {
        id: "confirms-the-deposed",
        against: Against::Safety,
        rule: "an acceptor that promised more does not confirm",
        source: "the rule of `Confirm`",
        how: Seeds(drifting),
        plant: confirms_the_deposed,
    },
];

fn stamped(input: &Input) -> Option<Effect> {
    match input {
        Input::Message(_, Message::Inside(Inside::Stamped { ticket, next, level })) => {
            let (ticket, next, level) = (*ticket, *next, *level);
            Some(Effect::ReadReady { ticket, next, level })
        }
        _ => None,
    }
}

fn reads_without_asking() -> Box<dyn Plant> {
    let mut ready = BTreeSet::<Ballot>::new();
    proposers(move |scene, proposer, input, out| {
        let leads = proposer.ballot().is_some_and(|ballot| ready.contains(&ballot));
        if let Some(read) = stamped(&input).filter(|_| leads) {
            return out.push(read);
        }
        let before = out.len();
        proposer.handle(scene.now, input, out);
        for effect in &out[before..] {
            if let Effect::Send(Envelope {
                message: Message::Inside(Inside::Ready { ballot }),
                ..
            }) = effect
            {
                ready.insert(*ballot);
            }
        }
    })
}

fn reads_by_an_older_round() -> Box<dyn Plant> {
    let mut newest = BTreeMap::<Ballot, u64>::new();
    proposers(move |scene, proposer, mut input, out| {
        if let Input::Message(
            _,
            Message::Proposer(ProposerMessage::Confirmed { ballot, round, .. }),
        ) = &mut input
        {
            *round = newest.get(ballot).copied().unwrap_or(*round);
        }
        let before = out.len();
        proposer.handle(scene.now, input, out);
        for effect in &out[before..] {
            if let Effect::Send(Envelope {
                message: Message::Acceptor(AcceptorMessage::Confirm { ballot, round }),
                ..
            }) = effect
            {
                newest.insert(*ballot, *round);
            }
        }
    })
}

/// A leader has asked once when a read comes, and asks again for it. Answers to the first question
/// alone must not release the read; in whole runs they are late enough in one seed of a thousand.
fn an_answer_to_an_older_round(plant: &mut dyn Plant) -> Result<(), String> {
    let me = NodeId(1);
    let voters = (1..=3).map(|id| (NodeId(id), format!("n{id}:1")));
    let genesis = Membership::of_voters(voters).map_err(|refused| refused.to_string())?;
    plant.begins(&genesis);
    let configurations = Configurations::genesis(genesis);
    let mut proposer = Proposer::new(me, 1, ProposerOptions::default(), configurations.clone());
    let mut hand = |input| {
        let mut out = Vec::new();
        plant.handle(me, &mut Actor::Proposer(&mut proposer), Time(1), input, &mut out);
        out
    };
    let inside = |inside| Input::Message(me, Message::Inside(inside));
    let ballot = Ballot { round: 1, node: me, incarnation: 1 };
    hand(inside(Inside::Campaign { after: None }));
    for acceptor in [1, 2] {
        let (first, next, trimmed, accepted) = (Slot::FIRST, None, Slot(0), Vec::new());
        let page = Promise { ballot, first, next, trimmed, accepted };
        let promise = Message::Proposer(ProposerMessage::Promise(page));
        hand(Input::Message(NodeId(acceptor), promise));
    }
    hand(Input::Timeout);
    hand(inside(Inside::Advanced { next: Slot(2), configurations, clock: Time(0) }));
    let (ticket, next, level) = (7, Slot(2), ReadLevel::Linearizable);
    hand(inside(Inside::Stamped { ticket, next, level }));
    let mut answered = |round| {
        let released = [1, 2].map(|acceptor| {
            let confirmed = ProposerMessage::Confirmed { ballot, round, granted: false };
            let effects = hand(Input::Message(NodeId(acceptor), Message::Proposer(confirmed)));
            effects.iter().any(|effect| matches!(effect, Effect::ReadReady { ticket: 7, .. }))
        });
        released.contains(&true)
    };
    if answered(1) {
        return Err("a question that was sent before the read has confirmed it".to_owned());
    }
    if answered(2) { Ok(()) } else { Err("its own question does not confirm a read".to_owned()) }
}

fn reads_before_the_barrier() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        let reads = matches!(
            input,
            Input::Timeout
                | Input::Message(_, Message::Inside(Inside::Stamped { .. }))
                | Input::Message(_, Message::Proposer(ProposerMessage::Confirmed { .. }))
        );
        let ballot = proposer.ballot();
        if !reads || !proposer.leads() {
            return proposer.handle(scene.now, input, out);
        }
        let top = set_top(proposer, json!(0));
        proposer.handle(scene.now, input, out);
        if proposer.ballot() == ballot {
            set_top(proposer, top);
        }
    })
}

/// Changes up to where the leader's quorum has reported values; answers what it was.
fn set_top(proposer: &mut Proposer, top: serde_json::Value) -> serde_json::Value {
    let mut before = top;
    edit(proposer, |state| std::mem::swap(&mut state["term"]["top"], &mut before));
    before
}

fn anybody_reads() -> Box<dyn Plant> {
    proposers(|scene, proposer, input, out| {
        match stamped(&input).filter(|_| proposer.ballot().is_none()) {
            Some(read) => out.push(read),
            None => proposer.handle(scene.now, input, out),
        }
    })
}

fn confirms_the_deposed() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| match input {
        Input::Message(from, Message::Acceptor(AcceptorMessage::Confirm { ballot, round }))
            if ballot < acceptor.promised() =>
        {
            let confirmed = ProposerMessage::Confirmed { ballot, round, granted: false };
            out.push(Effect::Send(envelope(scene.me, from, confirmed)));
        }
        input => acceptor.handle(scene.now, input, out),
    })
}

fn envelope(from: NodeId, to: NodeId, message: ProposerMessage) -> Envelope {
    Envelope { from, to, message: Message::Proposer(message) }
}
