//! Clients that speak in one room, each under a certificate of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::bail;
use paxos_net::client::{Client, ClientConfig, ClientError};
use paxos_net::credentials::Credentials;
use paxos_net::{Authority, Identity};
use tokio::task::JoinSet;

use crate::client::say;
use crate::message::Line;

/// Clients at work. Dropping it ends them where they stand.
pub struct Speakers {
    said: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    working: JoinSet<anyhow::Result<Told>>,
}

/// What clients were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The id and text of every message that was acknowledged.
    pub said: Vec<(u64, String)>,
    /// The texts whose outcome nobody knows.
    pub unknown: Vec<String>,
}

impl Speakers {
    /// Sets a client to work for each name, with a certificate that `authority` signs. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// If the certificates or the clients cannot be made.
    pub fn start(
        names: &[&str],
        authority: &Path,
        config: &ClientConfig,
        room: &str,
    ) -> anyhow::Result<Speakers> {
        let authority = Authority::load(authority)?;
        let (said, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut working = JoinSet::new();
        for name in names {
            let identity = Identity::client(config.cluster.cluster, name)?;
            let credentials = Credentials::of_leaf(&authority.issue(&identity)?)?;
            let client = Client::new(ClientConfig { credentials, ..config.clone() })?;
            let (name, room) = ((*name).to_owned(), room.to_owned());
            working.spawn(speak(client, name, room, said.clone(), over.clone()));
        }
        Ok(Speakers { said, over, working })
    }

    /// How many messages were acknowledged so far.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Lets everybody finish their sentence; answers what all of them were told.
    ///
    /// # Errors
    /// The first that a client met.
    pub async fn stop(mut self) -> anyhow::Result<Told> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        while let Some(done) = self.working.join_next().await {
            let Told { said, unknown } = done??;
            all.said.extend(said);
            all.unknown.extend(unknown);
        }
        Ok(all)
    }
}

/// Says one message after the other, no text twice.
async fn speak(
    client: Client,
    name: String,
    room: String,
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Told> {
    let mut told = Told::default();
    let mut number = 0u64;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let text = format!("{name} {number}");
        match say(&client, &room, vec![Line::now(text.as_str())]).await {
            Ok(Ok(said)) => {
                count.fetch_add(1, Ordering::Relaxed);
                told.said.push((said.first, text));
            }
            Ok(Err(refusal)) => bail!("{name} was refused: {refusal}"),
            Err(ClientError::Unknown { .. }) => told.unknown.push(text),
            // It certainly was not said: the next sentence is another.
            Err(ClientError::Busy | ClientError::Unavailable(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    client.close().await;
    Ok(told)
}
