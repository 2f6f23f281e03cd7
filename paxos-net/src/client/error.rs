//! What can go wrong for a client, and whether it may have had an effect.

use std::collections::BTreeMap;

use paxos_core::{NodeId, Rejection, SessionId};
use thiserror::Error;

use crate::protocol::{Refused, Unavailable};

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Session or command were refused.
    #[error(transparent)]
    Rejected(Rejection),
    /// Until the deadline, too much was waiting.
    #[error("the cluster was busy until the deadline: send less at once, or allow more time")]
    Busy,
    /// The command, or the answer to a query, is too long.
    #[error("{size} bytes exceed the limit of {limit}: split it")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The cluster could not take it until the deadline. Nothing was applied.
    #[error(transparent)]
    Unavailable(Unavailable),
    /// The node refused it otherwise. Nothing was applied.
    #[error(transparent)]
    Refused(Refused),
    /// The command was sent and may have run.
    #[error(
        "outcome unknown ({why}): the command may have run or may yet run; \
         retry with the same request id {session}:{sequence}"
    )]
    Unknown {
        /// The session of the request.
        session: SessionId,
        /// The sequence of the request.
        sequence: u64,
        /// Why nothing better is known.
        why: String,
    },
    /// A change of the cluster was sent and may have been made.
    #[error("outcome unknown ({0}): the change may have been made, or may yet be")]
    Doubtful(String),
    /// No node answered.
    #[error("reached 0 of {total} nodes: {}", join(.reasons))]
    Unreachable {
        /// How many were tried.
        total: usize,
        /// What happened with each.
        reasons: BTreeMap<NodeId, String>,
    },
    /// A node refused our certificate, or we refused its.
    #[error("certificate refused: {0}; is it one of this cluster, and not expired?")]
    Certificate(String),
    /// The client was not set up rightly.
    #[error("{0}")]
    Configuration(String),
    /// The bytes of a reply or an answer are not what this client expects.
    #[error("the reply cannot be decoded ({0}): are client and nodes of one version?")]
    Undecodable(String),
    /// The client was closed.
    #[error("the client was closed: make a new one")]
    Closed,
}

impl ClientError {
    /// Whether the command certainly had no effect, and never will.
    pub fn certainly_not_applied(&self) -> bool {
        !matches!(
            self,
            ClientError::Unknown { .. } | ClientError::Undecodable(_) | ClientError::Doubtful(_)
        )
    }

    /// Whether it may be otherwise in a moment, so that the same can be tried again.
    pub fn may_pass(&self) -> bool {
        !matches!(
            self,
            ClientError::Certificate(_)
                | ClientError::Configuration(_)
                | ClientError::Undecodable(_)
                | ClientError::TooLarge { .. }
                | ClientError::Closed
        )
    }
}

impl From<Refused> for ClientError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy => ClientError::Busy,
            Refused::TooLarge { size, limit } => ClientError::TooLarge { size, limit },
            Refused::Unavailable(unavailable) => ClientError::Unavailable(unavailable),
            Refused::Rejected(rejection) => ClientError::Rejected(rejection),
            refused @ (Refused::NoSnapshot
            | Refused::TooManyTopics
            | Refused::NoSpace
            | Refused::NoState { .. }
            | Refused::NotAllowed { .. }
            | Refused::NotHandedOver { .. }) => ClientError::Refused(refused),
        }
    }
}

fn join(reasons: &BTreeMap<NodeId, String>) -> String {
    let all: Vec<_> =
        reasons.iter().map(|(node, reason)| format!("node {}: {reason}", node.0)).collect();
    if all.is_empty() { "none has answered yet".to_owned() } else { all.join("; ") }
}
