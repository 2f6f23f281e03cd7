//! The archive: knows which snapshots this node has, hands them out piece by piece, and fetches one
//! from a peer when the log that is missing is no longer to be had.
//!
//! It never touches their bytes: making, reading and keeping them is its driver's work. The one who
//! fetches asks for every piece, so a transfer goes as fast as its receiver writes, ends when its
//! receiver is gone, and repeats no more than the piece that was lost. What has come of a snapshot
//! outlives the peer that sent it and a restart of the receiver: whoever has the same snapshot is
//! asked for the rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::effect::{Effect, Input, Role};
use crate::message::{ArchiveMessage, Envelope, Inside, Manifest, Message};
use crate::status::Status;
use crate::types::{NodeId, Slot, Time};

/// Limits and time-outs of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArchiveOptions {
    /// Bytes of one piece. Default: 512 KiB.
    pub piece_bytes: u64,
    /// A fetch takes no more than this of the network, in bytes a second. Default: 64 MiB.
    pub bytes_per_second: u64,
    /// A longer snapshot is not fetched. Default: 64 GiB.
    pub snapshot_bytes_max: u64,
    /// How long a piece may take before it is asked for again. Default: 500 ms.
    pub retry: Duration,
    /// A peer whose snapshot does not grow here for so long is given up. Default: 10 s.
    pub patience: Duration,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        ArchiveOptions {
            piece_bytes: 512 << 10,
            bytes_per_second: 64 << 20,
            snapshot_bytes_max: 64 << 30,
            retry: Duration::from_millis(500),
            patience: Duration::from_secs(10),
        }
    }
}

impl ArchiveOptions {
    /// The default, but that a fetch takes no more than this of the network, in pieces of no more
    /// than an eighth of a second, so that it takes it evenly.
    pub fn paced(bytes_per_second: u64) -> Self {
        let default = ArchiveOptions::default();
        let piece_bytes = (bytes_per_second / 8).clamp(1, default.piece_bytes);
        ArchiveOptions { piece_bytes, bytes_per_second, ..default }
    }
}

/// An archive.
///
/// Invariant: it says that a snapshot is saved only when its driver says that it is stored, synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Archive {
    me: NodeId,
    options: ArchiveOptions,
    /// What is stored here, oldest first.
    stored: Vec<Manifest>,
    fetching: Option<Fetching>,
    /// What lies here of a snapshot, and how many bytes, while nobody is asked for the rest.
    partial: Option<(Manifest, u64)>,
    dropped: u64,
}

/// One fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Fetching {
    peer: NodeId,
    /// What the peer was asked for; it may give a newer one.
    upto: Slot,
    snapshot: Option<Manifest>,
    /// How many bytes of it are kept here.
    offset: u64,
    /// When the next piece is asked for; `None` while the last is being written, or all are here.
    pull_at: Option<Time>,
    /// When the last pull was sent.
    pulled: Time,
    /// When it last grew.
    grown: Time,
}

impl Fetching {
    /// Whether a piece is being written here. However long that takes, it is not the peer's fault.
    fn is_being_kept(&self) -> bool {
        self.snapshot.is_some() && self.pull_at.is_none()
    }
}

impl Archive {
    /// The archive of node `me`, which has nothing until it hears what is stored.
    pub fn new(me: NodeId, options: ArchiveOptions) -> Self {
        let (stored, fetching, partial, dropped) = (Vec::new(), None, None, 0);
        Archive { me, options, stored, fetching, partial, dropped }
    }

    /// The newest snapshot stored here.
    pub fn newest(&self) -> Option<&Manifest> {
        self.stored.last()
    }

    fn send(&self, to: NodeId, message: Message) -> Effect {
        Effect::Send(Envelope { from: self.me, to, message })
    }

    fn covers(&self, upto: Slot) -> bool {
        self.newest().is_some_and(|newest| newest.upto >= upto)
    }

    /// A peer has cut what the learner asked it for, and offers a snapshot. If part of one lies
    /// here that the peer may still have, it is asked for the rest.
    fn behind(&mut self, now: Time, peer: NodeId, offered: Slot) {
        if self.covers(offered) || self.fetching.is_some() {
            return;
        }
        let partial = self.partial.take_if(|(snapshot, _)| snapshot.upto <= offered);
        let (snapshot, offset) = partial.unzip();
        let upto = snapshot.as_ref().map_or(offered, |snapshot| snapshot.upto);
        let (offset, pull_at) = (offset.unwrap_or(0), Some(now));
        let fetching = Fetching { peer, upto, snapshot, offset, pull_at, pulled: now, grown: now };
        self.fetching = Some(fetching);
    }

    /// Part of a snapshot lies here since before the start.
    fn partly(&mut self, snapshot: Manifest, offset: u64) {
        let begun = self.fetching.as_ref().is_some_and(|fetching| fetching.snapshot.is_some());
        if !begun && !self.covers(snapshot.upto) {
            self.partial = Some((snapshot, offset));
        }
    }

    /// Hands out a piece: of the snapshot that is asked for, or the beginning of the newest.
    fn pulled(&mut self, to: NodeId, upto: Slot, offset: u64, out: &mut Vec<Effect>) {
        let asked = self.stored.iter().find(|stored| stored.upto == upto);
        let found = asked.map(|stored| (stored, offset));
        let Some((snapshot, offset)) = found.or(self.newest().map(|newest| (newest, 0))) else {
            return;
        };
        let bytes = snapshot.bytes.saturating_sub(offset).min(self.options.piece_bytes);
        if bytes > 0 {
            let snapshot = snapshot.clone();
            out.push(Effect::ReadPiece { to, snapshot, offset, bytes });
        }
    }

