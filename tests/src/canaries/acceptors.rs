//! Bugs of acceptors.

use std::collections::BTreeMap;

use paxos_core::{
    Acceptor, AcceptorMessage, Ballot, Effect, Envelope, Input, LearnerMessage, Message, NodeId,
    Persist, ProposerMessage, Record, Recovered, Role, Time,
};
use serde_json::json;

use super::How::Seeds;
use super::plants::{acceptors, edit, effects, rivals, usual};
use super::{Against, Canary};
use crate::simulation::{Actor, Plant};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "accepts-below-its-promise",
        against: Against::Safety,
        rule: "an acceptor accepts nothing below the ballot that it promised",
        source: "S8",
        how: Seeds(usual),
        plant: accepts_below_its_promise,
    },
    Canary {
        id: "promises-below-its-promise",
        against: Against::Safety,
        rule: "an acceptor promises nothing below the ballot that it promised",
        source: "Paxos Made Simple, phase 1b",
        how: Seeds(usual),
        plant: promises_below_its_promise,
    },
    Canary {
        id: "acceptance-promises-nothing",
        against: Against::Safety,
        rule: "to accept a ballot is to promise it",
        source: "S1",
        how: Seeds(rivals),
        plant: acceptance_promises_nothing,
    },
    Canary {
        id: "acceptance-promises-until-restart",
        against: Against::Safety,
        rule: "after a restart too, an acceptance is a promise",
        source: "S2",
        how: Seeds(usual),
        plant: || Box::new(PromisesUntilRestart::default()),
    },
    Canary {
        id: "equal-rounds-tie",
        against: Against::Safety,
        rule: "of two ballots of one round, the node decides which is higher",
        source: "B7",
        how: Seeds(usual),
        plant: equal_rounds_tie,
    },
    Canary {
        id: "promise-without-values",
        against: Against::Safety,
        rule: "a promise reports everything accepted",
        source: "Paxos Made Simple, phase 1b",
        how: Seeds(usual),
        plant: promise_without_values,
    },
    Canary {
        id: "promise-reports-the-first",
        against: Against::Safety,
        rule: "of a slot, a promise reports the acceptance of the highest ballot",
        source: "Paxos Made Simple, phase 1b",
        how: Seeds(usual),
        plant: promise_reports_the_first,
    },
    Canary {
        id: "promise-before-sync",
        against: Against::Safety,
        rule: "a promise leaves when it is synced",
        source: "A1",
        how: Seeds(usual),
        plant: || before_sync(is_promise),
    },
    Canary {
        id: "vote-before-sync",
        against: Against::Safety,
        rule: "a vote leaves when its acceptance is synced",
        source: "A2",
        how: Seeds(usual),
        plant: || before_sync(is_vote),
    },
    Canary {
        id: "repeated-answer-overtakes",
        against: Against::Safety,
        rule: "the same answer again waits behind the first one's write",
        source: "S9",
        how: Seeds(usual),
        plant: repeated_answer_overtakes,
    },
    Canary {
        id: "repeated-accept-unanswered",
        against: Against::Progress,
        rule: "a repeated Accept is answered again",
        source: "S16",
        how: Seeds(usual),
        plant: repeated_accept_unanswered,
    },
];

fn promise(acceptor: &mut Acceptor, ballot: Ballot) {
    edit(acceptor, |state| state["promised"] = json!(ballot));
}

/// The ballot of a message to an acceptor, and what is done with it.
fn asked(input: &Input) -> Option<&AcceptorMessage> {
    match input {
        Input::Message(_, Message::Acceptor(message)) => Some(message),
        _ => None,
    }
}

fn accepts_below_its_promise() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        let before = acceptor.promised();
        let lower = match asked(&input) {
            Some(AcceptorMessage::Accept { ballot, .. }) if *ballot < before => *ballot,
            _ => return acceptor.handle(scene.now, input, out),
        };
        promise(acceptor, lower);
        acceptor.handle(scene.now, input, out);
        promise(acceptor, before);
    })
}

fn promises_below_its_promise() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        if let Some(AcceptorMessage::Prepare { ballot, .. }) = asked(&input)
            && *ballot < acceptor.promised()
        {
            promise(acceptor, Ballot::ZERO);
        }
        acceptor.handle(scene.now, input, out);
    })
}

