//! Locks by their names, and what the service says as an exit of the process.

use std::time::Duration;

use paxos_app::app::block_on;
use paxos_app::exit::{Exit, Fault};
use paxos_app::options::Common;
use paxos_net::client::Read;
use paxos_net::protocol::Consistency;

use lock::locks::is_name;
use lock::machine::LockView;
use lock::{AcquireError, Answer, LockClient, Query, Refusal};

/// Reads the name of a lock.
///
/// # Errors
/// What a name looks like.
pub fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(Refusal::BadName.to_string()) }
}

/// A client of the lock service.
///
/// # Errors
/// Those of [`Common::client`].
pub fn locks(common: &Common) -> anyhow::Result<LockClient> {
    Ok(LockClient::new(common.client()?))
}

/// An error with its exit.
pub fn fault(error: AcquireError) -> anyhow::Error {
    let words = error.to_string();
    match error {
        AcquireError::Client(error) => error.into(),
        AcquireError::NotAcquired(_) | AcquireError::Late(_) => {
            Fault::new(Exit::TryAgain, words).into()
        }
        AcquireError::Unanswered(_) => Fault::new(Exit::NoQuorum, words).into(),
        AcquireError::Refused(refusal) => Fault::new(of_refusal(&refusal), words).into(),
    }
}

/// Reads one lock.
///
/// # Errors
/// Those of the client.
pub async fn show(
    locks: &LockClient,
    name: &str,
    consistency: Consistency,
) -> anyhow::Result<Read<LockView>> {
    let query = Query::Show { name: name.to_owned() };
    let Read { slot, answer, served } = locks.ask(&query, consistency).await?;
    match answer {
        Answer::Lock(answer) => Ok(Read { slot, answer, served }),
        _ => Err(unexpected()),
    }
}

/// Reads a list page by page: the question for what comes behind what was found, and the page in
/// its answer.
///
/// # Errors
/// Those of the client.
pub fn all<T>(
    common: &Common,
    consistency: Consistency,
    query: impl Fn(&[T]) -> Query,
    page: impl Fn(Answer) -> Option<Vec<T>>,
) -> anyhow::Result<Read<Vec<T>>> {
    block_on(async {
        let (locks, mut found) = (locks(common)?, Vec::new());
        loop {
            let Read { slot, answer, served } = locks.ask(&query(&found), consistency).await?;
            let page = page(answer).ok_or_else(unexpected)?;
            if page.is_empty() {
                locks.client().close().await;
                return Ok(Read { slot, answer: found, served });
            }
            found.extend(page);
        }
    })
}

/// A node answered another question than was asked.
fn unexpected() -> anyhow::Error {
    anyhow::anyhow!("an answer to another question: are client and nodes of one version?")
}

/// To a tenth of a second, which is as exact as replicated time is between two batches.
pub fn rough(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

fn of_refusal(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::SessionExpired { .. } | Refusal::NotHolder { .. } => Exit::No,
        Refusal::NotYours { .. } => Exit::Certificate,
        Refusal::TooManySessions | Refusal::TooManyLocks | Refusal::QueueFull => Exit::TryAgain,
        _ => Exit::Usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_get_the_lock_learns_by_the_exit_whether_anybody_answered() {
        let exit = |error| Exit::of(&fault(error));
        assert_eq!(exit(AcquireError::NotAcquired("x".into())), Exit::TryAgain);
        assert_eq!(exit(AcquireError::Late("x".into())), Exit::TryAgain);
        assert_eq!(exit(AcquireError::Unanswered("x".into())), Exit::NoQuorum);
    }
}
