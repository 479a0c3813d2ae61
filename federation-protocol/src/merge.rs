//! Merging (合并): one result from all statements. Conflicts stand side by side; what is not known is said as loudly as what is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sanku_catalogue::canonical::{array, boolean, integer, null, object, shown, text};
use sanku_catalogue::{Catalogue, CategoryId, Fields};
use sanku_tlog::Hash;
use sanku_values::{Date, DivisionCode};

use crate::gather::Gathered;
use crate::names::{Rule, Status, Word};
use crate::outcomes::{TargetOutcome, unheld};

/// Where a row comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The date that its department vouches for.
    pub as_of: Date,
    /// The node.
    pub node: DivisionCode,
    /// Leaf hash of its statement.
    pub statement: Hash,
}

/// One way in which a fact was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its fields.
    pub fields: Fields,
    /// Who told it so, newest first.
    pub sources: Vec<Source>,
}

/// A fact: one subject, category and natural key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The subject's index.
    pub subject: u32,
    /// The category.
    pub category: CategoryId,
    /// The natural key, canonical.
    pub key: String,
    /// Its rows; more than one is a conflict. Newest first.
    pub rows: Vec<Row>,
}

/// Something that could not be learned from a target that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The subject's index.
    pub subject: u32,
    /// The category.
    pub category: CategoryId,
    /// The target.
    pub node: DivisionCode,
    /// Why.
    pub why: GapKind,
}

/// Why something could not be learned from an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GapKind {
    /// The number is known there under another name.
    NameMismatch,
    /// Refused by a rule.
    Refused(Option<Rule>),
    /// It could not be searched.
    Unavailable(Option<Word>),
    /// Records had to be left out.
    Truncated,
    /// The node says that it does not hold what the registry says it holds.
    NotHeld,
}

impl GapKind {
    /// The stable word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NameMismatch => "name_mismatch",
            Self::Refused(rule) => rule.map_or("refused", Rule::as_str),
            Self::Unavailable(why) => why.as_ref().map_or("unavailable", Word::as_str),
            Self::Truncated => "truncated",
            Self::NotHeld => "not_held",
        }
    }
}

/// The merged result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The question's leaf hash.
    pub query: Hash,
    /// Whether everything that was asked is known.
    pub complete: bool,
    /// Every target's outcome.
    pub outcomes: BTreeMap<DivisionCode, TargetOutcome>,
    /// The facts, by subject, category, key.
    pub facts: Vec<Fact>,
    /// What could not be learned from targets that answered.
    pub gaps: Vec<Gap>,
    /// Asked categories that nobody holds.
    pub unheld: Vec<CategoryId>,
}

/// The rows of one fact, by the bytes of their fields.
type Told = BTreeMap<String, (Fields, BTreeSet<Source>)>;

/// Subject, category and key, by whose bytes facts are ordered.
type Place = (Arc<str>, Arc<str>, String);

/// Merges what was gathered.
pub fn merge(
    known: &Gathered,
    outcomes: BTreeMap<DivisionCode, TargetOutcome>,
    registry: &crate::notes::Registry,
) -> Merged {
    let mut rows: BTreeMap<Place, (u32, CategoryId, Told)> = BTreeMap::new();
    let mut gaps = BTreeSet::new();
    for ((node, subject), word) in &known.answers {
        for answer in &word.says.categories {
            let held = registry
                .node(*node)
                .is_some_and(|row| row.categories.contains(&answer.category));
            let gap = match answer.status {
                Status::NameMismatch => Some(GapKind::NameMismatch),
                Status::Refused => Some(GapKind::Refused(answer.rule)),
                Status::Unavailable => Some(GapKind::Unavailable(answer.why.clone())),
                Status::Found if answer.truncated => Some(GapKind::Truncated),
                Status::NotHeld if held => Some(GapKind::NotHeld),
                Status::Found | Status::None | Status::NotHeld => None,
            };
            gaps.extend(gap.map(|why| Gap {
                subject: *subject,
                category: answer.category.clone(),
                node: *node,
                why,
            }));
            let Some(category) = Catalogue::current().category(&answer.category) else {
                continue;
            };
            let (of, among): (Arc<str>, Arc<str>) = (subject.to_string().into(), answer.category.to_string().into());
            for record in &answer.records {
                let key = category.natural_key(&record.fields);
                let fact = rows
                    .entry((Arc::clone(&of), Arc::clone(&among), key))
                    .or_insert_with(|| (*subject, answer.category.clone(), BTreeMap::new()));
                let row = fact
                    .2
                    .entry(record.fields.canonical())
                    .or_insert_with(|| (record.fields.clone(), BTreeSet::new()));
                row.1.insert(Source {
                    as_of: record.as_of,
                    node: *node,
                    statement: word.leaf,
                });
            }
        }
    }
    let facts = rows
        .into_iter()
        .map(|((_, _, key), (subject, category, rows))| Fact {
            subject,
            category,
            key,
            rows: ordered(rows),
        })
        .collect();
    Merged {
        query: known.query,
        complete: crate::outcomes::complete(registry, known),
        outcomes,
        facts,
        gaps: gaps.into_iter().collect(),
        unheld: unheld(registry, known),
    }
}

