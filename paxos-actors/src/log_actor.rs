//! The log actor: append, sync, only then send. The disk is waited for on a thread, or, in virtual
//! time, not at all.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle};
use paxos_core::{Envelope, Record};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::log::{DirectoryLock, Log, LogError};
use crate::messages::{Halt, Write};
use crate::observer::Shown;
use crate::wiring::Wires;

/// A drain takes no more once it has this many bytes of payload.
const DRAIN_BYTES: usize = 4 << 20;

/// The log is idle after this long without a write.
const IDLE: Duration = Duration::from_millis(500);

/// Where a node waits for its disk.
pub enum Writes {
    /// On a thread of its own.
    Thread,
    /// Nowhere: each drain is written by the log's actor once it has taken as long as this says.
    /// For disks in memory; in virtual time nothing may run on another thread.
    Delayed(Box<dyn FnMut() -> Duration>),
}

/// Takes writes in and has them written.
pub struct LogActor {
    writer: Writer,
    wires: Wires,
}

enum Writer {
    Thread { jobs: Option<Sender<Job>>, thread: Option<JoinHandle<()>> },
    Delayed(Box<Delayed>),
}

/// What a writer without a thread has before it.
struct Delayed {
    log: Log,
    _lock: Option<DirectoryLock>,
    delay: Box<dyn FnMut() -> Duration>,
    queue: VecDeque<Job>,
    writing: Option<Drain>,
    idle: Option<SpawnHandle>,
}

/// What one message asks for.
struct Job {
    bytes: usize,
    records: Vec<Record>,
    then: Vec<Envelope>,
    done: Option<oneshot::Sender<()>>,
}

impl LogActor {
    /// The actor of a log, and of the lock of its directory: nobody else may open it while this
    /// one may write.
    ///
    /// # Errors
    /// Those of the system, if it has no thread left.
    pub fn new(
        log: Log,
        lock: Option<DirectoryLock>,
        writes: Writes,
        wires: Wires,
    ) -> std::io::Result<Self> {
        let writer = match writes {
            Writes::Delayed(delay) => {
                let (queue, writing, idle) = Default::default();
                Writer::Delayed(Box::new(Delayed { log, _lock: lock, delay, queue, writing, idle }))
            }
            Writes::Thread => {
                let (jobs, queue) = channel();
                let shared = wires.clone();
                let thread =
                    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
                        write_all(log, &queue, &shared);
                        drop(lock);
                    })?;
                Writer::Thread { jobs: Some(jobs), thread: Some(thread) }
            }
        };
        Ok(LogActor { writer, wires })
    }

    /// Begins the next drain, if there is something to write and nothing is being written.
    fn begin(&mut self, context: &mut Context<Self>) {
        let Writer::Delayed(delayed) = &mut self.writer else { return };
        if delayed.writing.is_some() {
            return;
        }
        if let Some(idle) = delayed.idle.take() {
            context.cancel_future(idle);
        }
        let Some(first) = delayed.queue.pop_front() else {
            let idle =
                context.run_later(IDLE, |actor, _| actor.written(|delayed, _| delayed.mark()));
            delayed.idle = Some(idle);
            return;
        };
        delayed.writing = Some(Drain::of(first, || delayed.queue.pop_front()));
        let delay = (delayed.delay)();
        context.run_later(delay, |actor, context| {
            actor.written(Delayed::finish);
            actor.begin(context);
        });
    }

    fn written(&mut self, write: impl FnOnce(&mut Delayed, &Wires) -> Result<(), LogError>) {
        if let Writer::Delayed(delayed) = &mut self.writer
            && let Err(error) = write(delayed, &self.wires)
        {
            self.wires.fail(Failure::Log(error));
        }
    }
}

impl Actor for LogActor {
    type Context = Context<Self>;
}

