//! Heads: forging, replay, equivocation, encodings, times and sequence numbers.

use meganet_core::head::{Head, HeadDecision, HeadError, HeadInner, compare, next_sequence};
use meganet_core::keys::{BlindedKey, KeyError, ReadKey};
use meganet_core::limits::{CLOCK_SKEW_MAX_MS, HEAD_MAX_BYTES, SEQUENCE_JUMP_MAX};
use proptest::prelude::*;

use crate::common::{
    NOW_MS, Rng, chunk_ref, head, head_body, inner, other_site, pb, read, sign_blinded, signed_head, site, split_head,
};

fn blinded() -> BlindedKey {
    site().address().blinded()
}

fn sealed_of(head: &Head) -> Vec<u8> {
    let (body, _) = split_head(head.as_bytes());
    let before = head_body(1, blinded().as_bytes(), head.sequence(), &[]).len() - 1;
    // Tag and length of the last field.
    body[before - 1 + 1 + pb::varint((body.len() - before) as u64).len()..].to_vec()
}

#[test]
fn a_signed_head_reads_back() {
    let head = head(42);
    let parsed = Head::parse(head.as_bytes()).expect("valid");
    assert_eq!(parsed, head);
    assert_eq!(parsed.sequence(), 42);
    assert_eq!(parsed.blinded_key(), blinded());
    assert_eq!(parsed.open(&read()).expect("opens"), inner());
    assert_eq!(*parsed.hash().as_bytes(), *blake3::hash(head.as_bytes()).as_bytes());
    assert_eq!(Head::parse_for(head.as_bytes(), &blinded()).expect("valid"), head);
}

#[test]
fn signing_the_same_twice_gives_the_same_bytes() {
    assert_eq!(head(3), head(3));
    assert!(!head(3).equivocates(&head(3)));
}

#[test]
fn the_raw_helpers_build_what_the_library_builds() {
    let head = head(5);
    let body = head_body(1, blinded().as_bytes(), 5, &sealed_of(&head));
    assert_eq!(signed_head(&site(), &body), head.as_bytes());
}

#[test]
fn case_01_forged_head_of_valid_shape_fails_its_signature() {
    let (body, _) = split_head(head(1).as_bytes());
    let forged = sign_blinded(&other_site(), &[b"meganet-head-v1\0", &body[..]].concat());
    let bytes = [pb::bytes(1, &body), pb::bytes(2, &forged)].concat();
    assert_eq!(Head::parse(&bytes), Err(HeadError::Signature));
}

#[test]
fn case_02_head_of_another_key_is_refused_before_its_sequence_is_looked_at() {
    let other = other_site();
    let theirs = Head::sign(&other, &ReadKey::public(&other.address()), u64::MAX, &inner()).expect("signable");
    assert_eq!(Head::parse_for(theirs.as_bytes(), &blinded()), Err(HeadError::OtherSite));
    // Even with sequence 0, which would be refused by itself, the key is what is named.
    let body = [pb::uint(1, 1), pb::bytes(2, other.address().blinded().as_bytes()), pb::bytes(4, &[0; 60])].concat();
    assert_eq!(Head::parse_for(&signed_head(&other, &body), &blinded()), Err(HeadError::OtherSite));
    assert_eq!(compare(&head(1), &theirs), HeadDecision::Older);
}

#[test]
fn case_04_two_heads_with_one_sequence_are_a_proof_of_equivocation() {
    let first = head(7);
    let second = Head::sign(&site(), &read(), 7, &HeadInner { time_ms: NOW_MS + 1, ..inner() }).expect("signable");
    assert_eq!(compare(&first, &second), HeadDecision::Conflict);
    assert!(first.equivocates(&second) && second.equivocates(&first));
    // The proof is portable: both parse from their bytes alone.
    let (first, second) = (Head::parse(first.as_bytes()), Head::parse(second.as_bytes()));
    assert!(first.expect("valid").equivocates(&second.expect("valid")));
    assert!(!head(7).equivocates(&head(8)));
    let other = Head::sign(&other_site(), &read(), 7, &inner()).expect("signable");
    assert!(!head(7).equivocates(&other));
}

#[test]
fn case_03_an_old_head_does_not_replace_a_newer_one() {
    assert_eq!(compare(&head(9), &head(8)), HeadDecision::Older);
    assert_eq!(compare(&head(9), &head(9)), HeadDecision::Same);
    assert_eq!(compare(&head(9), &head(10)), HeadDecision::Newer);
}

