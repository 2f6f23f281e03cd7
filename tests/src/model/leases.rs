//! A search of its own for leader leases: the proposers and acceptors that ship, and a clock that
//! moves one microsecond at a time. The log is left out: what leaders propose is taken for chosen.
//!
//! All clocks show the same, so that no drift is searched. A network that repeats and reorders as
//! it likes, and acceptors that restart, are.

use std::collections::BTreeSet;
use std::time::Duration;

use paxos_core::{
    Acceptor, AcceptorMessage, AcceptorOptions, Ballot, Configurations, Effect, Envelope, Input,
    Inside, LeadershipMessage, Membership, Message, NodeId, Origin, Proposer, ProposerMessage,
    ProposerOptions, Quorums, Reconfigure, Record, Recovered, Role, Slot, Time, Value,
};
use stateright::{Model, Property};

/// Acceptors are on nodes of their own, proposers on two nodes behind them. Phase 1 asks both
/// acceptors and phase 2 one: few states, and each acceptor alone can lend. After a change the last
/// two accept; before it, phase 1 asked one of the first two, and phase 2 both.
const ACCEPTORS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const PROPOSERS: [NodeId; 2] = [NodeId(4), NodeId(5)];

/// The length of a lease.
const LEASE: Duration = Duration::from_micros(2);

/// What must never be.
pub const OVERLAP: &str = "no two leaders have valid leases at once";

/// What the search must reach, or it shows nothing.
pub const BOTH: &str = "one leader has a lease, and later another";

/// A mistake to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// None.
    Nothing,
    /// An acceptor that restarts promises at once.
    NoSilence,
    /// Every campaign passes the lease of the other proposer.
    PassesAny,
    /// Who hands over keeps its ballot.
    KeepsItsBallot,
    /// What is lent to a leader passes to one of a higher ballot that asks.
    LendsToTheHigher,
}

/// The bounds of the search.
#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// The last moment, in microseconds.
    pub until: u64,
    /// Questions of each leader.
    pub rounds: u64,
    /// Restarts of acceptors.
    pub restarts: u64,
    /// Whether the membership has changed, the first proposer knows it, and the second may learn it
    /// at any time. Nobody hands over then.
    pub changed: bool,
    /// What is planted.
    pub mistake: Mistake,
}

/// The cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: Time,
    acceptors: Vec<Acceptor>,
    /// What their disks say.
    disks: Vec<Vec<Record>>,
    proposers: Vec<Proposer>,
    asked: Vec<u64>,
    /// Everything that was ever sent and can arrive, again and again.
    sent: BTreeSet<(NodeId, NodeId, Sent)>,
    restarts: u64,
    /// Whether the second proposer knows what governs.
    learned: bool,
    /// Which of the proposers has had a lease.
    held: Vec<bool>,
}

/// A message that the search carries, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sent {
    /// A campaign, and the ballot whose lease it may pass.
    Prepare(Ballot, Option<Ballot>),
    /// Its answer: nothing was accepted.
    Promise(Ballot),
    /// A question.
    Confirm(Ballot, u64),
    /// Its answer, and whether a lease came with it.
    Confirmed(Ballot, u64, bool),
    /// The word to the successor.
    Succeed(Ballot),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A microsecond passes.
    Tick,
    /// A message arrives.
    Deliver(NodeId, NodeId, Sent),
    /// A proposer campaigns by itself.
    Campaign(usize),
    /// A leader asks.
    Ask(usize),
    /// A leader hands over to the other proposer.
    HandOver(usize),
    /// An acceptor loses what is not on its disk, and is there again.
    Restart(usize),
    /// The second proposer learns that the membership has changed, and what is chosen.
    Learn,
}

/// Two acceptors; phase 1 asks so many of them, and phase 2 so many.
fn membership(acceptors: &[NodeId], phase1: u64, phase2: u64) -> Membership {
    let voters = acceptors.iter().map(|node| (*node, String::new()));
    let membership = Membership::of_voters(voters).expect("two voters have quorums");
    let quorums = Quorums::flexible(acceptors.iter().copied(), phase1, phase2);
    let quorums = quorums.expect("they meet");
    Membership { quorums, lease: LEASE, drift_ppm: 0, alpha: 1, ..membership }
}

/// The membership at first: the only one, or that of the past.
fn genesis(changed: bool) -> Configurations {
    let (phase1, phase2) = if changed { (1, 2) } else { (2, 1) };
    Configurations::genesis(membership(&ACCEPTORS[..2], phase1, phase2))
}