impl Drop for LogActor {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor("log"));
        match &mut self.writer {
            // Without a sender the thread ends behind its last job; the directory is then free.
            Writer::Thread { jobs, thread } => {
                *jobs = None;
                if let Some(thread) = thread.take() {
                    thread.join().ok();
                }
            }
            Writer::Delayed(_) => self.written(Delayed::end),
        }
    }
}

impl Handler<Write> for LogActor {
    type Result = ();

    fn handle(&mut self, write: Write, context: &mut Context<Self>) {
        let job = match write {
            Write::Persist(persists) => {
                let (mut records, mut then) = (Vec::new(), Vec::new());
                for persist in persists {
                    records.extend(persist.records);
                    then.extend(persist.then);
                }
                Job { bytes: 0, records, then, done: None }
            }
            Write::Remember { node, run, done } => {
                let records = run.map(|run| Record::Peer { node, run }).into_iter().collect();
                Job { bytes: 0, records, then: Vec::new(), done: Some(done) }
            }
        };
        let bytes = job.records.iter().map(size).sum();
        self.wires.writing.fetch_add(bytes, Ordering::Relaxed);
        let job = Job { bytes, ..job };
        match &mut self.writer {
            // The thread ends early only after an error, which it has reported.
            Writer::Thread { jobs, .. } => {
                jobs.as_ref().map(|jobs| jobs.send(job));
            }
            Writer::Delayed(delayed) => {
                delayed.queue.push_back(job);
                self.begin(context);
            }
        }
    }
}

impl Handler<Halt> for LogActor {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}

fn size(record: &Record) -> usize {
    match record {
        Record::Accepted { value, .. } | Record::Chosen { value: Some(value), .. } => {
            value.size() + 32
        }
        _ => 32,
    }
}

impl Delayed {
    fn finish(&mut self, wires: &Wires) -> Result<(), LogError> {
        self.writing.take().map_or(Ok(()), |drain| drain.write(&mut self.log, wires))
    }

    fn mark(&mut self) -> Result<(), LogError> {
        self.log.idle().map(|_| ())
    }

    /// Writes what is left.
    fn end(&mut self, wires: &Wires) -> Result<(), LogError> {
        self.finish(wires)?;
        while let Some(first) = self.queue.pop_front() {
            Drain::of(first, || self.queue.pop_front()).write(&mut self.log, wires)?;
        }
        self.mark()
    }
}

/// The thread: drains its queue, appends, syncs once, sends everything that waited for it.
fn write_all(mut log: Log, queue: &Receiver<Job>, wires: &Wires) {
    let mut idle = false;
    loop {
        let first = if idle {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(IDLE)
        };
        let written = match first {
            Ok(job) => {
                idle = false;
                Drain::of(job, || queue.try_recv().ok()).write(&mut log, wires)
            }
            Err(RecvTimeoutError::Timeout) => {
                idle = true;
                log.idle().map(|_| ())
            }
            Err(RecvTimeoutError::Disconnected) => {
                if let Err(error) = log.idle() {
                    tracing::error!(%error, "the log could not be marked at its end");
                }
                return;
            }
        };
        if let Err(error) = written {
            return wires.fail(Failure::Log(error));
        }
    }
}

/// What is written and synced as one.
#[derive(Default)]
struct Drain {
    bytes: usize,
    records: Vec<Record>,
    then: Vec<Envelope>,
    done: Vec<oneshot::Sender<()>>,
}

impl Drain {
    /// A job and those that wait behind it, as far as they fit.
    fn of(first: Job, mut next: impl FnMut() -> Option<Job>) -> Self {
        let mut drain = Drain::default();
        let mut job = Some(first);
        while let Some(Job { bytes, records, then, done }) = job {
            drain.bytes += bytes;
            drain.records.extend(records);
            drain.then.extend(then);
            drain.done.extend(done);
            job = if drain.bytes < DRAIN_BYTES { next() } else { None };
        }
        drain
    }

