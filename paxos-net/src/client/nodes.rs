//! Finds a node to talk to: the leader if it is known, else one that answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paxos_core::NodeId;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::error::ClientError;
use crate::client::wire::{Dialer, Wire};
use crate::dial::DialError;
use crate::lock::lock;

/// After so long without an answer, the next node is dialed too.
const STAGGER: Duration = Duration::from_millis(100);
/// For one node to answer.
const DIAL: Duration = Duration::from_secs(3);
/// Between rounds over all nodes.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// For a change to the leader, which is not worth waiting long for.
const MOVE: Duration = Duration::from_millis(500);
/// A node that was of no use is not gone to for so long, if there are others.
const SHUN: Duration = Duration::from_secs(1);

/// The nodes, and the connections to some of them.
pub(crate) struct Nodes {
    dialer: Dialer,
    known: Mutex<Known>,
    slots: Vec<AsyncMutex<Option<Arc<Wire>>>>,
    turn: AtomicUsize,
    via: Option<NodeId>,
}

struct Known {
    addresses: BTreeMap<NodeId, String>,
    leader: Option<NodeId>,
    shunned: BTreeMap<NodeId, Instant>,
}

impl Known {
    fn shuns(&self, node: NodeId) -> bool {
        self.shunned.get(&node).is_some_and(|since| since.elapsed() < SHUN)
    }
}

impl Nodes {
    pub(crate) fn new(
        dialer: Dialer,
        addresses: BTreeMap<NodeId, String>,
        via: Option<NodeId>,
        connections: usize,
    ) -> Arc<Self> {
        Arc::new(Nodes {
            dialer,
            known: Mutex::new(Known { addresses, leader: None, shunned: BTreeMap::new() }),
            slots: (0..connections.max(1)).map(|_| AsyncMutex::default()).collect(),
            turn: AtomicUsize::new(0),
            via,
        })
    }