/// What governs once slot 1 has changed it.
fn after_the_change() -> Configurations {
    let origin = Origin { node: PROPOSERS[0], incarnation: 1, number: 1 };
    let membership = membership(&ACCEPTORS[1..], 2, 1);
    let change = Reconfigure { base: Slot::FIRST, membership, origin, by: String::new() };
    genesis(true).changed(Slot::FIRST, &change).expect("a change that counts")
}

fn acceptor(place: usize, disk: &[Record], now: Time) -> Acceptor {
    let mut recovered = Recovered::default();
    disk.iter().for_each(|record| recovered.absorb(record.clone()));
    let options = AcceptorOptions { lease: LEASE, ..AcceptorOptions::default() };
    Acceptor::recover(ACCEPTORS[place], options, &recovered, now)
}

fn proposer(place: usize, changed: bool) -> Proposer {
    let never = Duration::from_secs(3600);
    let rest = ProposerOptions::default();
    let options =
        ProposerOptions { retransmit: never, confirm_every: never, patience: never, ..rest };
    Proposer::new(PROPOSERS[place], 1, options, genesis(changed))
}

impl Sent {
    fn of(message: &Message) -> Option<Sent> {
        Some(match message {
            Message::Acceptor(AcceptorMessage::Prepare { ballot, after, .. }) => {
                Sent::Prepare(*ballot, *after)
            }
            Message::Acceptor(AcceptorMessage::Confirm { ballot, round }) => {
                Sent::Confirm(*ballot, *round)
            }
            Message::Proposer(ProposerMessage::Promise(page)) => Sent::Promise(page.ballot),
            Message::Proposer(ProposerMessage::Confirmed { ballot, round, granted }) => {
                Sent::Confirmed(*ballot, *round, *granted)
            }
            Message::Leadership(LeadershipMessage::Succeed { ballot }) => Sent::Succeed(*ballot),
            _ => return None,
        })
    }

    /// The message, and what acceptors of whom `accepted` is true have accepted with it.
    fn message(self, accepted: bool) -> Message {
        let (first, next, trimmed) = (Slot::FIRST, None, Slot(0));
        let ballot = Ballot { round: 1, ..Ballot::ZERO };
        let change =
            paxos_core::message::AcceptedValue { slot: Slot::FIRST, ballot, value: Value::Noop };
        let accepted = if accepted { vec![change] } else { Vec::new() };
        match self {
            Sent::Prepare(ballot, after) => {
                Message::Acceptor(AcceptorMessage::Prepare { ballot, first, after })
            }
            Sent::Promise(ballot) => {
                let page = paxos_core::Promise { ballot, first, next, trimmed, accepted };
                Message::Proposer(ProposerMessage::Promise(page))
            }
            Sent::Confirm(ballot, round) => {
                Message::Acceptor(AcceptorMessage::Confirm { ballot, round })
            }
            Sent::Confirmed(ballot, round, granted) => {
                Message::Proposer(ProposerMessage::Confirmed { ballot, round, granted })
            }
            Sent::Succeed(ballot) => Message::Inside(Inside::Campaign { after: Some(ballot) }),
        }
    }
}

impl State {
    /// Hands an input to a proposer. Once it is elected by what governs, its first slot counts as
    /// chosen.
    fn propose(&mut self, place: usize, input: Input, changed: bool) {
        let led = self.proposers[place].leads();
        self.hand(place, input);
        let elected = self.proposers[place].leads() && !led;
        match changed {
            false if elected => self.advance(place, Slot(2), genesis(false)),
            true if elected && (place == 0 || self.learned) => {
                self.advance(place, Slot(3), after_the_change());
            }
            _ => {}
        }
    }

    fn advance(&mut self, place: usize, next: Slot, configurations: Configurations) {
        let advanced = Inside::Advanced { next, configurations, clock: Time(0) };
        self.hand(place, Input::Message(PROPOSERS[place], Message::Inside(advanced)));
    }

    fn hand(&mut self, place: usize, input: Input) {
        let mut effects = Vec::new();
        self.proposers[place].handle(self.now, input, &mut effects);
        effects.into_iter().for_each(|effect| self.perform(effect));
    }

