//! Frames: what a data channel carries for one libp2p stream.
//!
//! A frame is an unsigned varint length and a protobuf message `{flag: 1, message: 2}`, at most [`FRAME_MAX_BYTES`] with its
//! prefix. One frame goes into one SCTP message; what comes in is read as a stream of bytes, since other implementations
//! split and join frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame with its length prefix: what every browser takes as one message.
pub const FRAME_MAX_BYTES: usize = 16_384;
/// Bytes around the data of a frame at most: length prefix 2, flag 2, tag and length of the data 3.
const OVERHEAD_BYTES: usize = 7;
/// Data in one frame at most.
pub const DATA_MAX_BYTES: usize = FRAME_MAX_BYTES - OVERHEAD_BYTES;
/// Bytes of the longest length prefix that is valid.
const PREFIX_MAX_BYTES: usize = 3;

const TAG_FLAG: u64 = 1 << 3;
const TAG_MESSAGE: u64 = 2 << 3 | 2;

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
    fn from_number(number: u64) -> Option<Self> {
        [Flag::Fin, Flag::StopSending, Flag::Reset, Flag::FinAck].into_iter().find(|flag| *flag as u64 == number)
    }
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
pub enum FrameError {
    /// The length prefix says more than a frame may have.
    #[error("a frame of {bytes} bytes, and {FRAME_MAX_BYTES} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u64,
    },
    /// The length prefix is not a minimal varint of at most three bytes.
    #[error("a frame's length prefix is malformed")]
    Prefix,
    /// Its content is not the protobuf message of the specification.
    #[error("a frame's content is malformed")]
    Content,
}

impl Frame {
    /// A frame that only carries a flag.
    #[must_use]
    pub fn flag(flag: Flag) -> Self {
        Self { flag: Some(flag), data: Bytes::new() }
    }

    /// The bytes of one message. Data over [`DATA_MAX_BYTES`] must have been split before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self.flag, &self.data)
    }
}

/// Encodes a frame without owning its data.
#[must_use]
pub fn encode(flag: Option<Flag>, data: &[u8]) -> Vec<u8> {
    let flag_bytes = if flag.is_some() { 2 } else { 0 };
    let data_bytes = if data.is_empty() { 0 } else { 1 + varint_len(data.len() as u64) + data.len() };
    let body = flag_bytes + data_bytes;
    let mut frame = Vec::with_capacity(varint_len(body as u64) + body);
    put_varint(&mut frame, body as u64);
    if let Some(flag) = flag {
        put_varint(&mut frame, TAG_FLAG);
        put_varint(&mut frame, flag as u64);
    }
    if !data.is_empty() {
        put_varint(&mut frame, TAG_MESSAGE);
        put_varint(&mut frame, data.len() as u64);
        frame.put_slice(data);
    }
    frame
}

