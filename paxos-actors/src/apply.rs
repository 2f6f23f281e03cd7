//! The apply actor: the service itself, fed with chosen values.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use paxos_core::{Applied, Configurations, Replica, Slot, StateMachine};

use crate::failure::Failure;
use crate::messages::{AppliedBatch, Ask, Decided, GatewayInput, Halt};
use crate::observer::Shown;
use crate::wiring::Wires;

/// How often queries that nobody waits for any more are thrown away.
const SWEEP: Duration = Duration::from_secs(1);

/// Applies what is chosen, in order, and answers queries about the result.
pub struct ApplyActor<S: StateMachine> {
    replica: Replica<S>,
    configurations: Configurations,
    waiting: BTreeMap<Slot, Vec<Ask>>,
    wires: Wires,
}

impl<S: StateMachine> ApplyActor<S> {
    /// The actor of a replica that has applied what the log said.
    pub fn new(replica: Replica<S>, configurations: Configurations, wires: Wires) -> Self {
        ApplyActor { replica, configurations, waiting: BTreeMap::new(), wires }
    }

    fn answer(&self, ask: Ask) {
        let answers = ask.queries.iter().map(|query| self.replica.query(query)).collect();
        let (ticket, slot) = (ask.ticket, self.replica.applied());
        self.wires.gateway.do_send(GatewayInput::Answered { ticket, slot, answers });
    }

    fn answer_ripe(&mut self) {
        let unripe = self.waiting.split_off(&self.replica.applied().next());
        for asks in std::mem::replace(&mut self.waiting, unripe).into_values() {
            asks.into_iter().for_each(|ask| self.answer(ask));
        }
    }

    fn sweep(&mut self) {
        let now = self.wires.clock.now();
        self.waiting.retain(|_, asks| {
            asks.retain(|ask| ask.until > now);
            !asks.is_empty()
        });
    }
}

// Nothing in it is ever pinned, whatever the service is made of.
impl<S: StateMachine> Unpin for ApplyActor<S> {}

impl<S: StateMachine> Actor for ApplyActor<S> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.run_interval(SWEEP, |actor, _| actor.sweep());
    }
}

impl<S: StateMachine> Drop for ApplyActor<S> {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor("state machine"));
    }
}

impl<S: StateMachine> Handler<Decided> for ApplyActor<S> {
    type Result = ();

    fn handle(&mut self, Decided(decided): Decided, _: &mut Context<Self>) {
        let mut batches = Vec::new();
        let (me, incarnation) = (self.wires.me, self.wires.incarnation);
        for (slot, value) in decided {
            let sessions_max = self.configurations.at(slot).sessions_max;
            self.wires.show(&Shown::Applied { slot, value: &value });
            let Applied { origin, outcomes } = self.replica.apply(slot, &value, sessions_max);
            let ours = |origin: &_| {
                let paxos_core::Origin { node, incarnation: run, .. } = *origin;
                node == me && run == incarnation
            };
            if let Some(origin) = origin.filter(ours) {
                batches.push(AppliedBatch { origin, outcomes });
            }
        }
        let applied = self.replica.applied();
        self.wires.gateway.do_send(GatewayInput::Applied(batches, applied));
        self.answer_ripe();
    }
}

impl<S: StateMachine> Handler<Halt> for ApplyActor<S> {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}

impl<S: StateMachine> Handler<Ask> for ApplyActor<S> {
    type Result = ();

    fn handle(&mut self, ask: Ask, _: &mut Context<Self>) {
        if ask.applied <= self.replica.applied() {
            self.answer(ask);
        } else {
            self.waiting.entry(ask.applied).or_default().push(ask);
        }
    }
}
