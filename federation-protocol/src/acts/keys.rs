//! Keys of certificates as requests write them: P-256 alone, in one spelling, with the proof that the asker has the other half.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sanku_tlog::Hash;
use serde::{Deserialize, Serialize};

use crate::names::{NotThis, Origin, as_text};

/// DER of SubjectPublicKeyInfo up to the point: ecPublicKey, prime256v1, a BIT STRING of an uncompressed point.
pub(super) const P256: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A public key of P-256 as SubjectPublicKeyInfo (DER); base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spki([u8; 91]);

impl Spki {
    /// From DER, which has one form.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        der.starts_with(&P256).then_some(())?;
        der.try_into().ok().map(Self)
    }

    /// The DER.
    pub const fn der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 of the DER: how a certificate's act names it.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// What its owner signs to show that they have the other half: bound to the log that asks.
    pub fn possession_message(&self, log: &Origin) -> Vec<u8> {
        [format!("sanku/v1/possession\n{log}\n").as_bytes(), &self.0].concat()
    }
}

impl FromStr for Spki {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let der = STANDARD.decode(text).ok();
        der.and_then(|der| Self::from_der(&der))
            .ok_or(NotThis("a key of P-256"))
    }
}

impl fmt::Display for Spki {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&STANDARD.encode(self.0))
    }
}

as_text!(Spki, "a key of P-256");

/// A signature (ECDSA P-256, SHA-256, ASN.1) that shows possession of a key; base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Possession(Vec<u8>);

/// Longest ASN.1 form of an ECDSA signature over P-256.
const LONGEST: usize = 72;

impl Possession {
    /// A signature's octets.
    pub fn new(signature: &[u8]) -> Option<Self> {
        (!signature.is_empty() && signature.len() <= LONGEST).then(|| Self(signature.to_vec()))
    }

    /// Whether it shows that whoever writes this log has the key.
    pub fn holds(&self, key: &Spki, log: &Origin) -> bool {
        let point = &key.0[P256.len() - 1..];
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(&key.possession_message(log), &self.0)
            .is_ok()
    }
}

impl FromStr for Possession {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let octets = STANDARD.decode(text).ok();
        octets
            .and_then(|octets| Self::new(&octets))
            .ok_or(NotThis("a signature"))
    }
}

impl fmt::Display for Possession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&STANDARD.encode(&self.0))
    }
}

as_text!(Possession, "a signature");

/// A certificate's serial: sixteen octets, the first from 40 to 7f, so that the number is positive and always as long; 32
/// lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A serial from sixteen random octets, of which it keeps 126 bits.
    pub const fn from_random(mut octets: [u8; 16]) -> Self {
        octets[0] = octets[0] & 0x3f | 0x40;
        Self(octets)
    }

    /// Its octets.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let mut octets = [0; 16];
        let read = hex::decode_to_slice(text, &mut octets).is_ok() && hex::encode(octets) == text;
        if read && (0x40..0x80).contains(&octets[0]) {
            Ok(Self(octets))
        } else {
            Err(NotThis("a serial"))
        }
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

as_text!(Serial, "a serial");
