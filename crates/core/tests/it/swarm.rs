//! A simulated swarm: one planner, many peers behind links of a rate and a latency, every byte through the real exchange
//! state machines and frames, all on virtual time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use meganet_core::exchange::{Answerer, Ask, Asker, AskerEvent};
use meganet_core::fetch::{Action, Config, Failure, Planner};
use meganet_core::hash::ChunkId;
use meganet_core::limits::{CHUNK_MAX_BYTES, FRAME_MAX_BYTES};
use meganet_core::wire::{Code, FrameDecoder, Request, Response};

use crate::common::Rng;

/// How a simulated peer behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Sends what it is asked for.
    Honest,
    /// Sends other bytes of the right length.
    Liar,
    /// Takes questions and says nothing.
    Silent,
    /// Says it has nothing.
    Empty,
    /// Sends all of a chunk but its last part.
    StallsAtTheEnd,
    /// Says it is busy.
    Busy,
    /// Sends one byte of data every so many milliseconds.
    Trickles(u64),
}

pub struct Peer {
    pub manner: Manner,
    pub latency_ms: u64,
    pub bytes_per_s: u64,
    pub has: Option<BTreeSet<ChunkId>>,
    pub asked: usize,
    asker: Asker,
    answerer: Answerer,
    to_peer: VecDeque<(u64, Bytes)>,
    to_us: VecDeque<(u64, Bytes)>,
    peer_decoder: FrameDecoder,
    our_decoder: FrameDecoder,
    link_free_us: u64,
}

pub struct Swarm {
    pub now_ms: u64,
    pub planner: Planner<u32>,
    pub peers: BTreeMap<u32, Peer>,
    pub chunks: HashMap<ChunkId, Bytes>,
    /// When each chunk came.
    pub got: BTreeMap<ChunkId, u64>,
    pub unavailable: Vec<ChunkId>,
    pub banned: Vec<u32>,
    /// Requests and cancels, in order.
    pub log: Vec<(u64, Action<u32>)>,
    /// Bytes of part data that came.
    pub data_bytes: u64,
}

impl Swarm {
    pub fn new() -> Self {
        Self {
            now_ms: 1_000,
            planner: Planner::new(Config::default()),
            peers: BTreeMap::new(),
            chunks: HashMap::new(),
            got: BTreeMap::new(),
            unavailable: vec![],
            banned: vec![],
            log: vec![],
            data_bytes: 0,
        }
    }

    /// Makes chunks of full size.
    pub fn make_chunks(&mut self, count: u64) -> Vec<ChunkId> {
        (0..count)
            .map(|number| {
                let bytes = Bytes::from(Rng(number ^ 0xc0ffee).bytes(CHUNK_MAX_BYTES));
                let id = ChunkId::of(&bytes);
                self.chunks.insert(id, bytes);
                id
            })
            .collect()
    }

    pub fn want_all(&mut self, chunks: &[ChunkId]) {
        for (place, chunk) in chunks.iter().enumerate() {
            assert!(self.planner.want(*chunk, place as u32, CHUNK_MAX_BYTES as u32, self.now_ms));
        }
    }

    pub fn add_peer(&mut self, name: u32, manner: Manner, latency_ms: u64, bytes_per_s: u64) -> &mut Peer {
        assert!(self.planner.add_peer(name));
        let peer = Peer {
            manner,
            latency_ms,
            bytes_per_s,
            has: None,
            asked: 0,
            asker: Asker::new(),
            answerer: Answerer::new(FRAME_MAX_BYTES),
            to_peer: VecDeque::new(),
            to_us: VecDeque::new(),
            peer_decoder: FrameDecoder::new(FRAME_MAX_BYTES),
            our_decoder: FrameDecoder::new(FRAME_MAX_BYTES),
            link_free_us: 0,
        };
        self.peers.insert(name, peer);
        self.peers.get_mut(&name).expect("just added")
    }

