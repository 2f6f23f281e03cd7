//! Bugs of what those are told who watch.

use std::collections::BTreeMap;

use chat::Happening;
use paxos_core::{Applied, NodeId, Page, Position, Recent, Replica, Slot, Value};

use super::How::Seeds;
use super::plants::usual;
use super::{Against, Canary};
use crate::simulation::{Plan, Plant, Question, Service, Services};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "watch-goes-back-at-another-node",
        against: Against::Safety,
        rule: "who watches goes on behind the position that he has reached, at every node",
        source: "D15",
        how: Seeds(chatting),
        plant: || Box::new(GoesBack(BTreeMap::new())),
    },
    Canary {
        id: "lags-in-silence",
        against: Against::Safety,
        rule: "who watches for what is forgotten is told so",
        source: "D15, CLI7",
        how: Seeds(chatting),
        plant: || Box::new(LagsInSilence),
    },
    Canary {
        id: "tells-otherwise-than-it-remembers",
        against: Against::Safety,
        rule: "what is told of a change is what the state says of it",
        source: "D15",
        how: Seeds(chatting),
        plant: || Box::new(TellsOtherwise),
    },
];

/// One slot in so many tells something else than what happened.
const TOLD_OTHERWISE: u64 = 16;

/// The usual plan, of a chat with followers.
fn chatting(plan: Plan) -> Plan {
    usual(plan).serving(Service::Chat)
}

/// At which node each was who watches.
struct GoesBack(BTreeMap<usize, NodeId>);

impl Plant for GoesBack {
    fn watched(&mut self, node: NodeId, recent: &Recent, question: &Question<'_>) -> Page {
        let before = self.0.insert(question.watcher, node);
        let mut after = question.after;
        if before.is_some_and(|before| before != node) {
            after = Position::behind(Slot(after.slot.0.saturating_sub(2)));
        }
        recent.page(question.topics, after, question.max)
    }
}

struct LagsInSilence;

impl Plant for LagsInSilence {
    fn watched(&mut self, _: NodeId, recent: &Recent, question: &Question<'_>) -> Page {
        match recent.page(question.topics, question.after, question.max) {
            Page::Lagged { next } => {
                let after = Position::behind(Slot(next.0.saturating_sub(1)));
                recent.page(question.topics, after, question.max)
            }
            page => page,
        }
    }
}

struct TellsOtherwise;

impl Plant for TellsOtherwise {
    fn apply(
        &mut self,
        _: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        let mut applied = replica.apply(slot, value);
        if slot.0.is_multiple_of(TOLD_OTHERWISE) {
            for event in &mut applied.events {
                let Ok(Happening::Said(mut message)) = postcard::from_bytes(&event.bytes) else {
                    continue;
                };
                message.text.push('!');
                let told = postcard::to_stdvec(&Happening::Said(message));
                event.bytes = told.expect("plain data always encodes").into();
            }
        }
        applied
    }
}
