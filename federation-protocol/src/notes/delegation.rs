//! `<federation>/delegation`: whom the root lets publish the registry and issue certificates.

use sanku_tlog::{KeyType, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};

use super::{VersionOne, key_is, key_names};

/// The delegation (授权公告), signed by the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Form's version.
    pub v: VersionOne,
    /// Keys that may sign registries.
    pub publishers: Vec<PublisherRow>,
    /// Keys and certificates of issuing authorities.
    pub authorities: Vec<AuthorityRow>,
}

/// A key of the registry's publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherRow {
    /// Named `<federation>/publisher`.
    pub key: VerifierKey,
    /// Signs from here.
    pub from: Time,
    /// Signs before here.
    pub until: Time,
}

/// An issuing authority (发证机构).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityRow {
    /// The division it issues for: its own node and all below.
    pub code: DivisionCode,
    /// Named `<federation>/authority/<code>`.
    pub key: VerifierKey,
    /// Its CA certificate, DER.
    #[serde(with = "super::base64_bytes")]
    pub certificate: Vec<u8>,
    /// Acts from here.
    pub from: Time,
    /// Acts before here.
    pub until: Time,
}

impl Delegation {
    /// Keys of publishers that were good at an instant.
    pub fn publishers_at(&self, at: Time) -> impl Iterator<Item = &VerifierKey> {
        self.publishers.iter().filter(move |row| row.from <= at && at < row.until).map(|row| &row.key)
    }

    /// Authorities that were good at an instant.
    pub fn authorities_at(&self, at: Time) -> impl Iterator<Item = &AuthorityRow> {
        self.authorities.iter().filter(move |row| row.from <= at && at < row.until)
    }

    pub(super) fn fault(&self, federation: &FederationName) -> Option<&'static str> {
        let publisher = key_names::publisher(federation);
        if self.publishers.iter().any(|row| !key_is(&row.key, &publisher, KeyType::Ed25519) || row.until <= row.from) {
            return Some("a publisher's key has another name or type, or ends before it begins");
        }
        let authority = |row: &AuthorityRow| key_is(&row.key, &key_names::authority(federation, row.code), KeyType::Ed25519);
        if self.authorities.iter().any(|row| !authority(row) || row.until <= row.from) {
            return Some("an authority's key has another name or type, or ends before it begins");
        }
        let publishers = self.publishers.iter().map(|row| row.key.public());
        let mut keys: Vec<_> = publishers.chain(self.authorities.iter().map(|row| row.key.public())).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1]).then_some("a raw key stands twice")
    }
}
