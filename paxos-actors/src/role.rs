//! A role as an actor: mailbox, `handle`, effects, one timer. It has no rule of the protocol in it.

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle};
use paxos_core::{Effect, Envelope, Input, Role, Time};

use crate::failure::Failure;
use crate::messages::{
    Decision, Deliver, Describe, Described, GatewayInput, Halt, Notice, Shelve, Write,
};
use crate::observer::Shown;
use crate::wiring::Wires;

/// The actor of one role.
pub struct RoleActor<R: Role + Unpin + 'static> {
    name: &'static str,
    role: R,
    wires: Wires,
    timer: Option<(Time, SpawnHandle)>,
    effects: Vec<Effect>,
}

impl<R: Role + Unpin + 'static> RoleActor<R> {
    /// The actor of a role; the name is for messages to people.
    pub fn new(name: &'static str, role: R, wires: Wires) -> Self {
        RoleActor { name, role, wires, timer: None, effects: Vec::new() }
    }

    /// Does what the role has asked for. Effects of one kind travel together.
    fn perform(&mut self) {
        let (mut sends, mut writes) = (Vec::<Envelope>::new(), Vec::new());
        let (mut decided, mut notices) = (Vec::new(), Vec::new());
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send(envelope) => sends.push(envelope),
                Effect::Persist(persist) => writes.push(persist),
                Effect::Apply { slot, value } => decided.push(Decision::Apply(slot, value)),
                Effect::Restore { next } => decided.push(Decision::Restore(next)),
                Effect::ReadPiece { to, snapshot, offset, bytes } => {
                    self.wires.shelve(Shelve::Read { to, snapshot, offset, bytes });
                }
                Effect::KeepPiece { snapshot, offset, bytes } => {
                    self.wires.shelve(Shelve::Keep { snapshot, offset, bytes });
                }
                Effect::Proposed { ticket, slot } => notices.push(Notice::Proposed(ticket, slot)),
                Effect::Refuse { ticket, refusal } => {
                    notices.push(Notice::Refused(ticket, refusal));
                }
                Effect::ReadReady { ticket, next, level } => {
                    notices.push(Notice::ReadReady(ticket, next, level));
                }
                Effect::Led(change) => {
                    self.wires.show(&Shown::Led(&change));
                    notices.push(Notice::Led(change));
                }
                Effect::Governed(governance) => self.wires.govern(governance),
            }
        }
        self.wires.dispatch(sends);
        if !writes.is_empty() {
            self.wires.log.do_send(Write::Persist(writes));
        }
        if !decided.is_empty() {
            self.wires.decide(decided);
        }
        if !notices.is_empty() {
            self.wires.gateway.do_send(GatewayInput::Notices(notices));
        }
    }

    /// Keeps one timer, no later than the role's deadline. One that rings early is set anew, which
    /// is cheaper than to move it at every message.
    fn arm(&mut self, context: &mut Context<Self>) {
        let Some(deadline) = self.role.next_deadline() else { return };
        if let Some((armed, handle)) = self.timer {
            if armed <= deadline {
                return;
            }
            context.cancel_future(handle);
        }
        let delay = self.wires.clock.until(deadline);
        let handle = context.run_later(delay, |actor, context| {
            actor.timer = None;
            let now = actor.wires.clock.now();
            let due = actor.role.next_deadline().is_some_and(|deadline| deadline <= now);
            if due && !actor.wires.clock.stands_still() {
                actor.role.handle(now, Input::Timeout, &mut actor.effects);
                actor.perform();
            }
            actor.arm(context);
        });
        self.timer = Some((deadline, handle));
    }
}

impl<R: Role + Unpin + 'static> Actor for RoleActor<R> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        self.arm(context);
    }
}

/// Batches that may wait for a role before what peers send is dropped.
pub const MAILBOX: usize = 1024;

impl<R: Role + Unpin + 'static> Drop for RoleActor<R> {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor(self.name));
    }
}

impl<R: Role + Unpin + 'static> Handler<Deliver> for RoleActor<R> {
    type Result = ();

    fn handle(&mut self, Deliver(batch): Deliver, context: &mut Context<Self>) {
        for (from, message) in batch {
            let now = self.wires.clock.now();
            self.role.handle(now, Input::Message(from, message), &mut self.effects);
        }
        self.perform();
        self.arm(context);
    }
}

impl<R: Role + Unpin + 'static> Handler<Halt> for RoleActor<R> {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}

impl<R: Role + Unpin + 'static> Handler<Describe> for RoleActor<R> {
    type Result = Described;

    fn handle(&mut self, Describe(mut status): Describe, _: &mut Context<Self>) -> Described {
        self.role.describe(&mut status);
        Described(status)
    }
}
