//! Plain STUN (RFC 8489): a peer asks how it looks from outside, and is told. What ICE says with STUN is the backends'
//! business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a message without its attributes.
pub const HEADER_BYTES: usize = 20;
const COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// A transaction's number; only its chooser can know it.
pub type Transaction = [u8; 12];

/// A message that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Somebody asks how it looks from outside. One with a user name is ICE's, and not this.
    Request(Transaction),
    /// The answer.
    Response(Transaction, SocketAddr),
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a message; `None` for everything that means nothing here.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let is_stun =
        usize::from(word(bytes, 2)?) + HEADER_BYTES == bytes.len() && bytes.get(4..8)? == COOKIE.to_be_bytes();
    let transaction: Transaction = bytes.get(8..HEADER_BYTES)?.try_into().ok()?;
    if !is_stun {
        return None;
    }
    let attribute = |wanted: u16| {
        let mut rest = bytes.get(HEADER_BYTES..)?;
        loop {
            let (kind, len) = (word(rest, 0)?, usize::from(word(rest, 2)?));
            let value = rest.get(4..4 + len)?;
            if kind == wanted {
                return Some(value);
            }
            rest = rest.get(4 + len.next_multiple_of(4)..)?;
        }
    };
    match word(bytes, 0)? {
        BINDING_REQUEST if attribute(USERNAME).is_none() => Some(Message::Request(transaction)),
        BINDING_SUCCESS => Some(Message::Response(transaction, mapped(attribute(XOR_MAPPED_ADDRESS)?, transaction)?)),
        _ => None,
    }
}

/// The key with which addresses are masked (RFC 8489 §14.2).
fn mask(transaction: Transaction) -> [u8; 16] {
    let mut mask = [0; 16];
    for (place, byte) in mask.iter_mut().zip(COOKIE.to_be_bytes().into_iter().chain(transaction)) {
        *place = byte;
    }
    mask
}

fn mapped(value: &[u8], transaction: Transaction) -> Option<SocketAddr> {
    let port = word(value, 2)? ^ (COOKIE >> 16) as u16;
    let mut ip = value.get(4..)?.to_vec();
    ip.iter_mut().zip(mask(transaction)).for_each(|(byte, mask)| *byte ^= mask);
    let ip = match value.get(1)? {
        1 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn header(kind: u16, len: usize, transaction: Transaction) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend(COOKIE.to_be_bytes());
    bytes.extend(transaction);
    bytes
}

/// The question.
#[must_use]
pub fn request(transaction: Transaction) -> Vec<u8> {
    header(BINDING_REQUEST, 0, transaction)
}

/// The answer: hardly larger than the question, so that it is no use for amplifying.
#[must_use]
pub fn response(transaction: Transaction, asker: SocketAddr) -> Vec<u8> {
    let (family, mut ip) = match asker.ip() {
        IpAddr::V4(ip) => (1, Ipv4Addr::octets(&ip).to_vec()),
        IpAddr::V6(ip) => (2, Ipv6Addr::octets(&ip).to_vec()),
    };
    ip.iter_mut().zip(mask(transaction)).for_each(|(byte, mask)| *byte ^= mask);
    let mut bytes = header(BINDING_SUCCESS, 8 + ip.len(), transaction);
    bytes.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
    bytes.extend((4 + ip.len() as u16).to_be_bytes());
    bytes.extend([0, family]);
    bytes.extend((asker.port() ^ (COOKIE >> 16) as u16).to_be_bytes());
    bytes.extend(ip);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.2 and §2.3: the mapped addresses of its sample responses.
    #[test]
    fn the_test_vectors_of_rfc_5769() {
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let v4 = [0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        assert_eq!(mapped(&v4, transaction), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = [
            0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2,
            0xb9, 0xd9,
        ];
        assert_eq!(mapped(&v6, transaction), Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
    }

    #[test]
    fn question_and_answer_read_back() {
        let transaction = [7; 12];
        assert_eq!(parse(&request(transaction)), Some(Message::Request(transaction)));
        for asker in ["1.2.3.4:5678", "[2001:db8::1]:9"] {
            let asker = asker.parse().unwrap();
            assert_eq!(parse(&response(transaction, asker)), Some(Message::Response(transaction, asker)));
        }
        let mut ice = header(BINDING_REQUEST, 8, transaction);
        ice.extend([0, 6, 0, 3, b'a', b':', b'b', 0]);
        assert_eq!(parse(&ice), None, "a request with a user name is ICE's");
        let mut software = header(BINDING_REQUEST, 8, transaction);
        software.extend([0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        assert_eq!(parse(&software), Some(Message::Request(transaction)), "other attributes do not matter");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_a_message_or_nothing(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
            let mut header = header(BINDING_SUCCESS, bytes.len(), [1; 12]);
            header.extend(bytes);
            let _ = parse(&header);
        }
    }
}
