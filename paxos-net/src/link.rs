//! A link to a peer: everything that this node sends to it, and nothing that it receives.
//!
//! Each node dials every other, so between two nodes there are two connections, one a direction.
//! That way there is never a second connection to choose between, and each end decides alone when
//! to dial.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use paxos_core::message::Lane;
use paxos_core::{Message, NodeId};
use quinn::{Connection, WriteError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use crate::close::{self, Close};
use crate::codec::Codec;
use crate::dial::{self, DialError};
use crate::endpoint::Shared;
use crate::frame::{self, PEER_FRAME_MAX};
use crate::limits::Limits;
use crate::lock::lock;
use crate::network::Entropy;
use crate::outbox::{NotQueued, Outbox};
use crate::protocol::{HelloAnswer, LinkReport, PeerRefusal, Relay};
use crate::reader::{Ended, FrameReader};

/// The first byte of a stream names its lane.
pub(crate) const CONTROL: u8 = 0;
pub(crate) const VALUES: u8 = 1;
pub(crate) const RELAY: u8 = 2;
pub(crate) const SNAPSHOTS: u8 = 3;

/// A dial that has lasted longer is begun anew when there is news of the peer.
const DIAL_OLD: Duration = Duration::from_millis(100);

/// A handle on the link to a peer. Clones share it; when the last is dropped, the link closes.
#[derive(Clone)]
pub struct Link {
    line: Arc<Line>,
    _alive: Arc<watch::Sender<()>>,
}

struct Line {
    peer: NodeId,
    address: String,
    codec: Codec,
    up: Mutex<Option<Connection>>,
    control: Outbox,
    values: Outbox,
    relay: Outbox,
    snapshots: Outbox,
    sent: AtomicU64,
    dropped: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Link {
    pub(crate) fn open(
        shared: Arc<Shared>,
        peer: NodeId,
        address: String,
        nudge: Arc<Notify>,
    ) -> Link {
        let line = Arc::new(Line {
            peer,
            address,
            codec: shared.codec,
            up: Mutex::new(None),
            control: Outbox::new(shared.limits.lane_bytes),
            values: Outbox::new(shared.limits.values_lane_bytes),
            relay: Outbox::new(shared.limits.lane_bytes),
            snapshots: Outbox::new(shared.limits.lane_bytes),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_error: Mutex::new(None),
        });
        let (alive, watching) = watch::channel(());
        tokio::spawn(keep_dialing(shared, line.clone(), nudge, watching));
        Link { line, _alive: Arc::new(alive) }
    }

    /// Sends a message, or drops it if the link is down or the message's lane full. Never waits.
    ///
    /// # Panics
    /// For a message between roles of one node: it has no form on the wire.
    pub fn send(&self, message: &Message) {
        self.line.send(message);
    }

    /// Sends to the gateway of the peer; false if it was dropped, so that the clients can be told.
    #[must_use = "the requests in a relay that was dropped are never answered"]
    pub fn relay(&self, relay: &Relay) -> bool {
        let line = &self.line;
        let queued = line.connection().is_some()
            && line.relay.push(line.codec, std::slice::from_ref(relay), PEER_FRAME_MAX).is_ok();
        line.count(queued);
        queued
    }

    /// How the link is.
    pub fn report(&self) -> LinkReport {
        let line = &self.line;
        let connection = line.connection();
        LinkReport {
            up: connection.is_some(),
            sent: line.sent.load(Ordering::Relaxed),
            dropped: line.dropped.load(Ordering::Relaxed),
            last_error: lock(&line.last_error).clone(),
            rtt_us: connection.map(|connection| connection.rtt().as_micros() as u64),
        }
    }
}

impl Line {
    fn connection(&self) -> Option<Connection> {
        lock(&self.up).clone()
    }

    fn count(&self, sent: bool) {
        let counter = if sent { &self.sent } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn send(&self, message: &Message) {
        let one = std::slice::from_ref(message);
        let sent = self.connection().is_some_and(|connection| match message.lane() {
            Lane::Datagram => {
                let bytes = Bytes::from(self.codec.encode(message));
                connection.send_datagram(bytes).is_ok()
            }
            Lane::Control => self.queued(self.control.push(self.codec, one, PEER_FRAME_MAX)),
            Lane::Values => self.queued(self.values.push(self.codec, one, PEER_FRAME_MAX)),
            Lane::Snapshots => self.queued(self.snapshots.push(self.codec, one, PEER_FRAME_MAX)),
        });
        self.count(sent);
    }

    /// A full queue is ordinary; a message that no frame can carry is worth a word.
    fn queued(&self, queued: Result<(), NotQueued>) -> bool {
        if queued == Err(NotQueued::TooLarge) {
            let words = format!("a message of more than {PEER_FRAME_MAX} bytes was dropped");
            *lock(&self.last_error) = Some(words);
        }
        queued.is_ok()
    }

    fn go_up(&self, connection: &Connection) {
        *lock(&self.up) = Some(connection.clone());
    }

    /// Returns whether it was up.
    fn go_down(&self) -> bool {
        let was = lock(&self.up).take();
        for outbox in [&self.control, &self.values, &self.relay, &self.snapshots] {
            outbox.clear();
        }
        was.inspect(|connection| Close::DONE.apply(connection)).is_some()
    }
}

/// Dials, serves and dials again.
async fn keep_dialing(
    shared: Arc<Shared>,
    line: Arc<Line>,
    nudge: Arc<Notify>,
    mut alive: watch::Receiver<()>,
) {
    let peer = line.peer;
    let mut pauses = Pauses::new(&shared.limits);
    while !shared.is_closing() {
        let dialed = tokio::select! {
            biased;
            _ = alive.changed() => break,
            dialed = dial(&shared, &line) => dialed,
            () = nudged_late(&nudge) => continue,
        };
        let began = Instant::now();
        let (was_up, words) = match dialed {
            Ok((connection, run)) => {
                line.go_up(&connection);
                info!(to = %peer, address = %connection.remote_address(), "link up");
                shared.service.link_changed(peer, true);
                let words = tokio::select! {
                    biased;
                    _ = alive.changed() => break,
                    words = carry(&connection, &line) => words,
                    words = restart(&shared, peer, run, &nudge) => words,
                };
                line.go_down();
                info!(to = %peer, "link down: {words}");
                shared.service.link_changed(peer, false);
                (true, words)
            }
            Err(error) => {
                debug!(to = %peer, "cannot reach it at {}: {error}", line.address);
                if let DialError::Refused(refusal) = &error {
                    shared.service.refused(peer, refusal.clone());
                }
                (false, format!("cannot reach node {} at {}: {error}", peer.0, line.address))
            }
        };
        *lock(&line.last_error) = Some(words);
        // One that was lost is dialed again at once, unless it is lost again and again.
        if was_up && began.elapsed() > shared.limits.redial_max {
            pauses = Pauses::new(&shared.limits);
            continue;
        }
        tokio::select! {
            biased;
            _ = alive.changed() => break,
            () = nudge.notified() => {}
            () = sleep(pauses.next(&shared.entropy)) => {}
        }
    }
    if line.go_down() {
        shared.service.link_changed(peer, false);
    }
}

/// The peer has just dialed us, and our own dial is old: its first packets met a node that was not
/// there yet, and the next may be seconds away.
async fn nudged_late(nudge: &Notify) {
    let began = Instant::now();
    loop {
        nudge.notified().await;
        if began.elapsed() > DIAL_OLD {
            return;
        }
    }
}

/// Carries what is queued until the connection ends; says why it ended.
async fn carry(connection: &Connection, line: &Line) -> String {
    tokio::select! {
        biased;
        error = connection.closed() => close::words(&error),
        Err(error) = write(connection, &line.control, CONTROL) => error.to_string(),
        Err(error) = write(connection, &line.values, VALUES) => error.to_string(),
        Err(error) = write(connection, &line.relay, RELAY) => error.to_string(),
        Err(error) = write(connection, &line.snapshots, SNAPSHOTS) => error.to_string(),
    }
}

/// Ends when the peer is met in another run: a connection to the one before leads nowhere, but its
/// packets may be so far apart by now that it would notice late.
async fn restart(shared: &Shared, peer: NodeId, run: u64, nudge: &Notify) -> String {
    loop {
        let mut nudged = pin!(nudge.notified());
        nudged.as_mut().enable();
        if shared.has_restarted(peer, run) {
            return "it has started anew".to_owned();
        }
        nudged.await;
    }
}

/// Dials a peer; the answer is the connection and the run that answered.
async fn dial(shared: &Shared, line: &Line) -> Result<(Connection, u64), DialError> {
    let deadline = Instant::now() + shared.limits.hello_deadline;
    let target = (shared.hello.cluster, line.peer);
    let config = shared.dialing.clone();
    let connection = dial::connect(&shared.quic, config, target, &line.address, deadline).await?;
    let silent = || DialError::Silent { address: line.address.clone() };
    let introduced = timeout_at(deadline, introduce(shared, line, &connection)).await;
    let run = introduced.map_err(|_| silent())??;
    Ok((connection, run))
}

/// The round trip of Hellos. Only now is it known that the peer has accepted us.
async fn introduce(
    shared: &Shared,
    line: &Line,
    connection: &Connection,
) -> Result<u64, DialError> {
    let lost = |error| DialError::of(&error, &line.address);
    let (mut send, receive) = connection.open_bi().await.map_err(lost)?;
    let mut bytes = Vec::new();
    frame::append(&mut bytes, line.codec, &shared.hello, PEER_FRAME_MAX)
        .map_err(|error| DialError::Failed(error.to_string()))?;
    if send.write_all(&bytes).await.is_err() || send.finish().is_err() {
        return Err(DialError::behind(connection, Ended::Finished, &line.address).await);
    }
    let answer = match FrameReader::new(receive, PEER_FRAME_MAX).one().await {
        Ok(frame) => line.codec.decode::<HelloAnswer>(&frame),
        Err(ended) => return Err(DialError::behind(connection, ended, &line.address).await),
    };
    match answer.map_err(|error| DialError::Failed(error.to_string()))? {
        HelloAnswer::Welcome { hello } if hello.genesis != shared.hello.genesis => {
            let (ours, theirs) = (shared.hello.genesis, hello.genesis);
            Err(DialError::Refused(PeerRefusal::OtherGenesis { ours, theirs }))
        }
        HelloAnswer::Welcome { hello } => Ok(hello.incarnation),
        HelloAnswer::Refused(refusal) => {
            Close::DONE.apply(connection);
            Err(DialError::Refused(refusal))
        }
    }
}

/// Small messages go first whenever several lanes have something to send, and snapshots last.
async fn write(connection: &Connection, outbox: &Outbox, lane: u8) -> Result<(), WriteError> {
    let mut stream = connection.open_uni().await?;
    let priority = match lane {
        SNAPSHOTS => -1,
        VALUES => 0,
        _ => 1,
    };
    stream.set_priority(priority).map_err(|_| WriteError::ClosedStream)?;
    stream.write_all(&[lane]).await?;
    outbox.drain_into(&mut stream).await
}

/// Pauses between dials: each twice the one before, up to a limit, and shortened at random so that
/// nodes that were cut off together do not come back in step.
struct Pauses {
    next: Duration,
    max: Duration,
}

impl Pauses {
    fn new(limits: &Limits) -> Self {
        Pauses { next: limits.redial_first, max: limits.redial_max }
    }

    fn next(&mut self, entropy: &Entropy) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        // Without randomness the full pause will do.
        let thousandths = entropy.draw().map_or(1000, |random| 500 + random % 501);
        pause * thousandths as u32 / 1000
    }
}
