//! Messages of `/webrtc-signaling/0.0.1`: a varint length and a protobuf `{type: 1, data: 2}`.

use super::sdp::SDP_MAX_BYTES;
use prost::Message as _;

/// Bytes of one message without its length; a description and what is around it.
pub const MESSAGE_MAX_BYTES: usize = SDP_MAX_BYTES + 16;

/// Bytes of the longest length prefix that may be one.
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
#[non_exhaustive]
pub enum MessageError {
    /// The length says more than is looked at.
    #[error("a signalling message of {bytes} bytes, and {MESSAGE_MAX_BYTES} are allowed")]
    TooLarge {
        /// What the prefix says.
        bytes: u32,
    },
    /// Not a length and a protobuf message with a known type and text.
    #[error("a signalling message is malformed")]
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Type {
    SdpOffer = 0,
    SdpAnswer = 1,
    IceCandidate = 2,
}

/// The protobuf message of the specification. Fields that are there are written even when they are 0 or empty: others take
/// an absent type for none.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(enumeration = "Type", optional, tag = "1")]
    kind: Option<i32>,
    #[prost(string, optional, tag = "2")]
    data: Option<String>,
}

impl Message {
    /// The bytes to send.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let (kind, data) = match self {
            Self::Offer(data) => (Type::SdpOffer, data),
            Self::Answer(data) => (Type::SdpAnswer, data),
            Self::Candidate(data) => (Type::IceCandidate, data),
        };
        Wire { kind: Some(kind.into()), data: Some(data) }.encode_length_delimited_to_vec()
    }

    fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let Wire { kind, data } = Wire::decode(body).map_err(|_| MessageError::Malformed)?;
        let data = data.unwrap_or_default();
        match kind.and_then(|kind| Type::try_from(kind).ok()) {
            Some(Type::SdpOffer) => Ok(Self::Offer(data)),
            Some(Type::SdpAnswer) => Ok(Self::Answer(data)),
            Some(Type::IceCandidate) => Ok(Self::Candidate(data)),
            None => Err(MessageError::Malformed),
        }
    }
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
        let (bytes, rest) = match unsigned_varint::decode::u32(&self.buffer) {
            Ok(decoded) => decoded,
            Err(unsigned_varint::decode::Error::Insufficient) if self.buffer.len() < PREFIX_MAX_BYTES => {
                return Ok(None);
            }
            Err(_) => return Err(MessageError::Malformed),
        };
        let (before, len) = (self.buffer.len() - rest.len(), bytes as usize);
        if len > MESSAGE_MAX_BYTES {
            return Err(MessageError::TooLarge { bytes });
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let message = Message::decode(body)?;
        self.buffer.drain(..before + len);
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
        let mut buffer = unsigned_varint::encode::u32_buffer();
        let large = unsigned_varint::encode::u32(MESSAGE_MAX_BYTES as u32 + 1, &mut buffer);
        assert!(matches!(read(large), Err(MessageError::TooLarge { .. })));
        for malformed in [
            &[0xff; PREFIX_MAX_BYTES][..],
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
            let bytes: Vec<u8> = sent.iter().cloned().flat_map(Message::encode).collect();
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
