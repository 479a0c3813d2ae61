//! Notes (公告): what the whole federation agrees on. A signed note whose text is name, number, one line of JSON.

use std::collections::BTreeSet;

use sanku_catalogue::CategoryId;
use sanku_tlog::{Hash, SignedNote, SigningKey, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::NoteRef;
use crate::json;
use crate::names::closed_list;
use crate::seal::SealingPublicKey;

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteRefused {
    /// Not the form of a note.
    #[error("not a note: {0}")]
    Form(String),
    /// Signed by another key than it needs.
    #[error("signed by another key than it needs")]
    Signer,
    /// Its number is more than 15 minutes ahead.
    #[error("its number lies in the future")]
    Future,
    /// A note of the same name with a higher number is at hand.
    #[error("a newer one is at hand")]
    Older,
    /// Same name and number, other text: a fork.
    #[error("same name and number, other text: a fork")]
    Fork,
    /// What it rests on is not at hand.
    #[error("what it rests on is not at hand: {0}")]
    Missing(&'static str),
}

/// A note's bytes, taken apart but not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawNote {
    /// The signed note.
    pub signed: SignedNote,
    /// Its name.
    pub name: String,
    /// Issue time in Unix milliseconds.
    pub number: u64,
    json: String,
}

impl RawNote {
    /// Takes a note apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteRefused> {
        let form = |why: &str| NoteRefused::Form(why.to_owned());
        let signed = SignedNote::parse(bytes).map_err(|_| form("not a signed note"))?;
        let mut lines = signed.text().strip_suffix('\n').unwrap_or_default().split('\n');
        let (Some(name), Some(number), Some(json), None) = (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(form("its text is not name, number and one line of JSON"));
        };
        let value: u64 = number.parse().map_err(|_| form("no number"))?;
        if value.to_string() != number || value >= 1 << 53 {
            return Err(form("no number"));
        }
        Ok(Self {
            name: name.to_owned(),
            number: value,
            json: json.to_owned(),
            signed,
        })
    }

    /// Its identity: number and SHA-256 of the text, without signatures.
    pub fn reference(&self) -> NoteRef {
        NoteRef {
            number: self.number,
            digest: Hash::of(self.signed.text().as_bytes()),
        }
    }

    /// Its content as a type.
    pub fn content<T: DeserializeOwned>(&self) -> Result<T, NoteRefused> {
        json::parse(self.json.as_bytes()).map_err(|error| NoteRefused::Form(error.to_string()))
    }

    /// Whether this key signed it.
    pub fn signed_by(&self, key: &VerifierKey) -> Result<(), NoteRefused> {
        self.signed.verified_by(key).map_err(|_| NoteRefused::Signer)
    }
}

/// Writes and signs a note.
pub fn sign<T: Serialize>(name: &str, number: Time, content: &T, key: &SigningKey) -> Result<SignedNote, NoteRefused> {
    let json = serde_json::to_string(content).map_err(|_| NoteRefused::Form("it cannot be written".to_owned()))?;
    key.sign_note(&format!("{name}\n{}\n{json}\n", number.millis()))
        .map_err(|_| NoteRefused::Form("it cannot be signed".to_owned()))
}

/// `<federation>/root`: whom all trust begins with (根公告).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The root's key for notes.
    pub key: VerifierKey,
    /// The root's X.509 certificates, base64 of DER.
    pub certificates: Vec<String>,
    /// The root's key as a witness of last resort.
    pub witness: VerifierKey,
}

/// `<federation>/delegation`: who publishes the registry and who issues certificates (授权公告).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The publisher of the registry.
    pub publisher: Delegate,
    /// The issuing authorities.
    pub authorities: Vec<Authority>,
}

/// A key that the root delegates to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// Its key for notes.
    pub key: VerifierKey,
    /// From.
    pub from: Time,
    /// Until.
    pub until: Time,
}

/// An issuing authority (发证机构), for codes below its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Whose authority it is.
    pub code: DivisionCode,
    /// Its key for notes.
    pub key: VerifierKey,
    /// Its CA certificate, base64 of DER.
    pub certificate: String,
    /// From.
    pub from: Time,
    /// Until.
    pub until: Time,
}

closed_list! {
    /// State of a node in the registry (节点状态).
    NodeState {
        /// It works.
        Active = "active",
        /// It left; what it said stays verifiable.
        Left = "left",
    }
}

/// `<federation>/registry`: every node (节点登记公告).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Every node, by code.
    pub nodes: Vec<NodeRow>,
    /// After it a new registry is due.
    pub not_after: Time,
    /// Until then nodes work on and warn.
    pub grace_until: Time,
}