fn acceptance_promises_nothing() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        let before = acceptor.promised();
        let accepts = matches!(asked(&input), Some(AcceptorMessage::Accept { .. }));
        acceptor.handle(scene.now, input, out);
        if accepts && acceptor.promised() > before {
            promise(acceptor, before);
        }
    })
}

fn equal_rounds_tie() -> Box<dyn Plant> {
    acceptors(|scene, acceptor, input, out| {
        let promised = acceptor.promised();
        if let Some(
            AcceptorMessage::Prepare { ballot, .. } | AcceptorMessage::Accept { ballot, .. },
        ) = asked(&input)
            && *ballot < promised
            && ballot.round == promised.round
        {
            let ballot = *ballot;
            promise(acceptor, ballot);
        }
        acceptor.handle(scene.now, input, out);
    })
}

/// Recovery takes promises from `Promised` records alone.
#[derive(Debug, Default)]
struct PromisesUntilRestart {
    promised: BTreeMap<NodeId, Ballot>,
}

impl Plant for PromisesUntilRestart {
    fn recovered(&mut self, node: NodeId, recovered: &mut Recovered) {
        let promised = self.promised.get(&node).copied().unwrap_or(Ballot::ZERO);
        recovered.promised = recovered.promised.min(promised);
    }

    fn handle(
        &mut self,
        node: NodeId,
        role: &mut Actor<'_>,
        now: Time,
        input: Input,
        out: &mut Vec<Effect>,
    ) {
        role.handle(now, input, out);
        for effect in out {
            let Effect::Persist(persist) = effect else { continue };
            for record in &persist.records {
                if let Record::Promised(ballot) = record {
                    let known = self.promised.entry(node).or_default();
                    *known = (*known).max(*ballot);
                }
            }
        }
    }
}

/// Changes the promises that leave.
fn promises(mut change: impl FnMut(NodeId, &mut paxos_core::Promise) + 'static) -> Box<dyn Plant> {
    effects(move |scene, mut effect| {
        if let Effect::Persist(persist) = &mut effect {
            for envelope in &mut persist.then {
                if let Message::Proposer(ProposerMessage::Promise(promise)) = &mut envelope.message
                {
                    change(scene.me, promise);
                }
            }
        }
        vec![effect]
    })
}

fn promise_without_values() -> Box<dyn Plant> {
    promises(|_, promise| promise.accepted.clear())
}

fn promise_reports_the_first() -> Box<dyn Plant> {
    let mut first = BTreeMap::new();
    promises(move |node, promise| {
        for accepted in &mut promise.accepted {
            let known = first.entry((node, accepted.slot)).or_insert_with(|| accepted.clone());
            *accepted = known.clone();
        }
    })
}

fn is_promise(message: &Message) -> bool {
    matches!(message, Message::Proposer(ProposerMessage::Promise(_)))
}

fn is_vote(message: &Message) -> bool {
    matches!(message, Message::Learner(LearnerMessage::Accepted { .. }))
}

/// Some answers do not wait for the disk.
fn before_sync(which: fn(&Message) -> bool) -> Box<dyn Plant> {
    effects(move |_, effect| match effect {
        Effect::Persist(Persist { records, then }) => {
            let (now, then): (Vec<Envelope>, Vec<Envelope>) =
                then.into_iter().partition(|envelope| which(&envelope.message));
            let persist = Effect::Persist(Persist { records, then });
            now.into_iter().map(Effect::Send).chain([persist]).collect()
        }
        effect => vec![effect],
    })
}

fn repeated_answer_overtakes() -> Box<dyn Plant> {
    effects(|_, effect| match effect {
        Effect::Persist(Persist { records, then }) if records.is_empty() => {
            then.into_iter().map(Effect::Send).collect()
        }
        effect => vec![effect],
    })
}

fn repeated_accept_unanswered() -> Box<dyn Plant> {
    effects(|_, effect| match effect {
        Effect::Persist(Persist { records, then })
            if records.is_empty() && then.iter().any(|envelope| is_vote(&envelope.message)) =>
        {
            Vec::new()
        }
        effect => vec![effect],
    })
}
