//! Cuts a stream of bytes into frames: a length of four bytes, little-endian, then so many bytes.

use bytes::{Buf, Bytes, BytesMut};
use paxos_core::batch::{BATCH_MAX, COMMAND_MAX};
use serde::Serialize;
use thiserror::Error;

use crate::codec::Codec;

/// The bytes in front of each frame.
pub const HEADER: usize = 4;

/// The longest frame between nodes.
pub const PEER_FRAME_MAX: usize = 8 << 20;

/// The longest frame between a client and a node.
pub const CLIENT_FRAME_MAX: usize = base64(COMMAND_MAX) + ENVELOPE;

/// More than everything around a payload takes, in JSON too.
const ENVELOPE: usize = 4 << 10;

const fn base64(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

// A command that a gateway takes can be logged, relayed and answered on every link and in either
// codec, or a client could send what no leader ever hears.
const _: () = assert!(base64(BATCH_MAX) + ENVELOPE <= PEER_FRAME_MAX);
const _: () = assert!(base64(COMMAND_MAX) + ENVELOPE <= CLIENT_FRAME_MAX);
const _: () = assert!(CLIENT_FRAME_MAX + ENVELOPE <= PEER_FRAME_MAX);

/// A frame that claims to be longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a frame of {length} bytes exceeds the limit of {limit}: send less in one message")]
pub struct FrameTooLarge {
    /// What it claims.
    pub length: usize,
    /// The limit.
    pub limit: usize,
}

/// Appends a frame to `out`.
///
/// # Errors
/// [`FrameTooLarge`]; `out` is as it was.
pub fn append<T: Serialize>(
    out: &mut Vec<u8>,
    codec: Codec,
    value: &T,
    limit: usize,
) -> Result<usize, FrameTooLarge> {
    let body = codec.encode(value);
    let length = body.len();
    if length > limit.min(u32::MAX as usize) {
        return Err(FrameTooLarge { length, limit });
    }
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&body);
    Ok(HEADER + length)
}

/// Frames out of bytes as they arrive.
///
/// Invariant: it holds no more memory than a small multiple of the bytes that have arrived and were
/// not taken out. A length alone allocates nothing.
#[derive(Debug)]
pub struct FrameDecoder {
    arrived: BytesMut,
    limit: usize,
}

impl FrameDecoder {
    /// A decoder that refuses frames longer than `limit`.
    pub fn new(limit: usize) -> Self {
        FrameDecoder { arrived: BytesMut::new(), limit }
    }

    /// Takes in bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// The next complete frame; `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameTooLarge`]; where the next frame begins is lost, so the stream is to be given up.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        let Some(header) = self.arrived.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_le_bytes(*header) as usize;
        if length > self.limit {
            return Err(FrameTooLarge { length, limit: self.limit });
        }
        if self.arrived.len() < HEADER + length {
            return Ok(None);
        }
        self.arrived.advance(HEADER);
        Ok(Some(self.arrived.split_to(length).freeze()))
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside_frame(&self) -> bool {
        !self.arrived.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn g4_a_huge_length_allocates_nothing() {
        let mut decoder = FrameDecoder::new(PEER_FRAME_MAX);
        decoder.push(&u32::MAX.to_le_bytes());
        decoder.push(&[1, 2, 3]);
        assert!(decoder.next_frame().is_err());
        assert!(decoder.arrived.capacity() <= 64, "{}", decoder.arrived.capacity());
        let mut decoder = FrameDecoder::new(PEER_FRAME_MAX);
        decoder.push(&(PEER_FRAME_MAX as u32).to_le_bytes());
        decoder.push(&[1, 2, 3]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(decoder.arrived.capacity() <= 64, "{}", decoder.arrived.capacity());
    }

    #[test]
    fn a_value_beyond_the_limit_is_not_appended() {
        let mut out = vec![7];
        assert!(append(&mut out, Codec::Binary, &"0123456789", 10).is_err());
        assert_eq!(out, [7]);
        assert_eq!(append(&mut out, Codec::Binary, &"0123456789", 11), Ok(15));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            texts in prop::collection::vec(".{0,40}", 0..20),
            cut in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            for text in &texts {
                append(&mut bytes, Codec::Json, text, 1 << 20).unwrap();
            }
            let mut decoder = FrameDecoder::new(1 << 20);
            let mut found: Vec<String> = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push(Codec::Json.decode(&frame).unwrap());
                }
            }
            prop_assert_eq!(found, texts);
            prop_assert!(!decoder.is_inside_frame());
        }
    }
}
