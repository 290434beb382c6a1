//! Bounded memory for what is expensive to find out again.
//!
//! Reading a certificate costs more than checking a signature, and the same few certificates come with every call.
//! A cache belongs to one verifier, and a verifier to one set of roots, so a root that was dropped takes all that was
//! found with it along.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// A map that forgets: when it has grown to its limit, it drops what was not asked for since it last did.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    limit: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// Holds twice `limit` entries at most.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        generations.insert(key, value.clone(), self.limit);
        Some(value)
    }

    pub(crate) fn put(&self, key: K, value: V) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value, self.limit);
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn insert(&mut self, key: K, value: V, limit: usize) {
        if self.young.len() >= limit {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_stays_bounded() {
        let cache = Cache::new(4);
        cache.put(0, "kept");
        for n in 1..100 {
            cache.put(n, "passing");
            assert_eq!(cache.get(&0), Some("kept"), "after {n}");
        }
        assert_eq!(cache.get(&1), None);
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() <= 4 && generations.old.len() <= 4);
    }
}