#[test]
fn case_05_the_last_sequence_number_is_read_but_not_jumped_to() {
    let last = head(u64::MAX);
    assert_eq!(Head::parse(last.as_bytes()).expect("signed, so valid").sequence(), u64::MAX);
    assert_eq!(compare(&head(1), &last), HeadDecision::Newer);
    assert_eq!(compare(&last, &head(1)), HeadDecision::Older);
    assert_eq!(next_sequence(Some(u64::MAX), None), Err(HeadError::Exhausted));
    assert_eq!(next_sequence(Some(u64::MAX - 1), None), Ok(u64::MAX));
    assert_eq!(next_sequence(Some(1), Some(u64::MAX)), Err(HeadError::Jump { current: 1, requested: u64::MAX }));
    assert_eq!(next_sequence(Some(5), Some(5 + SEQUENCE_JUMP_MAX)), Ok(5 + SEQUENCE_JUMP_MAX));
    assert!(matches!(next_sequence(Some(5), Some(6 + SEQUENCE_JUMP_MAX)), Err(HeadError::Jump { .. })));
    assert_eq!(next_sequence(None, None), Ok(1));
    assert_eq!(next_sequence(None, Some(0)), Err(HeadError::NotNewer { current: 0, requested: 0 }));
    assert_eq!(next_sequence(Some(5), Some(5)), Err(HeadError::NotNewer { current: 5, requested: 5 }));
    assert_eq!(next_sequence(Some(5), Some(4)), Err(HeadError::NotNewer { current: 5, requested: 4 }));
}

#[test]
fn case_07_a_head_from_the_future_is_refused_beyond_the_skew() {
    let inner = inner();
    assert_eq!(inner.check_time(NOW_MS), Ok(()));
    assert_eq!(inner.check_time(NOW_MS - CLOCK_SKEW_MAX_MS), Ok(()));
    let ahead_ms = CLOCK_SKEW_MAX_MS + 1;
    assert_eq!(inner.check_time(NOW_MS - ahead_ms), Err(HeadError::Future { ahead_ms }));
    let centuries = HeadInner { time_ms: u64::MAX, ..inner };
    assert_eq!(centuries.check_time(NOW_MS), Err(HeadError::Future { ahead_ms: u64::MAX - NOW_MS }));
    assert_eq!(centuries.check_time(u64::MAX), Ok(()));
    assert_eq!(HeadInner { time_ms: 0, ..centuries }.check_time(u64::MAX), Ok(()), "heads do not expire");
}

#[test]
fn case_10_size_is_refused_before_anything_is_parsed() {
    let huge = vec![0xff; HEAD_MAX_BYTES + 1];
    assert_eq!(Head::parse(&huge), Err(HeadError::TooLarge { found: HEAD_MAX_BYTES + 1 }));
    assert_eq!(Head::parse(&huge[..HEAD_MAX_BYTES]), Err(HeadError::Encoding));
    // A length prefix of a gigabyte inside few bytes allocates nothing and is refused.
    let bytes = [vec![0x0a], pb::varint(1 << 30), vec![0; 100]].concat();
    assert_eq!(Head::parse(&bytes), Err(HeadError::Encoding));
    let bytes = [vec![0x0a], pb::varint(u64::MAX), vec![0; 100]].concat();
    assert_eq!(Head::parse(&bytes), Err(HeadError::Encoding));
}

#[test]
fn a_head_of_exactly_the_budget_is_read_and_one_byte_more_is_not() {
    let body = |len: usize| head_body(1, blinded().as_bytes(), 1, &vec![5; len]);
    let overhead = signed_head(&site(), &body(3_900)).len() - 3_900;
    let at_edge = signed_head(&site(), &body(HEAD_MAX_BYTES - overhead));
    assert_eq!(at_edge.len(), HEAD_MAX_BYTES);
    assert!(Head::parse(&at_edge).is_ok());
    let beyond = signed_head(&site(), &body(HEAD_MAX_BYTES - overhead + 1));
    assert_eq!(Head::parse(&beyond), Err(HeadError::TooLarge { found: HEAD_MAX_BYTES + 1 }));
}

