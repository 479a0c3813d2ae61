//! Signed notes (C2SP `signed-note`): a text and lines of signatures. Ed25519 (0x01) and Ed25519 cosignatures (0x04).

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::Hash;

/// What a key's signatures are over: the byte in its vkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// Over the note's text.
    Ed25519,
    /// Over a time and the note's text (`tlog-cosignature` v1).
    CosignatureV1,
}

/// Why something is no note, no key, or not signed as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("not a signed note")]
    Form,
    /// Not the form of a verifier key, or its key id does not fit.
    #[error("not a verifier key")]
    Key,
    /// None of the keys has signed it.
    #[error("not signed by the key it needs")]
    Unsigned,
    /// A key's signature does not hold.
    #[error("a signature does not hold")]
    Signature,
}

/// A public key with its name, as vkey text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    kind: KeyType,
    public: [u8; 32],
}

/// A secret key with its name. `Debug` shows only the name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    verifier: VerifierKey,
}

/// A text with signatures, each judged only by [`SignedNote::verified_by`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// One line of signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

impl KeyType {
    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
        }
    }
}

impl VerifierKey {
    /// A key from its parts. The name has no white space and no `+`.
    pub fn new(name: &str, kind: KeyType, public: [u8; 32]) -> Result<Self, NoteError> {
        if !name_is_good(name) {
            return Err(NoteError::Key);
        }
        Ok(Self {
            name: name.to_owned(),
            kind,
            public,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its signatures are over.
    pub const fn kind(&self) -> KeyType {
        self.kind
    }

    /// The raw public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// First four bytes of SHA-256(name ‖ LF ‖ type ‖ key).
    pub fn key_id(&self) -> [u8; 4] {
        let mut bytes = self.name.clone().into_bytes();
        bytes.extend([b'\n', self.kind.byte()]);
        bytes.extend(self.public);
        let hash = Hash::of(&bytes);
        let [a, b, c, d, ..] = *hash.bytes();
        [a, b, c, d]
    }

    pub(crate) fn holds(&self, message: &[u8], signature: &[u8]) -> bool {
        JUDGED.fetch_add(1, Ordering::Relaxed);
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message, signature)
            .is_ok()
    }
}

fn name_is_good(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|character| character.is_whitespace() || character.is_control() || character == '+')
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.byte()];
        key.extend(self.public);
        write!(
            out,
            "{}+{:08x}+{}",
            self.name,
            u32::from_be_bytes(self.key_id()),
            STANDARD.encode(key)
        )
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (kind, public) = match key.split_first() {
            Some((1, public)) => (KeyType::Ed25519, public),
            Some((4, public)) => (KeyType::CosignatureV1, public),
            _ => return Err(NoteError::Key),
        };
        let key = Self::new(name, kind, public.try_into().map_err(|_| NoteError::Key)?)?;
        // Written again it must be the same text: the key id fits, and nothing has two spellings.
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(NoteError::Key)
        }
    }
}

impl serde::Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for VerifierKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl SigningKey {
    /// The key that this seed makes, under a name.
    pub fn from_seed(name: &str, kind: KeyType, seed: [u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoteError::Key)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        Ok(Self {
            pair,
            seed: Zeroizing::new(seed),
            verifier: VerifierKey::new(name, kind, public)?,
        })
    }

    /// A fresh key.
    pub fn generate(name: &str, kind: KeyType) -> Result<Self, NoteError> {
        let mut seed = [0; 32];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed).map_err(|_| NoteError::Key)?;
        Self::from_seed(name, kind, seed)
    }

    /// The seed, for whoever keeps keys.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public half.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signature line over a text (for keys of type [`KeyType::Ed25519`]).
    pub fn sign(&self, text: &str) -> NoteSignature {
        self.signature(self.raw(text.as_bytes()))
    }

    /// A note with this key's signature alone.
    pub fn sign_note(&self, text: &str) -> Result<SignedNote, NoteError> {
        SignedNote::new(text, vec![self.sign(text)])
    }

    pub(crate) fn raw(&self, message: &[u8]) -> Vec<u8> {
        MADE.fetch_add(1, Ordering::Relaxed);
        self.pair.sign(message).as_ref().to_vec()
    }

    pub(crate) fn signature(&self, bytes: Vec<u8>) -> NoteSignature {
        NoteSignature {
            name: self.verifier.name.clone(),
            key_id: self.verifier.key_id(),
            bytes,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SigningKey({})", self.verifier.name)
    }
}

static MADE: AtomicU64 = AtomicU64::new(0);
static JUDGED: AtomicU64 = AtomicU64::new(0);