/// Newest `as_of` first, then by the bytes of the fact, then by leaf hash.
fn ordered(rows: Told) -> Vec<Row> {
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(bytes, (fields, sources))| {
            let mut sources: Vec<_> = sources.into_iter().collect();
            sources.sort_by(|a, b| {
                b.as_of
                    .cmp(&a.as_of)
                    .then(a.statement.cmp(&b.statement))
                    .then(a.node.cmp(&b.node))
            });
            (bytes, Row { fields, sources })
        })
        .collect();
    rows.sort_by(|(a_bytes, a), (b_bytes, b)| b.newest().cmp(&a.newest()).then_with(|| a_bytes.cmp(b_bytes)));
    rows.into_iter().map(|(_, row)| row).collect()
}

impl Row {
    /// The newest date that a source vouches for.
    pub fn newest(&self) -> Option<Date> {
        self.sources.first().map(|source| source.as_of)
    }

    fn write_to(&self, out: &mut String) {
        object(out, |members| {
            match self.newest() {
                Some(date) => shown(members.member("as_of"), date),
                None => null(members.member("as_of")),
            }
            self.fields.write_to(members.member("fields"));
            array(members.member("sources"), &self.sources, |out, source| {
                object(out, |members| {
                    shown(members.member("as_of"), source.as_of);
                    shown(members.member("node"), source.node);
                    shown(members.member("statement"), source.statement);
                });
            });
        });
    }
}

impl Fact {
    /// Whether sources disagree.
    pub fn conflict(&self) -> bool {
        self.rows.len() > 1
    }

    fn write_to(&self, out: &mut String) {
        object(out, |members| {
            shown(members.member("category"), &self.category);
            boolean(members.member("conflict"), self.conflict());
            text(members.member("key"), &self.key);
            array(members.member("rows"), &self.rows, |out, row| row.write_to(out));
            integer(members.member("subject"), i64::from(self.subject));
        });
    }
}

impl Merged {
    /// The bytes that the result's digest is of.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        object(&mut out, |whole| {
            boolean(whole.member("complete"), self.complete);
            array(whole.member("facts"), &self.facts, |out, fact| fact.write_to(out));
            array(whole.member("gaps"), &self.gaps, |out, gap| {
                object(out, |members| {
                    shown(members.member("category"), &gap.category);
                    shown(members.member("node"), gap.node);
                    integer(members.member("subject"), i64::from(gap.subject));
                    text(members.member("why"), gap.why.as_str());
                });
            });
            array(whole.member("outcomes"), &self.outcomes, |out, (node, end)| {
                object(out, |members| {
                    shown(members.member("detail"), &end.detail);
                    shown(members.member("node"), node);
                    shown(members.member("outcome"), end.outcome);
                });
            });
            shown(whole.member("query"), self.query);
            array(whole.member("unheld"), &self.unheld, |out, category| {
                shown(out, category)
            });
        });
        out.into_bytes()
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Hash {
        Hash::of(&self.bytes())
    }
}
