//! Followers of one room, each beginning at a node of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use paxos_app::timeline::Timeline;
use paxos_core::NodeId;
use paxos_net::client::{ClientConfig, ClientError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cursor::News;
use crate::follower::{Follower, Heard, Start};
use crate::message::Message;

/// Followers at work. Dropping it ends them.
pub struct Audience {
    /// How far each has got: the id of the last message that it heard.
    reached: Vec<Arc<AtomicU64>>,
    end: watch::Sender<Option<u64>>,
    listening: JoinSet<anyhow::Result<(usize, Vec<Message>)>>,
}

impl Audience {
    /// Has somebody follow the room at each of these nodes of the cluster, from its first message
    /// on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn gather(
        config: &ClientConfig,
        nodes: &BTreeSet<NodeId>,
        room: &str,
        timeline: &Timeline,
    ) -> Result<Audience, ClientError> {
        let (end, until) = watch::channel(None);
        let (mut reached, mut listening) = (Vec::new(), JoinSet::new());
        let nodes = config.cluster.nodes.iter().filter(|(node, _)| nodes.contains(node));
        for (place, (node, address)) in nodes.enumerate() {
            let config = ClientConfig { via: Some(address.clone()), ..config.clone() };
            let follower = Follower::new(config, room, Start::At(1))?;
            let far = Arc::new(AtomicU64::new(0));
            reached.push(far.clone());
            let name = format!("the follower of node {}", node.0);
            let (timeline, until) = (timeline.clone(), until.clone());
            listening.spawn(async move {
                Ok((place, listen(follower, &name, &timeline, &far, until).await?))
            });
        }
        Ok(Audience { reached, end, listening })
    }

    /// How far each follower has got.
    pub fn reached(&self) -> Vec<u64> {
        self.reached.iter().map(|reached| reached.load(Ordering::Relaxed)).collect()
    }

    /// Waits until everybody has heard the message of this id; answers what each has heard, in the
    /// order in which they did.
    ///
    /// # Errors
    /// That somebody does not within `limit`, or met with what time cannot mend.
    pub async fn hear_out(
        mut self,
        last: u64,
        limit: Duration,
    ) -> anyhow::Result<Vec<Vec<Message>>> {
        self.end.send(Some(last)).context("all followers have ended")?;
        let mut all = vec![Vec::new(); self.reached.len()];
        let heard = async {
            while let Some(done) = self.listening.join_next().await {
                let (place, heard) = done??;
                all[place] = heard;
            }
            anyhow::Ok(())
        };
        match timeout(limit, heard).await {
            Ok(done) => done?,
            Err(_) => bail!("somebody had not heard #{last} within {limit:?}"),
        }
        Ok(all)
    }
}

async fn listen(
    mut follower: Follower,
    name: &str,
    timeline: &Timeline,
    reached: &AtomicU64,
    mut until: watch::Receiver<Option<u64>>,
) -> anyhow::Result<Vec<Message>> {
    let mut heard = Vec::new();
    loop {
        let last = heard.last().map_or(0, |message: &Message| message.id);
        if until.borrow_and_update().is_some_and(|end| last >= end) {
            follower.close().await;
            return Ok(heard);
        }
        let next = tokio::select! {
            next = follower.next() => next?,
            _ = until.changed() => continue,
        };
        match next {
            Heard::News(News::Said(message)) => {
                reached.store(message.id, Ordering::Relaxed);
                heard.push(message);
            }
            Heard::News(News::Gone { first, last }) => {
                bail!("{name}: #{first} to #{last} are gone")
            }
            Heard::Moved { .. } => {
                let node = follower.node();
                timeline
                    .tell(format_args!("{name} lost it and goes on at {node} behind #{last}"))?;
            }
            Heard::CaughtUp(_) | Heard::Lagged => {}
        }
    }
}
