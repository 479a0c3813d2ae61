//! The proof that a log forked: two checkpoints that its key signed, and hashes that show that the one is not the beginning of
//! the other.

use crate::tree::verify_consistency;
use crate::{Checkpoint, Hash, NoteError, SignedNote, VerifierKey};

/// Two checkpoints of one log that disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkProof {
    /// The checkpoint of the smaller log, or one of two of the same size.
    pub smaller: SignedNote,
    /// The other.
    pub larger: SignedNote,
    /// The root that the larger log has over as many entries as the smaller holds.
    pub root: Hash,
    /// Consistency from there to the larger.
    pub proof: Vec<Hash>,
}

impl ForkProof {
    /// Whether the log's key signed both, and neither is the beginning of the other.
    ///
    /// # Errors
    /// `Unsigned` or `Signature` if the key did not sign both; `Form` if they do not disagree, or the hashes do not show it.
    pub fn verify(&self, key: &VerifierKey) -> Result<(Checkpoint, Checkpoint), NoteError> {
        let smaller = Checkpoint::verify(&self.smaller, key)?;
        let larger = Checkpoint::verify(&self.larger, key)?;
        let led = verify_consistency(smaller.size, self.root, larger.size, larger.root, &self.proof);
        if led.is_ok() && self.root != smaller.root {
            Ok((smaller, larger))
        } else {
            Err(NoteError::Form)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frontier, KeyType, SigningKey, leaf_hash};

    fn log(entries: &[&str]) -> (Checkpoint, Vec<Hash>) {
        let mut frontier = Frontier::default();
        for entry in entries {
            frontier.push(leaf_hash(entry.as_bytes()), |_, _, _| {});
        }
        let checkpoint = Checkpoint {
            origin: "a.b/node/421002/1".to_owned(),
            size: frontier.size(),
            root: frontier.root(),
        };
        (
            checkpoint,
            entries.iter().map(|entry| leaf_hash(entry.as_bytes())).collect(),
        )
    }

    #[test]
    fn two_branches_are_proven_and_one_line_of_growth_is_not() {
        let key = SigningKey::from_seed("a.b/node/421002/1", KeyType::Ed25519, [3; 32]).unwrap();
        let (one, _) = log(&["a"]);
        let (grown, leaves) = log(&["a", "b"]);
        let (other, _) = log(&["x"]);
        let proof = |smaller: &Checkpoint, root: Hash, proof: Vec<Hash>| ForkProof {
            smaller: smaller.sign(&key).unwrap(),
            larger: grown.sign(&key).unwrap(),
            root,
            proof,
        };
        assert!(proof(&other, one.root, vec![leaves[1]]).verify(key.verifier()).is_ok());
        assert!(
            proof(&log(&["a", "c"]).0, grown.root, vec![])
                .verify(key.verifier())
                .is_ok()
        );
        assert!(proof(&one, one.root, vec![leaves[1]]).verify(key.verifier()).is_err());
        assert!(
            proof(&other, other.root, vec![leaves[1]])
                .verify(key.verifier())
                .is_err()
        );
        let stranger = SigningKey::from_seed("a.b/node/421002/1", KeyType::Ed25519, [4; 32]).unwrap();
        assert!(
            proof(&other, one.root, vec![leaves[1]])
                .verify(stranger.verifier())
                .is_err()
        );
    }
}
