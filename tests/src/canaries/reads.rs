//! Bugs of linearizable reads.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{
    AcceptorMessage, Ballot, Effect, Envelope, Input, Inside, Message, NodeId, Proposer,
    ProposerMessage, Role,
};
use serde_json::json;

use super::plants::{acceptors, edit, proposers, usual};
use super::{Against, Canary};
use crate::simulation::Plant;

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "reads-without-asking",
        against: Against::Safety,
        rule: "a leader answers a read only when a quorum has confirmed it since",
        source: "the read rule of `Proposer`",
        plan: usual,
        plant: reads_without_asking,
    },
    Canary {
        id: "reads-by-an-older-round",
        against: Against::Safety,
        rule: "an answer confirms only what was asked before its question was sent",
        source: "the read rule of `Rounds`",
        plan: usual,
        plant: reads_by_an_older_round,
    },
    Canary {
        id: "reads-before-the-barrier",
        against: Against::Safety,
        rule: "a new leader reads only when all that its quorum reported is known to be chosen",
        source: "B5",
        plan: usual,
        plant: reads_before_the_barrier,
    },
    Canary {
        id: "anybody-reads",
        against: Against::Safety,
        rule: "only a leader answers linearizable reads",
        source: "the read rule of `Proposer`",
        plan: usual,
        plant: anybody_reads,
    },
    Canary {
        id: "confirms-the-deposed",
        against: Against::Safety,
        rule: "an acceptor that promised more does not confirm",
        source: "the rule of `Confirm`",
        plan: usual,
        plant: confirms_the_deposed,
    },
];

fn stamped(input: &Input) -> Option<Effect> {
    match input {
        Input::Message(_, Message::Inside(Inside::Stamped { ticket, next })) => {
            Some(Effect::ReadReady { ticket: *ticket, next: *next })
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
