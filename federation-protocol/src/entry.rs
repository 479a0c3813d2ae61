//! Entries: the line of a statement that everybody may read. No names, numbers or amounts stand in it.

use std::sync::Arc;

use sanku_catalogue::CategoryId;
use sanku_tlog::{Hash, leaf_hash};
use sanku_values::{DivisionCode, Time};
use serde::{Deserialize, Serialize};

use crate::acts::Public;
use crate::json::{self, NotALine, rises};
use crate::names::{Origin, Priority, Pseudonym, Rule, ScopeLabel, StatementId, Word};

/// Longest entry, in bytes.
pub const LONGEST_ENTRY: usize = 65_535;

/// A note by its number and the SHA-256 of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoteRef {
    /// Issue time in Unix milliseconds.
    pub number: u64,
    /// SHA-256 of its text.
    pub digest: Hash,
}

/// Version 1 of the format, the only one there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct One;

impl Serialize for One {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(serde::de::Error::custom("another version")),
        }
    }
}

/// An optional key that stands there has a value: `null` is refused.
pub(crate) fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Writes, for each kind, its struct, its form on the wire with the keys that every entry has, and the way between both.
macro_rules! entries {
    ($($(#[$doc:meta])* $variant:ident $kind:literal $name:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $name { $(#[doc = concat!("`", stringify!($field), "` of the entry.")] pub $field: $type,)* }
        )*

        /// What an entry says, by its kind.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Said {
            $($(#[$doc])* $variant($name),)*
        }

        impl Said {
            /// The kind's word.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }
        }

        #[derive(Serialize, Deserialize)]
        #[serde(tag = "kind", deny_unknown_fields)]
        enum Wire {
            $(#[serde(rename = $kind)] $variant {
                v: One, log: Origin, time: Time, id: StatementId, body: Hash,
                $($(#[$field_doc])* $field: $type,)*
            },)*
        }

        impl From<Wire> for Entry {
            fn from(wire: Wire) -> Self {
                match wire {
                    $(Wire::$variant { v: One, log, time, id, body, $($field),* } => Self { log, time, id, body, said: Said::$variant($name { $($field),* }) },)*
                }
            }
        }

        impl From<Entry> for Wire {
            fn from(entry: Entry) -> Self {
                let Entry { log, time, id, body, said } = entry;
                match said {
                    $(Said::$variant($name { $($field),* }) => Self::$variant { v: One, log, time, id, body, $($field),* },)*
                }
            }
        }
    };
}

entries! {
    /// A question (查询): which household, for what, whom it goes to.
    Query "query" QueryEntry {
        purpose: Word,
        case: Pseudonym,
        subjects: u32,
        categories: Vec<CategoryId>,
        scope: ScopeLabel,
        registry: NoteRef,
        catalogue: u32,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        targets: Option<Vec<DivisionCode>>,
        priority: Priority,
        expires: Time,
        mandate_id: StatementId,
    }
    /// An answer (答复) about one subject.
    Answer "answer" AnswerEntry { re: Hash, subject: u32 }
    /// A refusal (拒绝) of the whole question.
    Refusal "refusal" RefusalEntry { re: Hash, rule: Rule }
    /// An account (交代) of whom a node asked and what it observed.
    Account "account" AccountEntry { re: Hash }
    /// The asker's result (合并结果).
    Result "result" ResultEntry { re: Hash, complete: bool }
    /// The withdrawal of a mandate (撤回授权).
    Withdrawal "withdrawal" WithdrawalEntry {
        mandate_id: StatementId,
        registry: NoteRef,
        scope: ScopeLabel,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        targets: Option<Vec<DivisionCode>>,
        expires: Time,
    }
    /// An act (操作) of a node about itself.
    Act "act" ActEntry {
        action: Word,
        object: Pseudonym,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        to: Option<DivisionCode>,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        public: Option<Box<Public>>,
    }
}

impl Said {
    /// The leaf hash of the statement that it responds to.
    pub const fn re(&self) -> Option<Hash> {
        match self {
            Self::Answer(AnswerEntry { re, .. })
            | Self::Refusal(RefusalEntry { re, .. })
            | Self::Account(AccountEntry { re })
            | Self::Result(ResultEntry { re, .. }) => Some(*re),
            Self::Query(_) | Self::Withdrawal(_) | Self::Act(_) => None,
        }
    }
}

/// A parsed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The log it stands in.
    pub log: Origin,
    /// When it was written; never decreases within a log.
    pub time: Time,
    /// Its id.
    pub id: StatementId,
    /// SHA-256 of the body's line.
    pub body: Hash,
    /// What it says.
    pub said: Said,
}

/// Versions of the form of statements that this program reads and writes.
pub const FORMATS: [u32; 1] = [1];

/// The version that an entry names, if it names another than those that are read here.
pub(crate) fn foreign_version(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u64,
    }
    let named = serde_json::from_slice::<Versioned>(line).ok()?.v;
    let known = u32::try_from(named).is_ok_and(|named| FORMATS.contains(&named));
    (!known).then_some(named)
}

impl Entry {
    /// Reads an entry's line.
    pub fn parse(line: &[u8]) -> Result<Self, NotALine> {
        if line.len() > LONGEST_ENTRY {
            return Err(NotALine::because("an entry longer than 65,535 bytes"));
        }
        let entry = Self::from(json::parse::<Wire>(line)?);
        entry.judge().map_or(Ok(entry), |why| Err(NotALine::because(why)))
    }

    /// What its types alone do not say.
    fn judge(&self) -> Option<&'static str> {
        let codes = |label: ScopeLabel, targets: &Option<Vec<DivisionCode>>| match (label, targets) {
            (ScopeLabel::Codes, Some(targets)) if targets.is_empty() || !rises(targets) => Some("targets do not rise"),
            (ScopeLabel::Codes, Some(_)) | (ScopeLabel::Lineage | ScopeLabel::Federation, None) => None,
            _ => Some("targets go with scope codes alone"),
        };
        match &self.said {
            Said::Query(query) if query.categories.is_empty() || !rises(&query.categories) => {
                Some("categories do not rise")
            }
            Said::Query(query) if !(1..=250).contains(&query.subjects) => Some("subjects are 1 to 250"),
            Said::Query(query) => codes(query.scope, &query.targets),
            Said::Withdrawal(withdrawal) => codes(withdrawal.scope, &withdrawal.targets),
            Said::Act(act) => act.judge(&self.log),
            _ => None,
        }
    }

    /// The line, if readers would take it.
    pub(crate) fn checked_line(&self) -> Result<Vec<u8>, NotALine> {
        let line = self.line();
        match self.judge() {
            Some(why) => Err(NotALine::because(why)),
            None if line.len() > LONGEST_ENTRY => Err(NotALine::because("an entry longer than 65,535 bytes")),
            None => Ok(line),
        }
    }

    /// Writes the line.
    pub fn line(&self) -> Vec<u8> {
        // Writing these types to memory has no way to fail; an empty line would be refused by every reader.
        serde_json::to_vec(&Wire::from(self.clone())).unwrap_or_default()
    }
}

/// A statement that is to be said: the log's sequencer adds origin and time.
#[derive(Clone)]
pub struct Draft {
    /// Its id.
    pub id: StatementId,
    /// What it says.
    pub said: Said,
    /// The body's line.
    pub body: Arc<[u8]>,
}

impl Draft {
    /// The entry's line in this log at this time, and its leaf hash.
    pub fn entry(&self, log: &Origin, time: Time) -> (Vec<u8>, Hash) {
        let line = self.entry_in(log, time).line();
        let leaf = leaf_hash(&line);
        (line, leaf)
    }

    pub(crate) fn entry_in(&self, log: &Origin, time: Time) -> Entry {
        Entry {
            log: log.clone(),
            time,
            id: self.id,
            body: Hash::of(&self.body),
            said: self.said.clone(),
        }
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Draft({}, {})", self.said.kind(), self.id)
    }
}
