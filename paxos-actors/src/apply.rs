//! The apply actor: the service itself, fed with chosen values.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use paxos_core::{Applied, Backlog, Envelope, Message, Replica, Slot, StateMachine, Value};

use crate::failure::Failure;
use crate::messages::{AppliedBatch, Ask, Decided, Decision, GatewayInput, Halt, Shelve};
use crate::observer::Shown;
use crate::shelf::{self, Arrivals};
use crate::watches::{Follow, Forsake, Told, Watches};
use crate::wiring::Wires;

/// How often queries that nobody waits for any more are thrown away.
const SWEEP: Duration = Duration::from_secs(1);

/// Applies what is chosen, in order, and answers queries about the result.
pub struct ApplyActor<S: StateMachine> {
    replica: Replica<S>,
    backlog: Backlog,
    arrivals: Arrivals<S>,
    waiting: BTreeMap<Slot, Vec<Ask>>,
    watches: Watches,
    wires: Wires,
}

impl<S: StateMachine> ApplyActor<S> {
    /// The actor of a replica that has applied what the log said, and of what of it is in no
    /// snapshot yet; and of those who watch.
    pub fn new(
        replica: Replica<S>,
        (backlog, watches): (Backlog, Watches),
        arrivals: Arrivals<S>,
        wires: Wires,
    ) -> Self {
        let waiting = BTreeMap::new();
        ApplyActor { replica, backlog, arrivals, waiting, watches, wires }
    }

    /// Applies a slot; answers the batch in it, if this run of this node has made it.
    fn apply(&mut self, slot: Slot, value: &Value) -> Option<AppliedBatch> {
        self.wires.show(&Shown::Applied { slot, value });
        let Applied { origin, outcomes, events } = self.replica.apply(slot, value);
        self.watches.add(slot, events);
        self.backlog.add(slot, value, self.replica.configurations());
        let (me, run) = (self.wires.me, self.wires.incarnation);
        let origin = origin.filter(|origin| origin.node == me && origin.incarnation == run)?;
        Some(AppliedBatch { origin, outcomes })
    }

    /// Goes on from a snapshot.
    fn restore(&mut self, next: Slot) {
        let Some(replica) = shelf::take(&self.arrivals, next) else {
            unreachable!("the learner goes on only from snapshots whose state has arrived")
        };
        self.wires.show(&Shown::Restored { next });
        self.replica = replica;
        self.backlog.restored();
        self.watches.restored(self.replica.applied());
        self.wires.gateway.do_send(GatewayInput::Restored(self.replica.applied()));
    }

    fn tell_due(&mut self) {
        let me = self.wires.me;
        let told = self.replica.tell_due().map(Message::Inside);
        self.wires.dispatch(told.map(|message| Envelope { from: me, to: me, message }));
    }

    fn save_if_due(&mut self) {
        if let Some(values) = self.backlog.due() {
            self.wires.shelve(Shelve::Make(values));
        }
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
        // Before his time is over, so that the answer arrives.
        tell(self.watches.over(self.wires.clock.now().after(SWEEP)));
        shelf::forget(&self.arrivals, self.replica.applied());
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
        self.save_if_due();
        self.tell_due();
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
        for decision in decided {
            match decision {
                Decision::Apply(slot, value) => batches.extend(self.apply(slot, &value)),
                Decision::Restore(next) => self.restore(next),
                Decision::Saved(bytes) => self.backlog.made(bytes),
                Decision::Save => self.backlog.want(),
            }
        }
        self.save_if_due();
        self.tell_due();
        let applied = self.replica.applied();
        self.wires.gateway.do_send(GatewayInput::Applied(batches, applied));
        self.answer_ripe();
        tell(self.watches.ripe());
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

impl<S: StateMachine> Handler<Follow> for ApplyActor<S> {
    type Result = ();

    fn handle(&mut self, follow: Follow, _: &mut Context<Self>) {
        tell(self.watches.follow(follow));
    }
}

impl<S: StateMachine> Handler<Forsake> for ApplyActor<S> {
    type Result = ();

    fn handle(&mut self, Forsake(why): Forsake, _: &mut Context<Self>) {
        tell(self.watches.forsake(why));
    }
}

fn tell(told: impl IntoIterator<Item = Told>) {
    for (caller, response) in told {
        caller.replies.send(vec![response]);
    }
}