fn varint_len(mut value: u64) -> usize {
    let mut len = 1;
    while value >= 0x80 {
        value >>= 7;
        len += 1;
    }
    len
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a varint of at most `max` bytes from the front. `Ok(None)`: it is cut off.
fn take_varint(bytes: &mut impl Buf, max: usize) -> Result<Option<u64>, ()> {
    let mut value = 0_u64;
    for place in 0..max {
        if !bytes.has_remaining() {
            return Ok(None);
        }
        let byte = bytes.get_u8();
        let part = u64::from(byte & 0x7f);
        let shift = 7 * place as u32;
        if shift >= 63 && part > 1 {
            return Err(());
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            // A zero at the end would be a second spelling of the same number.
            return if byte == 0 && place > 0 { Err(()) } else { Ok(Some(value)) };
        }
    }
    Err(())
}

/// Protobuf allows spellings of a number that a length prefix does not.
fn take_field_varint(bytes: &mut Bytes) -> Result<u64, FrameError> {
    let mut value = 0_u64;
    for place in 0..10_u32 {
        if !bytes.has_remaining() {
            return Err(FrameError::Content);
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(FrameError::Content)
}

fn take_bytes(bytes: &mut Bytes) -> Result<Bytes, FrameError> {
    let len = usize::try_from(take_field_varint(bytes)?).map_err(|_| FrameError::Content)?;
    if len > bytes.len() {
        return Err(FrameError::Content);
    }
    Ok(bytes.split_to(len))
}

fn decode_body(mut body: Bytes) -> Result<Frame, FrameError> {
    let mut frame = Frame::default();
    while body.has_remaining() {
        let tag = take_field_varint(&mut body)?;
        match tag {
            // As protobuf has it, the last one of a field counts, and an unknown value is as if it were not there.
            TAG_FLAG => frame.flag = Flag::from_number(take_field_varint(&mut body)?).or(frame.flag),
            TAG_MESSAGE => frame.data = take_bytes(&mut body)?,
            // Fields of later versions are passed over.
            _ => match tag & 7 {
                0 => _ = take_field_varint(&mut body)?,
                2 => _ = take_bytes(&mut body)?,
                1 if body.len() >= 8 => body.advance(8),
                5 if body.len() >= 4 => body.advance(4),
                _ => return Err(FrameError::Content),
            },
        }
    }
    Ok(frame)
}

/// Reads frames from messages however they were split. Holds one cut-off frame at most, and the message it was given.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame whose end has not come.
    partial: BytesMut,
    input: Bytes,
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
            let mut rest = self.input.clone();
            match take_prefix(&mut rest)? {
                Some(len) if rest.len() >= len => {
                    let body = rest.split_to(len);
                    self.input = rest;
                    return decode_body(body).map(Some);
                }
                _ => {
                    self.partial.extend_from_slice(&self.input);
                    self.input = Bytes::new();
                    return Ok(None);
                }
            }
        }
        loop {
            let mut rest = self.partial.as_ref();
            let missing = match take_prefix(&mut rest)? {
                Some(len) => len - rest.len().min(len),
                None => 1,
            };
            if missing == 0 {
                let mut whole = std::mem::take(&mut self.partial).freeze();
                take_prefix(&mut whole)?;
                return decode_body(whole).map(Some);
            }
            if self.input.is_empty() {
                return Ok(None);
            }
            let more = self.input.split_to(missing.min(self.input.len()));
            self.partial.extend_from_slice(&more);
        }
    }
}

/// Takes a length prefix. `Ok(None)`: it is cut off.
fn take_prefix(bytes: &mut impl Buf) -> Result<Option<usize>, FrameError> {
    let before = bytes.remaining();
    let Some(len) = take_varint(bytes, PREFIX_MAX_BYTES).map_err(|()| FrameError::Prefix)? else { return Ok(None) };
    let prefix = before - bytes.remaining();
    if len > (FRAME_MAX_BYTES - prefix) as u64 {
        return Err(FrameError::TooLarge { bytes: len });
    }
    Ok(Some(len as usize))
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
    fn flags_and_data_have_the_bytes_of_the_specification() {
        assert_eq!(Frame::flag(Flag::Fin).encode(), [2, 0x08, 0]);
        assert_eq!(Frame::flag(Flag::FinAck).encode(), [2, 0x08, 3]);
        assert_eq!(encode(None, b"abc"), [5, 0x12, 3, b'a', b'b', b'c']);
        assert_eq!(encode(Some(Flag::Reset), b"x"), [5, 0x08, 2, 0x12, 1, b'x']);
        assert_eq!(encode(None, &[]), [0]);
    }

    #[test]
    fn the_largest_frame_fits_the_limit_exactly() {
        let frame = encode(Some(Flag::Fin), &vec![7; DATA_MAX_BYTES]);
        assert_eq!(frame.len(), FRAME_MAX_BYTES);
        assert_eq!(frames(&[&frame]).unwrap()[0].data.len(), DATA_MAX_BYTES);
    }

    #[test]
    fn malformed_frames_are_told_apart() {
        let mut too_large = Vec::new();
        put_varint(&mut too_large, FRAME_MAX_BYTES as u64);
        assert_eq!(frames(&[&too_large]), Err(FrameError::TooLarge { bytes: FRAME_MAX_BYTES as u64 }));
        assert_eq!(frames(&[&[0xff, 0xff, 0xff, 0xff]]), Err(FrameError::Prefix));
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
        let whole = encode(None, &vec![1; DATA_MAX_BYTES]);
        for byte in &whole[..whole.len() - 1] {
            decoder.push(Bytes::copy_from_slice(&[*byte]));
            assert_eq!(decoder.next_frame(), Ok(None));
            assert!(decoder.partial_bytes() < FRAME_MAX_BYTES);
        }
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let flag = prop_oneof![Just(None), (0_u64..4).prop_map(Flag::from_number)];
        (flag, prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(flag, data)| Frame { flag, data: Bytes::from(data) })
    }

    proptest! {
        #[test]
        fn frames_survive_any_splitting_and_joining(
            sent in prop::collection::vec(any_frame(), 1..20),
            cuts in prop::collection::vec(1_usize..700, 1..60),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(Frame::encode).collect();
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
