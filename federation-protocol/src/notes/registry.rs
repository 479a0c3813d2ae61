//! `<federation>/registry`: every node, also those that left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use sanku_catalogue::CategoryId;
use sanku_tlog::{Hash, KeyType, VerifierKey};
use sanku_values::{DivisionCode, FederationName, Time};
use serde::{Deserialize, Serialize};

use super::{VersionOne, key_is, key_names};
use crate::json::rises;
use crate::names::Origin;
use crate::tree::Tree;

/// The registry (登记簿), signed by the publisher. Its active nodes form a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Form's version.
    pub v: VersionOne,
    /// Until when it is in force without warning.
    pub not_after: Time,
    /// Until when nodes work on with it, and warn.
    pub grace_until: Time,
    /// Every node, codes rising.
    pub nodes: Vec<NodeRow>,
    #[serde(skip)]
    tree: Tree,
}

/// A node's row (节点).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRow {
    /// Its code.
    pub code: DivisionCode,
    /// Its name for people, such as 沙市区.
    pub name: String,
    /// Whether it takes part.
    pub state: NodeState,
    /// Where its peer port listens.
    pub endpoints: Vec<Endpoint>,
    /// Its logs, numbers rising.
    pub logs: Vec<LogRow>,
    /// Its keys as a witness.
    pub witness_keys: Vec<WitnessKeyRow>,
    /// Its keys that bodies are sealed to.
    pub sealing_keys: Vec<SealingKeyRow>,
    /// Categories it holds, rising.
    pub categories: Vec<CategoryId>,
    /// Format versions it reads, rising.
    pub formats: Vec<u32>,
    /// Hash of the order behind this row; null where none exists.
    pub order: Option<Hash>,
}

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// 在册
    Active,
    /// 已退出; what it said stays verifiable.
    Left,
}

/// Host and port of a peer listener, `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// One of a node's logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRow {
    /// The log's number.
    pub number: u32,
    /// Its key, named as its origin.
    pub key: VerifierKey,
    /// Good from here.
    pub from: Time,
    /// Good before here; null while the log is open.
    pub until: Option<Time>,
    /// Size at which it was closed; null while it is open.
    pub final_size: Option<u64>,
}

/// A witness key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessKeyRow {
    /// Named `<federation>/witness/<code>`.
    pub key: VerifierKey,
    /// Good from here.
    pub from: Time,
    /// Good before here; null while in use.
    pub until: Option<Time>,
}

/// A sealing key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingKeyRow {
    /// The raw X25519 public key, in lower-case hex.
    pub key: Hash,
    /// Sealed to from here.
    pub from: Time,
    /// Sealed to before here; null while in use.
    pub until: Option<Time>,
}

impl Registry {
    /// A registry of its rows, whose tree is found when a note is made of it.
    pub fn new(not_after: Time, grace_until: Time, mut nodes: Vec<NodeRow>) -> Self {
        nodes.sort_by_key(|row| row.code);
        Self { v: VersionOne, not_after, grace_until, nodes, tree: Tree::default() }
    }

    /// The row of a node, active or left.
    pub fn node(&self, code: DivisionCode) -> Option<&NodeRow> {
        self.nodes.binary_search_by_key(&code, |row| row.code).ok().map(|place| &self.nodes[place])
    }

    /// The row of an active node.
    pub fn active(&self, code: DivisionCode) -> Option<&NodeRow> {
        self.node(code).filter(|row| row.state == NodeState::Active)
    }

    /// The tree of the active nodes.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether a node says that it keeps this category.
    pub fn holds(&self, code: DivisionCode, category: &CategoryId) -> bool {
        self.active(code).is_some_and(|row| row.categories.binary_search(category).is_ok())
    }

    /// The categories that each active node holds.
    pub fn held(&self) -> BTreeMap<DivisionCode, BTreeSet<CategoryId>> {
        let active = self.nodes.iter().filter(|row| row.state == NodeState::Active);
        active.map(|row| (row.code, row.categories.iter().cloned().collect())).collect()
    }

