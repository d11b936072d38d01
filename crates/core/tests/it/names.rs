//! Addresses, links, keys and chunk ids as people and programs write them.

use std::str::FromStr;

use meganet_core::address::{Address, AddressError, Link, LinkError};
use meganet_core::hash::ChunkId;
use meganet_core::keys::{BlindedKey, KeyError, ReadKey, SiteKey};
use meganet_core::limits::LINK_MAX_BYTES;
use meganet_core::path::PathError;
use proptest::prelude::*;

use crate::common::{chunk_id, site};

#[test]
fn an_address_prints_and_parses() {
    let address = site().address();
    let text = address.to_string();
    assert_eq!(text.len(), 56);
    assert!(text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
    assert_eq!(Address::from_str(&text), Ok(address));
    assert_eq!(address.short(), format!("{}…{}", &text[..6], &text[50..]));
    assert_eq!(serde_json::to_string(&address).expect("text"), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<Address>(&format!("\"{text}\"")).expect("address"), address);
}

#[test]
fn case_14_an_address_in_any_case_is_printed_back_in_lowercase() {
    let text = site().address().to_string();
    let mixed: String =
        text.chars().enumerate().map(|(place, c)| if place % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    for variant in [text.to_ascii_uppercase(), mixed] {
        assert_eq!(Address::from_str(&variant).expect("same address").to_string(), text);
    }
    // Letters that only look alike are named, not guessed at: Cyrillic а, fullwidth ａ, and the long s.
    for foreign in ['а', 'ａ', 'ſ', 'ı', '\u{212a}'] {
        let fake: String = std::iter::once(foreign).chain(text.chars().skip(1)).collect();
        assert_eq!(Address::from_str(&fake), Err(AddressError::Alphabet { position: 0, found: foreign }));
    }
}

#[test]
fn address_errors_are_told_apart() {
    let text = site().address().to_string();
    let parse = |text: &str| Address::from_str(text);
    assert_eq!(parse(""), Err(AddressError::Length { found: 0 }));
    assert_eq!(parse(&text[1..]), Err(AddressError::Length { found: 55 }));
    assert_eq!(parse(&format!("{text}a")), Err(AddressError::Length { found: 57 }));
    assert_eq!(parse(&format!("{}1", &text[..55])), Err(AddressError::Alphabet { position: 55, found: '1' }));
    assert_eq!(parse(&format!(" {}", &text[..55])), Err(AddressError::Alphabet { position: 0, found: ' ' }));
    let encode = |bytes: &[u8]| data_encoding::BASE32_NOPAD.encode(bytes);
    let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).expect("base32");
    let with = |place: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[place] = value;
        encode(&bytes)
    };
    assert_eq!(parse(&with(34, 2)), Err(AddressError::Version { found: 2 }));
    assert_eq!(parse(&with(0, bytes[0] ^ 1)), Err(AddressError::Checksum));
    assert_eq!(parse(&with(33, bytes[33] ^ 1)), Err(AddressError::Checksum));
}

#[test]
fn one_wrong_character_is_found() {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
    for seed in 0..20 {
        let text = SiteKey::from_seed([seed; 32]).address().to_string();
        for place in 0..56 {
            let mut changed = text.clone().into_bytes();
            let value = alphabet.iter().position(|c| *c == changed[place]).expect("in the alphabet");
            changed[place] = alphabet[(value + 1 + place) % 32];
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(changed == text || changed.parse::<Address>().is_err(), "{changed}");
        }
    }
}

