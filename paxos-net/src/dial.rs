//! From `host:port` to a connection whose other end has proved who it is.

use std::net::SocketAddr;
use std::time::Duration;

use paxos_core::{ClusterId, NodeId};
use quinn::{ClientConfig, ConnectError, Connection, ConnectionError, Endpoint};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::close;
use crate::identity::server_name;
use crate::protocol::PeerRefusal;
use crate::reader::Ended;

/// Between the attempts to reach one host at several addresses.
const STAGGER: Duration = Duration::from_millis(50);

/// Of the addresses of one host, at most so many are tried.
const TARGETS_MAX: usize = 4;

/// Why a node could not be reached.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody has named a node of this number.
    #[error("the cluster file names no node {0}")]
    Unknown(u64),
    /// The name of the host means nothing here.
    #[error("cannot resolve {address}: {words}; is the host name right?")]
    Resolve {
        /// As it was given.
        address: String,
        /// What the system said.
        words: String,
    },
    /// Nothing answered.
    #[error("no answer from {address} in time: is the node running, and UDP let through?")]
    Silent {
        /// As it was given.
        address: String,
    },
    /// The certificates of the two sides, or their roles, do not fit.
    #[error("{0}")]
    Certificate(String),
    /// The connection failed otherwise.
    #[error("{0}")]
    Failed(String),
    /// The Hello was refused.
    #[error(transparent)]
    Refused(PeerRefusal),
}

impl DialError {
    /// The error behind a broken connection.
    pub(crate) fn of(error: &ConnectionError, address: &str) -> Self {
        match error {
            ConnectionError::TimedOut => DialError::Silent { address: address.to_owned() },
            _ if close::is_certificate(error) => DialError::Certificate(close::words(error)),
            _ => DialError::Failed(close::words(error)),
        }
    }

    /// The error behind a stream that ended before its time. In TLS 1.3 a refused certificate shows
    /// here: the handshake of the one who dials is over before the other side has verified it.
    pub(crate) async fn behind(connection: &Connection, ended: Ended, address: &str) -> Self {
        if let Ended::TooLarge(error) = ended {
            return DialError::Failed(error.to_string());
        }
        DialError::of(&connection.closed().await, address)
    }
}

/// Connects to a node, which must prove that it is that node. A name may stand for several
/// addresses, of which only one answers (Schinazi & Pauly, *Happy Eyeballs*, RFC 8305).
pub(crate) async fn connect(
    quic: &Endpoint,
    config: ClientConfig,
    (cluster, node): (ClusterId, NodeId),
    address: &str,
    deadline: Instant,
) -> Result<Connection, DialError> {
    let silent = || DialError::Silent { address: address.to_owned() };
    let name = server_name(cluster, node);
    let race = async {
        let mut attempts = JoinSet::new();
        for (place, target) in (0..).zip(resolve(quic, address).await?) {
            let (quic, config) = (quic.clone(), config.clone());
            let (name, address) = (name.clone(), address.to_owned());
            attempts.spawn(async move {
                sleep(STAGGER * place).await;
                quic.connect_with(config, target, &name)
                    .map_err(|error: ConnectError| DialError::Failed(error.to_string()))?
                    .await
                    .map_err(|error| DialError::of(&error, &address))
            });
        }
        let mut last = silent();
        while let Some(joined) = attempts.join_next().await {
            match joined {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            }
        }
        Err(last)
    };
    timeout_at(deadline, race).await.map_err(|_| silent())?
}

/// Asks anew at every dial: a name may mean another host today.
async fn resolve(quic: &Endpoint, address: &str) -> Result<Vec<SocketAddr>, DialError> {
    let failed = |words: String| DialError::Resolve { address: address.to_owned(), words };
    let found =
        tokio::net::lookup_host(address).await.map_err(|error| failed(error.to_string()))?;
    let old_only = quic.local_addr().is_ok_and(|local| local.is_ipv4());
    let mut usable: Vec<_> = found.filter(|target| target.is_ipv4() || !old_only).collect();
    usable.truncate(TARGETS_MAX);
    if usable.is_empty() {
        return Err(failed("it has no address of the family that this side is bound to".into()));
    }
    Ok(usable)
}
