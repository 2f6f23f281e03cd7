//! Who a certificate says its holder is.

use std::fmt;
use std::str::FromStr;

use paxos_core::{ClusterId, NodeId};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const SCHEME: &str = "paxos://";
const NAME_MAX: usize = 64;

/// A holder of a certificate: one role in one cluster.
///
/// It stands in the certificate as the URI `paxos://<cluster>/<role>/<name>`, and nowhere else:
/// what a frame says about its sender is checked against it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster. Two clusters that share an authority do not mix.
    pub cluster: ClusterId,
    /// What the holder is in it.
    pub role: Role,
}

/// What the holder of a certificate is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A node.
    Peer(NodeId),
    /// A user of the service, by name.
    Client(String),
    /// An operator, by name.
    Admin(String),
}

/// Why a certificate or a text names no identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate cannot be parsed.
    #[error("not an X.509 certificate: make one with the command for certificates")]
    NotACertificate,
    /// The certificate was not made for a cluster.
    #[error(
        "the certificate names no paxos:// identity: make one with the command for certificates"
    )]
    Missing,
    /// The certificate names several, so that none can be relied on.
    #[error("the certificate names more than one paxos:// identity: make one for each")]
    Several,
    /// The text has another form.
    #[error("{0:?} is not of the form paxos://<cluster>/peer|client|admin/<name>")]
    Malformed(String),
    /// The name has other characters, or too many.
    #[error("{0:?} is no name: use 1 to 64 letters, digits, '-', '_' and '.'")]
    BadName(String),
}

impl Identity {
    /// A node's.
    pub fn peer(cluster: ClusterId, node: NodeId) -> Self {
        Identity { cluster, role: Role::Peer(node) }
    }

    /// A client's.
    ///
    /// # Errors
    /// [`IdentityError::BadName`].
    pub fn client(cluster: ClusterId, name: &str) -> Result<Self, IdentityError> {
        Ok(Identity { cluster, role: Role::Client(checked(name)?) })
    }

    /// An operator's.
    ///
    /// # Errors
    /// [`IdentityError::BadName`].
    pub fn admin(cluster: ClusterId, name: &str) -> Result<Self, IdentityError> {
        Ok(Identity { cluster, role: Role::Admin(checked(name)?) })
    }

    /// Reads it out of a certificate in DER. Whether the certificate can be trusted is not asked.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::NotACertificate)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::NotACertificate)?
            .ok_or(IdentityError::Missing)?;
        let mut found = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(SCHEME) => Some(*uri),
            _ => None,
        });
        let uri = found.next().ok_or(IdentityError::Missing)?;
        match found.next() {
            None => uri.parse(),
            Some(_) => Err(IdentityError::Several),
        }
    }

    /// The name that sessions are bound to: `client/ada`.
    pub fn name(&self) -> String {
        self.role.to_string()
    }
}

/// The DNS name in a node's certificate, which whoever dials the node verifies. It is never looked
/// up.
pub fn server_name(cluster: ClusterId, node: NodeId) -> String {
    format!("peer-{}.{cluster}.paxos.internal", node.0)
}

/// Whether a holder that [`Role`] prints so may change the cluster itself: an operator may, and
/// neither a client nor a peer.
pub fn is_admin(name: &str) -> bool {
    name.strip_prefix("admin/").is_some_and(|name| checked(name).is_ok())
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Peer(node) => write!(f, "peer/{}", node.0),
            Role::Client(name) => write!(f, "client/{name}"),
            Role::Admin(name) => write!(f, "admin/{name}"),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.cluster, self.role)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed(text.to_owned());
        let rest = text.strip_prefix(SCHEME).ok_or_else(malformed)?;
        let (cluster, role) = rest.split_once('/').ok_or_else(malformed)?;
        let cluster = cluster.parse().map_err(|_| malformed())?;
        match role.split_once('/').ok_or_else(malformed)? {
            ("peer", id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Identity::peer(cluster, NodeId(id.parse().map_err(|_| malformed())?)))
            }
            ("client", name) => Identity::client(cluster, name),
            ("admin", name) => Identity::admin(cluster, name),
            _ => Err(malformed()),
        }
    }
}

fn checked(name: &str) -> Result<String, IdentityError> {
    let sound = !name.is_empty()
        && name.len() <= NAME_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if sound { Ok(name.to_owned()) } else { Err(IdentityError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId(0xfeed);

    #[test]
    fn identities_read_back() {
        let all = [
            Identity::peer(CLUSTER, NodeId(3)),
            Identity::client(CLUSTER, "ada").unwrap(),
            Identity::admin(CLUSTER, "root-1").unwrap(),
        ];
        for identity in all {
            assert_eq!(identity.to_string().parse(), Ok(identity));
        }
        let ada = Identity::client(CLUSTER, "ada").unwrap();
        assert_eq!(ada.name(), "client/ada");
        assert_eq!(
            server_name(CLUSTER, NodeId(3)),
            "peer-3.0000000000000000000000000000feed.paxos.internal"
        );
    }

    #[test]
    fn an_admin_is_known_by_name_and_nobody_else_is_taken_for_one() {
        assert!(is_admin(&Identity::admin(CLUSTER, "ada").unwrap().name()));
        let others = [
            Identity::client(CLUSTER, "admin").unwrap().name(),
            Identity::peer(CLUSTER, NodeId(3)).name(),
            "admin".to_owned(),
            "admin/".to_owned(),
            "client/admin/ada".to_owned(),
        ];
        for name in others {
            assert!(!is_admin(&name), "{name}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let cluster = CLUSTER.to_string();
        for role in
            ["", "peer/", "peer/+3", "peer/x", "root/ada", "client/", "client/a/b", "client"]
        {
            let text = format!("paxos://{cluster}/{role}");
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
        assert!("http://x/peer/1".parse::<Identity>().is_err());
        assert!("paxos://feed/peer/1".parse::<Identity>().is_err());
    }
}
