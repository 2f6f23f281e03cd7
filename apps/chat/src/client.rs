//! What a client says and asks, in the types of the service.

use std::time::{Duration, SystemTime};

use paxos_net::client::{Client, ClientError, Read};
use paxos_net::protocol::Consistency;

use crate::machine::{Answer, Chat, Command, Query, Refusal, Said, Summary};
use crate::message::Line;
use crate::room::{Digest, Page, Span};

impl Line {
    /// What is said now, by the clock of this machine.
    pub fn now(text: impl Into<String>) -> Line {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 is no reason to say nothing.
        let said_at = since.map_or(0, |since: Duration| since.as_millis() as u64);
        Line { said_at, text: text.into() }
    }
}

/// Says something, once. Who waits for the answer before saying more is heard in order.
///
/// # Errors
/// Those of the client; only with [`ClientError::Unknown`] may it have been said, or be yet.
pub async fn say(
    client: &Client,
    room: &str,
    lines: Vec<Line>,
) -> Result<Result<Said, Refusal>, ClientError> {
    client.execute_as::<Chat>(&Command::Say { room: room.to_owned(), lines }).await
}

/// Reads messages of a room.
///
/// # Errors
/// Those of the client.
pub async fn history(
    client: &Client,
    room: &str,
    (span, limit): (Span, u64),
    consistency: Consistency,
) -> Result<Read<Page>, ClientError> {
    let query = Query::History { room: room.to_owned(), span, limit };
    ask(client, &query, consistency, |answer| match answer {
        Answer::History(page) => Some(page),
        _ => None,
    })
    .await
}

/// Reads which rooms there are.
///
/// # Errors
/// Those of the client.
pub async fn rooms(
    client: &Client,
    consistency: Consistency,
) -> Result<Read<Vec<Summary>>, ClientError> {
    ask(client, &Query::Rooms, consistency, |answer| match answer {
        Answer::Rooms(rooms) => Some(rooms),
        _ => None,
    })
    .await
}

/// Reads the hash of what was said in a room up to a message.
///
/// # Errors
/// Those of the client.
pub async fn digest(
    client: &Client,
    room: &str,
    upto: u64,
    consistency: Consistency,
) -> Result<Read<Digest>, ClientError> {
    let query = Query::Digest { room: room.to_owned(), upto };
    ask(client, &query, consistency, |answer| match answer {
        Answer::Digest(digest) => Some(digest),
        _ => None,
    })
    .await
}

async fn ask<T>(
    client: &Client,
    query: &Query,
    consistency: Consistency,
    take: impl FnOnce(Answer) -> Option<T>,
) -> Result<Read<T>, ClientError> {
    let Read { slot, answer, served } = client.read_as::<Chat>(query, consistency).await?;
    let other = || ClientError::Undecodable("an answer to another question".to_owned());
    Ok(Read { slot, answer: take(answer).ok_or_else(other)?, served })
}
