//! The framework that a replicated service depends on: Paxos roles as actors, a durable log, the
//! service's state machine, and [`Node`], which starts and stops them as one. It has no rule of the
//! protocol in it (that is [`paxos_core`]) and does not speak to the network itself (that is
//! [`paxos_net`]).
//!
//! A service is a [`StateMachine`]; everything else is here. `examples/kv.rs` is a whole replicated
//! key-value store.
//!
//! # The graph
//!
//! One role, one actor. All actors of a node share one thread; the log's writes, which wait for the
//! disk, have a thread of their own.
//!
//! ```text
//! clients -> Gateway -> Proposer -> Links to peers -> Acceptor -> Log (write, sync, then send)
//!   ^          |           ^                                                |
//!   |          +- relay    +- Leadership <- heartbeats                      v
//!   +------- Gateway <- Apply (sessions, state machine) <---------- Learner of the leader
//! ```
//!
//! | actor | does | file |
//! |---|---|---|
//! | gateway | makes batches of requests, and answers of outcomes; relays to the leader | `gateway` |
//! | acceptor, proposer, learner, leadership | a pure role: mailbox, `handle`, effects, one timer | `role.rs` |
//! | log | append, one sync for all that waits, only then send | `log_actor.rs`, [`log`] |
//! | apply | sessions and the state machine, in the order of the log | `apply.rs` |
//! | archive, shelf | which snapshots there are; makes, hands out and takes in snapshots | `role.rs`, `shelf.rs` |
//! | links, endpoint | `paxos_net`; what arrives passes `ingress.rs` | |
//!
//! That is a process which hosts everything. Which roles one hosts is data ([`Hosting`]): a
//! witness has acceptor, leadership, log and gateway; a front end everything but the acceptor; a
//! read replica no proposer either. It follows from the node's disk, formatted for a witness or
//! not, from the memberships that it knows, and from `leads = false` in the node's section of the
//! cluster file. A gateway without a state relays what the leader's can answer. Roles that are not
//! hosted have no actor, and what is addressed to them is dropped, as it is where a node is down.
//!
//! A node that is promoted while its process has no acceptor ends with [`Failure::Promoted`] and
//! has to be started again, as `serve` does by itself. A node that is demoted keeps its acceptor,
//! which nobody counts, until it starts without a membership in which it accepts.
//!
//! What a node stands on (disk, clock, network, chance) is an argument too: [`Ground`]. On a ground
//! of virtual time the same graph runs on one thread, the log's writes included, and repeats
//! exactly.
//!
//! Invariant: a node never goes on half dead. If an actor ends unasked, or the log fails,
//! [`Node::failed`] says so, and in release builds a panic ends the process.
//!
//! # The front door
//!
//! ```no_run
//! use paxos_actors::{InitOptions, Node, NodeConfig, NodeId, StateMachine, init};
//!
//! # async fn start<S: StateMachine>() -> Result<(), Box<dyn std::error::Error>> {
//! // Once, on one machine:
//! let addresses = ["10.0.0.1:7400", "10.0.0.2:7400", "10.0.0.3:7400"].map(String::from);
//! init(&InitOptions::new("my-cluster", addresses.into()))?;
//! // On every host, with `cluster.toml` and its own folder `node-N` beside it:
//! let config = NodeConfig::load("my-cluster/cluster.toml".as_ref(), NodeId(1), None)?;
//! let mut node = Node::<S>::start(config).await?;
//! println!("{}", node.failed().await);
//! # Ok(()) }
//! ```
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod apply;
pub mod bootstrap;
pub mod clock;
mod contexts;
mod failure;
mod farewell;
pub mod gateway;
mod graph;
mod ground;
mod ingress;
mod journal;
pub mod log;
mod log_actor;
pub mod messages;
mod node;
pub mod observer;
mod role;
mod roster;
mod shelf;
mod state;
mod verdicts;
mod watches;
mod wiring;

pub use bootstrap::{InitError, InitOptions, Preset, init, init_from, node_folder, prepare};
pub use failure::Failure;
pub use ground::Ground;
pub use log_actor::Writes;
pub use node::{Node, NodeConfig, StartError};
pub use paxos_core::{Context, Hosting, NodeId, StateMachine};
pub use verdicts::{NotOutside, Verdicts};
