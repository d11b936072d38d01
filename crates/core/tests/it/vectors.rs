//! `vectors.json`: inputs and outputs in hex, for whoever writes another implementation.
//!
//! The file is compared with what this code makes. To write it anew after a deliberate change of a format, set
//! `MEGANET_WRITE_VECTORS=1`; the change must then be in `docs/formats.md` too.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use meganet_core::address::Address;
use meganet_core::chunk::{self, ChunkRef};
use meganet_core::head::{Head, HeadInner};
use meganet_core::keys::{BlindedKey, ReadKey, SiteKey};
use meganet_core::manifest::{Entry, Manifest};
use meganet_core::wire::{Code, Request, Response, frame};
use meganet_core::{path, peer_list};
use serde_json::{Value, json};

use crate::common::{NOW_MS, Rng, chunk_id, chunk_of, chunk_ref, inner, manifest, read, site, split_head};
use crate::{independent, peer_lists};

const FILE: &str = include_str!("../vectors.json");

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().expect("text").as_bytes()).expect("hex")
}

fn chunk_json(chunk: &ChunkRef) -> Value {
    json!({ "id": hex(chunk.id.as_bytes()), "key": hex(chunk.key.as_bytes()), "size": chunk.size })
}

fn addresses() -> Value {
    let one = |seed: [u8; 32]| {
        let site = SiteKey::from_seed(seed);
        let address = site.address();
        let blinded = address.blinded();
        json!({
            "seed": hex(&seed),
            "public_key": hex(address.public_key()),
            "address": address.to_string(),
            "blinding_parameter": hex(&blake3::derive_key("meganet 2026 blinding v1", address.public_key())),
            "blinded_key": hex(blinded.as_bytes()),
            "head_record_key": hex(&blinded.head_record_key()),
            "provider_record_key": hex(&blinded.provider_record_key()),
        })
    };
    json!([one([7; 32]), one([0; 32]), one([0xff; 32]), one(std::array::from_fn(|place| place as u8))])
}

fn read_keys() -> Value {
    let one = |secret: &[u8]| {
        json!({
            "address": site().address().to_string(),
            "secret": hex(secret),
            "read_key": hex(&independent::read_key(secret)),
            "head_seal_key": hex(&independent::head_seal_key(secret)),
            "chunk_seal_key": hex(&independent::chunk_seal_key(secret)),
        })
    };
    json!([one(&[]), one(&[5; 32])])
}

fn chunks() -> Value {
    let one = |secret: &[u8], content: Vec<u8>| {
        let address = site().address();
        let read = match secret.try_into() {
            Ok(secret) => ReadKey::private(&address, secret),
            Err(_) => ReadKey::public(&address),
        };
        let (chunk, sealed) = chunk::seal(&read, &content).expect("seals");
        json!({
            "address": address.to_string(),
            "secret": hex(secret),
            "content": hex(&content),
            "padded_size": sealed.len() - 16,
            "chunk": chunk_json(&chunk),
            "cid": chunk.id.to_string(),
            "sealed": hex(&sealed),
        })
    };
    json!([one(&[], b"content".to_vec()), one(&[5; 32], b"content".to_vec()), one(&[], Rng(1).bytes(300))])
}

/// Chunks too large to be written out: their content is `size` times the byte `fill`.
fn large_chunks() -> Value {
    let one = |fill: u8, size: usize| {
        let (chunk, sealed) = chunk_of(&vec![fill; size]);
        json!({ "fill": fill, "chunk": chunk_json(&chunk), "sealed_size": sealed.len() })
    };
    json!([one(1, 65_537), one(2, 258_049), one(3, 262_128)])
}

fn heads() -> Value {
    let one = |secret: Option<[u8; 32]>, sequence: u64, inner: HeadInner| {
        let address = site().address();
        let read = secret.map_or_else(|| ReadKey::public(&address), |secret| ReadKey::private(&address, &secret));
        let head = Head::sign(&site(), &read, sequence, &inner).expect("signable");
        let (body, signature) = split_head(head.as_bytes());
        json!({
            "seed": hex(site().seed()),
            "secret": secret.map_or_else(String::new, |secret| hex(&secret)),
            "sequence": sequence.to_string(),
            "time_ms": inner.time_ms.to_string(),
            "total_size": inner.total_size.to_string(),
            "manifest_size": inner.manifest_size,
            "manifest": inner.manifest.iter().map(chunk_json).collect::<Vec<_>>(),
            "previous": inner.previous.map_or_else(String::new, |hash| hex(hash.as_bytes())),
            "body": hex(&body),
            "signature": hex(&signature),
            "head": hex(head.as_bytes()),
            "hash": hex(head.hash().as_bytes()),
        })
    };
    let first = HeadInner { previous: None, ..inner() };
    let manifest = [262_128, 262_128, 262_128, 262_128, 64].iter().enumerate();
    let large = HeadInner {
        total_size: u64::MAX,
        manifest_size: 1 << 20,
        manifest: manifest.map(|(place, size)| chunk_ref(place as u8, *size)).collect(),
        ..inner()
    };
    json!([one(None, 1, first), one(None, u64::MAX, inner()), one(Some([5; 32]), 300, large)])
}

