//! Notes (公告): what the whole federation agrees on. A note is a C2SP signed note whose text is its name, its number and one
//! line of JSON.
//!
//! Here a note is read and written; who may have signed it, and which one is in force, judges [`crate::trust`]. A note
//! that exists has the form of its kind, and its content agrees with itself and with its name.

mod delegation;
mod registry;
mod revoked;
mod root;

use std::fmt;
use std::str::FromStr;

use sanku_tlog::{Hash, KeyType, NoteError, SignedNote, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use delegation::{AuthorityRow, Delegation, PublisherRow};
pub use registry::{Endpoint, LogRow, NodeRow, NodeState, Registry, SealingKeyRow, WitnessKeyRow};
pub use revoked::{CertificateRevocation, KeyRevocation, NodeRevocation, Revoked, Standing};
pub use root::Root;

use crate::entry::NoteRef;
use crate::json;

/// Which note of a federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// The root key and the X.509 roots.
    Root,
    /// The publisher's and the authorities' keys.
    Delegation,
    /// Every node.
    Registry,
    /// What an authority revoked.
    Revoked(DivisionCode),
}

/// A note's name: `<federation>/root`, `…/delegation`, `…/registry`, `…/revoked/<authority code>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteName {
    /// The federation.
    pub federation: FederationName,
    /// Which of its notes.
    pub kind: NoteKind,
}

/// What a note says, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// `<federation>/root`
    Root(Root),
    /// `<federation>/delegation`
    Delegation(Delegation),
    /// `<federation>/registry`
    Registry(Registry),
    /// `<federation>/revoked/<authority code>`
    Revoked(Revoked),
}

/// A note that was read. Its signatures are judged by [`crate::trust::Trust`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    name: NoteName,
    number: u64,
    hash: Hash,
    content: Content,
    signed: SignedNote,
}

/// Why bytes are no note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANote {
    /// No signed note, or no text of name, number and one line.
    #[error("not a signed note of name, number and one line of JSON")]
    Form,
    /// A name that no note has.
    #[error("a note of a name that is not known")]
    Name,
    /// The line is not of the kind's form.
    #[error("the note's line: {0}")]
    Line(#[from] json::NotALine),
    /// The content contradicts itself or the name.
    #[error("the note contradicts itself: {0}")]
    Content(&'static str),
}

impl Note {
    /// Reads a signed note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotANote> {
        let signed = SignedNote::parse(bytes).map_err(|_| NotANote::Form)?;
        if signed.to_string().as_bytes() != bytes {
            return Err(NotANote::Form);
        }
        Self::of(signed)
    }

    /// A note of its parts: writes the text, judges it, and lets `sign` sign it.
    ///
    /// # Errors
    /// What [`Note::parse`] would refuse; `Form` if it could not be signed.
    pub fn issue(
        name: &NoteName,
        number: u64,
        content: &Content,
        sign: impl FnOnce(&str) -> Result<SignedNote, NoteError>,
    ) -> Result<Self, NotANote> {
        let line = match content {
            Content::Root(content) => serde_json::to_string(content),
            Content::Delegation(content) => serde_json::to_string(content),
            Content::Registry(content) => serde_json::to_string(content),
            Content::Revoked(content) => serde_json::to_string(content),
        };
        let text = format!("{name}\n{number}\n{}\n", line.map_err(|_| NotANote::Form)?);
        Self::of(sign(&text).map_err(|_| NotANote::Form)?)
    }

    fn of(signed: SignedNote) -> Result<Self, NotANote> {
        let mut lines = signed.text().strip_suffix('\n').ok_or(NotANote::Form)?.split('\n');
        let (Some(name), Some(number), Some(line), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err(NotANote::Form);
        };
        let name: NoteName = name.parse()?;
        let number = read_number(number).ok_or(NotANote::Form)?;
        let content = name.read(line.as_bytes())?;
        let hash = Hash::of(signed.text().as_bytes());
        Ok(Self { name, number, hash, content, signed })
    }

    /// Its name.
    pub const fn name(&self) -> &NoteName {
        &self.name
    }

    /// Its number: the issue time in Unix milliseconds.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The issue time that the number is.
    pub fn issued(&self) -> Time {
        Time::from_millis(i64::try_from(self.number).unwrap_or(i64::MAX))
    }

    /// SHA-256 of its text, without signatures: its identity.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Number and hash, as a question names a registry.
    pub const fn reference(&self) -> NoteRef {
        NoteRef { number: self.number, digest: self.hash }
    }

    /// What it says.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Text and signatures.
    pub const fn signed(&self) -> &SignedNote {
        &self.signed
    }

    /// The bytes that travel.
    pub fn bytes(&self) -> Vec<u8> {
        self.signed.to_string().into_bytes()
    }

    /// The registry, if it is one.
    pub const fn registry(&self) -> Option<&Registry> {
        if let Content::Registry(registry) = &self.content { Some(registry) } else { None }
    }

    pub(crate) const fn root(&self) -> Option<&Root> {
        if let Content::Root(root) = &self.content { Some(root) } else { None }
    }

    pub(crate) const fn delegation(&self) -> Option<&Delegation> {
        if let Content::Delegation(delegation) = &self.content { Some(delegation) } else { None }
    }

    pub(crate) const fn revoked(&self) -> Option<&Revoked> {
        if let Content::Revoked(revoked) = &self.content { Some(revoked) } else { None }
    }
}

