//! Bugs of sessions and state machines.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::batch::Commands;
use paxos_core::{
    Applied, Ballot, Configurations, NodeId, Operation, Replica, SessionId, Slot, Time, Value,
};
use serde::{Deserialize, Serialize};

use super::How::Seeds;
use super::plants::{crowded, usual};
use super::{Against, Canary};
use crate::simulation::{Plant, Services};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        id: "repeated-command-runs-again",
        against: Against::Safety,
        rule: "a session's last command, sent again, is not run again",
        source: "CLI1",
        how: Seeds(usual),
        plant: || Box::new(Wrong(runs_again)),
    },
    Canary {
        id: "older-command-runs-again",
        against: Against::Safety,
        rule: "a sequence below a session's last is refused",
        source: "CLI11",
        how: Seeds(crowded),
        plant: || Box::new(Wrong(runs_older)),
    },
    Canary {
        id: "repeated-command-is-answered-anew",
        against: Against::Safety,
        rule: "a repeated command gets the answer that it got first",
        source: "CLI1",
        how: Seeds(usual),
        plant: || Box::new(Wrong(answers_anew)),
    },
    Canary {
        id: "apply-knows-its-node",
        against: Against::Safety,
        rule: "what a command does depends on the replicated state alone",
        source: "CLUS11",
        how: Seeds(usual),
        plant: || Box::new(Wrong(knows_its_node)),
    },
];

/// A replica's snapshot, field by field: where its bytes do not fit, the bug cannot be planted.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    applied: Slot,
    pub(super) time: Time,
    pub(super) led: Ballot,
    sessions: Sessions,
    configurations: Configurations,
    pub(super) machine: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Sessions {
    opened: u64,
    uses: u64,
    open: BTreeMap<SessionId, Session>,
    idle: BTreeSet<(u64, SessionId)>,
}

#[derive(Serialize, Deserialize)]
struct Session {
    identity: String,
    used: u64,
    used_at: Time,
    sequence: u64,
    hash: u64,
    reply: Vec<u8>,
}

/// Changes the state before a batch with a command is applied to it.
struct Wrong(fn(NodeId, &mut State, SessionId, u64));

impl Plant for Wrong {
    fn apply(
        &mut self,
        node: NodeId,
        replica: &mut Replica<Services>,
        slot: Slot,
        value: &Value,
    ) -> Applied {
        if let Value::Commands(batch) = value
            && let Some(commands) = Commands::decode(&batch.bytes)
            && let Some(Operation::Run { session, sequence, .. }) =
                commands.entries.first().map(|entry| &entry.operation)
        {
            let snapshot = replica.snapshot();
            let mut state = postcard::from_bytes(&snapshot).expect("a snapshot has this form");
            (self.0)(node, &mut state, *session, *sequence);
            let bytes = postcard::to_stdvec(&state).expect("plain data always encodes");
            *replica = Replica::restore(&bytes).expect("a snapshot has this form");
        }
        replica.apply(slot, value)
    }
}

fn runs_again(_: NodeId, state: &mut State, session: SessionId, sequence: u64) {
    if let Some(session) = state.sessions.open.get_mut(&session)
        && session.sequence == sequence
    {
        session.sequence -= 1;
    }
}

fn runs_older(_: NodeId, state: &mut State, session: SessionId, sequence: u64) {
    if let Some(session) = state.sessions.open.get_mut(&session)
        && (1..session.sequence).contains(&sequence)
    {
        session.sequence = sequence - 1;
    }
}

fn answers_anew(_: NodeId, state: &mut State, session: SessionId, sequence: u64) {
    let machine = state.machine.clone();
    if let Some(session) = state.sessions.open.get_mut(&session)
        && session.sequence == sequence
    {
        // An increment is answered with the counter, so this is what it would be answered now.
        session.reply = machine;
    }
}

fn knows_its_node(node: NodeId, state: &mut State, _: SessionId, sequence: u64) {
    if sequence.is_multiple_of(40) && node == NodeId(2) {
        state.time = state.time.after(std::time::Duration::from_secs(3600));
    }
}
