//! A client's connection, on the node's side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use paxos_core::batch::COMMAND_MAX;
use paxos_core::{NodeId, Operation, TopicFilter};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::close::Close;
use crate::codec::Codec;
use crate::endpoint::{HalfOpen, Seat, Shared};
use crate::frame::CLIENT_FRAME_MAX;
use crate::identity::Role;
use crate::lock::lock;
use crate::outbox::{NotQueued, Outbox};
use crate::protocol::{
    Call, ClientHello, ClientRequest, ClientResponse, ClientWelcome, NEWS, Refused, Response,
    Unavailable, VERSION,
};
use crate::reader::{Ended, FrameReader};
use crate::service::{Caller, Replies};

/// What the way back to a client is made of.
pub(crate) struct Line {
    codec: Codec,
    outbox: Outbox,
    in_flight: AtomicUsize,
    overflow: Notify,
    /// The addresses that it was told last.
    told: Mutex<BTreeMap<NodeId, String>>,
}

/// Serves a client's connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Connection,
    codec: Codec,
    role: Role,
    deadline: Instant,
    half_open: HalfOpen,
) {
    let identity = role.to_string();
    let Some(seat) = shared.seat(&identity) else {
        shared.counts.handshakes_refused.warn(&identity, &Close::TOO_MANY);
        return Close::TOO_MANY.apply(&connection);
    };
    let line = Arc::new(Line {
        codec,
        outbox: Outbox::new(shared.limits.client_queue_bytes),
        in_flight: AtomicUsize::new(0),
        overflow: Notify::new(),
        told: Mutex::default(),
    });
    let greeted = timeout_at(deadline, greet(&shared, &connection, &line)).await;
    drop(half_open);
    let Ok(Some((send, reader))) = greeted else {
        shared.counts.handshakes_refused.warn(&identity, &Close::NO_HELLO);
        return Close::NO_HELLO.apply(&connection);
    };
    shared.keep_told(&line);
    // They may have changed between its welcome and this moment.
    line.tell_news(&shared);
    debug!(identity, "client connected");
    let caller = Caller { identity, peer: matches!(role, Role::Peer(_)), replies: line.replies() };
    let reason = converse(&shared, &line, caller, send, reader).await;
    reason.apply(&connection);
    drop::<Seat>(seat);
}

async fn greet(
    shared: &Shared,
    connection: &Connection,
    line: &Line,
) -> Option<(SendStream, FrameReader)> {
    let (send, receive): (SendStream, RecvStream) = connection.accept_bi().await.ok()?;
    let mut reader = FrameReader::new(receive, CLIENT_FRAME_MAX);
    let hello: ClientHello = line.codec.decode(&reader.one().await.ok()?).ok()?;
    let (_, addresses) = shared.addresses();
    lock(&line.told).clone_from(&addresses);
    let welcome = ClientWelcome {
        version: hello.version.min(VERSION),
        cluster: shared.hello.cluster,
        node: shared.hello.node,
        leader: shared.service.welcome(),
        addresses,
        requests: shared.limits.requests_per_connection as u64,
    };
    line.outbox.push(line.codec, &[welcome], CLIENT_FRAME_MAX).ok()?;
    Some((send, reader))
}

/// Reads requests and writes responses until one of the two cannot go on.
async fn converse(
    shared: &Shared,
    line: &Line,
    caller: Caller,
    mut send: SendStream,
    mut reader: FrameReader,
) -> Close {
    reader.hurry(shared.limits.request_deadline);
    let reading = async {
        loop {
            match reader.batch().await {
                Ok(frames) => {
                    if let Err(reason) = line.take(shared, &caller, &frames) {
                        return reason;
                    }
                }
                Err(Ended::TooLarge(error)) => {
                    shared.counts.too_large.warn(&caller.identity, &error);
                    return Close::TOO_LARGE;
                }
                Err(Ended::Stalled) => return Close::STALLED,
                Err(Ended::Finished | Ended::Lost) => return Close::DONE,
            }
        }
    };
    tokio::select! {
        biased;
        reason = reading => reason,
        _ = line.outbox.drain_into(&mut send) => Close::DONE,
        () = line.overflow.notified() => {
            shared.counts.slow_clients.warn(&caller.identity, &Close::SLOW);
            Close::SLOW
        }
    }
}