    pub fn remove_peer(&mut self, name: u32) {
        self.peers.remove(&name);
        self.planner.remove_peer(name, self.now_ms);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.planner.poll(self.now_ms) {
            self.log.push((self.now_ms, action));
            match action {
                Action::Request { peer, chunk } => {
                    let peer = self.peers.get_mut(&peer).expect("known to the planner");
                    peer.asked += 1;
                    peer.asker.ask_chunk(chunk).expect("within the stream's bounds");
                }
                Action::Cancel { peer, chunk } => {
                    let Some(peer) = self.peers.get_mut(&peer) else { continue };
                    if let Some(id) = peer.asker.id_of(&chunk) {
                        peer.asker.cancel(id);
                    }
                }
                Action::Ban { peer } => {
                    self.banned.push(peer);
                    self.peers.remove(&peer);
                }
                Action::Unavailable { chunk } => self.unavailable.push(chunk),
            }
        }
    }

    /// Lets everything happen that happens now.
    fn step(&mut self) {
        self.carry_out();
        let now_ms = self.now_ms;
        let mut reports = Vec::new();
        for (name, peer) in &mut self.peers {
            peer.send_questions(now_ms);
            peer.answer(now_ms, &self.chunks);
            self.data_bytes += peer.receive(now_ms, |event| reports.push((*name, event)));
        }
        for (name, event) in reports {
            match event {
                AskerEvent::Progress { chunk, received, .. } => {
                    self.planner.on_progress(name, chunk, received.into(), now_ms);
                }
                AskerEvent::Chunk { chunk, sealed, .. } => {
                    assert_eq!(self.chunks.get(&chunk).map(|bytes| &bytes[..]), Some(&sealed[..]));
                    self.got.entry(chunk).or_insert(now_ms);
                    self.planner.on_done(name, chunk, sealed.len() as u64, now_ms);
                }
                AskerEvent::Lied { chunk, .. } => self.planner.on_failed(name, chunk, Failure::Lied, now_ms),
                AskerEvent::Refused { chunk: Some(chunk), code: Code::NotFound, .. } => {
                    self.planner.on_failed(name, chunk, Failure::NotFound, now_ms);
                }
                AskerEvent::Refused { chunk: Some(chunk), code: Code::Busy, .. } => {
                    self.planner.on_failed(name, chunk, Failure::Busy, now_ms);
                }
                _ => {}
            }
        }
        self.carry_out();
        for peer in self.peers.values_mut() {
            peer.send_questions(now_ms);
        }
    }

    /// Runs until all that is wanted came, or `for_ms` later; whether it all came.
    pub fn run(&mut self, for_ms: u64) -> bool {
        self.run_while(for_ms, |swarm| swarm.planner.wanted() > 0)
    }

    /// Runs for a while, whatever came.
    pub fn settle(&mut self, for_ms: u64) {
        self.run_while(for_ms, |_| true);
    }

    fn run_while(&mut self, for_ms: u64, goes_on: impl Fn(&Self) -> bool) -> bool {
        let end_ms = self.now_ms + for_ms;
        for _ in 0..20_000_000_u32 {
            self.step();
            if !goes_on(self) {
                return true;
            }
            let peers = self.peers.values().filter_map(|peer| peer.next_event_ms(self.now_ms));
            let next = peers.chain(self.planner.next_timeout()).min().unwrap_or(end_ms);
            // A time that is due already and changes nothing would be an endless loop in a real program.
            self.now_ms = next.max(self.now_ms + 1);
            if self.now_ms >= end_ms {
                self.now_ms = end_ms;
                return false;
            }
        }
        panic!("the swarm does not come to rest");
    }

    pub fn requests_to(&self, name: u32) -> usize {
        self.log.iter().filter(|(_, action)| matches!(action, Action::Request { peer, .. } if *peer == name)).count()
    }
}

