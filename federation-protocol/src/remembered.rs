//! Signed checkpoints that were verified before. One checkpoint covers everything that committed together, so many runs come
//! under the same one; its signature is checked once for each key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sanku_tlog::{Checkpoint, Hash, NoteError, SignedNote, VerifierKey};

/// Most checkpoints that are remembered; then all are forgotten, and verified anew as they come.
const MOST: usize = 4096;

/// What verified, by the hash of key and signed note.
#[derive(Debug, Default)]
pub struct RememberedCheckpoints(Mutex<HashMap<Hash, Checkpoint>>);

impl RememberedCheckpoints {
    /// The checkpoint, if its log's key signed it.
    ///
    /// # Errors
    /// As [`Checkpoint::verify`].
    pub fn verify(&self, note: &SignedNote, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        let name = Hash::of(format!("{key}\n{note}").as_bytes());
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return Ok(known.clone());
        }
        let checkpoint = Checkpoint::verify(note, key)?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(name, checkpoint.clone());
        Ok(checkpoint)
    }
}
