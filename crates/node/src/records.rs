//! The DHT's record store: holds only what verifies, and never more than its bounds.
//!
//! A head is checked before it is stored (signature, that it is filed under its own key, not older than the one held), so a
//! forged record is refused to its sender and relayed by nobody. Provider lists evict the announcement that is about
//! to expire first instead of turning newcomers away, and one peer cannot fill the table.

use crate::{limits, platform::Instant};
use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};
use meganet_core::head::{Head, HeadDecision, compare};
use std::{borrow::Cow, collections::HashMap};

/// Heads and providers that other peers asked this node to keep.
pub struct Records {
    local: PeerId,
    heads: HashMap<RecordKey, Record>,
    providers: HashMap<RecordKey, Vec<ProviderRecord>>,
    sites_by_peer: HashMap<PeerId, usize>,
}

impl Records {
    pub fn new(local: PeerId) -> Self {
        Self { local, heads: HashMap::new(), providers: HashMap::new(), sites_by_peer: HashMap::new() }
    }

    fn forget_expired(&mut self, now: Instant) {
        self.heads.retain(|_, record| !expired(record.expires, now));
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
    type RecordsIter<'a> =
        std::iter::Map<std::collections::hash_map::Values<'a, RecordKey, Record>, fn(&'a Record) -> Cow<'a, Record>>;
    type ProvidedIter<'a> = std::vec::IntoIter<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.heads.get(key).map(Cow::Borrowed)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        let candidate = verified_head(&record).ok_or(Error::ValueTooLarge)?;
        if let Some(held) = self.heads.get_mut(&record.key) {
            let current = verified_head(held).ok_or(Error::ValueTooLarge)?;
            return match compare(&current, &candidate) {
                HeadDecision::Newer => {
                    *held = record;
                    Ok(())
                }
                // Announced again by anybody: it lives on.
                HeadDecision::Same => {
                    held.expires = held.expires.max(record.expires);
                    Ok(())
                }
                HeadDecision::Older | HeadDecision::Conflict => Err(Error::ValueTooLarge),
            };
        }
        if self.heads.len() >= limits::RECORDS_MAX {
            self.forget_expired(Instant::now());
        }
        if self.heads.len() >= limits::RECORDS_MAX {
            return Err(Error::MaxRecords);
        }
        self.heads.insert(record.key.clone(), record);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.heads.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.heads.values().map(Cow::Borrowed)
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        record.addresses.truncate(limits::ADDRESSES_PER_PEER_MAX);
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
        if !self.providers.contains_key(&record.key) && self.providers.len() >= limits::PROVIDED_SITES_MAX {
            self.forget_expired(Instant::now());
            if self.providers.len() >= limits::PROVIDED_SITES_MAX {
                return Err(Error::MaxProvidedKeys);
            }
        }
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
    fn announcing_a_head_again_lengthens_its_life() {
        let mut records = Records::new(PeerId::random());
        let mut again = record(&head(&SiteKey::from_seed([1; 32]), 1, 1));
        let now = Instant::now();
        again.expires = Some(now + Duration::from_secs(10));
        records.put(again.clone()).unwrap();
        again.expires = Some(now + Duration::from_secs(20));
        records.put(again.clone()).unwrap();
        assert_eq!(records.get(&again.key).unwrap().expires, again.expires);
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
