//! What an authority answers to a request: a nonce, signed, from which both sides show the same six digits.

use std::fmt;

use sanku_federation_protocol::notes::{self, NoteRefused, RawNote};
use sanku_tlog::{Hash, SignedNote, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};

use crate::CertsError;
use crate::keys::random;

/// An authority's answer to a request; a note `<federation>/enrolment/<code>` under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// Leaf hash of the request.
    pub request: Hash,
    /// 128 random bits, 32 lower-case hex digits.
    pub nonce: String,
    /// Until then the request waits to be confirmed.
    pub not_after: Time,
}

fn name(federation: &FederationName, code: DivisionCode) -> String {
    format!("{federation}/enrolment/{code}")
}

impl Challenge {
    /// A fresh one for a request.
    pub fn new(request: Hash, not_after: Time) -> Result<Self, CertsError> {
        Ok(Self {
            request,
            nonce: hex::encode(*random::<16>()?),
            not_after,
        })
    }

    /// Signs it for the node that asked.
    pub fn sign(
        &self,
        federation: &FederationName,
        code: DivisionCode,
        now: Time,
        authority: &SigningKey,
    ) -> Result<SignedNote, NoteRefused> {
        notes::sign(&name(federation, code), now, self, authority)
    }

    /// Reads one that answers this very request, signed by the authority that the delegation names.
    ///
    /// # Errors
    /// If it is not a challenge, for another node or request, signed by somebody else, or void.
    pub fn read(
        bytes: &[u8],
        (federation, code, request): (&FederationName, DivisionCode, Hash),
        authority: &VerifierKey,
        now: Time,
    ) -> Result<Self, NoteRefused> {
        let note = RawNote::parse(bytes)?;
        let form = |why: &str| NoteRefused::Form(why.to_owned());
        if note.name != name(federation, code) {
            return Err(form("an answer to another node"));
        }
        note.signed_by(authority)?;
        let this: Self = note.content()?;
        let hex = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
        if this.nonce.len() != 32 || !this.nonce.bytes().all(hex) {
            return Err(form("a nonce is 32 hex digits in lower case"));
        }
        if this.request != request {
            return Err(form("an answer to another request: somebody changed it on its way"));
        }
        if now > this.not_after {
            return Err(form("its time is over: enrol again with a new code"));
        }
        Ok(this)
    }

    /// The number that people on both sides compare.
    pub fn digits(&self) -> SixDigits {
        let hash = Hash::of(format!("sanku/v1/six-digits\n{}\n{}", self.request, self.nonce).as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hash.bytes();
        // Of 2^64 numbers a million is so small a part that no six digits come more often than others.
        let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % 1_000_000;
        SixDigits(u32::try_from(number).unwrap_or_default())
    }
}

/// Six digits that both sides show: `042 137`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SixDigits(u32);

impl fmt::Display for SixDigits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:03} {:03}", self.0 / 1000, self.0 % 1000)
    }
}