#[test]
fn case_11_truncated_empty_and_bit_flipped_heads_are_errors() {
    let bytes = head(3).as_bytes().to_vec();
    for len in 0..bytes.len() {
        assert!(Head::parse(&bytes[..len]).is_err(), "truncated to {len}");
    }
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << bit;
            assert!(Head::parse(&flipped).is_err(), "byte {place}, bit {bit}");
        }
    }
}

#[test]
fn case_11_a_million_random_and_damaged_heads_are_errors() {
    let valid = head(3).as_bytes().to_vec();
    let mut rng = Rng(11);
    for round in 0..1_000_000_u32 {
        let mut bytes = valid.clone();
        match round % 4 {
            0 => {
                let len = rng.below(80);
                bytes = rng.bytes(len);
            }
            1 => bytes.truncate(rng.below(valid.len())),
            // Damage to the first bytes of each level hits tags and lengths.
            2 => {
                for _ in 0..=rng.below(3) {
                    bytes[rng.below(6)] = rng.next() as u8;
                }
                bytes.push(rng.next() as u8);
            }
            _ => {
                let (from, to) = (rng.below(valid.len()), rng.below(valid.len()));
                bytes.splice(from.min(to)..from.max(to), [rng.next() as u8]);
                // Put back what was there and it would be no damage.
                if bytes == valid {
                    continue;
                }
            }
        }
        assert!(Head::parse(&bytes).is_err(), "round {round}");
    }
}

#[test]
fn case_12_only_the_canonical_encoding_is_read() {
    let head = head(3);
    let (body, signature) = split_head(head.as_bytes());
    let outer = |parts: &[Vec<u8>]| Head::parse(&parts.concat());
    assert!(outer(&[pb::bytes(1, &body), pb::bytes(2, &signature)]).is_ok());
    let refused = [
        ("trailing byte", vec![head.as_bytes().to_vec(), vec![0]]),
        ("other order", vec![pb::bytes(2, &signature), pb::bytes(1, &body)]),
        ("field twice", vec![pb::bytes(1, &body), pb::bytes(1, &body), pb::bytes(2, &signature)]),
        ("unknown field", vec![head.as_bytes().to_vec(), pb::uint(9, 1)]),
        ("long varint", vec![vec![0x8a, 0x00], pb::varint(body.len() as u64), body.clone(), pb::bytes(2, &signature)]),
        ("nothing twice", vec![head.as_bytes().to_vec(), pb::bytes(2, &[])]),
    ];
    for (what, parts) in refused {
        assert_eq!(outer(&parts), Err(HeadError::Encoding), "{what}");
    }
    // Signed by the true author: the body's encoding is refused all the same.
    let sealed = sealed_of(&head);
    let key = *blinded().as_bytes();
    let bodies = [
        ("trailing", [body.clone(), pb::uint(8, 1)].concat()),
        ("twice", [pb::uint(1, 1), body.clone()].concat()),
        ("order", [pb::uint(3, 3), pb::uint(1, 1), pb::bytes(2, &key), pb::bytes(4, &sealed)].concat()),
        ("long", [vec![0x08, 0x81, 0x00], pb::bytes(2, &key), pb::uint(3, 3), pb::bytes(4, &sealed)].concat()),
    ];
    for (what, body) in bodies {
        assert_eq!(Head::parse(&signed_head(&site(), &body)), Err(HeadError::Encoding), "{what}");
    }
}

#[test]
fn case_13_signatures_from_another_context_are_not_heads() {
    let (body, _) = split_head(head(3).as_bytes());
    let contexts: [&[u8]; 5] =
        [b"", b"meganet-head-v2\0", b"meganet-head-v1", b"meganet-peer-list-v1\0", b"libp2p-relay-rsvp"];
    for context in contexts {
        let signature = sign_blinded(&site(), &[context, &body].concat());
        let bytes = [pb::bytes(1, &body), pb::bytes(2, &signature)].concat();
        assert_eq!(Head::parse(&bytes), Err(HeadError::Signature), "{context:?}");
    }
}