    fn write(self, log: &mut Log, wires: &Wires) -> Result<(), LogError> {
        log.append(&self.records)?;
        wires.writing.fetch_sub(self.bytes, Ordering::Relaxed);
        wires.show(&Shown::Written(&self.records));
        wires.dispatch(self.then);
        for waiting in self.done {
            // Whoever asked may be gone.
            waiting.send(()).ok();
        }
        // Nobody waits for this. What a crash leaves undone is done behind the next drain.
        let segments = log.release()?;
        if segments > 0 {
            tracing::info!(segments, "taken out of the log: all in them is below the cut");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    use std::sync::{Arc, OnceLock};

    use paxos_core::{
        Ballot, Batch, ClusterId, Membership, NodeId, PeerRun, Persist, Slot, Time, Value,
    };
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::clock::Clock;
    use crate::log::{DataIdentity, LogOptions, MemoryDisk, format};
    use crate::wiring::Wiring;

    /// Stands for every other actor of a node.
    struct Nobody;

    impl Actor for Nobody {
        type Context = Context<Self>;
    }

    impl<M: actix::Message<Result = ()>> Handler<M> for Nobody {
        type Result = ();

        fn handle(&mut self, _: M, _: &mut Context<Self>) {}
    }

    fn wires() -> Wires {
        let nobody = Nobody.start();
        Arc::new(Wiring {
            me: NodeId(1),
            incarnation: 1,
            clock: Clock::Machine,
            observer: None,
            roles: BTreeMap::new(),
            log: nobody.clone().recipient(),
            state: None,
            gateway: nobody.recipient(),
            halts: Vec::new(),
            roster: OnceLock::new(),
            failures: unbounded_channel().0,
            stopping: AtomicBool::new(false),
            writing: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    #[test]
    fn a_written_cut_takes_segments_out_of_the_log() {
        let (cluster, node) = (ClusterId(1), NodeId(1));
        let voters = [(node, "h1:1".to_owned())];
        let genesis = Membership::of_voters(voters).unwrap();
        for thread in [true, false] {
            let mut disk = MemoryDisk::new().shared();
            let identity = DataIdentity { cluster, node, genesis: genesis.clone(), witness: false };
            format(&mut disk, &identity).unwrap();
            let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
            let open = || Log::open(Box::new(disk.clone()), cluster, node, options.clone());
            let log = open().unwrap().0;
            actix_rt::System::new().block_on(async {
                let writes = match thread {
                    true => Writes::Thread,
                    false => Writes::Delayed(Box::new(|| Duration::ZERO)),
                };
                let actor = LogActor::new(log, None, writes, wires()).unwrap().start();
                let ballot = Ballot { round: 1, node, incarnation: 1 };
                let value = Value::Commands(Batch {
                    stamp: Time(1),
                    by: paxos_core::Ballot::ZERO,
                    bytes: vec![7; 900].into(),
                });
                let vote = |slot| Record::Accepted { slot, ballot, value: value.clone() };
                let votes = (1..=20).map(|slot| vec![vote(Slot(slot))]);
                let cut = [vec![Record::Trimmed(Slot(15))], Vec::new()];
                for (run, records) in votes.chain(cut).enumerate() {
                    let persist = Persist { records, then: Vec::new() };
                    actor.send(Write::Persist(vec![persist])).await.unwrap();
                    // Each one is a drain of its own, and the one before it is done with.
                    let (done, written) = oneshot::channel();
                    let run = Some(PeerRun { incarnation: run as u64, nonce: 1 });
                    actor.do_send(Write::Remember { node, run, done });
                    written.await.unwrap();
                }
            });
            let (log, recovered, _) = open().unwrap();
            assert!(log.segments() <= 3, "{} segments, thread: {thread}", log.segments());
            let slots: Vec<_> = recovered.accepted.keys().map(|slot| slot.0).collect();
            assert_eq!(slots, [15, 16, 17, 18, 19, 20]);
        }
    }
}
