//! What a witness is asked, and how it judges (C2SP tlog-witness): a checkpoint is cosigned only if it extends the newest that
//! was cosigned of that log. Pure: what was seen before comes in as an argument, and whoever calls makes it durable first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tree::verify_consistency;
use crate::{Checkpoint, Hash, NoteError, SignedNote, VerifierKey};

/// Most hashes of a consistency proof.
const LONGEST_PROOF: usize = 63;

/// The body of `add-checkpoint`: the size that the witness is thought to know, the proof from there, the signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the witness is thought to have cosigned last; 0 for none.
    pub old: u64,
    /// Consistency from there.
    pub proof: Vec<Hash>,
    /// The checkpoint as its log signed it.
    pub checkpoint: SignedNote,
}

/// Why a checkpoint is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// The request is not of its form, or its old size is beyond the checkpoint's (400).
    #[error("not a request to a witness")]
    Malformed,
    /// No signature of the log's key (403).
    #[error("the checkpoint is not signed by its log")]
    Unsigned,
    /// The witness knows another size (409, with the size), or the same size with another root.
    #[error("the witness knows this log at size {0}")]
    Conflict(u64),
    /// The proof does not lead from what is known to the checkpoint (422).
    #[error("the proof does not hold")]
    BadProof,
}

impl AddCheckpoint {
    /// The request's text.
    pub fn text(&self) -> String {
        let proof: String = self
            .proof
            .iter()
            .map(|hash| STANDARD.encode(hash.bytes()) + "\n")
            .collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(text: &str) -> Result<Self, NotCosigned> {
        let malformed = NotCosigned::Malformed;
        let (head, note) = text.split_once("\n\n").ok_or_else(|| malformed.clone())?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.filter(|digits| *digits == "0" || !digits.starts_with(['0', '+']));
        let old = old
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| malformed.clone())?;
        let proof = lines
            .map(|line| Some(Hash::new(STANDARD.decode(line).ok()?.try_into().ok()?)))
            .collect::<Option<Vec<_>>>()
            .filter(|proof| proof.len() <= LONGEST_PROOF)
            .ok_or_else(|| malformed.clone())?;
        let checkpoint = SignedNote::parse(note.as_bytes()).map_err(|_| malformed)?;
        Ok(Self { old, proof, checkpoint })
    }

    /// The log that the checkpoint is of.
    ///
    /// # Errors
    /// `Malformed` if its text is no checkpoint.
    pub fn origin(&self) -> Result<String, NotCosigned> {
        let checkpoint = Checkpoint::parse(self.checkpoint.text()).map_err(|_| NotCosigned::Malformed)?;
        Ok(checkpoint.origin)
    }

    /// Whether the checkpoint may be cosigned by a witness that has cosigned `known` of this log.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, key: &VerifierKey, known: Option<&Checkpoint>) -> Result<Checkpoint, NotCosigned> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, key).map_err(|error| match error {
            NoteError::Form => NotCosigned::Malformed,
            _ => NotCosigned::Unsigned,
        })?;
        if self.old > checkpoint.size {
            return Err(NotCosigned::Malformed);
        }
        let size = known.map_or(0, |known| known.size);
        if self.old != size {
            return Err(NotCosigned::Conflict(size));
        }
        let Some(known) = known.filter(|known| known.size > 0) else {
            return if self.proof.is_empty() {
                Ok(checkpoint)
            } else {
                Err(NotCosigned::BadProof)
            };
        };
        if known.size == checkpoint.size && known.root != checkpoint.root {
            return Err(NotCosigned::Conflict(size));
        }
        verify_consistency(known.size, known.root, checkpoint.size, checkpoint.root, &self.proof)
            .map(|()| checkpoint)
            .map_err(|_| NotCosigned::BadProof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frontier, KeyType, SigningKey, leaf_hash};

    const ORIGIN: &str = "hubei.example/node/421002/1";

    fn key() -> SigningKey {
        SigningKey::from_seed(ORIGIN, KeyType::Ed25519, [7; 32]).unwrap()
    }

    fn at(size: u64, salt: &str) -> Checkpoint {
        let mut frontier = Frontier::default();
        for index in 0..size {
            frontier.push(leaf_hash(format!("{salt}{index}").as_bytes()), |_, _, _| {});
        }
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: frontier.root(),
        }
    }

    fn request(old: u64, new: &Checkpoint, proof: Vec<Hash>) -> AddCheckpoint {
        AddCheckpoint {
            old,
            proof,
            checkpoint: new.sign(&key()).unwrap(),
        }
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = request(3, &at(4, ""), vec![leaf_hash(b"a"), leaf_hash(b"b")]);
        assert_eq!(AddCheckpoint::parse(&request.text()).unwrap(), request);
        assert_eq!(request.origin().unwrap(), ORIGIN);
        for bad in ["", "old 03\n\n", "old +3\n\n", "old 3", "old x\n\nabc\n", "new 3\n\nx"] {
            assert_eq!(AddCheckpoint::parse(bad), Err(NotCosigned::Malformed), "{bad}");
        }
    }

    #[test]
    fn only_what_extends_the_known_is_cosigned() {
        let verifier = key().verifier().clone();
        let (one, two) = (at(1, ""), at(2, ""));
        assert_eq!(request(0, &one, Vec::new()).judge(&verifier, None).unwrap().size, 1);
        let proof = vec![leaf_hash(b"1")];
        assert_eq!(
            request(1, &two, proof.clone())
                .judge(&verifier, Some(&one))
                .unwrap()
                .size,
            2
        );
        assert_eq!(
            request(2, &two, Vec::new()).judge(&verifier, Some(&two)).unwrap().size,
            2
        );
        // Another size, another root at the same size, a rewritten log, a smaller one, a foreign key.
        assert_eq!(
            request(0, &two, Vec::new()).judge(&verifier, Some(&one)),
            Err(NotCosigned::Conflict(1))
        );
        assert_eq!(
            request(2, &at(2, "x"), Vec::new()).judge(&verifier, Some(&two)),
            Err(NotCosigned::Conflict(2))
        );
        assert_eq!(
            request(1, &at(2, "x"), proof.clone()).judge(&verifier, Some(&one)),
            Err(NotCosigned::BadProof)
        );
        assert_eq!(
            request(2, &one, Vec::new()).judge(&verifier, Some(&two)),
            Err(NotCosigned::Malformed)
        );
        assert_eq!(
            request(0, &one, proof).judge(&verifier, None),
            Err(NotCosigned::BadProof)
        );
        let stranger = SigningKey::from_seed(ORIGIN, KeyType::Ed25519, [8; 32]).unwrap();
        assert_eq!(
            request(0, &one, Vec::new()).judge(stranger.verifier(), None),
            Err(NotCosigned::Unsigned)
        );
    }
}
