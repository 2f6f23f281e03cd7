//! The same room on several nodes, compared by the hashes of its messages.

use std::collections::{BTreeMap, BTreeSet};

use paxos_core::{Member, NodeId, Slot};
use paxos_net::client::{Client, ClientConfig, ClientError};
use paxos_net::protocol::Consistency;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::{digest, history};
use crate::message::Message;
use crate::room::{Digest, Span};

/// Nodes that can be compared.
pub struct Comparison {
    room: String,
    clients: BTreeMap<NodeId, Client>,
    silent: BTreeMap<NodeId, ClientError>,
}

/// The first message at which nodes differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its id. One below the oldest message that is kept: they differ in what is gone.
    pub seq: u64,
    /// What each node has there.
    pub have: BTreeMap<u64, Option<Message>>,
}

impl Comparison {
    /// Asks every member that keeps the state for the room as it was at a slot; those that do not
    /// answer in time are left out.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub async fn of(
        config: &ClientConfig,
        members: &BTreeMap<NodeId, Member>,
        (room, slot): (&str, Slot),
    ) -> Result<Self, ClientError> {
        let (mut clients, mut silent) = (BTreeMap::new(), BTreeMap::new());
        let mut asked = JoinSet::new();
        for (node, member) in members.iter().filter(|(_, member)| member.role.learns()) {
            // The cluster file may not know it.
            let mut config = ClientConfig { via: Some(member.address.clone()), ..config.clone() };
            config.cluster.nodes.insert(*node, member.address.clone());
            let client = Client::new(config)?;
            clients.insert(*node, client.clone());
            let (node, room) = (*node, room.to_owned());
            asked.spawn(async move {
                let consistency = Consistency::Stale { at_least: slot };
                (node, digest(&client, &room, 0, consistency).await.err())
            });
        }
        for (node, error) in asked.join_all().await {
            if let Some(error) = error {
                clients.remove(&node);
                silent.insert(node, error);
            }
        }
        Ok(Comparison { room: room.to_owned(), clients, silent })
    }

    /// The nodes that are compared.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.clients.keys().copied()
    }

    /// Those that did not answer, and why.
    pub fn silent(&self) -> &BTreeMap<NodeId, ClientError> {
        &self.silent
    }

    /// Finds the first of these messages at which the nodes differ.
    ///
    /// # Errors
    /// Those of the client.
    pub async fn first_difference(
        &self,
        first: u64,
        last: u64,
    ) -> Result<Option<Difference>, ClientError> {
        let mut search = Search::new(first.saturating_sub(1), last);
        while let Some(probe) = search.probe() {
            search.tell(probe, self.agree_upto(probe).await?);
        }
        let Some(seq) = search.found() else { return Ok(None) };
        let mut have = BTreeMap::new();
        for (node, client) in &self.clients {
            let stale = Consistency::Stale { at_least: Slot(0) };
            let span = (Span::After(seq.saturating_sub(1)), 1);
            let page = history(client, &self.room, span, stale).await?.answer;
            let message = page.messages.into_iter().find(|message| message.id == seq);
            have.insert(node.0, message);
        }
        Ok(Some(Difference { seq, have }))
    }

    /// Closes the connections.
    pub async fn close(self) {
        for client in self.clients.into_values() {
            client.close().await;
        }
    }

    async fn agree_upto(&self, id: u64) -> Result<bool, ClientError> {
        let mut asked = JoinSet::new();
        for client in self.clients.values() {
            let (client, room) = (client.clone(), self.room.clone());
            let stale = Consistency::Stale { at_least: Slot(0) };
            asked.spawn(async move { digest(&client, &room, id, stale).await });
        }
        let mut digests = Vec::new();
        for asked in asked.join_all().await {
            digests.push(asked?.answer);
        }
        Ok(agree(&digests))
    }
}

/// Whether all that still know have the same. Who does not know any more has newer messages than
/// that, and is compared by those.
fn agree(digests: &[Digest]) -> bool {
    digests.iter().filter_map(|digest| digest.chain).collect::<BTreeSet<_>>().len() <= 1
}

/// A search by halves. From the first difference on all hashes differ: see
/// [`crate::message::chained`].
#[derive(Debug)]
struct Search {
    /// The least that is asked for.
    first: u64,
    /// The greatest.
    last: u64,
    /// Up to here all is the same.
    same: Option<u64>,
    /// From here on all differs.
    differs: Option<u64>,
}

impl Search {
    fn new(first: u64, last: u64) -> Self {
        Search { first, last, same: None, differs: None }
    }

    /// What to ask next: the last, since most often nothing differs; the first; then halves.
    fn probe(&self) -> Option<u64> {
        match (self.same, self.differs) {
            (None, None) => Some(self.last),
            (_, None) => None,
            (None, Some(differs)) => (differs > self.first).then_some(self.first),
            (Some(same), Some(differs)) => {
                (differs - same > 1).then(|| same + (differs - same) / 2)
            }
        }
    }

    fn tell(&mut self, probe: u64, is_same: bool) {
        *(if is_same { &mut self.same } else { &mut self.differs }) = Some(probe);
    }

    /// Where the difference begins, if there is one.
    fn found(&self) -> Option<u64> {
        self.differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: u64, last: u64, begins: Option<u64>) -> (Option<u64>, u32) {
        let (mut search, mut asked) = (Search::new(first, last), 0);
        while let Some(probe) = search.probe() {
            assert!((first..=last).contains(&probe));
            search.tell(probe, begins.is_none_or(|begins| probe < begins));
            asked += 1;
        }
        (search.found(), asked)
    }

    #[test]
    fn the_first_difference_is_found_in_few_questions() {
        assert_eq!(search(0, 88_210, None), (None, 1));
        for begins in [1, 2, 3, 44_105, 88_209, 88_210] {
            let (found, asked) = search(0, 88_210, Some(begins));
            assert_eq!(found, Some(begins));
            assert!(asked <= 19, "{asked}");
        }
        assert_eq!(search(100, 200, Some(100)).0, Some(100), "what is gone differs already");
        assert_eq!(search(7, 7, Some(7)), (Some(7), 1));
    }

    #[test]
    fn who_does_not_know_any_more_does_not_disagree() {
        let digest = |chain| Digest { first: 1, last: 9, chain };
        assert!(agree(&[digest(Some(1)), digest(Some(1)), digest(None)]));
        assert!(!agree(&[digest(Some(1)), digest(Some(2)), digest(None)]));
    }
}
