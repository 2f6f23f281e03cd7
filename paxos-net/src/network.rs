//! What lies below QUIC: where datagrams go, and where chance comes from. It is the system, or
//! something that stands in for it so that a whole cluster can run in virtual time.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use paxos_core::Random;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};

use crate::lock::lock;

/// What an endpoint or a client stands on. Clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where sockets come from.
    pub sockets: Arc<dyn Sockets>,
    /// Where chance comes from.
    pub entropy: Entropy,
}

impl Default for Network {
    fn default() -> Self {
        Network { sockets: Arc::new(Udp), entropy: Entropy::System }
    }
}

/// A source of sockets.
pub trait Sockets: fmt::Debug + Send + Sync {
    /// Opens a socket; port 0 leaves the port to the source.
    ///
    /// # Errors
    /// Those of the source.
    fn open(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// The system's UDP.
#[derive(Clone, Copy, Debug)]
pub struct Udp;

impl Sockets for Udp {
    fn open(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(address)?)
    }
}

/// A source of chance. It never makes keys: those are TLS's own affair.
#[derive(Clone, Debug)]
pub enum Entropy {
    /// The system.
    System,
    /// A sequence that follows from a seed, for runs that can be repeated. Clones take turns.
    Seeded(Arc<Mutex<Random>>),
}

impl Entropy {
    /// The sequence of a seed.
    pub fn seeded(seed: u64) -> Self {
        Entropy::Seeded(Arc::new(Mutex::new(Random::new(seed))))
    }

    /// Draws a number.
    ///
    /// # Errors
    /// The system has none.
    pub fn draw(&self) -> Result<u64, getrandom::Error> {
        match self {
            Entropy::System => getrandom::u64(),
            Entropy::Seeded(random) => Ok(lock(random).draw()),
        }
    }

    /// What QUIC's own choices follow from; `None`: from nothing that could be repeated.
    pub(crate) fn quic_seed(&self) -> Option<[u8; 32]> {
        let Entropy::Seeded(random) = self else { return None };
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&lock(random).draw().to_le_bytes());
        }
        Some(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_one_seed_share_its_sequence() {
        let (one, other) = (Entropy::seeded(7), Entropy::seeded(7));
        let shared = one.clone();
        let drawn = [one.draw().unwrap(), shared.draw().unwrap()];
        assert_eq!(drawn, [other.draw().unwrap(), other.draw().unwrap()]);
        assert_ne!(drawn[0], drawn[1]);
        assert_eq!(Entropy::System.quic_seed(), None);
    }
}
