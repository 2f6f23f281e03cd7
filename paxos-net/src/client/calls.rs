//! How one call is carried through losses, refusals and changes of the leader.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use paxos_core::batch::COMMAND_MAX;
use paxos_core::{NodeId, Operation, Outcome, SessionId, TopicFilter};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::wire::NoResponse;
use super::{Client, ClientError, rejected, unexpected};
use crate::dial::DialError;
use crate::protocol::{Call, NodeReport, Refused, Response, Unavailable};

/// The pause before the first repetition; it doubles,
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// up to this.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A node answers so much before we stop waiting, so that its reasons arrive.
const MARGIN: Duration = Duration::from_millis(250);
/// A node is given at least this long, if there is so much, before another is tried.
const ATTEMPT: Duration = Duration::from_secs(1);
/// No attempt begins with less time than this, but the first.
const LAST: Duration = Duration::from_millis(250);

/// A call that was given up.
pub(super) struct Failure {
    /// Why.
    pub(super) error: ClientError,
    /// Why it may have had an effect nevertheless.
    pub(super) doubt: Option<String>,
}

/// What one attempt came to.
enum Step {
    /// It is settled.
    Answered(Response),
    /// It had no effect, and trying again is of no use.
    Failed(ClientError),
    /// It had no effect now.
    Refused(ClientError),
    /// It may have had an effect; in words, why.
    Doubtful(ClientError, String),
    /// It never left.
    NotSent,
}

