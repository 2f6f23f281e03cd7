//! The shelf: makes snapshots, hands them out, takes them in. All of it is slow, so it has a thread
//! of its own; in virtual time nothing is slow, and the actor does it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use actix::{Actor, ActorContext, Context, Handler};
use bytes::Bytes;
use paxos_core::{
    ArchiveMessage, Configurations, Envelope, Inside, Manifest, Message, NodeId, Replica, Slot,
    StateMachine, Value,
};

use paxos_net::Caller;
use paxos_net::protocol::{ClientResponse, Refused, Response};

use crate::failure::Failure;
use crate::log::{Kept, Snapshots};
use crate::messages::{Decision, Halt, Shelve};
use crate::wiring::Wires;

/// Pieces that peers wait for; more are not read, and asked for again.
const READS_MAX: usize = 16;

/// A client is told so many bytes at once: less than a frame, also where bytes are written as text.
const TOLD_BYTES: u64 = 512 << 10;

/// States that came as snapshots and wait until the learner goes on from them, by the first slot
/// that they do not cover.
pub type Arrivals<S> = Arc<Mutex<BTreeMap<Slot, Replica<S>>>>;

/// Forgets the states that the log has led beyond.
pub fn forget<S>(arrivals: &Arrivals<S>, applied: Slot) {
    let mut arrivals = lock(arrivals);
    let ahead = arrivals.split_off(&applied.next().next());
    *arrivals = ahead;
}

