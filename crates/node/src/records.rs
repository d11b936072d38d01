//! The DHT's record store: holds only what verifies, and never more than its bounds.
//!
//! A head is checked before it is stored (signature, that it is filed under its own key, not older than the one held), so a
//! forged record is refused to its sender and relayed by nobody. Provider lists evict the announcement that is about
//! to expire first instead of turning newcomers away, and one peer cannot fill the table. A full table lets go of what is
//! farthest from this node, which others are nearer to keep (Kademlia's distance), and never of this node's own.

use crate::{limits, platform::Instant};
use libp2p::{
    Multiaddr, PeerId,
    kad::{
        KBucketDistance, KBucketKey, ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
    multiaddr::Protocol,
};
use meganet_core::head::{Head, HeadDecision, compare};
use std::{borrow::Cow, collections::HashMap, time::Duration};

/// A full table is searched for expired entries this often at most.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Of a peer's addresses, without the peer at their ends, those that others are told: few and short enough that an answer with as
/// many peers and providers as it may name is still one that they read. One of each kind comes first, so that everybody finds one
/// to dial. Circuits that are not signalled over are for nobody to dial.
pub(crate) fn for_dht(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut of_kind = [0; 4];
    let mut ranked: Vec<_> = addresses
        .into_iter()
        .filter_map(|address| {
            let kind = kind(&address)?;
            let count = of_kind.get_mut(kind).map_or(0, |count| std::mem::replace(count, *count + 1));
            Some((count, kind, address))
        })
        .collect();
    ranked.sort_by_key(|(count, kind, _)| (*count, *kind));
    let mut left = limits::DHT_ADDRESSES_MAX_BYTES;
    ranked.retain(|(_, _, address)| {
        let bytes = address.len() + limits::DHT_PEER_SUFFIX_BYTES;
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    });
    ranked.into_iter().map(|(_, _, address)| address).take(limits::ADDRESSES_PER_PEER_MAX).collect()
}

/// Kinds of addresses, the ones that a tab can dial first.
fn kind(address: &Multiaddr) -> Option<usize> {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    match address {
        // One that names no relay leads nowhere.
        _ if meganet_transport::is_signalled(address) => (address.iter().count() > 1).then_some(1),
        _ if has(|part| matches!(part, Protocol::P2pCircuit)) => None,
        _ if meganet_transport::is_websocket(address) => Some(2),
        _ if has(|part| matches!(part, Protocol::WebRTCDirect)) => Some(0),
        _ => Some(3),
    }
}

/// Heads and providers that other peers asked this node to keep.
pub struct Records {
    local: PeerId,
    heads: HashMap<RecordKey, Held>,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    sites_by_peer: HashMap<PeerId, usize>,
    forgot: Option<Instant>,
}

/// A head's record, and the head parsed once.
struct Held {
    record: Record,
    head: Head,
}

impl Records {
    pub fn new(local: PeerId) -> Self {
        let (heads, providers, sites_by_peer) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { local, heads, providers, sites_by_peer, forgot: None }
    }

    fn is_own(&self, record: &Record) -> bool {
        record.publisher == Some(self.local)
    }

    fn distance(&self, key: &RecordKey) -> KBucketDistance {
        KBucketKey::from(self.local).distance(&KBucketKey::new(key.clone()))
    }

    /// Makes room for a head: what expired goes, then the one farthest from this node. Refuses one that is farther than all.
    fn make_room_for_head(&mut self, new: &Record) -> Result<()> {
        if self.heads.len() < limits::RECORDS_MAX {
            return Ok(());
        }
        self.forget_expired(Instant::now());
        if self.heads.len() < limits::RECORDS_MAX {
            return Ok(());
        }
        let others = self.heads.iter().filter(|(_, held)| !self.is_own(&held.record)).map(|(key, _)| key);
        let farthest = others.max_by_key(|key| self.distance(key)).cloned().ok_or(Error::MaxRecords)?;
        if !self.is_own(new) && self.distance(&new.key) > self.distance(&farthest) {
            return Err(Error::MaxRecords);
        }
        self.heads.remove(&farthest);
        Ok(())
    }

    /// The same for the list of one more site's providers.
    fn make_room_for_site(&mut self, new: &ProviderRecord) -> Result<()> {
        if self.providers.contains_key(&new.key) || self.providers.len() < limits::PROVIDED_SITES_MAX {
            return Ok(());
        }
        self.forget_expired(Instant::now());
        if self.providers.len() < limits::PROVIDED_SITES_MAX {
            return Ok(());
        }
        let is_own = |list: &[ProviderRecord]| list.iter().any(|entry| entry.provider == self.local);
        let others = self.providers.iter().filter(|(_, list)| !is_own(list)).map(|(key, _)| key);
        let farthest = others.max_by_key(|key| self.distance(key)).cloned().ok_or(Error::MaxProvidedKeys)?;
        if new.provider != self.local && self.distance(&new.key) > self.distance(&farthest) {
            return Err(Error::MaxProvidedKeys);
        }
        for peer in self.providers(&farthest).into_iter().map(|entry| entry.provider) {
            self.remove_provider(&farthest, &peer);
        }
        Ok(())
    }

    fn forget_expired(&mut self, now: Instant) {
        if self.forgot.is_some_and(|at| now.duration_since(at) < FORGET_EVERY) {
            return;
        }
        self.forgot = Some(now);
        self.heads.retain(|_, held| !expired(held.record.expires, now));
        let keys: Vec<_> = self
            .providers
            .iter()
            .flat_map(|(key, list)| list.iter().map(move |entry| (key, entry)))
            .filter(|(_, entry)| expired(entry.expires, now))
            .map(|(key, entry)| (key.clone(), entry.provider))
            .collect();
        for (key, peer) in keys {
            self.remove_provider(&key, &peer);
        }
    }
}

fn expired(expires: Option<Instant>, now: Instant) -> bool {
    expires.is_some_and(|at| at <= now)
}

/// The head in a record, if the record is one this network stores: valid, and filed under its own key.
pub fn verified_head(record: &Record) -> Option<Head> {
    let head = Head::parse(&record.value).ok()?;
    (record.key.as_ref() == head.blinded_key().head_record_key()).then_some(head)
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.heads.get(key).map(|held| Cow::Borrowed(&held.record))
    }

    fn put(&mut self, record: Record) -> Result<()> {
        let head = verified_head(&record).ok_or(Error::ValueTooLarge)?;
        let is_own = self.is_own(&record);
        let Some(held) = self.heads.get_mut(&record.key) else {
            self.make_room_for_head(&record)?;
            self.heads.insert(record.key.clone(), Held { record, head });
            return Ok(());
        };
        let was_own = held.record.publisher == Some(self.local);
        match compare(&held.head, &head) {
            HeadDecision::Newer => *held = Held { record, head },
            // Announced again by anybody: it lives on. No expiry means for as long as this node runs.
            HeadDecision::Same => {
                let longer = held.record.expires.zip(record.expires).map(|(one, other)| one.max(other));
                held.record.expires = longer;
            }
            HeadDecision::Older | HeadDecision::Conflict => return Err(Error::ValueTooLarge),
        }
        // What this node announces it goes on announcing, whoever else does.
        if is_own || was_own {
            held.record.publisher = Some(self.local);
            held.record.expires = None;
        }
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.heads.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let records: Vec<_> = self.heads.values().map(|held| Cow::Borrowed(&held.record)).collect();
        records.into_iter()
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() > limits::DHT_KEY_MAX_BYTES {
            return Err(Error::ValueTooLarge);
        }
        // Kademlia puts the provider at the end of each, and does so again when it tells of them.
        let provider = Some(Protocol::P2p(record.provider));
        let plain = record.addresses.into_iter().map(|mut address| {
            if address.iter().last() == provider {
                address.pop();
            }
            address
        });
        record.addresses = for_dht(plain.collect());
        if let Some(list) = self.providers.get_mut(&record.key)
            && let Some(entry) = list.iter_mut().find(|entry| entry.provider == record.provider)
        {
            *entry = record;
            return Ok(());
        }
        let of_peer = self.sites_by_peer.get(&record.provider).copied().unwrap_or(0);
        if record.provider != self.local && of_peer >= limits::PROVIDED_PER_PEER_MAX {
            return Err(Error::MaxProvidedKeys);
        }
        self.make_room_for_site(&record)?;
        let list = self.providers.entry(record.key.clone()).or_default();
        if list.len() >= limits::PROVIDERS_PER_SITE_MAX {
            // Squatters who came first must not keep newcomers out: the one not announced for longest goes.
            let oldest = list
                .iter()
                .filter(|entry| entry.provider != self.local)
                .min_by_key(|entry| entry.expires)
                .map(|entry| entry.provider);
            let Some(oldest) = oldest else { return Err(Error::MaxProvidedKeys) };
            let key = record.key.clone();
            self.remove_provider(&key, &oldest);
        }
        *self.sites_by_peer.entry(record.provider).or_default() += 1;
        self.providers.entry(record.key.clone()).or_default().push(record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.providers.get(key).cloned().unwrap_or_default()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        let own: Vec<_> =
            self.providers.values().flatten().filter(|entry| entry.provider == self.local).map(Cow::Borrowed).collect();
        own.into_iter()
    }

    fn remove_provider(&mut self, key: &RecordKey, peer: &PeerId) {
        let Some(list) = self.providers.get_mut(key) else { return };
        let before = list.len();
        list.retain(|entry| &entry.provider != peer);
        let removed = before - list.len();
        if list.is_empty() {
            self.providers.remove(key);
        }
        if let Some(count) = self.sites_by_peer.get_mut(peer) {
            *count = count.saturating_sub(removed);
            if *count == 0 {
                self.sites_by_peer.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meganet_core::{
        chunk,
        head::HeadInner,
        keys::{ReadKey, SiteKey},
    };
    use std::time::Duration;

    fn head(key: &SiteKey, sequence: u64, time_ms: u64) -> Head {
        let read = ReadKey::public(&key.address());
        let (manifest, _) = chunk::seal(&read, b"manifest").unwrap();
        let inner = HeadInner { time_ms, total_size: 1, manifest_size: 8, manifest: vec![manifest], previous: None };
        Head::sign(key, &read, sequence, &inner).unwrap()
    }

    fn record(head: &Head) -> Record {
        Record::new(RecordKey::new(&head.blinded_key().head_record_key()), head.as_bytes().to_vec())
    }

    fn provider(site: u32, peer: PeerId, expires: Instant) -> ProviderRecord {
        let key = RecordKey::new(&site.to_be_bytes());
        ProviderRecord { key, provider: peer, expires: Some(expires), addresses: Vec::new() }
    }

    #[test]
    fn case_1_and_2_a_forged_head_is_not_stored_whatever_its_sequence() {
        let mut records = Records::new(PeerId::random());
        let (owner, thief) = (SiteKey::from_seed([1; 32]), SiteKey::from_seed([2; 32]));
        let genuine = head(&owner, 3, 1);
        records.put(record(&genuine)).unwrap();

        let filed_under_another_key = Record { key: record(&genuine).key, ..record(&head(&thief, 99, 1)) };
        assert!(records.put(filed_under_another_key).is_err());
        let mut flipped = record(&head(&owner, 4, 1));
        let last = flipped.value.len() - 1;
        flipped.value[last] ^= 1;
        assert!(records.put(flipped).is_err());
        let mut random = record(&genuine);
        random.value = vec![7; 5_000];
        assert!(records.put(random).is_err());

        let held = records.get(&record(&genuine).key).map(|record| record.value.clone());
        assert_eq!(held.as_deref(), Some(genuine.as_bytes()));
    }

    #[test]
    fn what_others_are_told_of_a_peer_is_short_and_what_a_tab_can_dial_comes_first() {
        let long = format!("/dns4/{}/tcp/1", "a".repeat(10_000));
        let mut addresses: Vec<Multiaddr> = vec![long.parse().unwrap()];
        addresses.extend((1..100).map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().unwrap()));
        let hash = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
        let webrtc: Multiaddr = format!("/ip4/192.0.2.1/udp/1/webrtc-direct/certhash/{hash}").parse().unwrap();
        let websocket: Multiaddr = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
        addresses.extend(std::iter::repeat_n(webrtc.clone(), 10));
        addresses.push(websocket.clone());
        let told = for_dht(addresses);
        assert_eq!(told.first(), Some(&webrtc));
        assert!(told.contains(&websocket), "one of each kind: {told:?}");
        let bytes: usize = told.iter().map(|address| address.len() + limits::DHT_PEER_SUFFIX_BYTES).sum();
        assert!(told.len() > 3 && bytes <= limits::DHT_ADDRESSES_MAX_BYTES, "{} of {bytes} bytes", told.len());
        // As many as an answer may name: the closest and the providers, with what a message adds for each.
        let peers = 20 + limits::PROVIDERS_PER_SITE_MAX;
        let each = limits::DHT_ADDRESSES_MAX_BYTES + 2 * limits::ADDRESSES_PER_PEER_MAX + 50;
        assert!(peers * each < 16_384, "{}", peers * each);
    }

    #[test]
    fn a_tab_is_found_through_as_many_relays_as_there_is_room_for() {
        let (mut records, tab) = (Records::new(PeerId::random()), PeerId::random());
        let mut record = provider(1, tab, Instant::now() + Duration::from_secs(60));
        let hash = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
        for host in 1..=3 {
            let relay = format!("/ip4/192.0.2.{host}/udp/1/webrtc-direct/certhash/{hash}/p2p/{}", PeerId::random());
            for end in ["/p2p-circuit", "/p2p-circuit/webrtc"] {
                record.addresses.push(format!("{relay}{end}/p2p/{tab}").parse().unwrap());
            }
        }
        record.addresses.push(format!("/webrtc/p2p/{tab}").parse().unwrap());
        records.add_provider(record.clone()).unwrap();
        let held = records.providers(&record.key).remove(0).addresses;
        assert_eq!(held.len(), 2, "{held:?}");
        assert!(held.iter().all(meganet_transport::is_signalled));
    }

    #[test]
    fn a_provider_names_a_few_short_addresses_under_a_short_key() {
        let mut records = Records::new(PeerId::random());
        let later = Instant::now() + Duration::from_secs(60);
        let mut record = provider(1, PeerId::random(), later);
        record.addresses =
            (1..200).map(|port| format!("/dns4/{}/tcp/{port}", "a".repeat(200)).parse().unwrap()).collect();
        record.addresses.push("/ip4/192.0.2.1/tcp/1".parse().unwrap());
        records.add_provider(record.clone()).unwrap();
        let held = records.providers(&record.key);
        let bytes: usize = held
            .iter()
            .flat_map(|record| &record.addresses)
            .map(|address| address.len() + limits::DHT_PEER_SUFFIX_BYTES)
            .sum();
        assert!((1..=limits::DHT_ADDRESSES_MAX_BYTES).contains(&bytes), "{bytes}");
        record.key = RecordKey::new(&[7; limits::DHT_KEY_MAX_BYTES + 1]);
        assert!(records.add_provider(record).is_err());
    }

    #[test]
    fn case_3_and_4_older_and_conflicting_heads_do_not_replace_the_held_one() {
        let mut records = Records::new(PeerId::random());
        let key = SiteKey::from_seed([1; 32]);
        let (second, third) = (head(&key, 2, 1), head(&key, 3, 1));
        records.put(record(&second)).unwrap();
        records.put(record(&third)).unwrap();
        assert!(records.put(record(&second)).is_err());
        assert!(records.put(record(&head(&key, 3, 2))).is_err());
        assert_eq!(records.get(&record(&third).key).unwrap().value, third.as_bytes());
        assert_eq!(records.records().count(), 1);
    }

    #[test]
    fn announcing_a_head_again_lengthens_its_life_and_never_ends_one_without_end() {
        let now = Instant::now();
        let (soon, late) = (Some(now + Duration::from_secs(10)), Some(now + Duration::from_secs(20)));
        let cases = [(soon, late, late), (late, soon, late), (None, late, None), (soon, None, None)];
        for (first, second, expected) in cases {
            let mut records = Records::new(PeerId::random());
            let mut again = record(&head(&SiteKey::from_seed([1; 32]), 1, 1));
            again.expires = first;
            records.put(again.clone()).unwrap();
            again.expires = second;
            records.put(again.clone()).unwrap();
            assert_eq!(records.get(&again.key).unwrap().expires, expected, "{first:?} then {second:?}");
        }
    }

    #[test]
    fn what_this_node_announces_it_goes_on_announcing_whoever_else_does() {
        let local = PeerId::random();
        let key = SiteKey::from_seed([1; 32]);
        let expires = Some(Instant::now() + Duration::from_secs(10));
        let from_others =
            |sequence| Record { publisher: Some(PeerId::random()), expires, ..record(&head(&key, sequence, 1)) };
        let own = Record { publisher: Some(local), ..record(&head(&key, 1, 1)) };
        for puts in
            [vec![from_others(1), own.clone()], vec![own.clone(), from_others(1)], vec![own.clone(), from_others(2)]]
        {
            let mut records = Records::new(local);
            for put in puts {
                records.put(put).unwrap();
            }
            let held = records.get(&own.key).unwrap();
            assert_eq!((held.publisher, held.expires), (Some(local), None));
        }
    }

    #[test]
    fn a_full_table_keeps_what_is_near_and_always_what_is_this_nodes_own() {
        let local = PeerId::random();
        let mut records = Records::new(local);
        let template = head(&SiteKey::from_seed([1; 32]), 1, 1);
        // Filled behind the store's own checks: signing ten thousand heads would only take time.
        for n in 0..limits::RECORDS_MAX as u32 {
            let record = Record { key: RecordKey::new(&n.to_be_bytes()), ..record(&template) };
            records.heads.insert(record.key.clone(), Held { record, head: template.clone() });
        }
        let mut own = record(&head(&SiteKey::from_seed([2; 32]), 1, 1));
        own.publisher = Some(local);
        records.put(own.clone()).unwrap();
        assert_eq!(records.heads.len(), limits::RECORDS_MAX);
        let farthest = records.heads.keys().map(|key| records.distance(key)).max().unwrap();
        let mut refused = 0;
        for seed in 3..40 {
            let new = record(&head(&SiteKey::from_seed([seed; 32]), 1, 1));
            let is_near =
                records.distance(&new.key) < records.heads.keys().map(|key| records.distance(key)).max().unwrap();
            assert_eq!(records.put(new).is_ok(), is_near);
            refused += usize::from(!is_near);
        }
        assert!(records.heads.keys().all(|key| records.distance(key) <= farthest), "{refused} refused");
        assert!(records.get(&own.key).is_some());

        for site in 0..limits::PROVIDED_SITES_MAX as u32 {
            let entry = provider(site, PeerId::random(), Instant::now() + Duration::from_secs(60));
            records.providers.insert(entry.key.clone(), vec![entry]);
        }
        let own = provider(u32::MAX, local, Instant::now());
        records.add_provider(own).unwrap();
        assert_eq!(records.providers.len(), limits::PROVIDED_SITES_MAX);
        assert_eq!(records.provided().count(), 1);
    }

    #[test]
    fn case_40_squatters_cannot_keep_newcomers_out_and_one_peer_cannot_fill_the_table() {
        let local = PeerId::random();
        let mut records = Records::new(local);
        let now = Instant::now();
        records.add_provider(provider(0, local, now)).unwrap();
        let squatters: Vec<_> = (1..limits::PROVIDERS_PER_SITE_MAX as u64).map(|n| (n, PeerId::random())).collect();
        for (n, peer) in &squatters {
            records.add_provider(provider(0, *peer, now + Duration::from_secs(*n))).unwrap();
        }
        let honest = PeerId::random();
        records.add_provider(provider(0, honest, now + Duration::from_secs(1_000))).unwrap();
        let listed: Vec<_> =
            records.providers(&RecordKey::new(&0u32.to_be_bytes())).iter().map(|entry| entry.provider).collect();
        assert_eq!(listed.len(), limits::PROVIDERS_PER_SITE_MAX);
        assert!(listed.contains(&honest) && listed.contains(&local));
        assert!(!listed.contains(&squatters[0].1), "the one announced longest ago made room");

        let flooder = PeerId::random();
        let taken = (1..=limits::PROVIDED_PER_PEER_MAX as u32 + 10)
            .filter(|site| records.add_provider(provider(*site, flooder, now)).is_ok())
            .count();
        assert_eq!(taken, limits::PROVIDED_PER_PEER_MAX);
        records.remove_provider(&RecordKey::new(&1u32.to_be_bytes()), &flooder);
        assert!(records.add_provider(provider(5_000_000, flooder, now)).is_ok(), "room is given back");
        assert_eq!(records.provided().count(), 1);
    }
}