#[test]
fn fields_out_of_bounds_are_refused_although_signed() {
    let key = *blinded().as_bytes();
    let parse = |body: Vec<u8>| Head::parse(&signed_head(&site(), &body));
    assert_eq!(parse(head_body(2, &key, 1, &[0; 60])), Err(HeadError::Version { found: 2 }));
    assert_eq!(
        parse([pb::uint(1, 1), pb::bytes(2, &key), pb::bytes(4, &[0; 60])].concat()),
        Err(HeadError::SequenceZero)
    );
    assert_eq!(parse(head_body(1, &key[..31], 1, &[0; 60])), Err(HeadError::Key(KeyError::Length { found: 31 })));
    assert_eq!(parse(head_body(1, &key, 1, &[0; 27])), Err(HeadError::Encoding));
    // The neutral element would verify any signature of a certain form.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(parse(head_body(1, &weak, 1, &[0; 60])), Err(HeadError::Key(KeyError::Point)));
    let short = [pb::bytes(1, &head_body(1, &key, 1, &[0; 60])), pb::bytes(2, &[1; 63])].concat();
    assert_eq!(Head::parse(&short), Err(HeadError::Encoding));
}

#[test]
fn a_head_opens_with_its_read_key_only() {
    let head = head(3);
    let wrong = ReadKey::private(&site().address(), &[1; 32]);
    assert_eq!(head.open(&wrong), Err(HeadError::Sealed));
    let private = Head::sign(&site(), &wrong, 3, &inner()).expect("signable");
    assert_eq!(private.open(&read()), Err(HeadError::Sealed), "the address alone does not read a private site");
    assert_eq!(private.open(&wrong).expect("opens"), inner());
}

#[test]
fn a_sealed_part_is_bound_to_its_sequence() {
    let sealed = sealed_of(&head(3));
    let moved = signed_head(&site(), &head_body(1, blinded().as_bytes(), 4, &sealed));
    assert_eq!(Head::parse(&moved).expect("signed").open(&read()), Err(HeadError::Sealed));
}

#[test]
fn case_25_a_manifest_cut_in_another_way_is_not_signed_and_not_read() {
    let sizes = |total: u32, sizes: &[u32]| HeadInner {
        manifest_size: total,
        manifest: sizes.iter().enumerate().map(|(place, size)| chunk_ref(place as u8, *size)).collect(),
        ..inner()
    };
    let max = 262_128;
    let sign = |inner: &HeadInner| Head::sign(&site(), &read(), 1, inner);
    for good in
        [sizes(1, &[1]), sizes(max, &[max]), sizes(max + 1, &[max, 1]), sizes(1 << 20, &[max, max, max, max, 64])]
    {
        let head = sign(&good).expect("within bounds");
        assert!(head.as_bytes().len() <= HEAD_MAX_BYTES);
        assert_eq!(head.open(&read()).expect("opens"), good);
    }
    let bad = [
        sizes(0, &[]),
        sizes(10, &[]),
        sizes(10, &[9]),
        sizes(10, &[5, 5]),
        sizes(max + 1, &[max + 1]),
        sizes(max + 1, &[1, max]),
        sizes((1 << 20) + 1, &[max, max, max, max, 65]),
        sizes(u32::MAX, &[max; 5]),
    ];
    for inner in bad {
        assert!(matches!(sign(&inner), Err(HeadError::Inner { .. })), "{inner:?}");
    }
}

fn any_inner() -> impl Strategy<Value = HeadInner> {
    (any::<u64>(), any::<u64>(), 1_u32..=1 << 20, proptest::option::of(any::<[u8; 32]>())).prop_map(
        |(time_ms, total_size, manifest_size, previous)| {
            let mut left = manifest_size;
            let mut manifest = Vec::new();
            while left > 0 {
                let size = left.min(262_128);
                manifest.push(chunk_ref(manifest.len() as u8, size));
                left -= size;
            }
            let previous = previous.map(meganet_core::hash::HeadHash::from_bytes);
            HeadInner { time_ms, total_size, manifest_size, manifest, previous }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_head_reads_back(seed: [u8; 32], sequence in 1_u64.., inner in any_inner(), secret: Option<[u8; 32]>) {
        let site = meganet_core::keys::SiteKey::from_seed(seed);
        let address = site.address();
        let read = secret.map_or_else(|| ReadKey::public(&address), |secret| ReadKey::private(&address, &secret));
        let head = Head::sign(&site, &read, sequence, &inner).expect("signable");
        let parsed = Head::parse_for(head.as_bytes(), &address.blinded()).expect("valid");
        prop_assert_eq!(parsed.open(&read).expect("opens"), inner);
        prop_assert_eq!(parsed, head);
    }
}