fn manifests() -> Value {
    let one = |manifest: &Manifest| {
        let entry = |entry: &Entry| {
            json!({
                "path": entry.path, "media_type": entry.media_type, "size": entry.size,
                "first_chunk": entry.first_chunk, "offset": entry.offset,
            })
        };
        let (refs, sealed) = manifest.seal(&read()).expect("seals");
        json!({
            "chunks": manifest.chunks.iter().map(chunk_json).collect::<Vec<_>>(),
            "entries": manifest.entries.iter().map(entry).collect::<Vec<_>>(),
            "index": manifest.index.clone().unwrap_or_default(),
            "starter": manifest.starter.map_or(0, |place| place + 1),
            "title": manifest.title,
            "encoded": hex(&manifest.encode()),
            "sealed_for": site().address().to_string(),
            "sealed_chunks": refs.iter().map(chunk_json).collect::<Vec<_>>(),
            "sealed": sealed.iter().map(|bytes| hex(bytes)).collect::<Vec<_>>(),
        })
    };
    let empty = Manifest::build(vec![], vec![], None, None, String::new()).expect("valid");
    let entries = vec![crate::common::entry("日本語/ä.txt", 10, 0, 0)];
    let unicode = Manifest::build(vec![chunk_ref(9, 10)], entries, None, None, "Ünïcode 😀".into()).expect("valid");
    json!([one(&manifest()), one(&empty), one(&unicode)])
}

fn paths() -> Value {
    let good = ["index.html", "a/b/c", "日本語/é", "100%", "%25", "...", "ab:", "with space", ".x"];
    let bad = [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a\\b",
        "a\u{0}b",
        "a\nb",
        "C:x",
        "%2e",
        "%2F",
        "%5c",
        "%00",
        "e\u{301}",
        "a\u{202e}b",
    ];
    let same = [("A", "a"), ("STRASSE", "straße"), ("Σ", "ς"), ("É", "é")];
    json!({ "good": good, "bad": bad, "same_after_folding": same })
}

fn peer_lists() -> Value {
    let list = peer_lists::list();
    let bytes = peer_list::sign(&[3; 32], &list).expect("signable");
    let peer = |peer: &peer_list::PeerEntry| json!({ "peer_id": hex(&peer.peer_id), "addresses": peer.addresses });
    json!([{
        "seed": hex(&[3; 32]),
        "issued_ms": list.issued_ms,
        "expires_ms": list.expires_ms,
        "peers": list.peers.iter().map(peer).collect::<Vec<_>>(),
        "valid_at_ms": NOW_MS,
        "signed": hex(&bytes),
    }])
}

fn requests() -> Value {
    let blinded = site().address().blinded();
    let key = hex(blinded.as_bytes());
    let chunk = |number| hex(chunk_id(number).as_bytes());
    let one = |request: Request, mut fields: Value| {
        fields["id"] = json!(request.id());
        fields["message"] = json!(hex(&request.encode()));
        fields["frame"] = json!(hex(&frame(&request.encode())));
        fields
    };
    json!([
        one(Request::Head { id: 1, blinded }, json!({ "head": key })),
        one(Request::Chunk { id: u32::MAX, chunk: chunk_id(1) }, json!({ "chunk": chunk(1) })),
        one(
            Request::Have { id: 300, blinded, chunks: vec![chunk_id(1), chunk_id(2)] },
            json!({ "have": { "blinded_key": key, "chunks": [chunk(1), chunk(2)] } })
        ),
        one(Request::Credit { bytes: 1 << 20 }, json!({ "credit": 1 << 20 })),
        one(Request::Cancel { id: 2 }, json!({ "cancel": true })),
    ])
}

