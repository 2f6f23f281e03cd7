//! Commands that a script can repeat safely.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use clap::Args;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_core::SessionId;
use paxos_net::client::{Client, ClientError};

use counter::{Command, Counters, Refusal};

/// The name of the option, as it is repeated to the user.
const OPTION: &str = "--request-id";

/// The option that repeats a request.
#[derive(Args, Clone, Copy, Debug)]
pub struct RequestOption {
    /// Repeat the request with this id, as told when its outcome was unknown: it is answered, and
    /// never counted twice
    #[arg(long, value_name = "SESSION:SEQ")]
    pub request_id: Option<RequestId>,
}

/// What makes two requests the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    session: SessionId,
    sequence: u64,
}

impl FromStr for RequestId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.parse::<u64>().ok().filter(|number| *number > 0);
        let parts = text.split_once(':').map(|(one, two)| (number(one), number(two)));
        match parts {
            Some((Some(session), Some(sequence))) => {
                Ok(RequestId { session: SessionId(session), sequence })
            }
            _ => Err("a request id is SESSION:SEQ, two numbers from 1, such as 7:1".to_owned()),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.session, self.sequence)
    }
}

impl RequestOption {
    /// Runs a command, under the given request id or a fresh one.
    ///
    /// # Errors
    /// Those of the client. If the outcome is unknown, the error says how to ask again.
    pub async fn execute(
        &self,
        common: &Common,
        command: &Command,
    ) -> anyhow::Result<Result<u64, Refusal>> {
        let client = common.client()?;
        let told = match self.request_id {
            None => client.execute_as::<Counters>(command).await,
            Some(id) => repeat(&client, id, command).await,
        };
        // A failure may have taken all the time there was.
        if told.is_ok() {
            client.close().await;
        }
        told.map_err(|error| match error {
            ClientError::Unknown { session, sequence, ref why } => {
                let arguments: Vec<_> = std::env::args().collect();
                unknown(why, RequestId { session, sequence }, &arguments).into()
            }
            error => error.into(),
        })
    }
}

async fn repeat(
    client: &Client,
    id: RequestId,
    command: &Command,
) -> Result<Result<u64, Refusal>, ClientError> {
    let bytes = postcard::to_stdvec(command)
        .map_err(|error| ClientError::Configuration(error.to_string()))?;
    let reply = client.execute_in(id.session, id.sequence, Bytes::from(bytes)).await?;
    postcard::from_bytes(&reply).map_err(|error| ClientError::Undecodable(error.to_string()))
}

fn unknown(why: &str, id: RequestId, arguments: &[String]) -> Fault {
    let mut line: Vec<_> = arguments.iter().map(|argument| quoted(argument)).collect();
    if !arguments.iter().any(|argument| argument.starts_with(OPTION)) {
        line.push(format!("{OPTION} {id}"));
    }
    let words = format!(
        "outcome unknown ({why}): it may have been counted, or may yet be; request id {id}\n\
         to learn the outcome, and have it counted once: {}",
        line.join(" ")
    );
    Fault::new(Exit::NoQuorum, words)
}

/// For a shell to read as one word.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(session: u64, sequence: u64) -> RequestId {
        RequestId { session: SessionId(session), sequence }
    }

    #[test]
    fn request_ids_read_back() {
        assert_eq!("7:12".parse(), Ok(id(7, 12)));
        assert_eq!(id(7, 12).to_string().parse(), Ok(id(7, 12)));
        for text in ["", "7", "7:", ":1", "0:1", "1:0", "a:1", "1:2:3", "-1:1", "7 :1"] {
            assert!(text.parse::<RequestId>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_outcome_comes_with_the_line_to_repeat() {
        let words = |line: &[&str]| {
            let line: Vec<_> = line.iter().map(ToString::to_string).collect();
            unknown("connection lost", id(7, 1), &line).to_string()
        };
        let fresh = words(&["counter", "incr", "my hits", "--by", "2"]);
        assert!(fresh.ends_with("counter incr 'my hits' --by 2 --request-id 7:1"), "{fresh}");
        let again = words(&["counter", "incr", "--request-id", "7:1"]);
        assert!(again.ends_with("counter incr --request-id 7:1"), "{again}");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("d/c.toml"), "d/c.toml");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
