//! Sealing (密封): HPKE base mode (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal};
use sanku_tlog::Hash;
use zeroize::Zeroizing;

/// Least length of a padded body.
const LEAST: usize = 4096;
/// Longest sealed body: the line's limit less its first word, before base64.
const LONGEST: usize = 6 << 20;

/// It cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seal does not hold")]
pub struct SealError;

/// A public sealing key: 32 raw bytes, base64 in the registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealingPublicKey([u8; 32]);

/// A secret sealing key. `Debug` shows nothing.
pub struct SealingKey {
    secret: Zeroizing<[u8; 32]>,
    /// The public half, once somebody asked.
    public: OnceLock<SealingPublicKey>,
}

/// A body sealed to somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedBody {
    /// First 16 hex digits of SHA-256 of the recipient's public key.
    pub recipient: String,
    /// `enc ‖ ciphertext`.
    pub sealed: Vec<u8>,
}

fn info(entry_line: &[u8]) -> Vec<u8> {
    [b"sanku/v1/body\n", entry_line].concat()
}

impl SealingPublicKey {
    /// From raw bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its raw bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How a sealed body names its recipient.
    pub fn hint(&self) -> String {
        Hash::of(&self.0).to_string().chars().take(16).collect()
    }

    /// Seals a body to this key, bound to its entry's line.
    pub fn seal(&self, entry_line: &[u8], body: &[u8]) -> Result<SealedBody, SealError> {
        let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| SealError)?;
        let mut padded = Zeroizing::new(body.to_vec());
        padded.resize(body.len().max(LEAST).next_power_of_two(), b' ');
        let (enc, ciphertext) = single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &recipient,
            &info(entry_line),
            &padded,
            b"",
        )
        .map_err(|_| SealError)?;
        Ok(SealedBody {
            recipient: self.hint(),
            sealed: [enc.to_bytes().as_slice(), &ciphertext].concat(),
        })
    }
}

impl SealingKey {
    /// From raw secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            secret: Zeroizing::new(bytes),
            public: OnceLock::new(),
        }
    }

    /// The public half.
    pub fn public(&self) -> Result<SealingPublicKey, SealError> {
        if let Some(known) = self.public.get() {
            return Ok(*known);
        }
        let secret =
            <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.secret.as_slice()).map_err(|_| SealError)?;
        let public = X25519HkdfSha256::sk_to_pk(&secret).to_bytes();
        let public = SealingPublicKey(public.as_slice().try_into().map_err(|_| SealError)?);
        Ok(*self.public.get_or_init(|| public))
    }

    /// Opens a body that was sealed to this key for this entry. The padding is taken off.
    pub fn open(&self, body: &SealedBody, entry_line: &[u8]) -> Result<Vec<u8>, SealError> {
        let secret =
            <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.secret.as_slice()).map_err(|_| SealError)?;
        let (enc, ciphertext) = body.sealed.split_first_chunk::<32>().ok_or(SealError)?;
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| SealError)?;
        let mut plain = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &secret,
            &enc,
            &info(entry_line),
            ciphertext,
            b"",
        )
        .map_err(|_| SealError)?;
        if plain.len() < LEAST || !plain.len().is_power_of_two() {
            return Err(SealError);
        }
        let end = plain.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        plain.truncate(end);
        Ok(plain)
    }
}

impl SealedBody {
    /// The line's content: hint, space, base64.
    pub fn text(&self) -> String {
        format!("{} {}", self.recipient, STANDARD.encode(&self.sealed))
    }

    /// Reads the line's content.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let (recipient, sealed) = text.split_once(' ').ok_or(SealError)?;
        let hint = recipient.len() == 16
            && recipient
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let sealed = STANDARD.decode(sealed).map_err(|_| SealError)?;
        if !hint || sealed.len() < 32 + LEAST + 16 || sealed.len() > LONGEST {
            return Err(SealError);
        }
        Ok(Self {
            recipient: recipient.to_owned(),
            sealed,
        })
    }
}

impl std::fmt::Display for SealingPublicKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&STANDARD.encode(self.0))
    }
}

impl std::fmt::Debug for SealingPublicKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, out)
    }
}

impl std::str::FromStr for SealingPublicKey {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(SealError)
    }
}

impl serde::Serialize for SealingPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SealingPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SealingKey(…)")
    }
}

impl std::fmt::Debug for SealedBody {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SealedBody({})", self.recipient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_and_only_for_the_entry() {
        let key = SealingKey::new([9; 32]);
        let sealed = key.public().unwrap().seal(b"{entry}", b"{body}").unwrap();
        assert_eq!(key.open(&sealed, b"{entry}").unwrap(), b"{body}");
        assert_eq!(key.open(&sealed, b"{other}"), Err(SealError));
        assert_eq!(SealingKey::new([8; 32]).open(&sealed, b"{entry}"), Err(SealError));
        assert_eq!(SealedBody::parse(&sealed.text()).unwrap(), sealed);
    }

    #[test]
    fn lengths_tell_only_the_next_power_of_two() {
        let key = SealingKey::new([9; 32]).public().unwrap();
        let length = |body: usize| key.seal(b"e", &vec![b'x'; body]).unwrap().sealed.len();
        assert_eq!(length(1), length(4096));
        assert_eq!(length(4097), length(8192));
        assert_eq!(length(1), 32 + 4096 + 16);
    }
}
