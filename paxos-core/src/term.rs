//! What a proposer knows of one leadership: who promised what, what is in flight, which questions
//! are open.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::lease::Held;
use crate::membership::Configurations;
use crate::message::Promise;
use crate::quorums::Quorums;
use crate::types::{Ballot, NodeId, Slot, Time};
use crate::value::Value;

/// One leadership, from its campaign to its end, under one ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Term {
    pub(crate) ballot: Ballot,
    /// The ballot that was handed over to this one, if one was.
    pub(crate) after: Option<Ballot>,
    /// The first slot asked for.
    pub(crate) first: Slot,
    pub(crate) started: Time,
    pub(crate) elected: bool,
    pub(crate) ready: bool,
    /// Slots below are proposed or known to be chosen.
    pub(crate) cursor: Slot,
    /// The first slot proposed.
    pub(crate) opened: Option<Slot>,
    /// Behind the last reported slot.
    pub(crate) top: Slot,
    /// The highest trim point of any promise.
    pub(crate) trimmed: Slot,
    /// Since when that lies ahead of what is known here.
    pub(crate) behind_since: Option<Time>,
    pub(crate) flights: BTreeMap<Slot, Flight>,
    /// Acceptors that refused, each with the ballot that it had promised.
    pub(crate) refused_by: BTreeMap<NodeId, Ballot>,
    /// When the first of them did.
    pub(crate) refused_since: Option<Time>,
    pub(crate) prepare_at: Time,
    pub(crate) accept_at: Time,
    pub(crate) rounds: Rounds,
    /// Until then it takes no more commands: another node shall lead.
    pub(crate) yields_until: Time,
    /// The leadership knows that nothing is in flight any more.
    pub(crate) drained: bool,
    /// Replicated time at one moment of the local clock.
    pub(crate) clock: (Time, Time),
    /// The slot and the stamp of the newest batch of this leadership.
    pub(crate) stamped: Option<(Slot, Time)>,
    /// A batch without commands shall be proposed,
    pub(crate) empty_wanted: bool,
    /// and no other one before this.
    pub(crate) empty_after: Time,
    promises: BTreeMap<NodeId, Option<Slot>>,
    reported: BTreeMap<Slot, (Ballot, Value)>,
}

/// A value on its way to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Flight {
    pub(crate) value: Value,
    pub(crate) sent: Time,
    pub(crate) attempts: u32,
}

impl Term {
    pub(crate) fn new(ballot: Ballot, after: Option<Ballot>, first: Slot, now: Time) -> Self {
        Term {
            ballot,
            after,
            first,
            started: now,
            elected: false,
            ready: false,
            cursor: first,
            opened: None,
            top: first,
            trimmed: Slot(0),
            behind_since: None,
            flights: BTreeMap::new(),
            refused_by: BTreeMap::new(),
            refused_since: None,
            prepare_at: now,
            accept_at: now,
            rounds: Rounds::new(now),
            yields_until: Time(0),
            drained: false,
            clock: (Time(0), now),
            stamped: None,
            empty_wanted: false,
            empty_after: Time(0),
            promises: BTreeMap::new(),
            reported: BTreeMap::new(),
        }
    }

    /// Takes one page in. It extends what the acceptor has promised to report only if no hole lies
    /// before it; what it reports is true in any case.
    pub(crate) fn promise(&mut self, from: NodeId, page: Promise) {
        let covered = self.promises.entry(from).or_insert(Some(self.first));
        if let Some(reached) = *covered
            && page.first <= reached
            && page.next.is_none_or(|next| next > reached)
        {
            *covered = page.next;
        }
        self.trimmed = self.trimmed.max(page.trimmed);
        for accepted in page.accepted {
            if accepted.ballot >= self.ballot || accepted.slot < self.cursor {
                continue;
            }
            self.top = self.top.max(accepted.slot.next());
            let known = self.reported.get(&accepted.slot).map(|(ballot, _)| *ballot);
            if known.is_none_or(|known| known < accepted.ballot) {
                self.reported.insert(accepted.slot, (accepted.ballot, accepted.value));
            }
        }
    }

    /// Where the acceptor's next page begins; `None`: it has reported everything.
    pub(crate) fn page_wanted(&self, acceptor: NodeId) -> Option<Slot> {
        self.promises.get(&acceptor).copied().unwrap_or(Some(self.first))
    }

    /// Whether a phase 1 quorum has promised, be it with a first page.
    pub(crate) fn is_promised(&self, quorums: &Quorums) -> bool {
        quorums.is_phase1(self.promises.keys())
    }

    /// Whether a phase 1 quorum has promised and reported the slot.
    pub(crate) fn covers(&self, slot: Slot, quorums: &Quorums) -> bool {
        quorums.is_phase1(self.reporters(|reached| reached > slot))
    }

    /// Whether a phase 1 quorum has reported to the end of its log.
    pub(crate) fn reports_end(&self, quorums: &Quorums) -> bool {
        quorums.is_phase1(self.reporters(|_| false))
    }

    fn reporters(&self, far: impl Fn(Slot) -> bool) -> impl Iterator<Item = &NodeId> {
        let reported = move |reached: &Option<Slot>| reached.is_none_or(&far);
        self.promises.iter().filter(move |(_, reached)| reported(reached)).map(|(node, _)| node)
    }