fn responses() -> Value {
    let one = |response: Response, mut fields: Value| {
        fields["id"] = json!(response.id());
        fields["message"] = json!(hex(&response.encode()));
        fields["frame"] = json!(hex(&frame(&response.encode())));
        fields
    };
    let part = |offset: u32, data: &'static [u8]| {
        let fields = json!({ "part": { "total": 272, "offset": offset, "data": hex(data) } });
        one(Response::Part { id: 2, total: 272, offset, data: Bytes::from_static(data) }, fields)
    };
    let refused = |code: Code| one(Response::Refused { id: 3, code }, json!({ "refused": code as i32 }));
    json!([
        one(Response::Head { id: 1, bytes: b"signed head".to_vec() }, json!({ "head": hex(b"signed head") })),
        part(0, b"first"),
        part(5, &[7; 200]),
        refused(Code::NotFound),
        refused(Code::Busy),
        refused(Code::BadRequest),
        refused(Code::Cancelled),
        one(Response::Held { id: 4, bitmap: vec![5, 1] }, json!({ "held": "0501" })),
    ])
}

fn vectors() -> Value {
    json!({
        "about": "Test vectors of docs/formats.md. Bytes are in hex; 64-bit numbers of heads are decimal text.",
        "addresses": addresses(),
        "read_keys": read_keys(),
        "chunks": chunks(),
        "large_chunks": large_chunks(),
        "heads": heads(),
        "manifests": manifests(),
        "paths": paths(),
        "peer_lists": peer_lists(),
        "requests": requests(),
        "responses": responses(),
    })
}

#[test]
fn the_file_is_what_this_code_makes() {
    let made = serde_json::to_string_pretty(&vectors()).expect("JSON") + "\n";
    if std::env::var_os("MEGANET_WRITE_VECTORS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors.json");
        std::fs::write(path, made).expect("writable");
        return;
    }
    assert_eq!(serde_json::from_str::<Value>(FILE).expect("JSON"), vectors());
}

#[test]
fn what_the_file_holds_is_read_as_it_says() {
    let file: Value = serde_json::from_str(FILE).expect("JSON");
    let list = |name: &str| file[name].as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    for vector in list("addresses") {
        let address: Address = text(&vector["address"]).parse().expect("an address");
        assert_eq!(address.public_key()[..], unhex(&vector["public_key"]));
        assert_eq!(Ok(address.blinded()), BlindedKey::from_bytes(&unhex(&vector["blinded_key"])));
        let seed: [u8; 32] = unhex(&vector["seed"]).try_into().expect("32 bytes");
        assert_eq!(SiteKey::from_seed(seed).address(), address);
    }
    let read_of = |secret: &Value| match unhex(secret).try_into() {
        Ok(secret) => ReadKey::private(&site().address(), &secret),
        Err(_) => read(),
    };
    for vector in list("chunks") {
        let id = chunk::ChunkRef {
            id: text(&vector["cid"]).parse().expect("a CID"),
            key: chunk::ChunkKey::from_bytes(unhex(&vector["chunk"]["key"]).try_into().expect("32 bytes")),
            size: vector["chunk"]["size"].as_u64().expect("a size") as u32,
        };
        assert_eq!(chunk::open(&id, &unhex(&vector["sealed"])).expect("opens"), unhex(&vector["content"]));
    }
    for vector in list("heads") {
        let head = Head::parse(&unhex(&vector["head"])).expect("valid");
        assert_eq!(head.sequence().to_string(), text(&vector["sequence"]));
        let inner = head.open(&read_of(&vector["secret"])).expect("opens");
        assert_eq!(inner.total_size.to_string(), text(&vector["total_size"]));
        assert_eq!(head.hash().as_bytes()[..], unhex(&vector["hash"]));
    }
    for vector in list("manifests") {
        let manifest = Manifest::parse(&unhex(&vector["encoded"])).expect("valid");
        assert_eq!(manifest.title, text(&vector["title"]));
        assert_eq!(manifest.entries.len(), vector["entries"].as_array().expect("a list").len());
    }
    for vector in list("peer_lists") {
        let now_ms = vector["valid_at_ms"].as_u64().expect("a time");
        assert!(peer_list::parse(&unhex(&vector["signed"]), now_ms).is_ok());
    }
    for vector in list("requests") {
        let request = Request::decode(&unhex(&vector["message"])).expect("a request");
        assert_eq!(u64::from(request.id()), vector["id"].as_u64().expect("a number"));
    }
    for vector in list("responses") {
        let response = Response::decode(&unhex(&vector["message"])).expect("a response");
        assert_eq!(u64::from(response.id()), vector["id"].as_u64().expect("a number"));
    }
    for path in file["paths"]["good"].as_array().expect("a list") {
        assert_eq!(path::check(&text(path)), Ok(()));
    }
    for path in file["paths"]["bad"].as_array().expect("a list") {
        assert!(path::check(&text(path)).is_err(), "{path}");
    }
    for pair in file["paths"]["same_after_folding"].as_array().expect("a list") {
        assert_eq!(path::fold(&text(&pair[0])), path::fold(&text(&pair[1])));
    }
}
