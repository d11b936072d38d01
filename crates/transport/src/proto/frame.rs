//! Frames: what a data channel carries for one libp2p stream.
//!
//! A frame is an unsigned varint length and a protobuf message `{flag: 1, message: 2}`, at most [`FRAME_MAX_BYTES`] with its
//! prefix. One frame goes into one SCTP message; what comes in is read as a stream of bytes, since other implementations
//! split and join frames.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

/// A frame with its length prefix: what every browser takes as one message.
pub const FRAME_MAX_BYTES: usize = 16_384;
/// A message at most, from whoever joins frames: what descriptions of browsers and of str0m say that they take.
pub const MESSAGE_MAX_BYTES: usize = 256 * 1024;
/// Bytes around the data of a frame at most: length prefix 2, flag 2, tag and length of the data 3.
const OVERHEAD_BYTES: usize = 7;
/// Data in one frame at most.
pub const DATA_MAX_BYTES: usize = FRAME_MAX_BYTES - OVERHEAD_BYTES;

/// Bytes of the longest length prefix that may be one.
const PREFIX_MAX_BYTES: usize = 3;

/// What a frame says about its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// The sender sends no more data.
    Fin = 0,
    /// The sender reads no more data.
    StopSending = 1,
    /// The sender gives up its sending part; what it sent before may be lost.
    Reset = 2,
    /// A [`Flag::Fin`] has arrived, and all data before it.
    FinAck = 3,
}

impl Flag {
    /// The flag of this number; of one that the specification does not name, none.
    fn of(number: i32) -> Option<Self> {
        [Self::Fin, Self::StopSending, Self::Reset, Self::FinAck].into_iter().find(|flag| *flag as i32 == number)
    }
}

/// The protobuf message of the specification.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(int32, optional, tag = "1")]
    flag: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    message: Option<Bytes>,
}

/// One frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// At most one flag.
    pub flag: Option<Flag>,
    /// Data, at most [`DATA_MAX_BYTES`] when sent.
    pub data: Bytes,
}

/// Bytes that are no frame. The stream they came on is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length prefix says more than a frame may have.
    #[error("a frame of {bytes} bytes, and {FRAME_MAX_BYTES} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u32,
    },
    /// The length prefix is not a minimal varint of at most three bytes.
    #[error("a frame's length prefix is malformed")]
    Prefix,
    /// Its content is not the protobuf message of the specification.
    #[error("a frame's content is malformed")]
    Content,
    /// A message is longer than this end says that it takes.
    #[error("a message of {bytes} bytes, and {MESSAGE_MAX_BYTES} are allowed")]
    Message {
        /// What it has.
        bytes: u32,
    },
    /// A text message of its channel, where frames are binary.
    #[error("a text message")]
    Text,
}

impl Frame {
    /// A frame that only carries a flag.
    #[must_use]
    pub fn flag(flag: Flag) -> Self {
        Self { flag: Some(flag), data: Bytes::new() }
    }

    /// A frame that only carries data.
    #[must_use]
    pub fn data(data: Bytes) -> Self {
        Self { flag: None, data }
    }

    /// The bytes of one message. Data over [`DATA_MAX_BYTES`] must have been split before.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let message = (!self.data.is_empty()).then_some(self.data);
        Wire { flag: self.flag.map(|flag| flag as i32), message }.encode_length_delimited_to_vec()
    }

    /// From a frame's body, which lies in a message of so many bytes.
    fn decode(body: Bytes, message_bytes: usize) -> Result<Self, FrameError> {
        let Wire { flag, message } = Wire::decode(body).map_err(|_| FrameError::Content)?;
        let mut data = message.unwrap_or_default();
        // A few bytes in a long message must not keep all of it.
        if 2 * data.len() < message_bytes {
            data = Bytes::copy_from_slice(&data);
        }
        // A flag of a later version is as if it were not there.
        Ok(Self { flag: flag.and_then(Flag::of), data })
    }
}

/// Reads frames from messages however they were split. Holds one cut-off frame at most, and the message it was given.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame whose end has not come.
    partial: BytesMut,
    input: Bytes,
    /// Of the whole message of which `input` is the rest.
    message_bytes: usize,
}

impl Decoder {
    /// Takes a message in. Call [`Decoder::next_frame`] until it gives `None` before the next one.
    pub fn push(&mut self, message: Bytes) {
        if self.input.is_empty() {
            self.input = message;
        } else {
            // Only for callers that did not take every frame; they lose nothing.
            let mut joined = BytesMut::from(self.input.as_ref());
            joined.extend_from_slice(&message);
            self.input = joined.freeze();
        }
        self.message_bytes = self.input.len();
    }

    /// Bytes of a frame whose end has not come.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// [`FrameError`]; the decoder is of no use after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.partial.is_empty() {
            // The common case: a frame lies whole in its message and is not copied.
            match prefix(&self.input)? {
                Some((before, len)) if self.input.len() - before >= len => {
                    self.input.advance(before);
                    return Frame::decode(self.input.split_to(len), self.message_bytes).map(Some);
                }
                _ => {
                    self.partial.extend_from_slice(&self.input);
                    self.input = Bytes::new();
                    return Ok(None);
                }
            }
        }
        loop {
            let missing = match prefix(&self.partial)? {
                Some((before, len)) => (before + len).saturating_sub(self.partial.len()),
                None => 1,
            };
            if missing == 0 {
                let mut whole = std::mem::take(&mut self.partial).freeze();
                if let Some((before, _)) = prefix(&whole)? {
                    whole.advance(before);
                }
                let bytes = whole.len();
                return Frame::decode(whole, bytes).map(Some);
            }
            if self.input.is_empty() {
                return Ok(None);
            }
            let more = self.input.split_to(missing.min(self.input.len()));
            self.partial.extend_from_slice(&more);
        }
    }
}

