//! `<federation>/revoked/<authority code>`: what an authority suspended or revoked.

use sanku_tlog::Hash;
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};

use super::{VersionOne, key_names};
use crate::json::rises;
use crate::names::Origin;

/// A list of revocations (吊销公告), signed by the authority it is named after, or by one above it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// Form's version.
    pub v: VersionOne,
    /// Nodes, codes rising.
    pub nodes: Vec<NodeRevocation>,
    /// Certificates that this authority issued, serials rising.
    pub certificates: Vec<CertificateRevocation>,
    /// Log, witness and sealing keys, rising by raw key.
    pub keys: Vec<KeyRevocation>,
}

/// A node that is suspended or revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRevocation {
    /// The node.
    pub code: DivisionCode,
    /// Which of both.
    pub standing: Standing,
    /// Since when.
    pub since: Time,
    /// Why, for people.
    pub why: String,
}

/// How a node stands that may take no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// 暂停, reversible.
    Suspended,
    /// 吊销
    Revoked,
}

/// A certificate by its serial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRevocation {
    /// Lower-case hex, two digits a byte.
    pub serial: String,
    /// Since when.
    pub since: Time,
    /// Why, for people.
    pub why: String,
}

/// A log, witness or sealing key of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevocation {
    /// The raw public key, in lower-case hex.
    pub key: Hash,
    /// Whose it is.
    pub code: DivisionCode,
    /// Its name: a log's origin, a witness's name, or `<federation>/sealing/<code>`.
    pub name: String,
    /// Since when.
    pub since: Time,
    /// Why, for people.
    pub why: String,
}

impl Revoked {
    /// Every division that a row acts on.
    pub fn codes(&self) -> impl Iterator<Item = DivisionCode> {
        self.nodes.iter().map(|row| row.code).chain(self.keys.iter().map(|row| row.code))
    }

    /// The row of a node.
    pub fn node(&self, code: DivisionCode) -> Option<&NodeRevocation> {
        self.nodes.iter().find(|row| row.code == code)
    }

    /// Whether every row of `earlier` still stands here, dates and reasons aside, and no node's standing grew lighter.
    pub(crate) fn keeps(&self, earlier: &Self) -> bool {
        let node = |row: &NodeRevocation| self.node(row.code).is_some_and(|now| now.standing >= row.standing);
        let certificate = |row: &CertificateRevocation| self.certificates.iter().any(|now| now.serial == row.serial);
        let key = |row: &KeyRevocation| self.keys.iter().any(|now| now.key == row.key && now.code == row.code);
        earlier.nodes.iter().all(node) && earlier.certificates.iter().all(certificate) && earlier.keys.iter().all(key)
    }

    pub(super) fn fault(&self, federation: &FederationName, authority: DivisionCode) -> Option<&'static str> {
        let keys: Vec<_> = self.keys.iter().map(|row| row.key).collect();
        let nodes: Vec<_> = self.nodes.iter().map(|row| row.code).collect();
        let serials: Vec<_> = self.certificates.iter().map(|row| &row.serial).collect();
        if !rises(&nodes) || !rises(&serials) || !rises(&keys) {
            return Some("rows do not rise");
        }
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let serial = |text: &str| (2..=40).contains(&text.len()) && text.len().is_multiple_of(2) && text.bytes().all(digit);
        if !self.certificates.iter().all(|row| serial(&row.serial)) {
            return Some("a serial is not lower-case hex");
        }
        if !self.codes().all(|code| code == authority || code.is_below(authority)) {
            return Some("a row acts outside the authority's division");
        }
        let named = |row: &KeyRevocation| {
            let log = row.name.parse::<Origin>().is_ok_and(|origin| origin.federation == *federation && origin.node == row.code);
            log || row.name == key_names::witness(federation, row.code) || row.name == format!("{federation}/sealing/{}", row.code)
        };
        (!self.keys.iter().all(named)).then_some("a key's name is not its node's")
    }
}