/// How many signatures this process made and judged, of checkpoints, cosignatures and notes: what a statement costs in
/// mathematics. TLS has its own.
pub fn signatures() -> (u64, u64) {
    (MADE.load(Ordering::Relaxed), JUDGED.load(Ordering::Relaxed))
}

/// Largest note that is read.
const LARGEST: usize = 8 << 20;

impl SignedNote {
    /// A note of a text (which ends with LF) and signatures (at least one).
    pub fn new(text: &str, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let plain = text.ends_with('\n')
            && !text
                .chars()
                .any(|character| character.is_control() && character != '\n');
        if !plain || signatures.is_empty() {
            return Err(NoteError::Form);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// Reads a note. Signatures are not judged yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > LARGEST {
            return Err(NoteError::Form);
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError::Form)?;
        let split = whole.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Form)?;
        let signatures: Vec<_> = lines.split('\n').map(NoteSignature::parse).collect::<Result<_, _>>()?;
        if signatures.len() > 100 {
            return Err(NoteError::Form);
        }
        Self::new(text, signatures)
    }

    /// The text, with its last LF.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines of signatures.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature, once.
    pub fn add(&mut self, signature: NoteSignature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }

    /// Checks that this key signed the text.
    ///
    /// # Errors
    /// `Unsigned` if no line bears the key's name and id, `Signature` if one does and does not hold.
    pub fn verified_by(&self, key: &VerifierKey) -> Result<(), NoteError> {
        let mut found = false;
        for line in self.lines_of(key) {
            found = true;
            if !key.holds(self.text.as_bytes(), &line.bytes) {
                return Err(NoteError::Signature);
            }
        }
        if found && key.kind == KeyType::Ed25519 {
            Ok(())
        } else {
            Err(NoteError::Unsigned)
        }
    }

    pub(crate) fn lines_of<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a NoteSignature> {
        let id = key.key_id();
        self.signatures
            .iter()
            .filter(move |line| line.name == key.name && line.key_id == id)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(out, "{signature}"))
    }
}

impl NoteSignature {
    /// The name of the key that made it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// If it is a cosignature: the time (Unix seconds) that it claims, before anybody judged it.
    pub fn claimed_time(&self) -> Option<u64> {
        let (seconds, _) = self.bytes.split_first_chunk::<8>()?;
        (self.bytes.len() == 72).then(|| u64::from_be_bytes(*seconds))
    }

    fn parse(line: &str) -> Result<Self, NoteError> {
        let (name, encoded) = line
            .strip_prefix("— ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(NoteError::Form)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
        if !name_is_good(name) || bytes.is_empty() {
            return Err(NoteError::Form);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.to_vec();
        bytes.extend(&self.bytes);
        write!(out, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_holds() {
        let key: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
            .parse()
            .unwrap();
        let note = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let parsed = SignedNote::parse(note.as_bytes()).unwrap();
        parsed.verified_by(&key).unwrap();
        assert_eq!(parsed.to_string(), note);
        let changed = SignedNote::parse(note.replace("an example", "no example").as_bytes()).unwrap();
        assert_eq!(changed.verified_by(&key), Err(NoteError::Signature));
        let other = SigningKey::from_seed("example.com/foo", KeyType::Ed25519, [7; 32]).unwrap();
        assert_eq!(parsed.verified_by(other.verifier()), Err(NoteError::Unsigned));
    }

    #[test]
    fn keys_have_one_spelling() {
        let good = SigningKey::from_seed("a.b/c", KeyType::CosignatureV1, [1; 32])
            .unwrap()
            .verifier()
            .to_string();
        assert_eq!(good.parse::<VerifierKey>().unwrap().to_string(), good);
        assert!(
            good.replacen("a.b/c", "a.b/d", 1).parse::<VerifierKey>().is_err(),
            "the id is of another name"
        );
        assert!(SigningKey::generate("with space", KeyType::Ed25519).is_err());
        assert!(
            !format!(
                "{:?}",
                SigningKey::from_seed("a.b/c", KeyType::Ed25519, [0x41; 32]).unwrap()
            )
            .contains("41")
        );
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for bytes in [
            "",
            "\n",
            "a\n",
            "a\n\n",
            "a\n\nb\n",
            "a\n\n— x AAAA\n",
            "a\u{7}\n\n— x AAAAAAA=\n",
            "a\n\n— x AAAAAAA=",
        ] {
            assert_eq!(SignedNote::parse(bytes.as_bytes()), Err(NoteError::Form), "{bytes:?}");
        }
    }
}
