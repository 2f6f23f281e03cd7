//! A limit on everything that somebody else decides the size of.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, IdleTimeout, ServerConfig, TransportConfig, VarInt};

/// The limits of an endpoint.
///
/// Peers and clients come in by one port, and which of the two somebody is shows only once TLS is
/// done. So every incoming connection begins with what a client may have, and a peer's is widened
/// then. What cannot be changed on a live connection (time-outs, the window of one stream) is set
/// to what satisfies both; of the two ends' idle time-outs QUIC takes the smaller, so the one who
/// dials decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A peer that is silent for this long is given up. Default 5 s.
    pub peer_idle: Duration,
    /// How often a silent link is kept alive. Default 1 s.
    pub peer_keep_alive: Duration,
    /// A client that is silent for this long is given up. Default 30 s.
    pub client_idle: Duration,
    /// How often a client keeps a silent connection alive. Default 10 s.
    pub client_keep_alive: Duration,
    /// For handshake and Hello together. Default 3 s.
    pub hello_deadline: Duration,
    /// For a request to arrive once its first byte has. Default 10 s, enough for the longest at a
    /// megabit a second.
    pub request_deadline: Duration,
    /// Handshakes in progress from which on a source must first prove its address. Default 16.
    pub half_open_retry: usize,
    /// Handshakes in progress from which on more are refused. Default 1,024.
    pub half_open_max: usize,
    /// Connections of one client identity. Default 64: a load tool opens many with one certificate.
    pub connections_per_identity: usize,
    /// Requests in progress on one client connection; what exceeds it is answered `Busy`. Default
    /// 256.
    pub requests_per_connection: usize,
    /// Bytes of responses waiting to be read by one client; beyond it the connection is closed.
    /// Default 16 MiB, so that a burst of long answers passes.
    pub client_queue_bytes: usize,
    /// Bytes waiting on the lanes of a link for control, relay and snapshots, each. Default 1 MiB.
    pub lane_bytes: usize,
    /// Bytes waiting on the lane of values of a link. Default 8 MiB: some full batches.
    pub values_lane_bytes: usize,
    /// The pause after the first dial that failed; it doubles. Default 10 ms.
    pub redial_first: Duration,
    /// The longest pause between dials. Default 1 s.
    pub redial_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            peer_idle: Duration::from_secs(5),
            peer_keep_alive: Duration::from_secs(1),
            client_idle: Duration::from_secs(30),
            client_keep_alive: Duration::from_secs(10),
            hello_deadline: Duration::from_secs(3),
            request_deadline: Duration::from_secs(10),
            half_open_retry: 16,
            half_open_max: 1024,
            connections_per_identity: 64,
            requests_per_connection: 256,
            client_queue_bytes: 16 << 20,
            lane_bytes: 1 << 20,
            values_lane_bytes: 8 << 20,
            redial_first: Duration::from_millis(10),
            redial_max: Duration::from_secs(1),
        }
    }
}

const CLIENT_RECEIVE_WINDOW: u32 = 1 << 20;
const CLIENT_SEND_WINDOW: u64 = 4 << 20;
const PEER_RECEIVE_WINDOW: u32 = 16 << 20;
const PEER_SEND_WINDOW: u64 = 2 << 20;
const STREAM_RECEIVE_WINDOW: u32 = 4 << 20;
const DATAGRAM_BYTES: usize = 64 << 10;

/// The uni streams of a link: control, values, relay, snapshots.
pub(crate) const PEER_STREAMS: u32 = 4;

impl Limits {
    /// For connections that come in.
    pub(crate) fn incoming(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(idle(self.client_idle.max(self.peer_idle)))
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
            .receive_window(VarInt::from_u32(CLIENT_RECEIVE_WINDOW))
            .send_window(CLIENT_SEND_WINDOW)
            .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
            .datagram_send_buffer_size(DATAGRAM_BYTES);
        transport
    }

    /// Widens an incoming connection that has turned out to be a peer's.
    pub(crate) fn widen(connection: &Connection) {
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(PEER_STREAMS));
        connection.set_receive_window(VarInt::from_u32(PEER_RECEIVE_WINDOW));
        connection.set_send_window(PEER_SEND_WINDOW);
    }

    /// For links to peers. The other side opens no streams: links have one direction.
    pub(crate) fn link(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(idle(self.peer_idle))
            .keep_alive_interval(Some(self.peer_keep_alive))
            // Nodes are near each other. A first packet that met a node still starting is repeated
            // three times as fast as by default.
            .initial_rtt(Duration::from_millis(100))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(CLIENT_RECEIVE_WINDOW))
            .receive_window(VarInt::from_u32(CLIENT_RECEIVE_WINDOW))
            .send_window(PEER_SEND_WINDOW)
            // Nothing is received, but who does not receive datagrams may not send any in quinn.
            .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
            .datagram_send_buffer_size(DATAGRAM_BYTES);
        transport
    }

    /// For a client's connections.
    pub(crate) fn client(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(idle(self.client_idle))
            .keep_alive_interval(Some(self.client_keep_alive))
            .initial_rtt(Duration::from_millis(100))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
            .receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
            .send_window(CLIENT_SEND_WINDOW)
            .datagram_receive_buffer_size(None);
        transport
    }

    /// What concerns a server as a whole. Clients may change their address: it is their session
    /// that counts, and peers are known by their certificates.
    pub(crate) fn apply(&self, server: &mut ServerConfig) {
        server
            .transport_config(Arc::new(self.incoming()))
            .migration(true)
            .retry_token_lifetime(Duration::from_secs(15))
            // What is refused in QUIC itself is not counted, so one always comes through to us.
            .max_incoming(self.half_open_max.max(1))
            .incoming_buffer_size(64 << 10)
            .incoming_buffer_size_total(8 << 20);
    }
}

/// `None` would mean "never", so a time that QUIC cannot express becomes the longest that it can.
fn idle(after: Duration) -> Option<IdleTimeout> {
    let longest = IdleTimeout::from(VarInt::from_u32(u32::MAX));
    Some(IdleTimeout::try_from(after).unwrap_or(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g6_every_window_and_stream_count_is_set() {
        let limits = Limits::default();
        let fresh = format!("{:?}", TransportConfig::default());
        assert!(fresh.contains(&format!("receive_window: {}", VarInt::MAX)), "{fresh}");
        for transport in [limits.incoming(), limits.link(), limits.client()] {
            let text = format!("{transport:?}");
            assert!(!text.contains(&format!("receive_window: {}", VarInt::MAX)), "{text}");
            assert!(!text.contains("max_concurrent_bidi_streams: 100"), "{text}");
            assert!(!text.contains("max_concurrent_uni_streams: 100"), "{text}");
            assert!(!text.contains("stream_receive_window: 1250000"), "{text}");
            assert!(!text.contains("max_idle_timeout: None"), "{text}");
        }
    }
}
