//! What this node's processes remember of their log outside of the database: its newest signed checkpoint, in a file of
//! its own, so that a database that is put back is noticed at the next start even where no neighbour can be reached.
//!
//! Written once a second by whoever runs, and when a command ends: the log's own path pays nothing for it. What a process
//! signed within the second before it was killed may be missing here; neighbours, and the database itself, know it.

use std::path::PathBuf;
use std::time::Duration;

use sanku_federation_protocol::names::Origin;
use sanku_store::{Store, Teller};
use sanku_tlog::{Checkpoint, SignedNote};
use tokio_util::sync::CancellationToken;

const EACH: Duration = Duration::from_secs(1);

/// The file (`storage.memory`).
#[derive(Clone, Debug)]
pub(crate) struct Memory(pub(crate) PathBuf);

impl Memory {
    /// Tells the store what the file holds, and looks. A file that cannot be read is said and binds nobody.
    pub(crate) async fn recall(&self, store: &Store) {
        if let Some((note, _)) = self.read() {
            store.remember(&note, Teller::File);
            if let Err(error) = store.look().await {
                tracing::warn!(%error, "the database is not what this node remembers");
            }
        }
    }

    /// Keeps the newest checkpoint that the store was seen to hold; whether the file holds it, or a newer one. What the file
    /// holds of the same log never goes back.
    pub(crate) fn keep(&self, store: &Store) -> bool {
        let Some(newest) = store.newest().filter(|newest| newest.checkpoint.size > 0) else {
            return true;
        };
        let number = |origin: &str| origin.parse::<Origin>().map_or(0, |origin| origin.number);
        let order = |checkpoint: &Checkpoint| (number(&checkpoint.origin), checkpoint.size);
        if self
            .read()
            .is_some_and(|(_, kept)| order(&kept) >= order(&newest.checkpoint))
        {
            return true;
        }
        let written = sanku_certs::keys::write_whole(&self.0, newest.note.as_bytes(), 0o600);
        if let Err(error) = &written {
            tracing::warn!(%error, "the newest checkpoint cannot be kept outside of the database (storage.memory): a database that is put back is noticed by neighbours alone");
        }
        written.is_ok()
    }

    fn read(&self) -> Option<(SignedNote, Checkpoint)> {
        let bytes = std::fs::read(&self.0).ok()?;
        let read = SignedNote::parse(&bytes).and_then(|note| Checkpoint::parse(note.text()).map(|kept| (note, kept)));
        read.inspect_err(|_| tracing::error!("the file newest-checkpoint cannot be read"))
            .ok()
    }

    /// Keeps it until it is stopped, and once more then.
    pub(crate) async fn keep_on(self, store: Store, stop: CancellationToken) {
        let mut kept = None;
        loop {
            let stopped = tokio::time::timeout(EACH, stop.cancelled()).await.is_ok();
            let newest = store.newest().map(|newest| newest.checkpoint);
            if newest != kept {
                let (memory, store) = (self.clone(), store.clone());
                // What could not be written is tried again a second later.
                if tokio::task::spawn_blocking(move || memory.keep(&store))
                    .await
                    .unwrap_or(false)
                {
                    kept = newest;
                }
            }
            if stopped {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sanku_store::StorageKeys;
    use sanku_tlog::{Hash, KeyType, SigningKey};
    use sanku_values::SystemClock;

    use super::*;

    #[tokio::test]
    async fn the_file_binds_whoever_opens_the_database_next() {
        let place = tempfile::tempdir().unwrap();
        let memory = Memory(place.path().join("newest-checkpoint"));
        let origin: Origin = "hubei.example/node/421002/1".parse().unwrap();
        let key = || SigningKey::from_seed(&origin.to_string(), KeyType::Ed25519, [5; 32]).unwrap();
        let keys = StorageKeys::new([1; 32], [2; 32]);
        let store = Store::open("sqlite::memory:", keys, origin.clone(), key(), Arc::new(SystemClock));
        let store = store.await.unwrap();
        assert!(memory.keep(&store));
        assert!(memory.read().is_none(), "an empty log is nothing to remember");
        let lost = Checkpoint {
            origin: origin.to_string(),
            size: 7,
            root: Hash::of(b"7"),
        };
        std::fs::write(&memory.0, lost.sign(&key()).unwrap().to_string()).unwrap();
        memory.recall(&store).await;
        assert_eq!(store.recovering().unwrap().missing(), 7);
        assert!(memory.keep(&store));
        assert_eq!(memory.read().unwrap().1, lost, "it never goes back");
    }
}