    fn accept(&mut self, place: usize, from: NodeId, message: Message) {
        let mut effects = Vec::new();
        self.acceptors[place].handle(self.now, Input::Message(from, message), &mut effects);
        for effect in effects {
            match effect {
                Effect::Persist(persist) => {
                    self.disks[place].extend(persist.records);
                    let then = persist.then.into_iter().map(Effect::Send);
                    then.for_each(|effect| self.perform(effect));
                }
                effect => self.perform(effect),
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        if let Effect::Send(Envelope { from, to, message }) = effect
            && let Some(sent) = Sent::of(&message)
        {
            self.sent.insert((from, to, sent));
        }
    }

    /// A lease counts if reads are answered by it.
    fn has_lease(&self, place: usize) -> bool {
        self.proposers[place].reads_by_lease(self.now)
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, sent: Sent, model: &Leases) {
        let mistake = model.mistake;
        let sent = match (sent, mistake) {
            (Sent::Prepare(ballot, _), Mistake::PassesAny) => {
                let other = self.proposers.iter().filter_map(Proposer::ballot);
                Sent::Prepare(ballot, other.clone().find(|other| other.node != ballot.node))
            }
            (sent, _) => sent,
        };
        if let Some(place) = ACCEPTORS.iter().position(|node| *node == to) {
            if matches!(sent, Sent::Confirm(..)) && mistake == Mistake::LendsToTheHigher {
                // What was lent is forgotten; who has promised more lends nothing.
                self.acceptors[place] = acceptor(place, &self.disks[place], Time(0));
            }
            self.accept(place, from, sent.message(false));
        } else if let Some(place) = PROPOSERS.iter().position(|node| *node == to) {
            // The change was chosen in slot 1 by the first two; its value matters to nobody.
            let accepted = model.changed && ACCEPTORS[..2].contains(&from);
            self.propose(place, Input::Message(from, sent.message(accepted)), model.changed);
        }
    }

    fn hand_over(&mut self, place: usize, mistake: Mistake) {
        let Some(ballot) = self.proposers[place].ballot() else { return };
        let (me, to) = (PROPOSERS[place], PROPOSERS[1 - place]);
        if mistake == Mistake::KeepsItsBallot {
            self.sent.insert((me, to, Sent::Succeed(ballot)));
            return;
        }
        let until = Time(u64::MAX);
        for inside in [Inside::Yield { ballot, until }, Inside::HandOver { ballot, to }] {
            self.hand(place, Input::Message(me, Message::Inside(inside)));
        }
    }
}

impl Model for Leases {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        // Long after the silence of their first start.
        let now = Time(10);
        let acceptors = if self.changed { 3 } else { 2 };
        let mut state = State {
            now,
            acceptors: (0..acceptors).map(|place| acceptor(place, &[], Time(0))).collect(),
            disks: vec![Vec::new(); acceptors],
            proposers: (0..2).map(|place| proposer(place, self.changed)).collect(),
            asked: vec![0; 2],
            sent: BTreeSet::new(),
            restarts: 0,
            learned: false,
            held: vec![false; 2],
        };
        if self.changed {
            state.advance(0, Slot(2), after_the_change());
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.now < Time(10 + self.until) {
            steps.push(Step::Tick);
        }
        steps.extend(state.sent.iter().map(|(from, to, sent)| Step::Deliver(*from, *to, *sent)));
        for (place, proposer) in state.proposers.iter().enumerate() {
            if proposer.ballot().is_none() && state.asked[place] == 0 {
                steps.push(Step::Campaign(place));
            }
            if proposer.leads() && state.asked[place] < self.rounds {
                steps.push(Step::Ask(place));
            }
            // The second never hands back: it would only mirror the first.
            if proposer.leads() && place == 0 && !self.changed {
                steps.push(Step::HandOver(place));
            }
        }
        if state.restarts < self.restarts {
            steps.extend((0..state.acceptors.len()).map(Step::Restart));
        }
        if self.changed && !state.learned {
            steps.push(Step::Learn);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick => state.now = Time(state.now.0 + 1),
            Step::Deliver(from, to, sent) => state.deliver(from, to, sent, self),
            Step::Campaign(place) => {
                let campaign = Message::Inside(Inside::Campaign { after: None });
                state.propose(place, Input::Message(PROPOSERS[place], campaign), self.changed);
            }
            Step::Ask(place) => {
                state.asked[place] += 1;
                state.hand(place, Input::Timeout);
            }
            Step::HandOver(place) => state.hand_over(place, self.mistake),
            Step::Learn => {
                state.learned = true;
                state.advance(1, Slot(3), after_the_change());
            }
            Step::Restart(place) => {
                state.restarts += 1;
                let silent = self.mistake != Mistake::NoSilence;
                let now = if silent { state.now } else { Time(0) };
                state.acceptors[place] = acceptor(place, &state.disks[place], now);
            }
        }
        for place in 0..PROPOSERS.len() {
            state.held[place] |= state.has_lease(place);
        }
        Some(state).filter(|state| state != last)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(OVERLAP, |_: &Leases, state: &State| {
                !(state.has_lease(0) && state.has_lease(1))
            }),
            Property::sometimes(BOTH, |_: &Leases, state: &State| {
                state.held.iter().all(|held| *held)
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        // One campaign of each, and one more of who is handed to.
        state.proposers.iter().all(|it| it.ballot().is_none_or(|ballot| ballot.round <= 2))
    }
}