#[test]
fn an_address_is_of_a_usable_key() {
    let refused = [
        ("neutral element", "0100000000000000000000000000000000000000000000000000000000000000"),
        ("order two", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        ("order four", "0000000000000000000000000000000000000000000000000000000000000000"),
        ("order eight", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ("not on the curve", "0200000000000000000000000000000000000000000000000000000000000000"),
        ("coordinate not reduced", "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ];
    for (what, key) in refused {
        let key: [u8; 32] = data_encoding::HEXLOWER.decode(key.as_bytes()).expect("hex").try_into().expect("32 bytes");
        assert_eq!(Address::from_public_key(key), Err(AddressError::Key), "{what}");
        // With its own checksum it is refused by its key all the same.
        let checksum = blake3::derive_key("meganet 2026 address checksum v1", &[&key[..], &[1]].concat());
        let text = data_encoding::BASE32_NOPAD.encode(&[&key[..], &checksum[..2], &[1]].concat());
        assert_eq!(Address::from_str(&text), Err(AddressError::Key), "{what}");
    }
}

#[test]
fn a_key_with_a_torsion_part_is_refused() {
    // A valid key plus the point of order two is a second name for the same author.
    use ed25519_dalek::VerifyingKey;
    let key = VerifyingKey::from_bytes(site().address().public_key()).expect("key").to_edwards();
    let two = data_encoding::HEXLOWER
        .decode(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
        .expect("hex");
    let two = VerifyingKey::from_bytes(two.as_slice().try_into().expect("32 bytes")).expect("point").to_edwards();
    let mixed = (key + two).compress().to_bytes();
    assert_eq!(Address::from_public_key(mixed), Err(AddressError::Key));
    assert!(Address::from_public_key(key.compress().to_bytes()).is_ok());
}

#[test]
fn the_blinded_key_is_that_of_the_blinded_secret() {
    // Blinding the public key (what readers do) and the secret key (what the author does) meet in one point.
    for seed in 0..20 {
        let site = SiteKey::from_seed([seed; 32]);
        let read = ReadKey::public(&site.address());
        let head = meganet_core::head::Head::sign(&site, &read, 1, &crate::common::inner()).expect("signable");
        assert_eq!(head.blinded_key(), site.address().blinded());
        assert_ne!(head.blinded_key().as_bytes(), site.address().public_key());
    }
}

#[test]
fn blinded_keys_are_checked_points() {
    let key = site().address().blinded();
    assert_eq!(BlindedKey::from_bytes(key.as_bytes()), Ok(key));
    assert_eq!(BlindedKey::from_bytes(&[]), Err(KeyError::Length { found: 0 }));
    assert_eq!(BlindedKey::from_bytes(&[1; 33]), Err(KeyError::Length { found: 33 }));
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(BlindedKey::from_bytes(&neutral), Err(KeyError::Point));
    let json = serde_json::to_string(&key).expect("bytes");
    assert_eq!(serde_json::from_str::<BlindedKey>(&json).expect("key"), key);
    assert!(serde_json::from_str::<BlindedKey>(&serde_json::to_string(&neutral).expect("bytes")).is_err());
    assert_ne!(key.head_record_key(), key.provider_record_key());
}

#[test]
fn secrets_are_not_printed() {
    let site = SiteKey::from_seed([0xab; 32]);
    let address = site.address();
    let texts = [
        format!("{site:?}"),
        format!("{:?}", ReadKey::public(&address)),
        format!("{:?}", meganet_core::chunk::ChunkKey::from_bytes([0xab; 32])),
    ];
    for text in texts {
        assert!(text.contains("hidden") && !text.contains("abab") && !text.contains("171"), "{text}");
    }
}

#[test]
fn a_chunk_id_is_shown_as_a_cid() {
    let id = chunk_id(1);
    let text = id.to_string();
    // Every CIDv1 of codec raw and multihash BLAKE3-256 begins like this.
    assert!(text.starts_with("bafkr4i") && text.len() == 59, "{text}");
    assert_eq!(text.parse::<ChunkId>(), Ok(id));
    assert_eq!(serde_json::from_str::<ChunkId>(&serde_json::to_string(&id).expect("text")).expect("id"), id);
    for bad in [
        "",
        "b",
        "z",
        &text[1..],
        &text[..58],
        &format!("{text}a"),
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    ] {
        assert!(bad.parse::<ChunkId>().is_err(), "{bad}");
    }
}

#[test]
fn links_are_read_in_every_form() {
    let address = site().address();
    let a = address.to_string();
    let same = [
        format!("{a}/docs/a b.html"),
        format!("  {a}/docs/a%20b.html\n"),
        format!("web+meganet:{a}/docs/a%20b.html"),
        format!("WEB+MEGANET://{a}/docs/a%20b.html"),
        format!("https://example.org/#/{a}/docs/a%20b.html"),
        format!("http://meganet.localhost:8080/app/?lang=de#/{}/docs/a%20b.html?x=1#part", a.to_uppercase()),
    ];
    for text in &same {
        let link: Link = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(link, Link { address, path: "docs/a b.html".into() }, "{text}");
        assert_eq!(link.to_scheme(), format!("web+meganet:{a}/docs/a%20b.html"));
        assert_eq!(link.to_page("https://example.org/"), format!("https://example.org/#/{a}/docs/a%20b.html"));
    }
    for (text, path) in [(a.clone(), ""), (format!("{a}/"), ""), (format!("{a}/dir/"), "dir/")] {
        let link: Link = text.parse().expect("link");
        assert_eq!(link.path, path);
        assert_eq!(link.to_page("https://example.org").parse::<Link>().expect("link"), link);
    }
    // A path in another Unicode form is the same path.
    assert_eq!(format!("{a}/cafe\u{301}").parse::<Link>().expect("link").path, "café");
}

#[test]
fn link_errors_are_told_apart() {
    let a = site().address().to_string();
    let error = |text: &str| text.parse::<Link>().expect_err(text);
    assert_eq!(error("  "), LinkError::Empty);
    assert_eq!(error("https://example.org/page"), LinkError::WebPage);
    assert_eq!(error("hello"), LinkError::Address(AddressError::Length { found: 5 }));
    assert_eq!(error(&format!("{a}/%ff")), LinkError::Encoding);
    assert_eq!(error(&format!("{a}/../x")), LinkError::Path(PathError::DotSegment));
    assert_eq!(error(&format!("{a}/%2e%2e/x")), LinkError::Path(PathError::DotSegment));
    assert_eq!(error(&format!("{a}/%252e%252e/x")), LinkError::Path(PathError::Encoded));
    assert_eq!(error(&format!("{a}/a%5cb")), LinkError::Path(PathError::Backslash));
    assert_eq!(error(&format!("{a}//x")), LinkError::Path(PathError::EmptySegment));
    assert_eq!(error(&format!("{a}//")), LinkError::Path(PathError::Empty));
    let padded = |len: usize| format!("{a}{}", "/".repeat(len - a.len()));
    assert_eq!(error(&padded(LINK_MAX_BYTES)), LinkError::Path(PathError::Length { found: LINK_MAX_BYTES - 58 }));
    assert_eq!(error(&padded(LINK_MAX_BYTES + 1)), LinkError::Length { found: LINK_MAX_BYTES + 1 });
}

proptest! {
    #[test]
    fn every_address_reads_back(seed: [u8; 32]) {
        let address = SiteKey::from_seed(seed).address();
        prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        prop_assert_eq!(Address::from_public_key(*address.public_key()), Ok(address));
    }

    #[test]
    fn every_link_reads_back(path in "[a-zA-Z0-9 äß%?#&=+._~-]{1,20}(/[a-z日本 %?#]{1,9}){0,4}/?") {
        let address = site().address();
        let text = Link { address, path: path.clone() }.to_page("https://example.org");
        match text.parse::<Link>() {
            Ok(link) => prop_assert_eq!(link.to_page("https://example.org"), text),
            Err(error) => prop_assert!(matches!(error, LinkError::Path(_)), "{error}"),
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,120}") {
        let _ = text.parse::<Link>();
        let _ = text.parse::<Address>();
        let _ = text.parse::<ChunkId>();
    }
}