impl NoteName {
    /// A name of its parts.
    pub const fn new(federation: FederationName, kind: NoteKind) -> Self {
        Self { federation, kind }
    }

    fn read(&self, line: &[u8]) -> Result<Content, NotANote> {
        fn typed<T: DeserializeOwned>(line: &[u8]) -> Result<T, NotANote> {
            Ok(json::parse(line)?)
        }
        let federation = &self.federation;
        let (content, fault) = match self.kind {
            NoteKind::Root => {
                let root: Root = typed(line)?;
                let fault = root.fault(federation);
                (Content::Root(root), fault)
            }
            NoteKind::Delegation => {
                let delegation: Delegation = typed(line)?;
                let fault = delegation.fault(federation);
                (Content::Delegation(delegation), fault)
            }
            NoteKind::Registry => {
                let mut registry: Registry = typed(line)?;
                let fault = registry.settle(federation);
                (Content::Registry(registry), fault)
            }
            NoteKind::Revoked(authority) => {
                let revoked: Revoked = typed(line)?;
                let fault = revoked.fault(federation, authority);
                (Content::Revoked(revoked), fault)
            }
        };
        fault.map_or(Ok(content), |fault| Err(NotANote::Content(fault)))
    }
}

impl fmt::Display for NoteName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NoteKind::Root => write!(out, "{}/root", self.federation),
            NoteKind::Delegation => write!(out, "{}/delegation", self.federation),
            NoteKind::Registry => write!(out, "{}/registry", self.federation),
            NoteKind::Revoked(code) => write!(out, "{}/revoked/{code}", self.federation),
        }
    }
}

impl FromStr for NoteName {
    type Err = NotANote;

    fn from_str(text: &str) -> Result<Self, NotANote> {
        let (federation, rest) = text.split_once('/').ok_or(NotANote::Name)?;
        let kind = match rest {
            "root" => NoteKind::Root,
            "delegation" => NoteKind::Delegation,
            "registry" => NoteKind::Registry,
            _ => {
                let code = rest.strip_prefix("revoked/").ok_or(NotANote::Name)?;
                NoteKind::Revoked(code.parse().map_err(|_| NotANote::Name)?)
            }
        };
        Ok(Self { federation: federation.parse().map_err(|_| NotANote::Name)?, kind })
    }
}

impl Serialize for NoteName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NoteName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|_| serde::de::Error::custom("a value of another form"))
    }
}

/// A positive decimal below 2^53 without leading noughts.
fn read_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number < 1 << 53 && number.to_string() == text).then_some(number)
}

/// Names of keys, which separate their uses.
pub mod key_names {
    use sanku_values::{DivisionCode, FederationName};

    /// The root's note key.
    pub fn root(federation: &FederationName) -> String {
        format!("{federation}/root")
    }

    /// The publisher of registries.
    pub fn publisher(federation: &FederationName) -> String {
        format!("{federation}/publisher")
    }

    /// An issuing authority's note key.
    pub fn authority(federation: &FederationName, code: DivisionCode) -> String {
        format!("{federation}/authority/{code}")
    }

    /// A node as witness of its neighbours' logs.
    pub fn witness(federation: &FederationName, code: DivisionCode) -> String {
        format!("{federation}/witness/{code}")
    }

    /// The root as witness of the province's log.
    pub fn root_witness(federation: &FederationName) -> String {
        format!("{federation}/witness/root")
    }
}

/// The version of every note's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionOne;

impl Serialize for VersionOne {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for VersionOne {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if u8::deserialize(deserializer)? == 1 { Ok(Self) } else { Err(serde::de::Error::custom("another version")) }
    }
}

fn key_is(key: &VerifierKey, name: &str, kind: KeyType) -> bool {
    key.name() == name && key.kind() == kind
}

/// Bytes as base64 in JSON (canonical, refused otherwise).
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|_| serde::de::Error::custom("a value of another form"))
    }

    /// A list of such bytes.
    pub(super) mod list {
        use super::{Deserialize, Deserializer, Engine as _, STANDARD, Serialize, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
            list.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>().serialize(serializer)
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
            let texts = Vec::<String>::deserialize(deserializer)?;
            texts
                .iter()
                .map(|text| STANDARD.decode(text))
                .collect::<Result<_, _>>()
                .map_err(|_| serde::de::Error::custom("a value of another form"))
        }
    }
}
