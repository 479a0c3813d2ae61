//! What this process wrote about lately: keys of questions and their leaf hashes, so that the next statement about one need not
//! read them back. Bounded; whoever is not found here is looked for in the database.

use std::collections::HashMap;

use sanku_tlog::Hash;

use crate::sealing::DataKey;

/// Names of one generation.
const NAMES: usize = 1024;

/// What is known under the name of a key.
#[derive(Clone, Default)]
pub(crate) struct Held {
    /// Nothing where the database has no such key.
    pub(crate) key: Option<DataKey>,
    /// The leaf hash of the question that the database remembers under this name.
    pub(crate) leaf: Option<Hash>,
}

/// Two generations: what was not used while one filled is forgotten with the other.
#[derive(Default)]
pub(crate) struct Recent {
    young: HashMap<String, Held>,
    old: HashMap<String, Held>,
}

impl Recent {
    pub(crate) fn of(&self, name: &str) -> Option<&Held> {
        self.young.get(name).or_else(|| self.old.get(name))
    }

    pub(crate) fn remember(&mut self, name: String, held: Held) {
        if self.young.len() >= NAMES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, held);
    }

    /// Whoever met something else in the database than what stands here starts anew.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
