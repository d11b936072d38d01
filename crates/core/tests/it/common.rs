//! Fixed keys, small sites and raw protobuf for the tests.

use meganet_core::chunk::{self, ChunkRef};
use meganet_core::hash::{ChunkId, HeadHash};
use meganet_core::head::{Head, HeadInner};
use meganet_core::keys::{ReadKey, SiteKey};
use meganet_core::manifest::{Entry, Manifest};
use meganet_core::publish::{Builder, Plan, SealedChunk, SiteFile};

/// The time that the fixtures are signed at.
pub const NOW_MS: u64 = 1_800_000_000_000;

pub fn site() -> SiteKey {
    SiteKey::from_seed([7; 32])
}

pub fn other_site() -> SiteKey {
    SiteKey::from_seed([8; 32])
}

pub fn read() -> ReadKey {
    ReadKey::public(&site().address())
}

pub fn chunk_of(content: &[u8]) -> (ChunkRef, Vec<u8>) {
    chunk::seal(&read(), content).expect("sealable")
}

/// A chunk reference to content of `size` bytes that nobody has.
pub fn chunk_ref(number: u8, size: u32) -> ChunkRef {
    ChunkRef {
        id: ChunkId::from_bytes([number; 32]),
        key: meganet_core::chunk::ChunkKey::from_bytes([!number; 32]),
        size,
    }
}

pub fn chunk_id(number: u64) -> ChunkId {
    ChunkId::of(&number.to_be_bytes())
}

pub fn inner() -> HeadInner {
    HeadInner {
        time_ms: NOW_MS,
        total_size: 1_000,
        manifest_size: 300,
        manifest: vec![chunk_ref(1, 300)],
        previous: Some(HeadHash::from_bytes([9; 32])),
    }
}

pub fn head(sequence: u64) -> Head {
    Head::sign(&site(), &read(), sequence, &inner()).expect("signable")
}

pub fn entry(path: &str, size: u64, first_chunk: u32, offset: u32) -> Entry {
    Entry { path: path.into(), media_type: "text/plain".into(), size, first_chunk, offset }
}

/// Three files in one pack, and one of two chunks.
pub fn manifest() -> Manifest {
    let chunks = vec![chunk_ref(1, 1_000), chunk_ref(2, 262_128), chunk_ref(3, 500)];
    let entries = vec![
        entry("about/index.html", 300, 0, 100),
        entry("empty.txt", 0, 0, 0),
        entry("index.html", 100, 0, 0),
        entry("style.css", 600, 0, 400),
        entry("video.webm", 262_628, 1, 0),
    ];
    Manifest::build(chunks, entries, Some("index.html".into()), Some(0), "A site".into()).expect("valid")
}

/// Publishes files, feeding them in pieces of `piece` bytes.
pub fn publish(
    files: &[(&str, Vec<u8>)],
    starter: &[&str],
    piece: usize,
) -> Result<(Manifest, Vec<SealedChunk>), meganet_core::publish::PublishError> {
    let site_files = files.iter().map(|(path, bytes)| SiteFile { path: (*path).into(), size: bytes.len() as u64 });
    let starter: Vec<String> = starter.iter().map(|path| (*path).into()).collect();
    let plan = Plan::new(site_files.collect(), &starter, "Test".into())?;
    let order: Vec<usize> = plan.order().iter().map(|file| file.file_index).collect();
    let mut builder = Builder::new(plan, read());
    let mut sealed = Vec::new();
    for index in order {
        for bytes in files[index].1.chunks(piece) {
            sealed.extend(builder.feed(index, bytes)?);
        }
    }
    let (manifest, rest) = builder.finish()?;
    sealed.extend(rest);
    Ok((manifest, sealed))
}

/// Reads a file back out of sealed chunks.
pub fn read_file(manifest: &Manifest, sealed: &[SealedChunk], path: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let entry = manifest.entry(path).expect("a file");
    let mut bytes = Vec::new();
    for span in manifest.spans(entry, range).expect("in range") {
        let chunk = &manifest.chunks[span.chunk as usize];
        let sealed = &sealed.iter().find(|sealed| sealed.chunk.id == chunk.id).expect("emitted").sealed;
        let content = chunk::open(chunk, sealed).expect("opens");
        bytes.extend_from_slice(&content[span.start as usize..span.end as usize]);
    }
    bytes
}

/// A small generator (SplitMix64) so that tests are the same on every run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Raw protobuf, to build what the library never would.
pub mod pb {
    pub fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                bytes.push(byte);
                return bytes;
            }
            bytes.push(byte | 0x80);
        }
    }

    pub fn uint(tag: u64, value: u64) -> Vec<u8> {
        [varint(tag << 3), varint(value)].concat()
    }

    pub fn bytes(tag: u64, value: &[u8]) -> Vec<u8> {
        [varint(tag << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }
}

/// Signs a text with a site's blinded key, as only its author can.
pub fn sign_blinded(site: &SiteKey, text: &[u8]) -> [u8; 64] {
    use tor_llcrypto::pk::ed25519::{ExpandedKeypair, Keypair};
    let h = blake3::derive_key("meganet 2026 blinding v1", site.address().public_key());
    let pair = ExpandedKeypair::from(&Keypair::from_bytes(site.seed()));
    tor_llcrypto::pk::keymanip::blind_keypair(&pair, h).expect("blindable").sign(text).to_bytes()
}

/// A signed head around any body.
pub fn signed_head(site: &SiteKey, body: &[u8]) -> Vec<u8> {
    let signature = sign_blinded(site, &[b"meganet-head-v1\0", body].concat());
    [pb::bytes(1, body), pb::bytes(2, &signature)].concat()
}

/// A head's body from its parts.
pub fn head_body(version: u64, key: &[u8], sequence: u64, sealed: &[u8]) -> Vec<u8> {
    [pb::uint(1, version), pb::bytes(2, key), pb::uint(3, sequence), pb::bytes(4, sealed)].concat()
}

/// The body and the signature inside a signed head's bytes.
pub fn split_head(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    // The signature is the last field: tag, length 64, 64 bytes.
    let (body_field, signature_field) = bytes.split_at(bytes.len() - 66);
    let body_start = 1 + pb::varint(body_field.len() as u64 - 3).len();
    (body_field[body_start..].to_vec(), signature_field[2..].to_vec())
}
