//! What an endpoint refuses and drops, counted.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{debug, warn};

/// What the endpoint has refused or dropped, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointReport {
    /// Connections that failed before their Hello, or were refused for a lack of room.
    pub handshakes_refused: u64,
    /// Connections whose certificate does not fit the protocol or the cluster.
    pub roles_refused: u64,
    /// Frames that could not be decoded.
    pub undecodable: u64,
    /// Frames longer than the limit.
    pub too_large: u64,
    /// Clients that did not read their responses.
    pub slow_clients: u64,
    /// Requests beyond what one connection may have in progress.
    pub busy: u64,
}

/// The counters behind an [`EndpointReport`].
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) handshakes_refused: Count,
    pub(crate) roles_refused: Count,
    pub(crate) undecodable: Count,
    pub(crate) too_large: Count,
    pub(crate) slow_clients: Count,
    pub(crate) busy: Count,
}

/// A counter.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Counts {
    pub(crate) fn report(&self) -> EndpointReport {
        EndpointReport {
            handshakes_refused: self.handshakes_refused.read(),
            roles_refused: self.roles_refused.read(),
            undecodable: self.undecodable.read(),
            too_large: self.too_large.read(),
            slow_clients: self.slow_clients.read(),
            busy: self.busy.read(),
        }
    }
}

impl Count {
    /// Counts without a word: it is ordinary.
    pub(crate) fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts and warns; the first time and then ever more seldom, so that nobody can flood the
    /// log.
    pub(crate) fn warn(&self, who: &dyn Display, what: &dyn Display) {
        let times = self.add();
        if times.is_power_of_two() {
            warn!(%who, times, "{what}");
        } else {
            debug!(%who, times, "{what}");
        }
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
