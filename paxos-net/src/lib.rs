//! QUIC links. (Under construction.)
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod certs;
pub mod client;
mod clients;
mod close;
pub mod cluster_file;
pub mod codec;
pub mod credentials;
pub mod dial;
pub mod duration;
pub mod endpoint;
pub mod frame;
pub mod identity;
mod inbound;
pub mod limits;
pub mod link;
mod outbox;
pub mod protocol;
mod reader;
pub mod service;
pub mod tls;