/// One node of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRow {
    /// Its code.
    pub code: DivisionCode,
    /// The centre's name.
    pub name: String,
    /// Whether it works.
    pub state: NodeState,
    /// Where it listens: `HOST:PORT`.
    pub endpoints: Vec<String>,
    /// Its logs; the number rises.
    pub logs: Vec<LogRow>,
    /// Its witness keys.
    pub witness_keys: Vec<Delegate>,
    /// Its sealing keys.
    pub sealing_keys: Vec<SealingRow>,
    /// Categories it holds; rises.
    pub categories: Vec<CategoryId>,
    /// Format versions it reads; rises.
    pub formats: Vec<u32>,
    /// The order behind this row, where there is one.
    pub order: Option<Hash>,
}

impl NodeRow {
    /// Whether it reads a version of the form of statements that this program writes.
    pub fn reads_ours(&self) -> bool {
        self.formats.iter().any(|format| crate::entry::FORMATS.contains(format))
    }
}

/// A log of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRow {
    /// The log's number.
    pub number: u32,
    /// Its key.
    pub key: VerifierKey,
    /// From.
    pub from: Time,
    /// Until.
    pub until: Time,
    /// Its final size, once closed.
    pub final_size: Option<u64>,
}

/// A sealing key of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingRow {
    /// The key.
    pub key: SealingPublicKey,
    /// From.
    pub from: Time,
    /// Until.
    pub until: Time,
}

impl NodeRow {
    fn raw_keys(&self) -> impl Iterator<Item = [u8; 32]> {
        let logs = self.logs.iter().map(|log| *log.key.public());
        let witness = self.witness_keys.iter().map(|key| *key.key.public());
        logs.chain(witness)
            .chain(self.sealing_keys.iter().map(|key| *key.key.bytes()))
    }
}

impl Registry {
    /// A node's row.
    pub fn node(&self, code: DivisionCode) -> Option<&NodeRow> {
        self.nodes.iter().find(|row| row.code == code)
    }

    /// Every raw key that stands in it: none may stand twice.
    pub fn raw_keys(&self) -> impl Iterator<Item = [u8; 32]> {
        self.nodes.iter().flat_map(NodeRow::raw_keys)
    }

    /// What its types do not say.
    pub(crate) fn judge(&self) -> Result<(), NoteRefused> {
        let form = |why: &str| Err(NoteRefused::Form(why.to_owned()));
        let codes: Vec<_> = self.nodes.iter().map(|row| row.code).collect();
        if !json::rises(&codes) {
            return form("codes do not rise");
        }
        let mut keys = BTreeSet::new();
        for row in &self.nodes {
            if !row.raw_keys().all(|key| keys.insert(key)) {
                return form("a raw key stands twice");
            }
            let numbers: Vec<_> = row.logs.iter().map(|log| log.number).collect();
            if !json::rises(&numbers) || !json::rises(&row.categories) || !json::rises(&row.formats) {
                return form("numbers, categories or formats do not rise");
            }
        }
        crate::tree::Tree::of(self)
            .map(drop)
            .map_err(|_| NoteRefused::Form("not one active node without superior".to_owned()))
    }
}

closed_list! {
    /// What a row of a list of revocations is about.
    RevokedWhat {
        /// A node, for good.
        Node = "node",
        /// A node, until it is resumed.
        Suspended = "suspended",
        /// A certificate's serial, hex.
        Certificate = "certificate",
        /// A log, witness or sealing key, as the registry writes it.
        Key = "key",
    }
}

/// `<federation>/revoked/<code>`: what counts no more (吊销公告).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// When a newer list is due.
    pub next: Time,
    /// What is revoked or suspended.
    pub rows: Vec<RevokedRow>,
}

/// One thing that counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedRow {
    /// What it is.
    pub what: RevokedWhat,
    /// The node it belongs to.
    pub code: DivisionCode,
    /// Serial or key; nothing for a node.
    pub object: Option<String>,
    /// Since when.
    pub since: Time,
    /// Why.
    pub reason: String,
}

/// Names of notes.
pub mod name {
    use super::{DivisionCode, FederationName};

    /// The root's note.
    pub fn root(federation: &FederationName) -> String {
        format!("{federation}/root")
    }

    /// The delegation.
    pub fn delegation(federation: &FederationName) -> String {
        format!("{federation}/delegation")
    }

    /// The registry.
    pub fn registry(federation: &FederationName) -> String {
        format!("{federation}/registry")
    }

    /// A centre's people.
    pub fn people(federation: &FederationName, code: DivisionCode) -> String {
        format!("{federation}/people/{code}")
    }

    /// An authority's list of revocations.
    pub fn revoked(federation: &FederationName, code: DivisionCode) -> String {
        format!("{federation}/revoked/{code}")
    }
}