impl Peer {
    fn send_questions(&mut self, now_ms: u64) {
        while let Some(request) = self.asker.poll_send() {
            self.to_peer.push_back((now_ms + self.latency_ms, request.encode_frame()));
        }
    }

    fn answer(&mut self, now_ms: u64, chunks: &HashMap<ChunkId, Bytes>) {
        while let Some((_, frame)) = self.to_peer.pop_front_if(|(arrival, _)| *arrival <= now_ms) {
            self.peer_decoder.push(&frame);
            for body in self.peer_decoder.by_ref() {
                let request = Request::decode_shared(body.expect("a frame")).expect("canonical");
                self.answerer.handle(request).expect("within the rules");
            }
        }
        while let Some(Ask::Chunk { id, chunk }) = self.answerer.next_ask() {
            let known = chunks.get(&chunk).filter(|_| self.has.as_ref().is_none_or(|has| has.contains(&chunk)));
            match (self.manner, known) {
                (Manner::Silent, _) => {}
                (Manner::Busy, _) => self.answerer.refuse(id, Code::Busy),
                (Manner::Empty, _) | (_, None) => self.answerer.refuse(id, Code::NotFound),
                (Manner::Liar, Some(bytes)) => {
                    let mut other = bytes.to_vec();
                    other[77] ^= 1;
                    self.answerer.answer_chunk(id, other.into());
                }
                (_, Some(bytes)) => self.answerer.answer_chunk(id, bytes.clone()),
            }
        }
        while self.link_free_us < (now_ms + 1) * 1_000 {
            let Some(frame) = self.answerer.next_frame(now_ms) else { break };
            let mut frames = vec![(0, frame)];
            if let (Response::Part { id, total, offset, data }, Manner::StallsAtTheEnd) = (&frames[0].1, self.manner)
                && offset + data.len() as u32 == *total
            {
                // The last byte never comes.
                let data = data.slice(..data.len() - 1);
                frames = vec![(0, Response::Part { id: *id, total: *total, offset: *offset, data })];
            }
            if let (Response::Part { id, total, offset, data }, Manner::Trickles(every_ms)) =
                (&frames[0].1, self.manner)
            {
                let byte = |place: usize| Response::Part {
                    id: *id,
                    total: *total,
                    offset: offset + place as u32,
                    data: data.slice(place..=place),
                };
                frames = (0..data.len()).map(|place| (every_ms, byte(place))).collect();
            }
            for (delay_ms, frame) in frames {
                let bytes = frame.encode_frame();
                let start_us = self.link_free_us.max(now_ms * 1_000);
                self.link_free_us = start_us + bytes.len() as u64 * 1_000_000 / self.bytes_per_s + delay_ms * 1_000;
                self.to_us.push_back((self.link_free_us / 1_000 + self.latency_ms, bytes));
            }
        }
    }

    fn receive(&mut self, now_ms: u64, mut report: impl FnMut(AskerEvent)) -> u64 {
        let mut data_bytes = 0;
        while let Some((_, frame)) = self.to_us.pop_front_if(|(arrival, _)| *arrival <= now_ms) {
            self.our_decoder.push(&frame);
            for body in self.our_decoder.by_ref() {
                let response = Response::decode_shared(body.expect("a frame")).expect("canonical");
                if let Response::Part { data, .. } = &response {
                    data_bytes += data.len() as u64;
                }
                if let Some(event) = self.asker.handle(response).expect("within the rules") {
                    report(event);
                }
            }
        }
        data_bytes
    }

    fn next_event_ms(&self, now_ms: u64) -> Option<u64> {
        let arrivals = [self.to_peer.front(), self.to_us.front()].into_iter().flatten().map(|(arrival, _)| *arrival);
        let link = (self.link_free_us > now_ms * 1_000).then_some(self.link_free_us / 1_000);
        arrivals.chain(link).min()
    }

    pub fn open_questions(&self) -> usize {
        self.asker.open_questions()
    }
}
