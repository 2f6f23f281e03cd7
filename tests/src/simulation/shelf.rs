//! How snapshots are made, handed out, fetched, and gone on from.

use std::time::Duration;

use bytes::Bytes;
use paxos_actors::log::Kept;
use paxos_core::{ArchiveMessage, Envelope, Inside, Manifest, Message, NodeId, Replica, Slot};

use super::events::Event;
use super::node::Running;
use super::world::World;

impl World<'_> {
    /// A node has begun to make a snapshot, which takes as long as some syncs.
    pub(super) fn plan_snapshot(&mut self, node: NodeId) {
        let delay = self.upto(self.plan.sync * 4);
        let run = self.running.get(&node).map_or(0, Running::incarnation);
        self.at(delay, Event::Snapshot(node, run));
    }

    /// The snapshot is made.
    pub(super) fn make_snapshot(&mut self, node: NodeId, run: u64) -> Result<(), String> {
        let genesis = self.genesis();
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if running.incarnation() != run {
            return Ok(());
        }
        match running.make_snapshot(genesis, self.plant) {
            Ok(Some((upto, state))) => {
                self.made += 1;
                self.told(node, || format!("saves a snapshot of every slot below {upto}"));
                self.replication.state(node, Slot(upto.0 - 1), &state)?;
                self.store(node, upto);
                if self.running.get_mut(&node).is_some_and(Running::is_snapshot_due) {
                    self.plan_snapshot(node);
                }
            }
            Ok(None) => {}
            Err(error) => {
                self.told(node, || format!("stops: {error}"));
                self.stop(node, false);
            }
        }
        Ok(())
    }

    /// A snapshot has its name, synced: the archive hears of it.
    fn store(&mut self, node: NodeId, upto: Slot) {
        self.snapshots.stored(node, upto);
        let Some(running) = self.running.get(&node) else { return };
        let snapshots = running.snapshots.stored().to_vec();
        self.tell_inside(node, Inside::Stored { snapshots });
    }

    /// The proposer of a node hears when something in its replica is due, if that is news.
    pub(super) fn tell_due(&mut self, node: NodeId) {
        let Some(running) = self.running.get_mut(&node).filter(|_| self.plan.alarms) else {
            return;
        };
        if let Some(due) = running.replica.tell_due() {
            self.tell_inside(node, due);
        }
    }

    fn tell_inside(&mut self, node: NodeId, inside: Inside) {
        let delay = self.upto(Duration::from_micros(50));
        let message = Message::Inside(inside);
        self.post(delay, Envelope { from: node, to: node, message });
    }

    pub(super) fn read_piece(
        &mut self,
        node: NodeId,
        to: NodeId,
        (snapshot, offset): (Manifest, u64),
        bytes: u64,
    ) -> Result<(), String> {
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let piece = running.snapshots.piece(&snapshot, offset, bytes);
        let Some(bytes) = piece.map_err(|error| format!("snapshots: {node}: {error}"))? else {
            return Ok(());
        };
        let piece = ArchiveMessage::Piece { snapshot, offset, bytes: Bytes::from(bytes) };
        self.send(Envelope { from: node, to, message: Message::Archive(piece) })
    }

    pub(super) fn keep_piece(
        &mut self,
        node: NodeId,
        snapshot: &Manifest,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), String> {
        let upto = snapshot.upto;
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let begun = running.fetching.replace(upto) == Some(upto);
        self.resumed += u64::from(offset > 0 && !begun);
        match running.snapshots.keep(snapshot, offset, bytes) {
            Ok(Kept::Written(offset)) => self.tell_inside(node, Inside::Kept { upto, offset }),
            Ok(Kept::Spoiled) => self.tell_inside(node, Inside::Kept { upto, offset: 0 }),
            Ok(Kept::Whole(state)) => return self.fetched(node, upto, state),
            Err(error) => {
                self.told(node, || format!("stops: {error}"));
                self.stop(node, false);
            }
        }
        Ok(())
    }

    /// A peer's snapshot is stored: its state waits until the learner goes on from it.
    fn fetched(&mut self, node: NodeId, upto: Slot, mut state: Vec<u8>) -> Result<(), String> {
        self.told(node, || format!("has fetched a snapshot of every slot below {upto}"));
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        if let Err(error) = running.snapshots.store() {
            self.told(node, || format!("stops: {error}"));
            self.stop(node, false);
            return Ok(());
        }
        self.plant.snapshot(node, &mut state);
        let replica = Replica::restore(&state)
            .map_err(|error| format!("snapshots: {node} was given one that is none: {error}"))?;
        let restored = replica.restored();
        running.restored.insert(restored.next, replica);
        self.store(node, upto);
        self.tell_inside(node, Inside::Restored(restored));
        Ok(())
    }

    /// The learner goes on from a snapshot.
    pub(super) fn go_on_from(&mut self, node: NodeId, next: Slot) -> Result<(), String> {
        self.told(node, || format!("goes on from the snapshot of every slot below {next}"));
        self.replication.restored(node, next)?;
        let Some(running) = self.running.get_mut(&node) else { return Ok(()) };
        let Some(replica) = running.restored.remove(&next) else {
            return Err(format!("snapshots: {node} has no snapshot of every slot below {next}"));
        };
        running.restored = running.restored.split_off(&next);
        self.replication.state(node, Slot(next.0 - 1), &replica.snapshot())?;
        running.recent.restored(replica.applied());
        running.replica = replica;
        self.restored += 1;
        running.backlog.restored();
        self.tell_due(node);
        self.answer_reads(node)?;
        Ok(())
    }
}
