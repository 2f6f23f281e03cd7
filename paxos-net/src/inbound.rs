//! A link that a peer has opened to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use paxos_core::{Message, NodeId};
use quinn::{Connection, RecvStream, SendStream};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::close::{self, Close};
use crate::codec::Codec;
use crate::endpoint::{HalfOpen, Shared};
use crate::frame::{self, PEER_FRAME_MAX};
use crate::limits::Limits;
use crate::link::RELAY;
use crate::protocol::{Hello, HelloAnswer, PeerRefusal, Relay, VERSION};
use crate::reader::{Ended, FrameReader};

/// A Hello is a few numbers.
const HELLO_MAX: usize = 4 << 10;

/// Frames of one connection that cannot be decoded until it is closed.
const NONSENSE_MAX: u32 = 2;

/// A peer's connection after its Hello.
struct Inbound {
    shared: Arc<Shared>,
    connection: Connection,
    codec: Codec,
    from: NodeId,
    nonsense: AtomicU32,
}

/// Serves a connection of a peer that TLS has proved to be `from`.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Connection,
    codec: Codec,
    from: NodeId,
    deadline: Instant,
    half_open: HalfOpen,
) {
    let met = timeout_at(deadline, meet(&shared, &connection, codec, from)).await;
    drop(half_open);
    match met {
        Ok(Ok(run)) => shared.adopt(from, run, &connection),
        Ok(Err(None)) | Err(_) => return Close::NO_HELLO.apply(&connection),
        Ok(Err(Some(refusal))) => {
            warn!(%from, "refused: {refusal}");
            // The peer closes when it has read the answer; closing first could overtake it.
            timeout_at(deadline, connection.closed()).await.ok();
            return Close::REFUSED.apply(&connection);
        }
    }
    Limits::widen(&connection);
    info!(%from, address = %connection.remote_address(), "peer connected");
    let inbound = Inbound { shared, connection, codec, from, nonsense: AtomicU32::new(0) };
    Arc::new(inbound).run().await;
}

/// Exchanges Hellos. `Err(None)`: what came was no Hello.
async fn meet(
    shared: &Shared,
    connection: &Connection,
    codec: Codec,
    from: NodeId,
) -> Result<u64, Option<PeerRefusal>> {
    let (mut send, receive) = connection.accept_bi().await.map_err(|_| None)?;
    let frame = FrameReader::new(receive, HELLO_MAX).one().await.map_err(|_| None)?;
    let hello: Hello = codec.decode(&frame).map_err(|_| None)?;
    let run = hello.incarnation;
    let verdict = match examine(&shared.hello, &hello, from) {
        Ok(()) => {
            let met = shared.service.meet(hello, connection.remote_address());
            met.await.unwrap_or(Err(PeerRefusal::NotReady))
        }
        Err(refusal) => Err(refusal),
    };
    let answer = match &verdict {
        Ok(()) => HelloAnswer::Welcome { hello: shared.hello },
        Err(refusal) => HelloAnswer::Refused(refusal.clone()),
    };
    write_one(&mut send, codec, &answer).await.ok_or(None)?;
    verdict.map(|()| run).map_err(Some)
}

/// What can be told without knowing what the node remembers.
fn examine(ours: &Hello, theirs: &Hello, certified: NodeId) -> Result<(), PeerRefusal> {
    if theirs.version < VERSION {
        return Err(PeerRefusal::Version { ours: VERSION, theirs: theirs.version });
    }
    if theirs.cluster != ours.cluster {
        return Err(PeerRefusal::ForeignCluster { ours: ours.cluster, theirs: theirs.cluster });
    }
    if theirs.node != certified {
        return Err(PeerRefusal::WrongNode { certified, claimed: theirs.node });
    }
    if theirs.genesis != ours.genesis {
        return Err(PeerRefusal::OtherGenesis { ours: ours.genesis, theirs: theirs.genesis });
    }
    if theirs.node == ours.node {
        let Hello { node, incarnation, .. } = *ours;
        return Err(PeerRefusal::IdentityTaken { node, incarnation });
    }
    Ok(())
}

/// Writes one frame and finishes the stream.
async fn write_one(send: &mut SendStream, codec: Codec, answer: &HelloAnswer) -> Option<()> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, codec, answer, HELLO_MAX).ok()?;
    send.write_all(&bytes).await.ok()?;
    send.finish().ok()
}

impl Inbound {
    async fn run(self: Arc<Self>) {
        let mut lanes = JoinSet::new();
        let ended = loop {
            tokio::select! {
                biased;
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => { lanes.spawn(self.clone().read(stream)); }
                    Err(error) => break error,
                },
                datagram = self.connection.read_datagram() => match datagram {
                    Ok(bytes) => self.hand_over_messages(&[bytes]),
                    Err(error) => break error,
                },
                Some(_) = lanes.join_next() => {}
            }
        };
        info!(from = %self.from, "peer disconnected: {}", close::words(&ended));
        self.shared.disown(self.from, &self.connection);
    }

    /// Reads one lane to its end.
    async fn read(self: Arc<Self>, mut stream: RecvStream) {
        let mut lane = [0];
        if stream.read_exact(&mut lane).await.is_err() {
            return;
        }
        let mut reader = FrameReader::new(stream, PEER_FRAME_MAX);
        loop {
            match reader.batch().await {
                Ok(frames) if lane == [RELAY] => {
                    for relay in self.decode::<Relay>(&frames) {
                        self.shared.service.relayed(self.from, relay);
                    }
                }
                Ok(frames) => self.hand_over_messages(&frames),
                Err(Ended::TooLarge(error)) => {
                    self.shared.counts.too_large.warn(&self.from, &error);
                    return Close::TOO_LARGE.apply(&self.connection);
                }
                Err(ended) => return debug!(from = %self.from, "a lane ended: {ended:?}"),
            }
        }
    }

    fn hand_over_messages(&self, frames: &[Bytes]) {
        let messages = self.decode::<Message>(frames);
        if !messages.is_empty() {
            self.shared.service.messages(self.from, messages);
        }
    }

    /// What of the frames can be decoded. One that cannot may be chance; two close the connection.
    fn decode<T: DeserializeOwned>(&self, frames: &[Bytes]) -> Vec<T> {
        let mut decoded = Vec::with_capacity(frames.len());
        for frame in frames {
            match self.codec.decode(frame) {
                Ok(value) => decoded.push(value),
                Err(error) => {
                    self.shared.counts.undecodable.warn(&self.from, &error);
                    let before = self.nonsense.fetch_add(1, Ordering::Relaxed);
                    if before + 1 >= NONSENSE_MAX {
                        Close::NONSENSE.apply(&self.connection);
                        break;
                    }
                }
            }
        }
        decoded
    }
}
