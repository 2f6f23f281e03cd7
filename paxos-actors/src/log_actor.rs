//! The log actor and its thread: append, sync, only then send.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler};
use paxos_core::{Envelope, Record};
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::log::{DirectoryLock, Log, LogError};
use crate::messages::{Halt, Write};
use crate::wiring::Wires;

/// A drain takes no more once it has this many bytes of payload.
const DRAIN_BYTES: usize = 4 << 20;

/// The log is idle after this long without a write.
const IDLE: Duration = Duration::from_millis(500);

/// Takes writes in and hands them to the thread that may wait for the disk.
pub struct LogActor {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    wires: Wires,
}

/// What one message asks the thread for.
struct Job {
    bytes: usize,
    records: Vec<Record>,
    then: Vec<Envelope>,
    done: Option<oneshot::Sender<()>>,
}

impl LogActor {
    /// Starts the thread that owns the log, and the lock of its directory: nobody else may open it
    /// while this thread may write.
    ///
    /// # Errors
    /// Those of the system, if it has no thread left.
    pub fn new(log: Log, lock: DirectoryLock, wires: Wires) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = wires.clone();
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_all(log, &queue, &shared);
            drop(lock);
        })?;
        Ok(LogActor { jobs: Some(jobs), thread: Some(thread), wires })
    }
}

impl Actor for LogActor {
    type Context = Context<Self>;
}

impl Drop for LogActor {
    fn drop(&mut self) {
        self.wires.fail(Failure::Actor("log"));
        // Without a sender the thread ends behind its last job; the directory is then free.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Handler<Write> for LogActor {
    type Result = ();

    fn handle(&mut self, write: Write, _: &mut Context<Self>) {
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
        if let Some(jobs) = &self.jobs {
            // The thread ends early only after an error, which it has reported.
            jobs.send(Job { bytes, ..job }).ok();
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
                drain(&mut log, job, queue, wires)
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

fn drain(log: &mut Log, first: Job, queue: &Receiver<Job>, wires: &Wires) -> Result<(), LogError> {
    let (mut records, mut then, mut done, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(job) = next {
        bytes += job.bytes;
        records.extend(job.records);
        then.extend(job.then);
        done.extend(job.done);
        next = if bytes < DRAIN_BYTES { queue.try_recv().ok() } else { None };
    }
    log.append(&records)?;
    wires.writing.fetch_sub(bytes, Ordering::Relaxed);
    wires.dispatch(then);
    for waiting in done {
        // Whoever asked may be gone.
        waiting.send(()).ok();
    }
    Ok(())
}
