//! Who has how many connections: of one peer, of one address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// How many connections each has.
pub(crate) struct Counts<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Counts<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// One connection of somebody's, until it is dropped.
pub(crate) struct Seat<K: Eq + Hash + Copy>(Counts<K>, K);

impl<K: Eq + Hash + Copy> Seat<K> {
    /// One more, unless there are as many as there may be.
    pub(crate) fn take(counts: &Counts<K>, key: K, most: usize) -> Option<Self> {
        let mut held = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Self(counts.clone(), key))
    }
}

impl<K: Eq + Hash + Copy> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.1);
            }
        }
    }
}
