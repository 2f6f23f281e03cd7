//! TLS as this crate wants it: version 1.3, both sides with certificates, nothing resumed.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use thiserror::Error;

use crate::codec::{ALPNS, Protocol};
use crate::credentials::Credentials;
use crate::identity::{Identity, Role};

/// Why credentials cannot be used for TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// They were refused.
    #[error("the certificates cannot be used: {0}; make new ones")]
    Refused(#[from] rustls::Error),
    /// The authority was refused.
    #[error("ca.pem cannot be used: {0}; copy it from the authority's folder")]
    Authority(#[from] rustls::server::VerifierBuilderError),
    /// The cipher that QUIC begins with is missing from this build.
    #[error("this build lacks the cipher that QUIC begins with: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// For whoever listens. It asks everyone for a certificate of the authority.
pub(crate) fn listening(credentials: &Credentials) -> Result<QuicServerConfig, TlsError> {
    Ok(server_config(credentials)?.try_into()?)
}

/// For whoever dials, offering one protocol.
pub(crate) fn dialing(
    credentials: &Credentials,
    alpn: &'static str,
) -> Result<QuicClientConfig, TlsError> {
    Ok(client_config(credentials, alpn)?.try_into()?)
}

/// Never the default of the process: another library in it may have chosen that.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(credentials: &Credentials) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in credentials.authorities() {
        roots.add(authority.clone())?;
    }
    Ok(Arc::new(roots))
}

fn server_config(credentials: &Credentials) -> Result<ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(credentials)?, provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain().to_vec(), credentials.key().clone_key())?;
    config.alpn_protocols = ALPNS.iter().map(|(alpn, ..)| alpn.as_bytes().to_vec()).collect();
    // A resumed connection would skip the certificates, and early data can be replayed.
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn client_config(credentials: &Credentials, alpn: &str) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(credentials)?)
        .with_client_auth_cert(credentials.chain().to_vec(), credentials.key().clone_key())?;
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The identity in the certificate that the other side proved in the handshake.
pub(crate) fn identity_of(connection: &quinn::Connection) -> Option<Identity> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Identity::of_certificate(chain.first()?).ok()
}

/// Whether a role may speak a protocol. A client's certificate must not make it a node.
pub(crate) fn allows(protocol: Protocol, role: &Role) -> bool {
    match protocol {
        Protocol::Peer => matches!(role, Role::Peer(_)),
        Protocol::Client => matches!(role, Role::Peer(_) | Role::Client(_) | Role::Admin(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use paxos_core::{ClusterId, NodeId};

    fn credentials() -> Credentials {
        let cluster = ClusterId(0xfeed);
        let authority = Authority::create(cluster).unwrap();
        let leaf = authority.issue(&Identity::peer(cluster, NodeId(1))).unwrap();
        Credentials::of_leaf(&leaf).unwrap()
    }

    #[test]
    fn g1_no_early_data_and_no_tickets() {
        let server = server_config(&credentials()).unwrap();
        assert_eq!(server.max_early_data_size, 0);
        assert_eq!(server.send_tls13_tickets, 0);
        assert!(!server.session_storage.can_cache());
        let client = client_config(&credentials(), "paxos-peer/1").unwrap();
        assert!(!client.enable_early_data);
        assert_eq!(client.alpn_protocols, [b"paxos-peer/1"]);
    }

    #[test]
    fn only_nodes_speak_as_nodes() {
        let client = Role::Client("ada".to_owned());
        assert!(!allows(Protocol::Peer, &client));
        assert!(!allows(Protocol::Peer, &Role::Admin("root".to_owned())));
        assert!(allows(Protocol::Client, &client));
        assert!(allows(Protocol::Peer, &Role::Peer(NodeId(1))));
    }
}
