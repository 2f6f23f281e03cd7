//! The contexts of all actors of a node: they have addresses before anything runs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};

use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use paxos_core::{
    Acceptor, Archive, Configurations, Elector, Envelope, Hosting, Learner, Message, NodeId,
    Proposer, Role, RoleKind, StateMachine,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::apply::ApplyActor;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::gateway::GatewayActor;
use crate::log_actor::LogActor;
use crate::messages::Halt;
use crate::node::StartError;
use crate::observer::Observer;
use crate::role::RoleActor;
use crate::shelf::{Arrivals, Shelf, ShelfActor};
use crate::state::State;
use crate::wiring::{RoleAddress, StateAddress, Wires, Wiring};

/// A place for every actor there can be. Those of roles that the process does not host never run,
/// and nobody knows them.
pub(crate) struct Contexts<S: StateMachine> {
    pub acceptor: Context<RoleActor<Acceptor>>,
    pub proposer: Context<RoleActor<Proposer>>,
    pub elector: Context<RoleActor<Elector>>,
    pub log: Context<LogActor>,
    pub gateway: Context<GatewayActor>,
    pub state: StateContexts<S>,
}

/// Those of the actors around the state.
pub(crate) struct StateContexts<S: StateMachine> {
    learner: Context<RoleActor<Learner>>,
    archive: Context<RoleActor<Archive>>,
    apply: Context<ApplyActor<S>>,
    shelf: Context<ShelfActor<S>>,
}

impl<S: StateMachine> Contexts<S> {
    pub fn new() -> Self {
        Contexts {
            acceptor: Context::new(),
            proposer: Context::new(),
            elector: Context::new(),
            log: Context::new(),
            gateway: Context::new(),
            state: StateContexts {
                learner: Context::new(),
                archive: Context::new(),
                apply: Context::new(),
                shelf: Context::new(),
            },
        }
    }

    /// How the actors of a process that hosts these roles reach each other.
    pub fn wire(
        &self,
        (me, hosting): (NodeId, Hosting),
        incarnation: u64,
        (clock, observer): (Clock, Option<Observer>),
        failures: UnboundedSender<Failure>,
    ) -> Wires {
        let hosted = || hosting.roles().map(|kind| (kind, self.role(kind)));
        let state = hosting.learns.then(|| StateAddress {
            apply: self.state.apply.address().recipient(),
            ask: self.state.apply.address().recipient(),
            follow: self.state.apply.address().recipient(),
            forsake: self.state.apply.address().recipient(),
            shelf: self.state.shelf.address().recipient(),
        });
        let mut halts = vec![halt(&self.gateway)];
        halts.extend(hosted().map(|(_, (_, halt))| halt));
        if hosting.learns {
            halts.extend([halt(&self.state.shelf), halt(&self.state.apply)]);
        }
        halts.push(halt(&self.log));
        Arc::new(Wiring {
            me,
            incarnation,
            clock,
            observer,
            roles: hosted().map(|(kind, (address, _))| (kind, address)).collect(),
            log: self.log.address().recipient(),
            state,
            gateway: self.gateway.address().recipient(),
            halts,
            roster: OnceLock::new(),
            failures,
            stopping: AtomicBool::new(false),
            writing: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    fn role(&self, kind: RoleKind) -> (RoleAddress, Recipient<Halt>) {
        match kind {
            RoleKind::Acceptor => (reached(&self.acceptor), halt(&self.acceptor)),
            RoleKind::Proposer => (reached(&self.proposer), halt(&self.proposer)),
            RoleKind::Learner => (reached(&self.state.learner), halt(&self.state.learner)),
            RoleKind::Leadership => (reached(&self.elector), halt(&self.elector)),
            RoleKind::Archive => (reached(&self.state.archive), halt(&self.state.archive)),
        }
    }
}

impl<S: StateMachine> StateContexts<S> {
    /// Runs the actors around a state, where threads may be or not. What can fail comes first.
    ///
    /// # Errors
    /// [`StartError::System`].
    pub fn run(
        self,
        state: State<S>,
        (hosting, threads): (Hosting, bool),
        genesis: Configurations,
        wires: &Wires,
    ) -> Result<(), StartError> {
        let State { learner, replica, backlog, watches, archive, snapshots } = state;
        let learner = learner.beside_acceptor(hosting.accepts);
        let advanced = learner.advanced();
        let hello: Vec<_> = [advanced].into_iter().chain(snapshots.told()).collect();
        let arrivals = Arrivals::<S>::default();
        let shelf = Shelf::new(snapshots, genesis, arrivals.clone(), wires.clone());
        let shelf = ShelfActor::new(shelf, threads)
            .map_err(|error| StartError::System { what: "thread", reason: error.to_string() })?;
        self.learner.run(RoleActor::new("learner", learner, wires.clone()));
        self.archive.run(RoleActor::new("archive", archive, wires.clone()));
        self.shelf.run(shelf);
        self.apply.run(ApplyActor::new(replica, (backlog, watches), arrivals, wires.clone()));
        let (from, to) = (wires.me, wires.me);
        let hello = hello.into_iter().map(Message::Inside);
        wires.dispatch(hello.map(|message| Envelope { from, to, message }));
        Ok(())
    }
}

fn reached<R: Role + Unpin + 'static>(context: &Context<RoleActor<R>>) -> RoleAddress {
    let address = context.address();
    RoleAddress { deliver: address.clone().recipient(), describe: address.recipient() }
}

fn halt<A: Actor<Context = Context<A>> + Handler<Halt>>(context: &Context<A>) -> Recipient<Halt> {
    context.address().recipient()
}
