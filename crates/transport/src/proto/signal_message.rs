//! Messages of `/webrtc-signaling/0.0.1`: a varint length and a protobuf `{type: 1, data: 2}`.

use super::sdp::SDP_MAX_BYTES;

/// Bytes of one message without its length; a description and what is around it.
pub const MESSAGE_MAX_BYTES: usize = SDP_MAX_BYTES + 16;
/// Bytes of a length prefix.
const PREFIX_MAX_BYTES: usize = 3;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The initiator's description.
    Offer(String),
    /// The other's.
    Answer(String),
    /// One candidate, the JSON of an `RTCIceCandidateInit`.
    Candidate(String),
}

/// Bytes that are no message: the attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The length says more than is looked at.
    #[error("a signalling message of {bytes} bytes, and {MESSAGE_MAX_BYTES} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u64,
    },
    /// Not a length and a protobuf message with a known type and text.
    #[error("a signalling message is malformed")]
    Malformed,
}

impl Message {
    fn parts(&self) -> (u8, &str) {
        match self {
            Self::Offer(data) => (0, data),
            Self::Answer(data) => (1, data),
            Self::Candidate(data) => (2, data),
        }
    }

    /// The bytes to send. The type is there also when it is 0: others take its absence for no type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, data) = self.parts();
        let mut body = vec![0x08, kind, 0x12];
        put_varint(&mut body, data.len());
        body.extend_from_slice(data.as_bytes());
        let mut message = Vec::with_capacity(body.len() + PREFIX_MAX_BYTES);
        put_varint(&mut message, body.len());
        message.extend(body);
        message
    }

    fn decode(mut body: &[u8]) -> Result<Self, MessageError> {
        let (mut kind, mut data) = (None, None);
        while !body.is_empty() {
            match take_varint(&mut body)? {
                0x08 => kind = Some(take_varint(&mut body)?),
                0x12 => data = Some(take_bytes(&mut body)?),
                tag => match tag & 7 {
                    0 => _ = take_varint(&mut body)?,
                    2 => _ = take_bytes(&mut body)?,
                    _ => return Err(MessageError::Malformed),
                },
            }
        }
        let data = std::str::from_utf8(data.unwrap_or_default()).map_err(|_| MessageError::Malformed)?.to_owned();
        match kind {
            Some(0) => Ok(Self::Offer(data)),
            Some(1) => Ok(Self::Answer(data)),
            Some(2) => Ok(Self::Candidate(data)),
            _ => Err(MessageError::Malformed),
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, MessageError> {
    let mut value = 0_u64;
    for place in 0..10_u32 {
        let (byte, rest) = bytes.split_first().ok_or(MessageError::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(MessageError::Malformed)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], MessageError> {
    let len = usize::try_from(take_varint(bytes)?).map_err(|_| MessageError::Malformed)?;
    let (taken, rest) = bytes.split_at_checked(len).ok_or(MessageError::Malformed)?;
    *bytes = rest;
    Ok(taken)
}

/// Reads messages from a stream of bytes; holds one at most, and what came with its last bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes bytes in. Give it no more than a read's worth at once.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`MessageError`]; the decoder is of no use after it.
    pub fn next_message(&mut self) -> Result<Option<Message>, MessageError> {
        let end = self.buffer.iter().take(PREFIX_MAX_BYTES).position(|byte| byte & 0x80 == 0);
        let Some(end) = end else {
            let is_cut_off = self.buffer.len() < PREFIX_MAX_BYTES;
            return if is_cut_off { Ok(None) } else { Err(MessageError::Malformed) };
        };
        let mut rest = self.buffer.as_slice();
        let bytes = take_varint(&mut rest)?;
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        if len > MESSAGE_MAX_BYTES {
            return Err(MessageError::TooLarge { bytes });
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let message = Message::decode(body)?;
        self.buffer.drain(..end + 1 + len);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_offer_has_its_type_written_out() {
        assert_eq!(Message::Offer("ab".into()).encode(), [6, 0x08, 0, 0x12, 2, b'a', b'b']);
        assert_eq!(Message::Candidate(String::new()).encode(), [4, 0x08, 2, 0x12, 0]);
    }

    fn read(bytes: &[u8]) -> Result<Option<Message>, MessageError> {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder.next_message()
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let mut large = Vec::new();
        put_varint(&mut large, MESSAGE_MAX_BYTES + 1);
        assert!(matches!(read(&large), Err(MessageError::TooLarge { .. })));
        for malformed in [
            &[0xff, 0xff, 0xff][..],
            &[0],
            &[2, 0x12, 0],
            &[2, 0x08, 3],
            &[3, 0x08, 0, 0x12],
            &[6, 0x08, 0, 0x12, 2, 0xff, 0xfe],
        ] {
            assert_eq!(read(malformed), Err(MessageError::Malformed), "{malformed:?}");
        }
        assert_eq!(read(&[0x80, 0x80]), Ok(None));
    }

    proptest! {
        #[test]
        fn messages_survive_any_splitting(texts in prop::collection::vec(("\\PC{0,300}", 0_u8..3), 1..8), cut in 1_usize..50) {
            let sent: Vec<Message> = texts.into_iter().map(|(text, kind)| match kind {
                0 => Message::Offer(text),
                1 => Message::Answer(text),
                _ => Message::Candidate(text),
            }).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(Message::encode).collect();
            let mut decoder = Decoder::default();
            let mut read = Vec::new();
            for part in bytes.chunks(cut) {
                decoder.push(part);
                while let Some(message) = decoder.next_message().unwrap() {
                    read.push(message);
                }
            }
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn anything_is_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
