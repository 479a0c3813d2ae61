//! `<federation>/root`: the key everything else hangs on, and the X.509 roots.

use sanku_tlog::{Hash, KeyType, VerifierKey};
use sanku_values::FederationName;
use serde::{Deserialize, Serialize};

use super::{VersionOne, key_is, key_names};

/// The root note (根公告). The first is signed by its own key; each later one by the key before and by its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Form's version.
    pub v: VersionOne,
    /// Number of the root note before; null in the first. So no reader can skip one.
    pub previous: Option<u64>,
    /// The root's key for notes, named `<federation>/root`.
    pub key: VerifierKey,
    /// The root's key as witness of the province's log, named `<federation>/witness/root`; null if there is none.
    pub witness: Option<VerifierKey>,
    /// X.509 root certificates, DER.
    #[serde(with = "super::base64_bytes::list")]
    pub certificates: Vec<Vec<u8>>,
}

impl Root {
    /// SHA-256 of the key's vkey text. That of the first root note is all that a verifier needs to know beforehand.
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.key.to_string().as_bytes())
    }

    pub(super) fn fault(&self, federation: &FederationName) -> Option<&'static str> {
        if !key_is(&self.key, &key_names::root(federation), KeyType::Ed25519) {
            return Some("the root's key has another name or type");
        }
        match &self.witness {
            Some(key) if !key_is(key, &key_names::root_witness(federation), KeyType::CosignatureV1) => {
                Some("the root's witness key has another name or type")
            }
            Some(key) if key.public() == self.key.public() => Some("a raw key stands twice"),
            _ => None,
        }
    }
}