impl Client {
    /// Asks until there is an answer or the deadline has come. With the answer comes why an earlier
    /// repetition of the same may have had an effect.
    pub(super) async fn ask(
        &self,
        call: &Call,
        deadline: Instant,
    ) -> Result<(Response, Option<String>), Failure> {
        let mut error = ClientError::Unavailable(Unavailable::default());
        let mut doubt = None;
        let mut pause = PAUSE_FIRST;
        while Instant::now() < deadline {
            if self.inner.closed.load(Ordering::Relaxed) {
                return Err(Failure { error: ClientError::Closed, doubt });
            }
            match self.ask_once(call, deadline).await {
                Step::Answered(response) => return Ok((response, doubt)),
                Step::Failed(error) => return Err(Failure { error, doubt }),
                Step::Refused(why) => error = why,
                Step::Doubtful(why, words) => {
                    // What a node said of the quorum explains more than the silence of another.
                    if !matches!(&error, ClientError::Unavailable(why) if why.total > 0) {
                        error = why;
                    }
                    doubt = Some(words);
                }
                Step::NotSent => {}
            }
            // Too late for one more answer: asking would only add to the doubt.
            if deadline.saturating_duration_since(Instant::now()) < LAST {
                break;
            }
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(Failure { error, doubt })
    }

    async fn ask_once(&self, call: &Call, deadline: Instant) -> Step {
        let nodes = &self.inner.nodes;
        let wire = match nodes.wire(deadline).await {
            Ok(wire) => wire,
            Err(error) => return Step::Failed(error),
        };
        let node = wire.welcome().node;
        // A watch waits at its node by intention; everything else goes elsewhere if it waits long.
        let watches = matches!(call, Call::Watch { .. });
        let until = if watches { deadline } else { attempt(deadline) };
        let Ok(_place) = timeout_at(until, wire.place()).await else {
            return Step::Refused(ClientError::Busy);
        };
        let told = match timeout_at(until, wire.call(call.clone(), patience(until))).await {
            Ok(Ok(told)) => told,
            Ok(Err(NoResponse::NotSent(_))) => return Step::NotSent,
            Ok(Err(NoResponse::TooLarge)) => {
                let (size, limit) = (size(call) as u64, COMMAND_MAX as u64);
                return Step::Failed(ClientError::TooLarge { size, limit });
            }
            Ok(Err(NoResponse::Lost(words))) => return lost(node, words),
            Err(_) => {
                nodes.shun(node);
                return lost(node, format!("no answer from node {} in time", node.0));
            }
        };
        nodes.learn(told.leader);
        match told.response {
            Response::Refused(Refused::Rejected(rejection)) => {
                Step::Answered(Response::Done(Outcome::Rejected(rejection)))
            }
            Response::Refused(Refused::Busy) => Step::Refused(ClientError::Busy),
            Response::Refused(Refused::Unavailable(why)) => {
                nodes.shun(node);
                Step::Refused(ClientError::Unavailable(why))
            }
            Response::Refused(refused @ Refused::NoState { .. }) if !nodes.is_bound() => {
                nodes.shun(node);
                Step::Refused(refused.into())
            }
            Response::Refused(refused) => Step::Failed(refused.into()),
            Response::Unknown { why } => {
                nodes.shun(node);
                Step::Doubtful(ClientError::Unavailable(why), why.to_string())
            }
            response => Step::Answered(response),
        }
    }

    /// Runs a command under its request id.
    pub(super) async fn run(
        &self,
        session: SessionId,
        sequence: u64,
        command: &Bytes,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        let unknown = |why| ClientError::Unknown { session, sequence, why };
        if command.len() > COMMAND_MAX {
            let (size, limit) = (command.len() as u64, COMMAND_MAX as u64);
            return Err(ClientError::TooLarge { size, limit });
        }
        let command = command.clone();
        let call = Call::Operate(Operation::Run { session, sequence, command });
        match self.ask(&call, deadline).await {
            Ok((Response::Done(Outcome::Replied(reply)), _)) => Ok(reply),
            // It may be that the command ran and its session ended before we heard of it.
            Ok((Response::Done(Outcome::Rejected(why)), Some(_))) if why.may_have_run() => {
                Err(unknown(why.to_string()))
            }
            Ok((Response::Done(outcome), _)) => Err(rejected(outcome)),
            Ok(_) => Err(unexpected()),
            Err(Failure { doubt: Some(why), .. }) => Err(unknown(why)),
            Err(Failure { error, doubt: None }) => Err(error),
        }
    }

    pub(super) async fn open_until(&self, deadline: Instant) -> Result<SessionId, ClientError> {
        match self.ask(&Call::Operate(Operation::Open), deadline).await {
            Ok((Response::Done(Outcome::Opened(session)), _)) => Ok(session),
            Ok((Response::Done(outcome), _)) => Err(rejected(outcome)),
            Ok(_) => Err(unexpected()),
            Err(Failure { error, .. }) => Err(error),
        }
    }

    pub(super) async fn status_until(
        &self,
        node: NodeId,
        deadline: Instant,
    ) -> Result<NodeReport, ClientError> {
        match self.ask_node(node, Call::Status, deadline).await? {
            Response::Status(report) => Ok(*report),
            _ => Err(unexpected()),
        }
    }

    /// Asks one node, once.
    pub(super) async fn ask_node(
        &self,
        node: NodeId,
        call: Call,
        deadline: Instant,
    ) -> Result<Response, ClientError> {
        let wire = self.inner.nodes.dial(node, deadline).await.map_err(|error| match error {
            DialError::Certificate(words) => ClientError::Certificate(words),
            DialError::Unknown(_) => ClientError::Configuration(error.to_string()),
            error => unreachable(node, error.to_string()),
        })?;
        match timeout_at(deadline, wire.call(call, patience(deadline))).await {
            Ok(Ok(told)) => match told.response {
                Response::Refused(refused) => Err(refused.into()),
                response => Ok(response),
            },
            Ok(Err(lost)) => Err(unreachable(node, lost.to_string())),
            Err(_) => Err(unreachable(node, "no answer in time".to_owned())),
        }
    }
}

fn lost(node: NodeId, words: String) -> Step {
    Step::Doubtful(unreachable(node, words.clone()), words)
}

fn unreachable(node: NodeId, words: String) -> ClientError {
    ClientError::Unreachable { total: 1, reasons: [(node, words)].into() }
}

/// Until when one node is waited for: half of what is left, so that another can be tried.
fn attempt(deadline: Instant) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    deadline.min(now + (left / 2).max(ATTEMPT))
}

/// What a node is told of our patience, in milliseconds.
fn patience(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    (left - MARGIN.min(left / 4)).as_millis() as u64
}

fn size(call: &Call) -> usize {
    match call {
        Call::Operate(operation) => operation.size(),
        Call::Query { query, .. } => query.len(),
        Call::Watch { topics, .. } => topics.iter().map(TopicFilter::size).sum(),
        Call::Reconfigure { .. }
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
