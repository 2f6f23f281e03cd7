//! Frames out of a QUIC stream, as many at a time as have arrived.

use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use tokio::time::{Instant, timeout_at};

use crate::frame::{FrameDecoder, FrameTooLarge};

/// How many pieces of a stream are taken out of QUIC in one go; a piece is what one packet brought.
const PIECES: usize = 64;

/// Reads frames.
pub(crate) struct FrameReader {
    stream: RecvStream,
    decoder: FrameDecoder,
    pieces: Vec<Bytes>,
    patience: Option<Duration>,
}

/// Why no more frames come.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The other side has finished the stream.
    Finished,
    /// The stream broke; if its connection did, that knows why.
    Lost,
    /// A frame is too long.
    TooLarge(FrameTooLarge),
    /// A frame began and did not end in time.
    Stalled,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, limit: usize) -> Self {
        let (decoder, pieces) = (FrameDecoder::new(limit), vec![Bytes::new(); PIECES]);
        FrameReader { stream, decoder, pieces, patience: None }
    }

    /// From here on a frame that has begun must end within so long.
    pub(crate) fn hurry(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// The next frame.
    pub(crate) async fn one(&mut self) -> Result<Bytes, Ended> {
        let mut due = None;
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(Ended::TooLarge)? {
                return Ok(frame);
            }
            match self.patience.filter(|_| self.decoder.is_inside_frame()) {
                None => self.more().await?,
                Some(patience) => {
                    let due = *due.get_or_insert_with(|| Instant::now() + patience);
                    timeout_at(due, self.more()).await.map_err(|_| Ended::Stalled)??;
                }
            }
        }
    }

    /// The next frame and all others that have arrived with it.
    pub(crate) async fn batch(&mut self) -> Result<Vec<Bytes>, Ended> {
        let mut frames = vec![self.one().await?];
        // What is too long is found again by the next call, when these are dealt with.
        while let Ok(Some(frame)) = self.decoder.next_frame() {
            frames.push(frame);
        }
        Ok(frames)
    }

    async fn more(&mut self) -> Result<(), Ended> {
        let read = self.stream.read_chunks(&mut self.pieces).await.map_err(|_| Ended::Lost)?;
        let count = read.ok_or(Ended::Finished)?;
        for piece in &mut self.pieces[..count] {
            self.decoder.push(&std::mem::take(piece));
        }
        Ok(())
    }
}
