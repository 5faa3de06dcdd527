//! Tables of records: persistent maps that keep their multiset hash up to date.
//!
//! Cloning a table is O(1), so that a fork and a snapshot are. Deliberately absent: iteration
//! while changing, and any removal that is not bounded.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::Serialize;

use crate::digest::SetHash;
use crate::encoding;
use crate::time::UnixMs;

/// What stands in a table: it holds its own key.
pub trait Record: Clone + Serialize {
    /// The key's type.
    type Key: Ord + Clone;
    /// The table's name in hashes and on disk.
    const TABLE: &'static str;
    /// The key.
    fn key(&self) -> Self::Key;
}

/// A record that lives until a time.
pub trait Expires: Record {
    /// The first moment at which the record counts no longer.
    fn expires(&self) -> UnixMs;
}

/// Records by key.
#[derive(Debug, Clone)]
pub struct Table<V: Record> {
    rows: OrdMap<V::Key, Arc<V>>,
    hash: SetHash,
}

impl<V: Record> Default for Table<V> {
    fn default() -> Self {
        Self {
            rows: OrdMap::new(),
            hash: SetHash::default(),
        }
    }
}

impl<V: Record> FromIterator<V> for Table<V> {
    fn from_iter<I: IntoIterator<Item = V>>(records: I) -> Self {
        let mut table = Self::default();
        for record in records {
            table.set(record);
        }
        table
    }
}

impl<V: Record> Table<V> {
    fn canonical(record: &V) -> Vec<u8> {
        encoding::encode(&(V::TABLE, record))
    }

    /// The record with this key.
    #[must_use]
    pub fn get(&self, key: &V::Key) -> Option<&V> {
        self.rows.get(key).map(Arc::as_ref)
    }

    /// Puts the record in the place of the one with its key; gives that one.
    pub fn set(&mut self, record: V) -> Option<Arc<V>> {
        self.hash.add(&Self::canonical(&record));
        let former = self.rows.insert(record.key(), Arc::new(record));
        if let Some(former) = &former {
            self.hash.remove(&Self::canonical(former));
        }
        former
    }

    /// Changes the record with this key, if there is one; says whether there was.
    pub fn change(&mut self, key: &V::Key, change: impl FnOnce(&mut V)) -> bool {
        let Some(former) = self.rows.get(key) else {
            return false;
        };
        let mut record = V::clone(former);
        change(&mut record);
        self.set(record);
        true
    }

    /// Takes the record with this key out.
    pub fn remove(&mut self, key: &V::Key) -> Option<Arc<V>> {
        let former = self.rows.remove(key)?;
        self.hash.remove(&Self::canonical(&former));
        Some(former)
    }

    /// All records, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(Arc::as_ref)
    }

    /// The records from this key on.
    pub fn iter_from<'a>(&'a self, key: &V::Key) -> impl Iterator<Item = &'a V> + use<'a, V> {
        self.rows
            .range(key.clone()..)
            .map(|(_, record)| record.as_ref())
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The hash of the records.
    #[must_use]
    pub fn hash(&self) -> &SetHash {
        &self.hash
    }
}

/// Records that end by themselves, with an index by time so that ending them is bounded work.
#[derive(Debug, Clone)]
pub struct Expiring<V: Expires> {
    table: Table<V>,
    by_expiry: OrdSet<(UnixMs, V::Key)>,
}

impl<V: Expires> Default for Expiring<V> {
    fn default() -> Self {
        Self {
            table: Table::default(),
            by_expiry: OrdSet::new(),
        }
    }
}

impl<V: Expires> FromIterator<V> for Expiring<V> {
    fn from_iter<I: IntoIterator<Item = V>>(records: I) -> Self {
        let mut table = Self::default();
        for record in records {
            table.set(record);
        }
        table
    }
}

impl<V: Expires> Expiring<V> {
    /// The record with this key, unless it ended before `now`.
    #[must_use]
    pub fn get(&self, key: &V::Key, now: UnixMs) -> Option<&V> {
        self.table.get(key).filter(|record| now < record.expires())
    }

    /// Puts the record in the place of the one with its key.
    pub fn set(&mut self, record: V) {
        let key = record.key();
        self.by_expiry.insert((record.expires(), key.clone()));
        let expires = record.expires();
        if let Some(former) = self.table.set(record)
            && former.expires() != expires
        {
            self.by_expiry.remove(&(former.expires(), key));
        }
    }

    /// Changes the record with this key, if there is one; says whether there was.
    pub fn change(&mut self, key: &V::Key, change: impl FnOnce(&mut V)) -> bool {
        let Some(former) = self.table.get(key) else {
            return false;
        };
        let mut record = V::clone(former);
        change(&mut record);
        self.set(record);
        true
    }

    /// Takes the record with this key out.
    pub fn remove(&mut self, key: &V::Key) -> Option<Arc<V>> {
        let former = self.table.remove(key)?;
        self.by_expiry.remove(&(former.expires(), key.clone()));
        Some(former)
    }

    /// Takes out the record that ends first.
    pub fn remove_first(&mut self) -> Option<Arc<V>> {
        let (_, key) = self.by_expiry.get_min()?.clone();
        self.remove(&key)
    }

    /// Takes out at most `limit` records that ended by `now`; gives them.
    pub fn remove_ended(&mut self, now: UnixMs, limit: usize) -> Vec<Arc<V>> {
        let ended: Vec<V::Key> = self
            .by_expiry
            .iter()
            .take(limit)
            .take_while(|(expires, _)| *expires <= now)
            .map(|(_, key)| key.clone())
            .collect();
        ended.iter().filter_map(|key| self.remove(key)).collect()
    }

    /// All records, ended or not, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &V> {
        self.table.iter()
    }

    /// How many records there are, ended or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The hash of the records.
    #[must_use]
    pub fn hash(&self) -> &SetHash {
        self.table.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize)]
    struct Item {
        id: u8,
        until: u64,
    }
    impl Record for Item {
        type Key = u8;
        const TABLE: &'static str = "item";
        fn key(&self) -> u8 {
            self.id
        }
    }
    impl Expires for Item {
        fn expires(&self) -> UnixMs {
            UnixMs(self.until)
        }
    }

    #[test]
    fn a_table_rebuilt_from_its_records_has_the_same_hash() {
        let mut table = Table::default();
        table.set(Item { id: 1, until: 5 });
        table.set(Item { id: 2, until: 6 });
        table.set(Item { id: 1, until: 7 });
        table.remove(&2);
        let rebuilt: Table<Item> = table.iter().cloned().collect();
        assert_eq!(table.hash().digest(), rebuilt.hash().digest());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn ended_records_go_a_bounded_number_at_a_time() {
        let mut table: Expiring<Item> = (0..10).map(|id| Item { id, until: 5 }).collect();
        assert!(table.get(&3, UnixMs(4)).is_some());
        assert!(table.get(&3, UnixMs(5)).is_none());
        assert_eq!(table.remove_ended(UnixMs(4), 4).len(), 0);
        assert_eq!(table.remove_ended(UnixMs(5), 4).len(), 4);
        table.set(Item { id: 9, until: 50 });
        assert_eq!(table.remove_ended(UnixMs(5), 100).len(), 5);
        assert_eq!(table.len(), 1);
    }
}