    /// Takes the piece that was asked for, and nothing else.
    fn piece(
        &mut self,
        now: Time,
        from: NodeId,
        (snapshot, offset): (Manifest, u64),
        bytes: bytes::Bytes,
        out: &mut Vec<Effect>,
    ) {
        let end = offset.saturating_add(bytes.len() as u64);
        let sound = !bytes.is_empty()
            && end <= snapshot.bytes
            && snapshot.bytes <= self.options.snapshot_bytes_max
            && !self.covers(snapshot.upto);
        let Some(fetching) = &mut self.fetching else { return };
        if !sound || fetching.peer != from || fetching.pull_at.is_none() {
            self.dropped += u64::from(!sound);
            return;
        }
        let same = fetching.snapshot.as_ref() == Some(&snapshot);
        if (same && offset == fetching.offset) || (!same && offset == 0) {
            fetching.upto = snapshot.upto;
            fetching.snapshot = Some(snapshot.clone());
            fetching.offset = offset;
            fetching.pull_at = None;
            fetching.grown = now;
            self.partial = None;
            out.push(Effect::KeepPiece { snapshot, offset, bytes });
        } else if !same && snapshot.upto == fetching.upto && offset == fetching.offset {
            // What lies here is not what this peer has: another release may write it otherwise.
            fetching.snapshot = None;
            fetching.offset = 0;
            fetching.pull_at = Some(now);
        }
    }

    /// So much of a snapshot is written here; nothing, if it was spoiled.
    fn kept(&mut self, now: Time, upto: Slot, offset: u64) {
        let ArchiveOptions { piece_bytes, bytes_per_second, .. } = &self.options;
        let micros = piece_bytes.saturating_mul(1_000_000) / (*bytes_per_second).max(1);
        let piece = Duration::from_micros(micros);
        let waits = |fetching: &&mut Fetching| fetching.upto == upto && fetching.is_being_kept();
        let Some(fetching) = self.fetching.as_mut().filter(waits) else { return };
        if offset == 0 {
            self.fetching = None;
            return;
        }
        fetching.offset = offset;
        fetching.grown = now;
        let whole = fetching.snapshot.as_ref().is_some_and(|snapshot| offset >= snapshot.bytes);
        fetching.pull_at = (!whole).then(|| fetching.pulled.after(piece).max(now));
    }

    fn stored(&mut self, stored: Vec<Manifest>, out: &mut Vec<Effect>) {
        self.stored = stored;
        let (Some(oldest), Some(newest)) = (self.stored.first(), self.stored.last()) else {
            return;
        };
        let (oldest, upto) = (oldest.upto, newest.upto);
        self.forget(upto);
        out.push(self.send(self.me, Message::Inside(Inside::Saved { upto, oldest })));
    }

    /// Everything below a slot is here: nothing that ends there is fetched any more.
    fn forget(&mut self, below: Slot) {
        self.fetching.take_if(|fetching| fetching.upto <= below);
        self.partial.take_if(|(snapshot, _)| snapshot.upto <= below);
    }

    /// Does what is due.
    fn tick(&mut self, now: Time, out: &mut Vec<Effect>) {
        let Some(fetching) = &mut self.fetching else { return };
        if fetching.is_being_kept() {
            return;
        }
        if fetching.grown.after(self.options.patience) <= now {
            let begun = fetching.snapshot.take().map(|snapshot| (snapshot, fetching.offset));
            self.partial = begun.or(self.partial.take());
            self.fetching = None;
            return;
        }
        if fetching.pull_at.is_some_and(|due| due <= now) {
            fetching.pulled = now;
            fetching.pull_at = Some(now.after(self.options.retry));
            let (peer, upto, offset) = (fetching.peer, fetching.upto, fetching.offset);
            let pull = Message::Archive(ArchiveMessage::Pull { upto, offset });
            out.push(self.send(peer, pull));
        }
    }
}

impl Role for Archive {
    fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Message(from, Message::Archive(message)) => match message {
                ArchiveMessage::Pull { upto, offset } => self.pulled(from, upto, offset, out),
                ArchiveMessage::Piece { snapshot, offset, bytes } => {
                    self.piece(now, from, (snapshot, offset), bytes, out);
                }
            },
            Input::Message(_, Message::Inside(inside)) => match inside {
                Inside::Behind { peer, upto } => self.behind(now, peer, upto),
                Inside::Partly { snapshot, offset } => self.partly(snapshot, offset),
                Inside::Kept { upto, offset } => self.kept(now, upto, offset),
                Inside::Stored { snapshots } => self.stored(snapshots, out),
                // The log has led as far meanwhile.
                Inside::Advanced { next, .. } => self.forget(next),
                _ => {}
            },
            Input::Message(..) | Input::Timeout => {}
        }
        self.tick(now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        let fetching = self.fetching.as_ref().filter(|fetching| !fetching.is_being_kept())?;
        let end = fetching.grown.after(self.options.patience);
        Some(fetching.pull_at.map_or(end, |pull_at| pull_at.min(end)))
    }

    fn describe(&self, status: &mut Status) {
        status.saved = self.newest().map_or(Slot(0), |newest| Slot(newest.upto.0 - 1));
        status.dropped += self.dropped;
    }
}