/// The state that arrived for a slot; those before it are no longer of use.
pub fn take<S>(arrivals: &Arrivals<S>, next: Slot) -> Option<Replica<S>> {
    let mut arrivals = lock(arrivals);
    let found = arrivals.remove(&next);
    *arrivals = arrivals.split_off(&next);
    found
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does the work, wherever it is done.
pub struct Shelf<S: StateMachine> {
    snapshots: Snapshots,
    genesis: Configurations,
    arrivals: Arrivals<S>,
    wires: Wires,
    /// Which snapshot of a peer the last piece was of.
    fetching: Option<Slot>,
}

impl<S: StateMachine> Shelf<S> {
    /// A shelf with these snapshots.
    pub fn new(
        snapshots: Snapshots,
        genesis: Configurations,
        arrivals: Arrivals<S>,
        wires: Wires,
    ) -> Self {
        Shelf { snapshots, genesis, arrivals, wires, fetching: None }
    }

    fn work(&mut self, job: Shelve) -> Result<(), Failure> {
        match job {
            Shelve::Make(values) => self.make(&values),
            Shelve::Read { to, snapshot, offset, bytes } => self.read(to, snapshot, offset, bytes),
            Shelve::Keep { snapshot, offset, bytes } => self.keep(&snapshot, offset, &bytes),
            Shelve::Tell { caller, id, upto, offset } => {
                self.tell_client(&caller, id, upto, offset)
            }
        }
    }

    /// Makes a snapshot of the one before and what was applied since.
    fn make(&mut self, values: &[(Slot, Value)]) -> Result<(), Failure> {
        let previous = self.snapshots.newest()?;
        let genesis = self.genesis.clone();
        let (upto, state) =
            Replica::<S>::next_snapshot(previous, genesis, values, |replica, slot, value| {
                replica.apply(slot, value);
            })?;
        self.snapshots.save(upto, &state)?;
        tracing::info!(%upto, bytes = state.len(), "snapshot saved");
        self.wires.decide(vec![Decision::Saved(state.len() as u64)]);
        self.tell_stored();
        Ok(())
    }

    fn read(
        &mut self,
        to: NodeId,
        snapshot: Manifest,
        offset: u64,
        bytes: u64,
    ) -> Result<(), Failure> {
        if let Some(piece) = self.snapshots.piece(&snapshot, offset, bytes)? {
            let bytes = Bytes::from(piece);
            let piece = ArchiveMessage::Piece { snapshot, offset, bytes };
            let (from, message) = (self.wires.me, Message::Archive(piece));
            self.wires.dispatch([Envelope { from, to, message }]);
        }
        Ok(())
    }

    fn tell_client(
        &mut self,
        caller: &Caller,
        id: u64,
        upto: Option<Slot>,
        offset: u64,
    ) -> Result<(), Failure> {
        let stored = self.snapshots.stored();
        let found = match upto {
            Some(upto) => stored.iter().find(|stored| stored.upto == upto),
            None => stored.last(),
        };
        let mut response = Response::Refused(Refused::NoSnapshot);
        if let Some(snapshot) = found.cloned() {
            let bytes = snapshot.bytes.saturating_sub(offset).min(TOLD_BYTES);
            if let Some(piece) = self.snapshots.piece(&snapshot, offset, bytes)? {
                response = Response::Piece { snapshot, bytes: Bytes::from(piece) };
            }
        }
        caller.replies.send(vec![ClientResponse { id, leader: None, response }]);
        Ok(())
    }

    fn keep(&mut self, snapshot: &Manifest, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let upto = snapshot.upto;
        if self.fetching.replace(upto) != Some(upto) || offset == 0 {
            tracing::info!(%upto, offset, bytes = snapshot.bytes, "fetching a snapshot");
        }
        match self.snapshots.keep(snapshot, offset, bytes)? {
            Kept::Written(offset) => self.tell(Inside::Kept { upto, offset }),
            Kept::Spoiled => {
                tracing::warn!(%upto, "a fetched snapshot was not what it should be");
                self.tell(Inside::Kept { upto, offset: 0 });
            }
            Kept::Whole(state) => {
                // One that cannot be used must not take the place of one that can.
                let replica = match Replica::<S>::restore(&state) {
                    Ok(replica) => replica,
                    Err(error) => {
                        tracing::error!(%upto, %error, "a peer's snapshot cannot be used here");
                        self.snapshots.discard()?;
                        self.tell(Inside::Kept { upto, offset: 0 });
                        return Ok(());
                    }
                };
                self.snapshots.store()?;
                let restored = replica.restored();
                tracing::info!(%upto, bytes = state.len(), "snapshot fetched");
                lock(&self.arrivals).insert(restored.next, replica);
                self.tell_stored();
                self.tell(Inside::Restored(restored));
            }
        }
        Ok(())
    }

    fn tell_stored(&self) {
        self.tell(Inside::Stored { snapshots: self.snapshots.stored().to_vec() });
    }

    fn tell(&self, inside: Inside) {
        let (me, message) = (self.wires.me, Message::Inside(inside));
        self.wires.dispatch([Envelope { from: me, to: me, message }]);
    }
}

/// Where the work of a shelf is done.
pub struct ShelfActor<S: StateMachine> {
    worker: Worker<S>,
    wires: Wires,
    reads: Arc<AtomicUsize>,
}

enum Worker<S: StateMachine> {
    Thread { jobs: Option<Sender<Shelve>>, thread: Option<JoinHandle<()>> },
    Here(Box<Shelf<S>>),
}

impl<S: StateMachine> ShelfActor<S> {
    /// The actor of a shelf; with a thread where threads may be.
    ///
    /// # Errors
    /// Those of the system, if it has no thread left.
    pub fn new(shelf: Shelf<S>, threads: bool) -> std::io::Result<Self> {
        let (wires, reads) = (shelf.wires.clone(), Arc::<AtomicUsize>::default());
        let worker = if threads {
            let (jobs, queue) = channel();
            let counted = reads.clone();
            let builder = std::thread::Builder::new().name("snapshots".to_owned());
            let thread = builder.spawn(move || work_all(shelf, &queue, &counted))?;
            Worker::Thread { jobs: Some(jobs), thread: Some(thread) }
        } else {
            Worker::Here(Box::new(shelf))
        };
        Ok(ShelfActor { worker, wires, reads })
    }
}

fn is_read(job: &Shelve) -> bool {
    matches!(job, Shelve::Read { .. } | Shelve::Tell { .. })
}

/// Too much is to be read. A peer asks again by itself.
fn refuse(job: &Shelve) {
    if let Shelve::Tell { caller, id, .. } = job {
        let response = Response::Refused(Refused::Busy);
        caller.replies.send(vec![ClientResponse { id: *id, leader: None, response }]);
    }
}

/// The thread: one job after the other, until the node stops or a job fails.
fn work_all<S: StateMachine>(mut shelf: Shelf<S>, queue: &Receiver<Shelve>, reads: &AtomicUsize) {
    for job in queue {
        if shelf.wires.stopping.load(Ordering::Relaxed) {
            return;
        }
        let is_read = is_read(&job);
        if let Err(failure) = shelf.work(job) {
            return shelf.wires.fail(failure);
        }
        reads.fetch_sub(usize::from(is_read), Ordering::Relaxed);
    }
}

// Nothing in it is ever pinned, whatever the service is made of.
impl<S: StateMachine> Unpin for ShelfActor<S> {}

impl<S: StateMachine> Actor for ShelfActor<S> {
    type Context = Context<Self>;
}

impl<S: StateMachine> Drop for ShelfActor<S> {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor("snapshots"));
        if let Worker::Thread { jobs, thread } = &mut self.worker {
            *jobs = None;
            if let Some(thread) = thread.take() {
                thread.join().ok();
            }
        }
    }
}

impl<S: StateMachine> Handler<Shelve> for ShelfActor<S> {
    type Result = ();

    fn handle(&mut self, job: Shelve, _: &mut Context<Self>) {
        match &mut self.worker {
            Worker::Here(shelf) => {
                if let Err(failure) = shelf.work(job) {
                    self.wires.fail(failure);
                }
            }
            Worker::Thread { jobs: Some(jobs), .. } => {
                if is_read(&job) {
                    if self.reads.load(Ordering::Relaxed) >= READS_MAX {
                        return refuse(&job);
                    }
                    self.reads.fetch_add(1, Ordering::Relaxed);
                }
                // The thread ends early only after an error, which it has reported.
                jobs.send(job).ok();
            }
            Worker::Thread { jobs: None, .. } => {}
        }
    }
}

impl<S: StateMachine> Handler<Halt> for ShelfActor<S> {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}
