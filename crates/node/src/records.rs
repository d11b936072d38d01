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