    /// What must be proposed for a slot that a phase 1 quorum has reported: the value of the
    /// highest ballot, or nothing if none is reported here but one above. `None`: it is free.
    pub(crate) fn bound(&mut self, slot: Slot) -> Option<Value> {
        match self.reported.remove(&slot) {
            Some((_, value)) => Some(value),
            None => (slot < self.top).then_some(Value::Noop),
        }
    }

    /// Forgets what is known to be chosen.
    pub(crate) fn forget_below(&mut self, next: Slot) {
        self.flights = self.flights.split_off(&next);
        self.reported = self.reported.split_off(&next);
        self.cursor = self.cursor.max(next);
    }

    /// The leader's clock, for a batch: replicated time when it became known, and what has passed.
    pub(crate) fn stamp(&self, now: Time) -> Time {
        let (replicated, local) = self.clock;
        replicated.after(now.since(local))
    }

    /// When that clock will show so much.
    pub(crate) fn unstamped(&self, stamp: Time) -> Time {
        let (replicated, local) = self.clock;
        local.after(stamp.since(replicated))
    }
}

/// The leader's numbered questions to the acceptors: "have you promised anything higher?"
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Rounds {
    open: BTreeMap<u64, Round>,
    last: u64,
    /// When the newest question that a quorum has answered was sent.
    pub(crate) confirmed: Time,
    /// When the next one is due.
    pub(crate) due: Time,
    /// The lease of the newest question with which a quorum has lent one.
    pub(crate) lease: Held,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Round {
    sent: Time,
    next: Slot,
    configurations: Configurations,
    answered: BTreeSet<NodeId>,
    lent_by: BTreeSet<NodeId>,
    reads: Vec<u64>,
}

/// Questions kept open; reads of older ones wait for a newer one.
const ROUNDS_OPEN: usize = 16;

impl Rounds {
    fn new(now: Time) -> Self {
        Rounds { open: BTreeMap::new(), last: 0, confirmed: now, due: now, lease: Held::default() }
    }

    /// Begins a question with the reads that it shall confirm. Their stamps are at most `next`.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        next: Slot,
        configurations: &Configurations,
        reads: Vec<u64>,
    ) -> u64 {
        self.last += 1;
        let configurations = configurations.clone();
        let (answered, lent_by) = (BTreeSet::new(), BTreeSet::new());
        let round = Round { sent: now, next, configurations, answered, lent_by, reads };
        self.open.insert(self.last, round);
        if self.open.len() > ROUNDS_OPEN
            && let Some((_, oldest)) = self.open.pop_first()
            && let Some(mut second) = self.open.first_entry()
        {
            second.get_mut().reads.extend(oldest.reads);
        }
        self.last
    }

    /// Takes an answer in. If it completes a phase 2 quorum, every read of this question and of
    /// those before it is confirmed, each for the slot it was asked at.
    pub(crate) fn answer(&mut self, from: NodeId, number: u64, granted: bool) -> Vec<(u64, Slot)> {
        let Some(round) = self.open.get_mut(&number) else { return Vec::new() };
        round.answered.insert(from);
        round.lent_by.extend(granted.then_some(from));
        let quorums = &round.configurations.at(round.next).quorums;
        let lease = Held { asked: round.sent, by: round.lent_by.clone() };
        if lease.is_whole(quorums) && lease.asked >= self.lease.asked {
            self.lease = lease;
        }
        if !quorums.is_phase2(&round.answered) {
            return Vec::new();
        }
        self.confirmed = self.confirmed.max(round.sent);
        let newer = self.open.split_off(&(number + 1));
        let answered = std::mem::replace(&mut self.open, newer);
        let reads = |round: Round| round.reads.into_iter().map(move |read| (read, round.next));
        answered.into_values().flat_map(reads).collect()
    }

    /// Whether some read waits for an answer.
    pub(crate) fn carries_reads(&self) -> bool {
        self.open.values().any(|round| !round.reads.is_empty())
    }

    /// How many questions stand without a quorum of answers.
    pub(crate) fn unanswered(&self) -> usize {
        self.open.len()
    }

    /// The reads that wait.
    pub(crate) fn reads(&self) -> impl Iterator<Item = u64> {
        self.open.values().flat_map(|round| round.reads.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Membership;

    /// So many questions, of which the first carries read 7.
    fn asked(questions: usize) -> Rounds {
        let voters = (1..=3).map(|id| (NodeId(id), String::new()));
        let genesis = Configurations::genesis(Membership::of_voters(voters).unwrap());
        let mut rounds = Rounds::new(Time(0));
        for question in 0..questions {
            let reads = if question == 0 { vec![7] } else { vec![] };
            rounds.ask(Time(0), Slot::FIRST, &genesis, reads);
        }
        rounds
    }

    fn confirms(rounds: &mut Rounds, number: u64) -> Vec<(u64, Slot)> {
        assert_eq!(rounds.answer(NodeId(1), number, false), []);
        rounds.answer(NodeId(2), number, false)
    }

    #[test]
    fn sixteen_questions_stand_and_the_reads_of_one_more_than_that_wait_for_the_next() {
        assert_eq!(confirms(&mut asked(ROUNDS_OPEN), 1), [(7, Slot::FIRST)]);
        let mut rounds = asked(ROUNDS_OPEN + 1);
        assert_eq!(rounds.unanswered(), ROUNDS_OPEN);
        assert_eq!(confirms(&mut rounds, 1), []);
        assert_eq!(confirms(&mut rounds, 2), [(7, Slot::FIRST)]);
    }
}
