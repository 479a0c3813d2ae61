//! Acts with a public part (公开部分): what a node asks of an authority or of the publisher (申请), what an authority issued, and
//! which order was executed. Each action has one closed type; PROTOCOL.md §2 lists them. All other acts have none.
//!
//! A request is a statement like any other: it stands in the node's own log, so that the node's key signs all that it ever
//! wished for. Whether it is granted is for authorities to judge (`sanku-certs`); here is what it must look like.

mod keys;
#[cfg(test)]
mod tests;

use sanku_catalogue::CategoryId;
use sanku_tlog::{Hash, KeyType, VerifierKey};
use sanku_values::{DivisionCode, Time};
use serde::{Deserialize, Serialize};

pub use keys::{Possession, Serial, Spki};

use crate::entry::ActEntry;
use crate::json::rises;
use crate::names::{Origin, Word, closed_list};
use crate::seal::SealingPublicKey;

/// Most addresses, categories and formats of a node, and orders behind a certificate.
const MOST_ENDPOINTS: usize = 8;
const MOST_CATEGORIES: usize = 256;
const MOST_FORMATS: usize = 16;
const MOST_ORDERS: usize = 16;
/// Longest name of a centre, in characters.
const LONGEST_NAME: usize = 100;

closed_list! {
    /// Why a node asks for a certificate.
    Occasion {
        /// It enrols.
        First = "first",
        /// Its certificate is good, and past half of its life.
        Renewal = "renewal",
        /// Its certificate expired while it was away.
        Return = "return",
    }
}

/// A node asks for a certificate (申请证书).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// Why.
    pub occasion: Occasion,
    /// The new key for TLS.
    pub tls: Spki,
    /// That the node has this key.
    pub possession: Possession,
    /// What the registry is to say of the node: with its first request alone.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::entry::present"
    )]
    pub node: Option<Newcomer>,
}

/// What the registry is to say of a node that enrols.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newcomer {
    /// The centre's name.
    pub name: String,
    /// Where it listens.
    pub endpoints: Vec<String>,
    /// Categories it holds; rises.
    pub categories: Vec<CategoryId>,
    /// Format versions it reads; rises.
    pub formats: Vec<u32>,
    /// The key of the log that this request stands in.
    pub log: VerifierKey,
    /// Its key as a witness.
    pub witness: VerifierKey,
    /// Its sealing key.
    pub sealing: SealingPublicKey,
}

/// A centre asks for an authority's certificate and notes' key (申请发证机构).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityRequest {
    /// The key that is to sign certificates.
    pub authority: Spki,
    /// That the centre has this key.
    pub possession: Possession,
    /// The key that is to sign lists of revocations.
    pub notes: VerifierKey,
}

/// A node asks for another sealing key beside its own (新增封装密钥).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingRequest {
    /// The key.
    pub sealing: SealingPublicKey,
}

/// A node asks for another witness key beside its own (新增见证密钥).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessRequest {
    /// The key.
    pub witness: VerifierKey,
}

/// A node moves to other addresses (变更地址).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointsRequest {
    /// All of them, from now on.
    pub endpoints: Vec<String>,
}

/// A node holds other categories than before (变更数据类别).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoriesRequest {
    /// All of them, from now on; rises.
    pub categories: Vec<CategoryId>,
}

/// An authority is about to sign a certificate (签发证书): said before it signs, and carried by the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateIssue {
    /// Whose certificate.
    pub code: DivisionCode,
    /// SHA-256 of its key (the DER of SubjectPublicKeyInfo).
    pub key: Hash,
    /// Its serial.
    pub serial: Serial,
    /// Its first second.
    pub not_before: Time,
    /// Its last second.
    pub not_after: Time,
    /// Leaf hash of the node's own request.
    pub request: Hash,
    /// Hashes of the orders behind it; rises.
    pub orders: Vec<Hash>,
}

/// An order was executed (执行指令); the act's body carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderExecuted {
    /// Its hash: SHA-256 of its text, without signatures.
    pub order: Hash,
    /// What was ordered.
    pub ordered: Word,
}