    /// Every node and its address.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        lock(&self.known).addresses.clone()
    }

    /// The nodes that may be asked: all, unless the client shall talk to one only.
    pub(crate) fn asked(&self) -> Vec<NodeId> {
        self.hear_news();
        match self.via {
            Some(via) => vec![via],
            None => lock(&self.known).addresses.keys().copied().collect(),
        }
    }

    /// Whether the client shall talk to one node only.
    pub(crate) fn is_bound(&self) -> bool {
        self.via.is_some()
    }

    /// A connection to use; the ones there are take turns.
    pub(crate) async fn wire(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Arc<Wire>, ClientError> {
        self.hear_news();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let Ok(mut slot) = timeout_at(deadline, self.slots[turn].lock()).await else {
            return Err(self.unreachable(BTreeMap::new()));
        };
        if let Some(wire) = slot.as_ref().filter(|wire| wire.is_open()) {
            match self.better_than(wire.welcome().node) {
                None => return Ok(wire.clone()),
                Some(leader) => {
                    let soon = deadline.min(Instant::now() + MOVE);
                    match self.dial(leader, soon).await {
                        Ok(moved) => return Ok(slot.insert(Arc::new(moved)).clone()),
                        Err(_) => {
                            self.shun(leader);
                            return Ok(wire.clone());
                        }
                    }
                }
            }
        }
        *slot = None;
        let wire = self.dial_any(deadline).await?;
        Ok(slot.insert(Arc::new(wire)).clone())
    }

    /// A connection to one node, for one call.
    pub(crate) async fn dial(&self, node: NodeId, deadline: Instant) -> Result<Wire, DialError> {
        let Some(address) = lock(&self.known).addresses.get(&node).cloned() else {
            return Err(DialError::Unknown(node.0));
        };
        self.dialer.dial(node, &address, deadline.min(Instant::now() + DIAL)).await
    }

    /// Remembers who leads.
    pub(crate) fn learn(&self, leader: Option<NodeId>) {
        let mut known = lock(&self.known);
        if leader.is_some() && known.leader != leader {
            known.leader = leader;
        }
    }

    /// Takes in what nodes have said of addresses since: who is not named any more was removed.
    fn hear_news(&self) {
        let Some(news) = lock(&self.dialer.news).1.take() else { return };
        let mut known = lock(&self.known);
        known.addresses.retain(|node, _| news.contains_key(node));
        for (node, address) in news {
            known.addresses.entry(node).or_insert(address);
        }
    }

    /// A node was of no use: another may be.
    pub(crate) fn shun(&self, node: NodeId) {
        let mut known = lock(&self.known);
        if known.leader == Some(node) {
            known.leader = None;
        }
        known.shunned.insert(node, Instant::now());
    }

    /// Forgets the connections, which close when nobody uses them any more.
    pub(crate) async fn close(&self) {
        for slot in &self.slots {
            *slot.lock().await = None;
        }
    }

    /// The node to move to from this one.
    fn better_than(&self, node: NodeId) -> Option<NodeId> {
        if self.via.is_some() {
            return None;
        }
        let known = lock(&self.known);
        let good = |other: &NodeId| *other != node && !known.shuns(*other);
        let leader = known.leader.filter(|leader| known.addresses.contains_key(leader));
        match leader.filter(good) {
            None if known.shuns(node) => {
                let others: Vec<_> = known.addresses.keys().copied().filter(good).collect();
                others.get(self.random() % others.len().max(1)).copied()
            }
            leader => leader,
        }
    }

    /// Dials all nodes, one a little after the other, until one answers.
    async fn dial_any(self: &Arc<Self>, deadline: Instant) -> Result<Wire, ClientError> {
        let reasons = Mutex::new(BTreeMap::new());
        let rounds = async {
            loop {
                match self.dial_round(deadline, &reasons).await {
                    Some(wire) => return Ok(wire),
                    None if all_certificates(&reasons) => return Err(()),
                    None => sleep(ROUND_PAUSE).await,
                }
            }
        };
        if let Ok(Ok(wire)) = timeout_at(deadline, rounds).await {
            let welcome = wire.welcome();
            let mut known = lock(&self.known);
            for (node, address) in &welcome.addresses {
                known.addresses.entry(*node).or_insert_with(|| address.clone());
            }
            drop(known);
            self.learn(welcome.leader);
            return Ok(wire);
        }
        let reasons = reasons.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(self.unreachable(reasons))
    }

    async fn dial_round(
        self: &Arc<Self>,
        deadline: Instant,
        reasons: &Mutex<BTreeMap<NodeId, DialError>>,
    ) -> Option<Wire> {
        let mut order = self.order().into_iter();
        let mut dials = JoinSet::new();
        loop {
            if let Some(node) = order.next() {
                let nodes = self.clone();
                dials.spawn(async move { (node, nodes.dial(node, deadline).await) });
            }
            tokio::select! {
                biased;
                joined = dials.join_next() => match joined {
                    None => return None,
                    Some(Ok((_, Ok(wire)))) => return Some(wire),
                    Some(Ok((node, Err(error)))) => {
                        lock(reasons).insert(node, error);
                    }
                    Some(Err(_)) => {}
                },
                () = sleep(STAGGER), if order.len() > 0 => {}
            }
        }
    }

    /// The leader first, the others from a random one on, the shunned ones last.
    fn order(&self) -> Vec<NodeId> {
        if let Some(via) = self.via {
            return vec![via];
        }
        let known = lock(&self.known);
        let mut order: Vec<_> = known.addresses.keys().copied().collect();
        let count = order.len().max(1);
        order.rotate_left(self.random() % count);
        order.sort_by_key(|node| (known.shuns(*node), known.leader != Some(*node)));
        order
    }

    /// Spreads clients over nodes; without randomness they all begin with the first.
    fn random(&self) -> usize {
        self.dialer.entropy.draw().map_or(0, |random| random as usize)
    }

    fn unreachable(&self, reasons: BTreeMap<NodeId, DialError>) -> ClientError {
        let refused = reasons.iter().find_map(|(node, error)| match error {
            DialError::Certificate(words) => Some(format!("node {}: {words}", node.0)),
            _ => None,
        });
        match refused {
            Some(words) => ClientError::Certificate(words),
            None => ClientError::Unreachable {
                total: if self.via.is_some() { 1 } else { lock(&self.known).addresses.len() },
                reasons: reasons
                    .into_iter()
                    .map(|(node, error)| (node, error.to_string()))
                    .collect(),
            },
        }
    }
}

/// Whether trying again is of no use.
fn all_certificates(reasons: &Mutex<BTreeMap<NodeId, DialError>>) -> bool {
    let reasons = lock(reasons);
    !reasons.is_empty() && reasons.values().all(|error| matches!(error, DialError::Certificate(_)))
}
