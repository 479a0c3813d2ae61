//! Names and closed lists that entries and bodies are made of: statement ids, origins, purposes, rules, outcomes.

use std::fmt;
use std::str::FromStr;

use sanku_values::{DivisionCode, FederationName};
use serde::{Deserialize, Serialize};

macro_rules! as_text {
    ($type:ty, $expected:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(|_| serde::de::Error::custom(concat!("not ", $expected)))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }
    };
}

pub(crate) use as_text;

/// A text that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct NotThis(pub(crate) &'static str);

/// A statement's id: UUIDv7, lower case with hyphens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementId(uuid::Uuid);

impl StatementId {
    /// A fresh id of this instant.
    pub fn generate(now: sanku_values::Time) -> Self {
        let millis = now.millis().unsigned_abs();
        let seconds = millis / 1000;
        let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
        Self(uuid::Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            nanos,
        )))
    }
}

impl FromStr for StatementId {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| NotThis("a UUIDv7"))?;
        if id.get_version_num() == 7 && id.hyphenated().to_string() == text {
            Ok(Self(id))
        } else {
            Err(NotThis("a UUIDv7"))
        }
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.hyphenated())
    }
}

as_text!(StatementId, "a UUIDv7");

/// A log's origin: `<federation>/node/<code>/<log number>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The federation.
    pub federation: FederationName,
    /// Whose log it is.
    pub node: DivisionCode,
    /// Rises when a log is given up or its key rotated.
    pub number: u32,
}

impl FromStr for Origin {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let read = || {
            let (federation, rest) = text.split_once("/node/")?;
            let (node, number) = rest.split_once('/')?;
            let origin = Self {
                federation: federation.parse().ok()?,
                node: node.parse().ok()?,
                number: number.parse().ok()?,
            };
            (origin.number > 0 && origin.to_string() == text).then_some(origin)
        };
        read().ok_or(NotThis("a log's origin"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/node/{}/{}", self.federation, self.node, self.number)
    }
}

as_text!(Origin, "a log's origin");

/// A short word of lower-case letters, digits and `_`: purposes (查询目的), roles, why something is unavailable.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(String);

impl Word {
    /// A word of ours: closed lists of the protocol are made of words alone.
    pub(crate) fn fixed(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = NotThis;

    fn from_str(text: &str) -> Result<Self, NotThis> {
        let good = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-'));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotThis("a word of lower-case letters, digits and _"))
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

as_text!(Word, "a word of lower-case letters, digits and _");

/// A keyed pseudonym: 64 lower-case hex digits of an HMAC under a key of the node.
pub type Pseudonym = sanku_tlog::Hash;

macro_rules! closed_list {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use closed_list;

closed_list! {
    /// Why a node refuses a question, for good (拒绝规则).
    Rule {
        /// This asker may not ask this node for this purpose.
        Relation = "relation",
        /// The node answers no question of this purpose.
        Purpose = "purpose",
        /// The mandate is not yet, or no more, in force.
        MandateNotInForce = "mandate_not_in_force",
        /// A subject is not covered by the mandate.
        MandateSubject = "mandate_subject",
        /// A category is not covered by the mandate.
        MandateCategory = "mandate_category",
        /// The mandate was withdrawn.
        MandateWithdrawn = "mandate_withdrawn",
        /// Examiner and approver are one person.
        SamePerson = "same_person",
        /// The question has expired.
        Expired = "expired",
        /// The registry it names is too old.
        Registry = "registry",
    }
}

closed_list! {
    /// How a target of a question ended (结果状态). `Answered` and `Refused` are the target's own word, the rest is observed.
    Outcome {
        /// Every subject was answered.
        Answered = "answered",
        /// The target refused.
        Refused = "refused",
        /// No answer within the budget.
        Late = "late",
        /// No connection.
        Unreachable = "unreachable",
        /// Too many questions at once.
        Overloaded = "overloaded",
        /// The peer broke off, or answered with an error.
        PeerError = "peer_error",
        /// A statement did not hold.
        BadProof = "bad_proof",
        /// The peer, or we, are not trusted.
        NotTrusted = "not_trusted",
        /// No format in common.
        Incompatible = "incompatible",
        /// A relay stopped the question with a refusal of its own.
        RefusedOnWay = "refused_on_way",
        /// The question did not come along the tree.
        NotOnPath = "not_on_path",
        /// The target is suspended.
        Suspended = "suspended",
        /// The registry does not know the target.
        UnknownNode = "unknown_node",
        /// Not asked yet.
        Pending = "pending",
        /// A relay accounts for it nowhere.
        Omitted = "omitted",
    }
}

closed_list! {
    /// What an answer says of one category (类别状态).
    Status {
        /// Records stand below.
        Found = "found",
        /// Searched, found nothing.
        None = "none",
        /// This node keeps no such records.
        NotHeld = "not_held",
        /// The number is known under another name: no record leaves.
        NameMismatch = "name_mismatch",
        /// A rule refuses this category.
        Refused = "refused",
        /// It could not be searched.
        Unavailable = "unavailable",
    }
}

closed_list! {
    /// Which targets a question has (查询范围).
    ScopeLabel {
        /// Here, all superiors, all subordinates (三库).
        Lineage = "lineage",
        /// Every active node.
        Federation = "federation",
        /// The codes that the question names.
        Codes = "codes",
    }
}

closed_list! {
    /// Whether a person waits.
    Priority {
        /// A person waits.
        Person = "person",
        /// A batch (普查、抽查).
        Batch = "batch",
    }
}
