//! Invitations (邀请): one-time codes by which a new machine and its authority find each other. 128 random bits, and what the
//! machine must find at the door: who issues there, and the root.
//!
//! As a file (`Invitation::file`) it holds everything; as text (`Invitation::spoken`) the secret and a digest of the rest, in
//! rows that are checked one by one, so that it survives a telephone. The secret itself is never sent: the machine proves it
//! over its request. `FORMATS.md` fixes the bytes.

mod enrolment;
mod spoken;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use ring::hmac;
use sanku_federation_protocol::json;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

pub use enrolment::{Challenge, SixDigits};
pub use spoken::{NotSpoken, Spoken};

use crate::CertsError;
use crate::keys::{random, read_private, write_new};

const HEADER: &str = "sanku invitation v1";
/// Life of a code that is used at once.
pub const ONLINE: Duration = Duration::from_secs(15 * 60);
/// Life of a code that travels as a file.
pub const BY_FILE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an invitation says openly: the door shows it to whoever knows the code's number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The federation.
    pub federation: FederationName,
    /// The code that the place is open for.
    pub code: DivisionCode,
    /// Whose authority issues.
    pub authority: DivisionCode,
    /// Where its door is, each `HOST:PORT`; none if everything goes by files.
    pub doors: Vec<String>,
    /// SHA-256 of the authority's certificate: pins the door's server.
    pub certificate: Hash,
    /// The root's fingerprint.
    pub root: Hash,
    /// After it the code is void.
    pub not_after: Time,
}

impl Terms {
    fn line(&self) -> String {
        // Writing these types has no way to fail; another reader would refuse an empty line.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What the spoken form pins: the first 16 octets of SHA-256 over the line.
    fn digest(&self) -> [u8; 16] {
        let hash = Hash::of(format!("{HEADER}\n{}", self.line()).as_bytes());
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.bytes()[..16]);
        digest
    }
}

/// An invitation with its secret. `Debug` shows only the open part.
#[derive(Clone)]
pub struct Invitation {
    terms: Terms,
    secret: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Invitation({}, until {})", self.terms.code, self.terms.not_after)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    terms: Terms,
    secret: String,
}

impl Invitation {
    /// A fresh one.
    pub fn new(terms: Terms) -> Result<Self, CertsError> {
        Ok(Self {
            terms,
            secret: random::<16>()?,
        })
    }

    /// What it says openly.
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Its number: names it at the door, and tells nothing of the secret.
    pub fn number(&self) -> Hash {
        number(&self.secret)
    }

    /// The proof that whoever sends this request (by its leaf hash) has the secret: HMAC-SHA-256.
    pub fn prove(&self, request: &Hash) -> Hash {
        let tag = hmac::sign(&proof_key(&self.secret), request.bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Hash::new(bytes)
    }

    fn proven(&self, request: &Hash, proof: &Hash) -> bool {
        hmac::verify(&proof_key(&self.secret), request.bytes(), proof.bytes()).is_ok()
    }

    /// The text to be read out: secret and digest.
    pub fn spoken(&self) -> Spoken {
        Spoken {
            secret: self.secret.clone(),
            digest: self.terms.digest(),
        }
    }

    /// Keeps it as a file, which must not exist.
    pub fn keep(&self, path: &Path) -> Result<(), CertsError> {
        write_new(path, self.file()?.as_bytes())
    }

    /// Reads one from a file that nobody else may read.
    pub fn read(path: &Path) -> Result<Self, CertsError> {
        let bad = || CertsError::NotAFile(path.to_owned(), "邀请 an invitation");
        Self::parse(&read_private(path)?).ok_or_else(bad)
    }

    /// A file's text.
    pub fn file(&self) -> Result<Zeroizing<String>, CertsError> {
        let mut file = File {
            terms: self.terms.clone(),
            secret: hex::encode(*self.secret),
        };
        let line = serde_json::to_string(&file).map_err(|error| CertsError::Make(error.to_string()));
        file.secret.zeroize();
        let line = Zeroizing::new(line?);
        Ok(Zeroizing::new(format!("{HEADER}\n{}\n", *line)))
    }

    /// An invitation from a file's text.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.strip_prefix(HEADER)?.strip_prefix('\n')?.strip_suffix('\n')?;
        let mut file: File = json::parse(line.as_bytes()).ok()?;
        let mut secret = Zeroizing::new([0; 16]);
        let read = hex::decode_to_slice(file.secret.as_bytes(), secret.as_mut_slice());
        file.secret.zeroize();
        read.ok()?;
        let this = Self {
            terms: file.terms,
            secret,
        };
        // One spelling, as everywhere.
        this.file().ok().filter(|again| again.as_str() == text)?;
        Some(this)
    }
}

fn number(secret: &[u8; 16]) -> Hash {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, b"sanku/v1/invitation/number");
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    Hash::new(bytes)
}

/// The key that proves a request: another one than names the invitation.
fn proof_key(secret: &[u8; 16]) -> hmac::Key {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::Key::new(
        hmac::HMAC_SHA256,
        hmac::sign(&key, b"sanku/v1/invitation/proof").as_ref(),
    )
}

/// An invitation as its authority keeps it: given out, and used once.
#[derive(Clone, Debug)]
pub struct GivenOut {
    invitation: Invitation,
    used: Option<Hash>,
}

/// Why a code lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRedeemed {
    /// After its time.
    #[error("邀请码已过期，请开具新码 the code has expired: ask for a new one")]
    Expired,
    /// Used for another request.
    #[error(
        "邀请码已用于另一份申请，请开具新码并查明是谁用了它 the code was used for another request: ask for a new one, and find out who used it"
    )]
    Used,
    /// The proof is none.
    #[error("邀请码不对，或申请被改动 not this code, or the request was changed on its way")]
    Proof,
    /// For another place.
    #[error("邀请码属于另一个席位 the code is for another place")]
    Place,
}

impl GivenOut {
    /// An invitation that is given out, and the request that used it, if one did.
    pub const fn new(invitation: Invitation, used: Option<Hash>) -> Self {
        Self { invitation, used }
    }

    /// The invitation.
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// The request that used it.
    pub const fn used(&self) -> Option<Hash> {
        self.used
    }

    /// Lets a request in: for this code, in time, proven, and the only one. The same request may be repeated, for its answer
    /// may have been lost.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn redeem(&mut self, code: DivisionCode, request: Hash, proof: &Hash, now: Time) -> Result<(), NotRedeemed> {
        if !self.invitation.proven(&request, proof) {
            return Err(NotRedeemed::Proof);
        }
        if code != self.invitation.terms.code {
            return Err(NotRedeemed::Place);
        }
        match self.used {
            Some(used) if used != request => return Err(NotRedeemed::Used),
            None if now > self.invitation.terms.not_after => return Err(NotRedeemed::Expired),
            _ => {}
        }
        self.used = Some(request);
        Ok(())
    }
}