impl Line {
    /// Tells the addresses of the nodes, if they are others than were told before.
    pub(crate) fn tell_news(&self, shared: &Shared) {
        let (from, addresses) = shared.addresses();
        let mut told = lock(&self.told);
        if *told != addresses {
            told.clone_from(&addresses);
            let response = Response::News { from, addresses };
            self.respond(&[ClientResponse { id: NEWS, leader: None, response }]);
        }
    }

    fn replies(self: &Arc<Self>) -> Replies {
        let line = self.clone();
        Replies::to(move |responses| {
            line.settle(responses.len());
            line.respond(&responses);
        })
    }

    fn settle(&self, count: usize) {
        let less = |flying: usize| Some(flying.saturating_sub(count));
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
    }

    /// Hands requests over, and answers at once those for which there is no room.
    fn take(&self, shared: &Shared, caller: &Caller, frames: &[Bytes]) -> Result<(), Close> {
        let room = shared.limits.requests_per_connection;
        let (mut taken, mut answered) = (Vec::with_capacity(frames.len()), Vec::new());
        for frame in frames {
            let request: ClientRequest = self.codec.decode(frame).map_err(|error| {
                shared.counts.undecodable.warn(&caller.identity, &error);
                Close::NONSENSE
            })?;
            if request.call == Call::Ping {
                answered.push(ClientResponse {
                    id: request.id,
                    leader: None,
                    response: Response::Pong,
                });
                continue;
            }
            let refusal = match size(&request.call) {
                size if size > COMMAND_MAX => {
                    Some(Refused::TooLarge { size: size as u64, limit: COMMAND_MAX as u64 })
                }
                _ if self.in_flight.load(Ordering::Relaxed) >= room => {
                    shared.counts.busy.add();
                    Some(Refused::Busy)
                }
                _ => None,
            };
            match refusal {
                Some(refusal) => {
                    let response = Response::Refused(refusal);
                    answered.push(ClientResponse { id: request.id, leader: None, response });
                }
                None => {
                    self.in_flight.fetch_add(1, Ordering::Relaxed);
                    taken.push(request);
                }
            }
        }
        self.respond(&answered);
        if !taken.is_empty() {
            shared.service.requests(caller.clone(), taken);
        }
        Ok(())
    }

    fn respond(&self, responses: &[ClientResponse]) {
        for response in responses {
            match self.outbox.push(self.codec, std::slice::from_ref(response), CLIENT_FRAME_MAX) {
                Ok(()) => {}
                Err(NotQueued::Full) => return self.overflow.notify_one(),
                Err(NotQueued::TooLarge) => {
                    let response = too_long(response);
                    if self.outbox.push(self.codec, &[response], CLIENT_FRAME_MAX).is_err() {
                        return self.overflow.notify_one();
                    }
                }
            }
        }
    }
}

/// What is said instead of a response that no frame can carry. A command may have run all the same.
fn too_long(response: &ClientResponse) -> ClientResponse {
    let instead = match &response.response {
        Response::Answer { answer, .. } => Response::Refused(Refused::TooLarge {
            size: answer.len() as u64,
            limit: COMMAND_MAX as u64,
        }),
        _ => Response::Unknown { why: Unavailable::default() },
    };
    ClientResponse { response: instead, ..*response }
}

/// The bytes that a call has logged or evaluated.
fn size(call: &Call) -> usize {
    match call {
        Call::Operate(Operation::Run { command, .. }) => command.len(),
        Call::Query { query, .. } => query.len(),
        Call::Watch { topics, .. } => topics.iter().map(TopicFilter::size).sum(),
        Call::Operate(Operation::Open | Operation::Close { .. })
        | Call::Reconfigure { .. }
        | Call::Members
        | Call::Changes
        | Call::Save
        | Call::Piece { .. }
        | Call::Status
        | Call::Ping
        | Call::ReadIndex { .. }
        | Call::Transfer { .. } => 0,
    }
}