/// Bytes of the length prefix at the front, and the length it tells. `Ok(None)`: it is cut off.
fn prefix(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    match unsigned_varint::decode::u32(bytes) {
        Ok((len, rest)) => {
            let before = bytes.len() - rest.len();
            if len as usize > FRAME_MAX_BYTES - before {
                return Err(FrameError::TooLarge { bytes: len });
            }
            Ok(Some((before, len as usize)))
        }
        Err(unsigned_varint::decode::Error::Insufficient) if bytes.len() < PREFIX_MAX_BYTES => Ok(None),
        Err(_) => Err(FrameError::Prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(messages: &[&[u8]]) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for message in messages {
            decoder.push(Bytes::copy_from_slice(message));
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_few_bytes_do_not_keep_the_long_message_that_they_came_in() {
        let long =
            [Frame::default().encode().repeat(1_000), Frame { flag: None, data: vec![7].into() }.encode()].concat();
        let message = Bytes::from(long);
        let inside = message.as_ptr_range();
        let mut decoder = Decoder::default();
        decoder.push(message.clone());
        let mut data = Bytes::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            data = frame.data;
        }
        assert_eq!(data, [7][..]);
        assert!(!inside.contains(&data.as_ptr()), "it is part of the message");
        // One that fills its message is not copied.
        let message = Bytes::from(Frame { flag: None, data: vec![7; DATA_MAX_BYTES].into() }.encode());
        let inside = message.as_ptr_range();
        decoder.push(message.clone());
        assert!(inside.contains(&decoder.next_frame().unwrap().unwrap().data.as_ptr()));
    }

    #[test]
    fn flags_and_data_have_the_bytes_of_the_specification() {
        assert_eq!(Frame::flag(Flag::Fin).encode(), [2, 0x08, 0]);
        assert_eq!(Frame::flag(Flag::FinAck).encode(), [2, 0x08, 3]);
        assert_eq!(Frame::data(Bytes::from_static(b"abc")).encode(), [5, 0x12, 3, b'a', b'b', b'c']);
        let both = Frame { flag: Some(Flag::Reset), data: Bytes::from_static(b"x") };
        assert_eq!(both.encode(), [5, 0x08, 2, 0x12, 1, b'x']);
        assert_eq!(Frame::default().encode(), [0]);
    }

    #[test]
    fn the_largest_frame_fits_the_limit_exactly() {
        let frame = Frame { flag: Some(Flag::Fin), data: vec![7; DATA_MAX_BYTES].into() }.encode();
        assert_eq!(frame.len(), FRAME_MAX_BYTES);
        assert_eq!(frames(&[&frame]).unwrap()[0].data.len(), DATA_MAX_BYTES);
    }

    #[test]
    fn malformed_frames_are_told_apart() {
        let one_too_many = (FRAME_MAX_BYTES - 1) as u32;
        assert_eq!(frames(&[&[0xff, 0xff, 0x00]]), Err(FrameError::Prefix), "a second spelling");
        let mut buffer = unsigned_varint::encode::u32_buffer();
        let too_large = unsigned_varint::encode::u32(one_too_many, &mut buffer);
        assert_eq!(frames(&[too_large]), Err(FrameError::TooLarge { bytes: one_too_many }));
        assert_eq!(frames(&[&[0xff; PREFIX_MAX_BYTES]]), Err(FrameError::Prefix), "longer than any");
        assert_eq!(frames(&[&[0x81, 0x00]]), Err(FrameError::Prefix), "a second spelling of 1");
        for content in [&[1, 0x08][..], &[2, 0x12, 5], &[1, 0x0f], &[3, 0x09, 1, 2]] {
            assert_eq!(frames(&[content]), Err(FrameError::Content), "{content:?}");
        }
    }

    #[test]
    fn what_later_versions_may_add_is_passed_over() {
        let unknown = [12, 0x08, 9, 0x18, 0xac, 0x02, 0x22, 2, 1, 2, 0x12, 1, b'x'];
        let read = frames(&[&unknown]).unwrap();
        assert_eq!(read, [Frame { flag: None, data: Bytes::from_static(b"x") }]);
    }

    #[test]
    fn a_frame_that_never_ends_holds_no_more_than_a_frame() {
        let mut decoder = Decoder::default();
        let whole = Frame::data(vec![1; DATA_MAX_BYTES].into()).encode();
        for byte in &whole[..whole.len() - 1] {
            decoder.push(Bytes::copy_from_slice(&[*byte]));
            assert_eq!(decoder.next_frame(), Ok(None));
            assert!(decoder.partial_bytes() < FRAME_MAX_BYTES);
        }
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let flag = prop_oneof![Just(None), (0..4).prop_map(Flag::of)];
        (flag, prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(flag, data)| Frame { flag, data: Bytes::from(data) })
    }

    proptest! {
        #[test]
        fn frames_survive_any_splitting_and_joining(
            sent in prop::collection::vec(any_frame(), 1..20),
            cuts in prop::collection::vec(1_usize..700, 1..60),
        ) {
            let bytes: Vec<u8> = sent.iter().cloned().flat_map(Frame::encode).collect();
            let mut decoder = Decoder::default();
            let mut read = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (message, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                decoder.push(Bytes::copy_from_slice(message));
                while let Some(frame) = decoder.next_frame().unwrap() {
                    read.push(frame);
                }
                rest = after;
            }
            prop_assert_eq!(read, sent);
            prop_assert_eq!(decoder.partial_bytes(), 0);
        }

        #[test]
        fn anything_is_a_frame_or_an_error(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let _ = frames(&messages);
        }
    }
}
