//! The network of a cluster: QUIC between nodes and to clients, with mutual TLS, and the light
//! client.
//!
//! It is not the protocol: messages come from `paxos-core` and are carried, never looked into. It
//! is not an actor either: what arrives is handed to a [`Service`], whose methods return at once,
//! and what is sent goes into bounded queues that never block. There is no plaintext mode, no
//! discovery, and no retransmission beyond QUIC's own: a message for a peer that is away is dropped
//! and counted, since the protocol repeats what matters.
//!
//! # How it fits together
//!
//! A node has one [`Endpoint`] on one UDP port. The protocol name that is agreed on in TLS (ALPN)
//! tells peers from clients and chooses the [`Codec`]; the certificate says who is there:
//!
//! ```text
//!              paxos-peer/1                               paxos-client/1
//!  node 1 ----- control, values, relay, datagrams -----> node 2 <----- requests ----- client/ada
//!  node 1 <---- control, values, relay, datagrams ------ node 2 ------ responses ---> client/ada
//! ```
//!
//! Links between nodes have one direction: each node dials every other and sends on what it dialed.
//! A connection counts as up only after a round trip of application frames, because in TLS 1.3 the
//! one who dials is done before the other side has looked at its certificate.
//!
//! # Contents
//!
//! | for | modules |
//! |---|---|
//! | who is who | [`identity`], [`certs`], [`credentials`], [`tls`] |
//! | what is said | [`protocol`], [`codec`], [`frame`] |
//! | nodes | [`endpoint`], [`link`], [`links`], [`service`], [`limits`], [`dial`], [`counts`], [`network`] |
//! | clients | [`client`] |
//! | files | [`cluster_file`], [`settings`], [`duration`] |
//!
//! # Repeatable runs
//!
//! A [`Network`] stands for everything below QUIC. On one that is simulated, with seeded
//! [`Entropy`], under one thread's virtual clock, everything but key material repeats exactly.
//! Invariant: no order is left to chance. Every `select!` says `biased`, and no unordered map is
//! iterated.
//!
//! # Certificates in three lines
//!
//! ```
//! use paxos_core::{ClusterId, NodeId};
//! use paxos_net::{Authority, Credentials, Identity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = ClusterId(0x5eed);
//! let leaf = Authority::create(cluster)?.issue(&Identity::peer(cluster, NodeId(1)))?;
//! assert_eq!(Credentials::of_leaf(&leaf)?.identity().name(), "peer/1");
//! # Ok(())
//! # }
//! ```
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod certs;
pub mod client;
mod clients;
mod close;
pub mod cluster_file;
pub mod codec;
pub mod counts;
pub mod credentials;
pub mod dial;
pub mod duration;
pub mod endpoint;
pub mod frame;
pub mod identity;
mod inbound;
pub mod limits;
pub mod link;
pub mod links;
mod lock;
pub mod network;
mod node_sections;
mod outbox;
pub mod protocol;
mod reader;
pub mod service;
pub mod settings;
pub mod tls;

pub use certs::{Authority, CertsError, Leaf};
pub use client::{Client, ClientConfig, ClientError, Watched, Watcher};
pub use cluster_file::{ClusterFile, ClusterFileError};
pub use codec::{Codec, Protocol};
pub use counts::EndpointReport;
pub use credentials::{Credentials, CredentialsError};
pub use duration::{format_duration, parse_duration};
pub use endpoint::{BindError, Endpoint, EndpointConfig};
pub use identity::{Identity, IdentityError, Role, is_admin};
pub use limits::Limits;
pub use link::Link;
pub use links::Links;
pub use network::{Entropy, Network, Sockets};
pub use service::{Caller, Replies, Service};
