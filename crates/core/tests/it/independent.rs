//! The formats once more, straight from `docs/formats.md` and primitives, to check the library against the words.

use data_encoding::BASE32_NOPAD;
use meganet_core::chunk;
use meganet_core::head::Head;
use meganet_core::keys::ReadKey;
use prost::Message;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::common::{head, head_body, inner, pb, read, signed_head, site, split_head};

pub fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

pub fn read_key(secret: &[u8]) -> [u8; 32] {
    derive("meganet 2026 read key v1", &[site().address().public_key(), secret])
}

pub fn head_seal_key(secret: &[u8]) -> [u8; 32] {
    derive("meganet 2026 head seal v1", &[&read_key(secret)])
}

pub fn chunk_seal_key(secret: &[u8]) -> [u8; 32] {
    derive("meganet 2026 chunk seal v1", &[&read_key(secret)])
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes"))
}

#[test]
fn an_address_is_built_as_the_words_say() {
    let key = *site().address().public_key();
    let checksum = derive("meganet 2026 address checksum v1", &[&key, &[1]]);
    let text = BASE32_NOPAD.encode(&[&key[..], &checksum[..2], &[1]].concat()).to_ascii_lowercase();
    assert_eq!(site().address().to_string(), text);
}

#[test]
fn record_keys_are_derived_as_the_words_say() {
    let blinded = site().address().blinded();
    assert_eq!(blinded.head_record_key(), derive("meganet 2026 head record v1", &[blinded.as_bytes()]));
    assert_eq!(blinded.provider_record_key(), derive("meganet 2026 provider record v1", &[blinded.as_bytes()]));
}

#[test]
fn a_chunk_is_sealed_as_the_words_say() {
    for (secret, read) in [(&[][..], read()), (&[5; 32][..], ReadKey::private(&site().address(), &[5; 32]))] {
        let content: Vec<u8> = (0..1_000_u32).map(|n| n as u8).collect();
        let mut bytes = content.clone();
        bytes.resize(1_024, 0);
        let key = *blake3::keyed_hash(&chunk_seal_key(secret), blake3::hash(&bytes).as_bytes()).as_bytes();
        cipher(&key)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::empty(), &mut bytes)
            .expect("seals");
        let (chunk, sealed) = chunk::seal(&read, &content).expect("seals");
        assert_eq!(sealed, bytes);
        assert_eq!((chunk.key.as_bytes(), chunk.id.as_bytes()), (&key, blake3::hash(&bytes).as_bytes()));
    }
}

#[test]
fn a_head_is_sealed_and_signed_as_the_words_say() {
    let inner = inner();
    let sequence = 77_u64;
    let chunk = &inner.manifest[0];
    let chunk = [pb::bytes(1, chunk.id.as_bytes()), pb::bytes(2, chunk.key.as_bytes()), pb::uint(3, chunk.size.into())]
        .concat();
    let plain = [
        pb::uint(1, inner.time_ms),
        pb::uint(2, inner.total_size),
        pb::uint(3, inner.manifest_size.into()),
        pb::bytes(4, &chunk),
        pb::bytes(5, inner.previous.expect("one").as_bytes()),
    ]
    .concat();
    let key = derive("meganet 2026 head seal key v1", &[&head_seal_key(&[]), &sequence.to_be_bytes()]);
    let nonce: [u8; 12] = blake3::keyed_hash(&key, &plain).as_bytes()[..12].try_into().expect("12 bytes");
    let blinded = site().address().blinded();
    let aad = [&blinded.as_bytes()[..], &sequence.to_be_bytes()].concat();
    let mut sealed = plain.clone();
    cipher(&key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad.clone()), &mut sealed)
        .expect("seals");
    let sealed = [&nonce[..], &sealed].concat();
    let bytes = signed_head(&site(), &head_body(1, blinded.as_bytes(), sequence, &sealed));
    assert_eq!(head(sequence).as_bytes(), bytes);

    // Another nonce opens too, but is not the one that follows from the content.
    let mut sealed = plain;
    cipher(&key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([9; 12]), Aad::from(aad), &mut sealed)
        .expect("seals");
    let sealed = [&[9; 12][..], &sealed].concat();
    let bytes = signed_head(&site(), &head_body(1, blinded.as_bytes(), sequence, &sealed));
    assert!(Head::parse(&bytes).expect("signed").open(&read()).is_err());
}

#[test]
fn what_is_sealed_in_a_head_is_canonical_too() {
    // The author's own key signs and seals an inner part with a trailing unknown field.
    #[derive(Clone, PartialEq, Message)]
    struct Unknown {
        #[prost(uint64, tag = "9")]
        field: u64,
    }
    let sequence = 1_u64;
    let plain = [pb::uint(1, 5), Unknown { field: 1 }.encode_to_vec()].concat();
    let key = derive("meganet 2026 head seal key v1", &[&head_seal_key(&[]), &sequence.to_be_bytes()]);
    let nonce: [u8; 12] = blake3::keyed_hash(&key, &plain).as_bytes()[..12].try_into().expect("12 bytes");
    let blinded = site().address().blinded();
    let aad = [&blinded.as_bytes()[..], &sequence.to_be_bytes()].concat();
    let mut sealed = plain;
    cipher(&key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut sealed)
        .expect("seals");
    let bytes = signed_head(&site(), &head_body(1, blinded.as_bytes(), sequence, &[&nonce[..], &sealed].concat()));
    let opened = Head::parse(&bytes).expect("signed").open(&read());
    assert_eq!(opened, Err(meganet_core::head::HeadError::Inner { rule: "canonical encoding" }));
}

#[test]
fn a_signature_is_over_the_verbatim_body() {
    let head = head(5);
    let (body, signature) = split_head(head.as_bytes());
    let key = ed25519_dalek::VerifyingKey::from_bytes(site().address().blinded().as_bytes()).expect("a key");
    let signature = ed25519_dalek::Signature::from_bytes(&signature.try_into().expect("64 bytes"));
    assert!(key.verify_strict(&[b"meganet-head-v1\0", &body[..]].concat(), &signature).is_ok());
}