    /// The newest key that a node's answers are sealed to at an instant.
    pub fn sealing_key(&self, code: DivisionCode, at: Time) -> Option<&SealingKeyRow> {
        let good = |row: &&SealingKeyRow| row.from <= at && row.until.is_none_or(|until| at < until);
        self.active(code)?.sealing_keys.iter().filter(good).max_by_key(|row| row.from)
    }

    /// Judges what the types do not say, and finds the tree.
    pub(super) fn settle(&mut self, federation: &FederationName) -> Option<&'static str> {
        if self.grace_until < self.not_after {
            return Some("grace ends before not_after");
        }
        if !self.nodes.windows(2).all(|pair| pair[0].code < pair[1].code) {
            return Some("codes do not rise");
        }
        if let Some(fault) = self.nodes.iter().find_map(|row| row.fault(federation)) {
            return Some(fault);
        }
        let mut keys: Vec<&[u8; 32]> = self.nodes.iter().flat_map(NodeRow::raw_keys).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Some("a raw key stands twice");
        }
        let active = self.nodes.iter().filter(|row| row.state == NodeState::Active).map(|row| row.code);
        match Tree::build(active) {
            Ok(tree) => {
                self.tree = tree;
                None
            }
            Err(_) => Some("the active nodes have not exactly one without superior"),
        }
    }
}

impl NodeRow {
    fn raw_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        let logs = self.logs.iter().map(|row| row.key.public());
        let witness = self.witness_keys.iter().map(|row| row.key.public());
        logs.chain(witness).chain(self.sealing_keys.iter().map(|row| row.key.bytes()))
    }

    fn fault(&self, federation: &FederationName) -> Option<&'static str> {
        let origin = |number| Origin { federation: federation.clone(), node: self.code, number }.to_string();
        let ends = |from: Time, until: Option<Time>| until.is_some_and(|until| until < from);
        if !self.logs.windows(2).all(|pair| pair[0].number < pair[1].number) {
            return Some("log numbers do not rise");
        }
        if self.logs.iter().any(|row| row.number == 0 || !key_is(&row.key, &origin(row.number), KeyType::Ed25519)) {
            return Some("a log's key has another name or type");
        }
        if self.logs.iter().any(|row| row.final_size.is_some() && row.until.is_none()) {
            return Some("a closed log has no end");
        }
        if self.state == NodeState::Left && self.logs.iter().any(|row| row.until.is_none()) {
            return Some("a node that left has an open log");
        }
        let witness = key_names::witness(federation, self.code);
        if self.witness_keys.iter().any(|row| !key_is(&row.key, &witness, KeyType::CosignatureV1)) {
            return Some("a witness key has another name or type");
        }
        let spans = self.logs.iter().map(|row| (row.from, row.until));
        let spans = spans.chain(self.witness_keys.iter().map(|row| (row.from, row.until)));
        if spans.chain(self.sealing_keys.iter().map(|row| (row.from, row.until))).any(|(from, until)| ends(from, until)) {
            return Some("a key ends before it begins");
        }
        if !rises(&self.categories) || !rises(&self.formats) {
            return Some("categories or formats do not rise");
        }
        (self.name.is_empty() || self.name.chars().any(char::is_control)).then_some("a name that cannot be shown")
    }
}

impl Endpoint {
    /// A DNS name, IPv4 address, or IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Endpoint {
    type Err = super::NotANote;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = super::NotANote::Content("an endpoint is not host:port");
        let Some((host, port)) = text.rsplit_once(':') else { return Err(fault) };
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let six = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named = !host.is_empty() && host.len() <= 253 && host.bytes().all(good);
        let host_is_good = six.map_or(named, |six| six.parse::<std::net::Ipv6Addr>().is_ok());
        match port.parse::<u16>() {
            Ok(number) if number > 0 && host_is_good && number.to_string() == port => {
                Ok(Self { host: host.to_owned(), port: number })
            }
            _ => Err(fault),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|_| serde::de::Error::custom("a value of another form"))
    }
}
