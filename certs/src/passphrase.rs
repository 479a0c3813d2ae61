//! Passphrases (口令): keys of people and of the root are sealed under them through Argon2id (RFC 9106).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use crate::CertsError;
use crate::keys::{random, read_private};

/// Fewest characters of a passphrase.
const SHORTEST: usize = 12;
/// RFC 9106 §4, second recommendation: 64 MiB, three passes. One lane, for we stretch on one core.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;

/// A passphrase, in Unicode's form NFC, so that every keyboard and every system writes the same bytes. `Debug` shows nothing.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A passphrase as somebody typed it, without the line's end.
    ///
    /// # Errors
    /// If it is shorter than twelve characters: such a one seals nothing, so it opens nothing.
    pub fn new(mut typed: String) -> Result<Self, CertsError> {
        let mut text = Zeroizing::new(String::with_capacity(typed.len() * 3));
        text.extend(typed.nfc());
        typed.zeroize();
        if text.chars().count() < SHORTEST {
            return Err(CertsError::ShortPassphrase(SHORTEST));
        }
        Ok(Self(text))
    }

    /// A passphrase from a file that nobody else may read: its one line.
    pub fn from_file(path: &Path) -> Result<Self, CertsError> {
        let text = read_private(path)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains('\n') {
            return Err(CertsError::NotAFile(
                path.to_owned(),
                "一行口令 one line with a passphrase",
            ));
        }
        Self::new(line.to_owned())
    }

    /// Whether two are the same.
    pub fn is(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Passphrase(…)")
    }
}

/// How a passphrase is stretched; stands in the file beside what is sealed: `argon2id MEMORY_KIB PASSES LANES SALT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretching {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 16],
}

impl Stretching {
    /// Today's costs with a fresh salt.
    pub(crate) fn fresh() -> Result<Self, CertsError> {
        Ok(Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: 1,
            salt: *random::<16>()?,
        })
    }

    /// The 256 bits that a passphrase is stretched to.
    pub(crate) fn stretch(&self, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, CertsError> {
        let wrong = |error: argon2::Error| CertsError::Make(format!("argon2id: {error}"));
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32)).map_err(wrong)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.0.as_bytes(), &self.salt, key.as_mut_slice())
            .map_err(wrong)?;
        Ok(key)
    }
}

impl fmt::Display for Stretching {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let salt = STANDARD.encode(self.salt);
        write!(
            out,
            "argon2id {} {} {} {salt}",
            self.memory_kib, self.passes, self.lanes
        )
    }
}

/// Not the text of a stretching, or costs that nobody should accept: too cheap to protect, or too dear to be meant.
#[derive(Debug)]
pub(crate) struct NotAStretching;

impl FromStr for Stretching {
    type Err = NotAStretching;

    fn from_str(text: &str) -> Result<Self, NotAStretching> {
        let read = || {
            let mut parts = text.strip_prefix("argon2id ")?.split(' ');
            let mut number = || parts.next()?.parse().ok();
            let (memory_kib, passes, lanes) = (number()?, number()?, number()?);
            let salt = STANDARD.decode(parts.next()?).ok()?.try_into().ok()?;
            Some(Self {
                memory_kib,
                passes,
                lanes,
                salt,
            })
        };
        let bounded = |this: &Self| {
            (19 << 10..=1 << 20).contains(&this.memory_kib)
                && (2..=16).contains(&this.passes)
                && (1..=8).contains(&this.lanes)
                && this.to_string() == text
        };
        read().filter(bounded).ok_or(NotAStretching)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argon2id_agrees_with_the_reference_program() {
        // python3 -c: argon2.low_level.hash_secret_raw(b"correct horse battery", b"somesaltsomesalt", 3, 65536, 1, 32, Type.ID)
        let stretching: Stretching = "argon2id 65536 3 1 c29tZXNhbHRzb21lc2FsdA==".parse().unwrap();
        let passphrase = Passphrase::new("correct horse battery".to_owned()).unwrap();
        let key = stretching.stretch(&passphrase).unwrap();
        assert_eq!(
            hex::encode(*key),
            "d40b188d54488f1dcaf41e6e41e9e598694dbbe0d9c6cb1f27d568295e38a08a"
        );
    }

    #[test]
    fn a_passphrase_is_the_same_however_it_was_typed_and_never_shown() {
        let composed = Passphrase::new("caf\u{e9} caf\u{e9} caf\u{e9}".to_owned()).unwrap();
        let decomposed = Passphrase::new("cafe\u{301} cafe\u{301} cafe\u{301}".to_owned()).unwrap();
        assert!(composed.is(&decomposed));
        assert_eq!(format!("{composed:?}"), "Passphrase(…)");
        let short = Passphrase::new("十一个字的口令不够长啊".to_owned()).unwrap_err();
        assert!(matches!(short, CertsError::ShortPassphrase(12)), "{short}");
        assert!(Passphrase::new("十二个字的口令就够长的啦".to_owned()).is_ok());
    }

    #[test]
    fn costs_that_nobody_should_accept_are_refused() {
        for text in [
            "argon2id 1024 3 1 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 65536 1 1 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 4194304 3 1 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 65536 999 1 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 65536 3 100 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 65536 3 1 c29tZQ==",
            "argon2id 65536 03 1 c29tZXNhbHRzb21lc2FsdA==",
            "argon2id 65536 3 1 c29tZXNhbHRzb21lc2FsdA== more",
            "argon2i 65536 3 1 c29tZXNhbHRzb21lc2FsdA==",
            "",
        ] {
            assert!(text.parse::<Stretching>().is_err(), "{text}");
        }
        assert_ne!(
            Stretching::fresh().unwrap(),
            Stretching::fresh().unwrap(),
            "a salt of its own"
        );
    }
}