macro_rules! public {
    ($($(#[$doc:meta])* $name:ident($type:ty) $action:literal $request:literal),* $(,)?) => {
        /// The public part of an act. On the wire it is the members of its type alone, for the entry's `action` says which.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(untagged)]
        pub enum Public { $($(#[$doc])* $name($type),)* }

        impl Public {
            /// The actions that have a public part.
            pub const ACTIONS: &[&str] = &[$($action),*];

            /// The action that this is the public part of.
            pub const fn action(&self) -> &'static str {
                match self { $(Self::$name(_) => $action,)* }
            }

            /// Whether it asks somebody for something; the entry's `to` says whom.
            pub const fn is_request(&self) -> bool {
                match self { $(Self::$name(_) => $request,)* }
            }
        }
    };
}

public! {
    /// For a certificate.
    Certificate(CertificateRequest) "certificate.request" true,
    /// For an authority.
    Authority(AuthorityRequest) "authority.request" true,
    /// For another sealing key.
    Sealing(SealingRequest) "sealing.request" true,
    /// For another witness key.
    Witness(WitnessRequest) "witness.request" true,
    /// For other addresses.
    Endpoints(EndpointsRequest) "endpoints.request" true,
    /// For other categories.
    Categories(CategoriesRequest) "categories.request" true,
    /// A certificate is about to be signed.
    Issue(CertificateIssue) "certificate.issue" false,
    /// An order was executed.
    Order(OrderExecuted) "order.execute" false,
}

impl Public {
    /// The entry of an act with this public part. Its `object` is the SHA-256 of the code that it is about: a public name.
    pub fn entry(self, about: DivisionCode, to: Option<DivisionCode>) -> ActEntry {
        ActEntry {
            action: Word::fixed(self.action()),
            object: Hash::of(about.to_string().as_bytes()),
            to,
            public: Some(Box::new(self)),
        }
    }

    /// What its types do not say.
    fn judge(&self, log: &Origin) -> Option<&'static str> {
        match self {
            Self::Certificate(request) => request.judge(log),
            Self::Authority(request) => judge_key(&request.notes, KeyType::Ed25519, &authority_name(log)),
            Self::Sealing(_) => None,
            Self::Witness(request) => judge_key(&request.witness, KeyType::CosignatureV1, &witness_name(log)),
            Self::Endpoints(request) => judge_endpoints(&request.endpoints),
            Self::Categories(request) => judge_categories(&request.categories),
            Self::Issue(issue) => issue.judge(),
            Self::Order(_) => None,
        }
    }
}

impl ActEntry {
    /// A public part stands with the actions that have one and with no other, and only requests are addressed to somebody.
    pub(crate) fn judge(&self, log: &Origin) -> Option<&'static str> {
        match &self.public {
            None if Public::ACTIONS.contains(&self.action.as_str()) => Some("the act's public part is missing"),
            None => None,
            Some(public) if public.action() != self.action.as_str() => Some("the public part of another action"),
            Some(public) if public.is_request() != self.to.is_some() => Some("requests alone say to whom"),
            Some(public) => public.judge(log),
        }
    }
}

fn witness_name(log: &Origin) -> String {
    format!("{}/witness/{}", log.federation, log.node)
}

fn authority_name(log: &Origin) -> String {
    crate::notes::name::revoked(&log.federation, log.node)
}

fn judge_key(key: &VerifierKey, kind: KeyType, name: &str) -> Option<&'static str> {
    (key.kind() != kind || key.name() != name).then_some("a key under another name or of another type")
}

impl CertificateRequest {
    fn judge(&self, log: &Origin) -> Option<&'static str> {
        match (&self.node, self.occasion) {
            (None, Occasion::First) => Some("a first request says what the registry is to hold"),
            (Some(_), Occasion::Renewal | Occasion::Return) => Some("only a first request introduces the node"),
            (None, _) => None,
            (Some(node), _) => node.judge(log),
        }
    }
}

impl Newcomer {
    fn judge(&self, log: &Origin) -> Option<&'static str> {
        let plain = !self.name.trim().is_empty() && !self.name.chars().any(char::is_control);
        if !plain || self.name.chars().count() > LONGEST_NAME {
            return Some("a centre's name is a line of 1 to 100 characters");
        }
        if !(1..=MOST_FORMATS).contains(&self.formats.len()) || !rises(&self.formats) {
            return Some("formats do not rise");
        }
        judge_endpoints(&self.endpoints)
            .or_else(|| judge_categories(&self.categories))
            .or_else(|| judge_key(&self.log, KeyType::Ed25519, &log.to_string()))
            .or_else(|| judge_key(&self.witness, KeyType::CosignatureV1, &witness_name(log)))
    }
}

impl CertificateIssue {
    fn judge(&self) -> Option<&'static str> {
        let whole = |time: Time| time.millis() % 1000 == 0;
        if !whole(self.not_before) || !whole(self.not_after) || self.not_before >= self.not_after {
            return Some("a certificate's life is in whole seconds");
        }
        (self.orders.len() > MOST_ORDERS || !rises(&self.orders)).then_some("orders do not rise")
    }
}

fn judge_categories(categories: &[CategoryId]) -> Option<&'static str> {
    (categories.len() > MOST_CATEGORIES || !rises(categories)).then_some("categories do not rise")
}

fn judge_endpoints(endpoints: &[String]) -> Option<&'static str> {
    let mut seen = std::collections::BTreeSet::new();
    let good = |endpoint: &String| split_endpoint(endpoint).is_some() && seen.insert(endpoint.clone());
    (!(1..=MOST_ENDPOINTS).contains(&endpoints.len()) || !endpoints.iter().all(good))
        .then_some("endpoints are 1 to 8 different HOST:PORT")
}

/// Host and port of an endpoint, `HOST:PORT` or `[ADDRESS]:PORT`; nothing if it is none.
pub fn split_endpoint(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-.:".contains(&octet);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(plain)).then_some((host, port))
}
