//! A queue of frames between those who must not wait and a stream that may.

use std::sync::Mutex;

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use serde::Serialize;
use tokio::sync::Notify;

use crate::codec::Codec;
use crate::frame;
use crate::lock::lock;

/// Frames that wait to be written, as one run of bytes: whatever gathers while a write is going on
/// leaves in the next one.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Vec<u8>>,
    wake: Notify,
    limit: usize,
}

/// A frame that was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotQueued {
    /// The queue is full.
    Full,
    /// No queue would take it.
    TooLarge,
}

impl Outbox {
    /// An empty queue of so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Outbox { waiting: Mutex::new(Vec::new()), wake: Notify::new(), limit }
    }

    /// Queues the frames of some values, all or none. An empty queue takes a frame of any size that
    /// the other side reads, or a long one could never leave.
    pub(crate) fn push<T: Serialize>(
        &self,
        codec: Codec,
        values: &[T],
        frame_max: usize,
    ) -> Result<(), NotQueued> {
        let mut waiting = lock(&self.waiting);
        let before = waiting.len();
        for value in values {
            if frame::append(&mut waiting, codec, value, frame_max).is_err() {
                waiting.truncate(before);
                return Err(NotQueued::TooLarge);
            }
        }
        if before > 0 && waiting.len() > self.limit {
            waiting.truncate(before);
            return Err(NotQueued::Full);
        }
        drop(waiting);
        self.wake.notify_one();
        Ok(())
    }

    /// Forgets what waits.
    pub(crate) fn clear(&self) {
        lock(&self.waiting).clear();
    }

    /// Takes everything, waiting for something.
    async fn take(&self) -> Bytes {
        loop {
            let waiting = std::mem::take(&mut *lock(&self.waiting));
            if !waiting.is_empty() {
                return Bytes::from(waiting);
            }
            self.wake.notified().await;
        }
    }

    /// Writes what is queued, for as long as the stream lives. One at a time may.
    pub(crate) async fn drain_into(&self, stream: &mut SendStream) -> Result<(), WriteError> {
        loop {
            let bytes = self.take().await;
            stream.write_chunk(bytes).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_newest_and_an_empty_one_takes_any_frame() {
        let outbox = Outbox::new(16);
        assert_eq!(outbox.push(Codec::Binary, &["a text longer than that"], 100), Ok(()));
        assert_eq!(outbox.push(Codec::Binary, &["b"], 100), Err(NotQueued::Full));
        outbox.clear();
        assert_eq!(outbox.push(Codec::Binary, &["a", "b"], 100), Ok(()));
        assert_eq!(outbox.push(Codec::Binary, &["b", "0123456789"], 9), Err(NotQueued::TooLarge));
        assert_eq!(lock(&outbox.waiting).len(), 12);
    }
}
