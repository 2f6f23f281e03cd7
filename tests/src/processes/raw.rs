//! Connections that the library would never make.

use std::sync::Arc;

use paxos_core::{ClusterId, NodeId};
use paxos_net::certs::Leaf;
use paxos_net::codec::Codec;
use paxos_net::frame::{CLIENT_FRAME_MAX, FrameDecoder, append};
use paxos_net::identity::server_name;
use paxos_net::protocol::{ClientHello, ClientRequest, ClientResponse, ClientWelcome, VERSION};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::de::DeserializeOwned;

use crate::processes::Cluster;

/// A connection to a node, and the socket under it.
pub struct Raw {
    /// The connection.
    pub connection: Connection,
    _endpoint: Endpoint,
}

impl Raw {
    /// Connects to a node with the certificate in `holder`, a folder of the cluster.
    ///
    /// # Panics
    /// If the node does not accept.
    pub async fn dial(cluster: &Cluster, holder: &str, node: u64, alpn: &str) -> Raw {
        let folder = cluster.folder().join(holder);
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it is there");
        let leaf =
            Leaf { certificate: read("cert.pem"), key: read("key.pem"), authority: read("ca.pem") };
        let config = ClientConfig::new(Arc::new(crypto(&leaf, alpn)));
        let any = "127.0.0.1:0".parse().expect("it is an address");
        let endpoint = Endpoint::client(any).expect("there is a free port");
        let id: ClusterId = cluster.client_config().cluster.cluster;
        let address = cluster.address(node).parse().expect("it is an address");
        let connecting = endpoint.connect_with(config, address, &server_name(id, NodeId(node)));
        let connection = connecting.expect("the configuration is sound").await;
        let connection = connection.expect("the node accepts the certificate");
        Raw { connection, _endpoint: endpoint }
    }
}

/// A client's conversation with a node, which may say more at once than the library would.
pub struct Conversation {
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
    /// What the node said first.
    pub welcome: ClientWelcome,
    raw: Raw,
}

impl Conversation {
    /// Begins one.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn begin(cluster: &Cluster, node: u64) -> Conversation {
        let raw = Raw::dial(cluster, "client", node, "paxos-client/1").await;
        let (mut send, mut receive) = raw.connection.open_bi().await.expect("one stream is free");
        let mut bytes = Vec::new();
        let hello = ClientHello { version: VERSION };
        append(&mut bytes, Codec::Binary, &hello, CLIENT_FRAME_MAX).expect("it is short");
        send.write_all(&bytes).await.expect("the connection is up");
        let mut decoder = FrameDecoder::new(CLIENT_FRAME_MAX);
        let welcome = read(&mut receive, &mut decoder).await;
        Conversation { send, receive, decoder, welcome, raw }
    }

    /// Sends all of these without waiting for an answer, and collects the answers to them.
    ///
    /// # Panics
    /// If the node does not answer each.
    pub async fn ask_at_once(&mut self, requests: &[ClientRequest]) -> Vec<ClientResponse> {
        let mut bytes = Vec::new();
        for request in requests {
            append(&mut bytes, Codec::Binary, request, CLIENT_FRAME_MAX).expect("it is short");
        }
        let Conversation { send, receive, decoder, .. } = self;
        let sending = async { send.write_all(&bytes).await.expect("the connection is up") };
        let answers = async {
            let mut answers = Vec::new();
            while answers.len() < requests.len() {
                answers.push(read(receive, decoder).await);
            }
            answers
        };
        tokio::join!(sending, answers).1
    }

    /// Sends bytes that are no requests, and says why the node then closes the connection.
    pub async fn say(&mut self, bytes: &[u8]) -> String {
        // It may be closed before all is sent.
        self.send.write_all(bytes).await.ok();
        self.raw.connection.closed().await.to_string()
    }
}

async fn read<T: DeserializeOwned>(receive: &mut RecvStream, decoder: &mut FrameDecoder) -> T {
    loop {
        if let Some(frame) = decoder.next_frame().expect("nodes send no long frames") {
            return Codec::Binary.decode(&frame).expect("nodes send sound frames");
        }
        let chunk = receive.read_chunk(1 << 16, true).await.expect("the connection is up");
        decoder.push(&chunk.expect("the node goes on").bytes);
    }
}

fn crypto(leaf: &Leaf, alpn: &str) -> QuicClientConfig {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes());
    let mut roots = rustls::RootCertStore::empty();
    let authority = certificate(&leaf.authority).expect("it is a certificate");
    roots.add(authority).expect("it is that of an authority");
    let chain = vec![certificate(&leaf.certificate).expect("it is a certificate")];
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("it is a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("the key is that of the certificate");
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    QuicClientConfig::try_from(config).expect("TLS 1.3 is enough for QUIC")
}
