//! Checkpoints (C2SP `tlog-checkpoint`, no extension lines), cosignatures (`tlog-cosignature` v1) and proofs of one entry
//! (`tlog-proof` v1).

use std::fmt::Write as _;

use crate::note::{KeyType, NoteError, NoteSignature, SignedNote, SigningKey, VerifierKey};
use crate::tree::{ProofError, root_of_inclusion};
use crate::{Hash, empty_root};

/// What a log says of itself: how many entries it has and their root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin, which is its key's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// Reads the text. An empty log has the empty root and no other log has.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.strip_suffix('\n').ok_or(NoteError::Form)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Form);
        };
        let root = Hash::from_base64(root).map_err(|_| NoteError::Form)?;
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: decimal(size)?,
            root,
        };
        if origin.is_empty() || (checkpoint.size == 0) != (root == empty_root()) {
            return Err(NoteError::Form);
        }
        Ok(checkpoint)
    }

    /// The checkpoint signed by its log.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedNote, NoteError> {
        key.sign_note(&self.text())
    }

    /// Reads a signed checkpoint and checks the log's own signature and name.
    pub fn verify(note: &SignedNote, key: &VerifierKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(note.text())?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Unsigned);
        }
        note.verified_by(key)?;
        Ok(checkpoint)
    }
}

/// A number in decimal without leading noughts.
fn decimal(text: &str) -> Result<u64, NoteError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain {
        text.parse().map_err(|_| NoteError::Form)
    } else {
        Err(NoteError::Form)
    }
}

/// Cosigns a checkpoint at a time (Unix seconds).
///
/// # Errors
/// `Key` if the key is not of type [`KeyType::CosignatureV1`].
pub fn cosign(note: &SignedNote, key: &SigningKey, seconds: u64) -> Result<NoteSignature, NoteError> {
    if key.verifier().kind() != KeyType::CosignatureV1 || i64::try_from(seconds).is_err() {
        return Err(NoteError::Key);
    }
    let mut bytes = seconds.to_be_bytes().to_vec();
    bytes.extend(key.raw(cosigned_message(note.text(), seconds).as_bytes()));
    Ok(key.signature(bytes))
}

/// The time (Unix seconds) at which this witness cosigned the checkpoint.
pub fn verify_cosignature(note: &SignedNote, key: &VerifierKey) -> Result<u64, NoteError> {
    if key.kind() != KeyType::CosignatureV1 {
        return Err(NoteError::Key);
    }
    let line = note.lines_of(key).next().ok_or(NoteError::Unsigned)?;
    let (seconds, signature) = line.bytes().split_first_chunk::<8>().ok_or(NoteError::Signature)?;
    let seconds = u64::from_be_bytes(*seconds);
    if i64::try_from(seconds).is_err() || !key.holds(cosigned_message(note.text(), seconds).as_bytes(), signature) {
        return Err(NoteError::Signature);
    }
    Ok(seconds)
}

fn cosigned_message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// The proof of one entry, for anybody to keep (`tlog-proof` v1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryProof {
    /// The entry's index.
    pub index: u64,
    /// The inclusion path, leaf's sibling first.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: SignedNote,
}

impl EntryProof {
    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("c2sp.org/tlog-proof@v1\nindex {}\n", self.index);
        for hash in &self.path {
            let _ = writeln!(text, "{}", hash.to_base64());
        }
        let _ = write!(text, "\n{}", self.checkpoint);
        text
    }

    /// Reads a file. Extra data is skipped: nothing vouches for it.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(NoteError::Form)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some("c2sp.org/tlog-proof@v1") {
            return Err(NoteError::Form);
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = decimal(
            lines
                .next()
                .and_then(|line| line.strip_prefix("index "))
                .ok_or(NoteError::Form)?,
        )?;
        let path: Vec<_> = lines
            .map(|line| Hash::from_base64(line).map_err(|_| NoteError::Form))
            .collect::<Result<_, _>>()?;
        if path.len() > 63 {
            return Err(NoteError::Form);
        }
        Ok(Self {
            index,
            path,
            checkpoint: SignedNote::parse(checkpoint.as_bytes())?,
        })
    }

    /// Checks the whole of it for an entry under a log's key.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, key).map_err(|_| ProofError::Root)?;
        let root = root_of_inclusion(crate::leaf_hash(entry), self.index, checkpoint.size, &self.path)?;
        if root == checkpoint.root {
            Ok(checkpoint)
        } else {
            Err(ProofError::Root)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    fn key(kind: KeyType) -> SigningKey {
        SigningKey::from_seed("log.example/node/420000/1", kind, [3; 32]).unwrap()
    }

    fn signed() -> SignedNote {
        Checkpoint {
            origin: "log.example/node/420000/1".to_owned(),
            size: 1,
            root: leaf_hash(b"a"),
        }
        .sign(&key(KeyType::Ed25519))
        .unwrap()
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let note = signed();
        let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(
            Checkpoint::verify(&read, key(KeyType::Ed25519).verifier())
                .unwrap()
                .size,
            1
        );
    }

    #[test]
    fn size_nought_goes_with_the_empty_root_alone() {
        let text = |size: &str, root: Hash| format!("a\n{size}\n{}\n", root.to_base64());
        assert!(Checkpoint::parse(&text("0", empty_root())).is_ok());
        for bad in [
            text("0", leaf_hash(b"a")),
            text("1", empty_root()),
            text("01", leaf_hash(b"a")),
            text("-1", leaf_hash(b"a")),
            text("1", leaf_hash(b"a")) + "extension\n",
            "a\n1\n".to_owned(),
        ] {
            assert_eq!(Checkpoint::parse(&bad), Err(NoteError::Form), "{bad}");
        }
    }

    #[test]
    fn a_cosignature_binds_time_and_text() {
        let witness = SigningKey::from_seed("log.example/witness/421000", KeyType::CosignatureV1, [4; 32]).unwrap();
        let mut note = signed();
        note.add(cosign(&note, &witness, 1_795_508_291).unwrap());
        assert_eq!(verify_cosignature(&note, witness.verifier()), Ok(1_795_508_291));
        let other = note.to_string().replace("\n1\n", "\n2\n");
        assert_eq!(
            verify_cosignature(&SignedNote::parse(other.as_bytes()).unwrap(), witness.verifier()),
            Err(NoteError::Signature)
        );
        assert_eq!(
            verify_cosignature(&signed(), witness.verifier()),
            Err(NoteError::Unsigned)
        );
        assert!(cosign(&note, &key(KeyType::Ed25519), 1).is_err());
    }

    #[test]
    fn a_proof_file_is_read_as_it_was_written() {
        let proof = EntryProof {
            index: 0,
            path: vec![],
            checkpoint: signed(),
        };
        assert_eq!(EntryProof::parse(&proof.text()).unwrap(), proof);
        assert!(proof.verify(b"a", key(KeyType::Ed25519).verifier()).is_ok());
        assert_eq!(
            proof.verify(b"b", key(KeyType::Ed25519).verifier()),
            Err(ProofError::Root)
        );
        assert!(EntryProof::parse(&proof.text().replace("index 0", "index 00")).is_err());
    }
}
