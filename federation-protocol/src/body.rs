//! Bodies: the line of a statement that holds personal data, salted so that its digest tells nothing.

use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use sanku_catalogue::{Catalogue, CategoryId, Fields, UnjudgedFields};
use sanku_tlog::Hash;
use sanku_values::{Date, DivisionCode, IdentityKind, IdentityNumber, PersonName, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::QueryEntry;
use crate::json::{self, NotALine, rises};
use crate::names::{Outcome, Rule, StatementId, Status, Word};

/// Longest body, in bytes.
pub const LONGEST_BODY: usize = 4 << 20;

/// 128 random bits, 32 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt(String);

impl Salt {
    /// A fresh salt.
    ///
    /// # Errors
    /// If the system gives no random bits: nothing may be said then.
    pub fn generate() -> Result<Self, NotALine> {
        let mut bits = [0; 16];
        SystemRandom::new()
            .fill(&mut bits)
            .map_err(|_| NotALine::because("no random bits"))?;
        Ok(Self(hex::encode(bits)))
    }

    /// A salt of known bits, for vectors.
    pub fn of(bits: [u8; 16]) -> Self {
        Self(hex::encode(bits))
    }
}

impl TryFrom<String> for Salt {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let good = text.len() == 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if good { Ok(Self(text)) } else { Err("not a salt") }
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        salt.0
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Salt(…)")
    }
}

/// A body of one kind.
pub trait Body: Serialize + DeserializeOwned {
    /// What the types alone do not say.
    fn judge(&self) -> Result<(), NotALine> {
        Ok(())
    }

    /// Reads a line.
    fn parse(line: &[u8]) -> Result<Self, NotALine> {
        if line.len() > LONGEST_BODY {
            return Err(NotALine::because("a body longer than 4 MiB"));
        }
        let body: Self = json::parse(line)?;
        body.judge()?;
        Ok(body)
    }

    /// Writes the line.
    fn line(&self) -> Result<Arc<[u8]>, NotALine> {
        self.judge()?;
        let line = serde_json::to_vec(self).map_err(|_| NotALine::because("it cannot be written"))?;
        if line.len() > LONGEST_BODY {
            return Err(NotALine::because("a body longer than 4 MiB"));
        }
        Ok(line.into())
    }
}

/// One of the people who stand behind a question (经办人).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Legal name.
    pub name: PersonName,
    /// Staff number.
    pub staff_number: String,
    /// When they signed off.
    pub time: Time,
}

/// What the family signed (授权书).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mandate {
    /// Who signed.
    pub signatories: Vec<PersonName>,
    /// Whom it covers.
    pub subjects: Vec<IdentityNumber>,
    /// What it covers; rises strictly.
    pub categories: Vec<CategoryId>,
    /// For what.
    pub purpose: Word,
    /// In force from.
    pub valid_from: Time,
    /// In force until.
    pub valid_until: Time,
    /// SHA-256 of the signed letter.
    pub letter: Hash,
}

/// One person of the household (被核对人).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Identity number.
    pub number: IdentityNumber,
    /// Its kind, which must be the number's own.
    pub kind: IdentityKind,
    /// Name.
    pub name: PersonName,
    /// Role in the household.
    pub role: Word,
}

/// Body of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryBody {
    /// Salt.
    pub salt: Salt,
    /// The commissioning department.
    pub requester: String,
    /// 初审员.
    pub examiner: Person,
    /// 审批员.
    pub approver: Person,
    /// 授权书.
    pub mandate: Mandate,
    /// The household.
    pub subjects: Vec<Subject>,
}

impl QueryBody {
    /// The rule that the question breaks by what it says itself at the time it was asked: mandate, expiry, two people.
    /// Withdrawals, policies and registries are judged elsewhere.
    pub fn broken_rule(&self, entry: &QueryEntry, asked: Time) -> Option<Rule> {
        let mandate = &self.mandate;
        let mut subjects = self.subjects.iter().map(|subject| &subject.number);
        let mut categories = entry.categories.iter();
        let rules = [
            (entry.expires <= asked, Rule::Expired),
            (
                entry.purpose != mandate.purpose || asked < mandate.valid_from || asked > mandate.valid_until,
                Rule::MandateNotInForce,
            ),
            (
                subjects.any(|number| !mandate.subjects.contains(number)),
                Rule::MandateSubject,
            ),
            (
                categories.any(|category| !mandate.categories.contains(category)),
                Rule::MandateCategory,
            ),
            (
                self.examiner.staff_number == self.approver.staff_number,
                Rule::SamePerson,
            ),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule)
    }
}

impl Body for QueryBody {
    fn judge(&self) -> Result<(), NotALine> {
        let mut numbers: Vec<_> = self.subjects.iter().map(|subject| &subject.number).collect();
        numbers.sort();
        if !rises(&numbers) || numbers.is_empty() {
            return Err(NotALine::because("a subject stands twice, or there is none"));
        }
        if self
            .subjects
            .iter()
            .any(|subject| subject.kind != subject.number.kind())
        {
            return Err(NotALine::because("a subject's kind is not its number's"));
        }
        if !rises(&self.mandate.categories) {
            return Err(NotALine::because("the mandate's categories do not rise"));
        }
        Ok(())
    }
}

/// A record as it stands in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The date that the department vouches for.
    pub as_of: Date,
    /// Its fields.
    pub fields: Fields,
}

/// Where an answer searched (查询的来源).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Searched {
    /// The department or source that vouches for the data.
    pub source: String,
    /// The import's number at this node.
    pub import: u64,
    /// The date it vouches for.
    pub as_of: Date,
    /// The age of the data in days when the answer was given.
    pub age_days: u32,
}

/// What an answer says of one category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CategoryAnswerWire")]
pub struct CategoryAnswer {
    /// The category.
    pub category: CategoryId,
    /// What was found.
    pub status: Status,
    /// The newest date that a source vouches for.
    pub as_of: Option<Date>,
    /// Where was searched.
    pub searched: Vec<Searched>,
    /// What was found.
    pub records: Vec<Record>,
    /// Whether records had to be left out.
    pub truncated: bool,
    /// The rule, if refused.
    pub rule: Option<Rule>,
    /// Why, if unavailable.
    pub why: Option<Word>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordWire {
    as_of: Date,
    fields: UnjudgedFields,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoryAnswerWire {
    category: CategoryId,
    status: Status,
    as_of: Option<Date>,
    searched: Vec<Searched>,
    records: Vec<RecordWire>,
    truncated: bool,
    rule: Option<Rule>,
    why: Option<Word>,
}

impl TryFrom<CategoryAnswerWire> for CategoryAnswer {
    type Error = String;

    fn try_from(wire: CategoryAnswerWire) -> Result<Self, String> {
        let category = Catalogue::current()
            .category(&wire.category)
            .ok_or("no such category")?;
        let judge = |record: RecordWire| {
            Ok(Record {
                as_of: record.as_of,
                fields: category.judge(record.fields).map_err(|error| error.to_string())?,
            })
        };
        let records = wire
            .records
            .into_iter()
            .map(judge)
            .collect::<Result<Vec<_>, String>>()?;
        if (wire.status == Status::Found) == records.is_empty() {
            return Err("records stand with status found, and with no other".to_owned());
        }
        if (wire.status == Status::Refused) != wire.rule.is_some()
            || (wire.status == Status::Unavailable) != wire.why.is_some()
        {
            return Err("a refusal names its rule, what is unavailable says why".to_owned());
        }
        let CategoryAnswerWire {
            category,
            status,
            as_of,
            searched,
            truncated,
            rule,
            why,
            ..
        } = wire;
        Ok(Self {
            category,
            status,
            as_of,
            searched,
            records,
            truncated,
            rule,
            why,
        })
    }
}

/// Body of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerBody {
    /// Salt.
    pub salt: Salt,
    /// One for each asked category; rises strictly.
    pub categories: Vec<CategoryAnswer>,
}

impl Body for AnswerBody {
    fn judge(&self) -> Result<(), NotALine> {
        let categories: Vec<_> = self.categories.iter().map(|answer| &answer.category).collect();
        if rises(&categories) {
            Ok(())
        } else {
            Err(NotALine::because("categories do not rise"))
        }
    }
}

/// Body of a refusal: words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalBody {
    /// Salt.
    pub salt: Salt,
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Body for RefusalBody {}

/// What a node observed of a neighbour that it had to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// The neighbour.
    pub node: DivisionCode,
    /// How it ended.
    pub outcome: Outcome,
    /// Since when.
    pub since: Time,
    /// How long it took.
    pub milliseconds: u64,
}

/// A target further off whose statements did not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    /// The target.
    pub node: DivisionCode,
    /// `bad_proof` or `not_trusted`.
    pub outcome: Outcome,
    /// Why.
    pub why: Word,
}

/// Body of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountBody {
    /// Salt.
    pub salt: Salt,
    /// For each neighbour it had to ask; rises by node.
    pub neighbours: Vec<Observed>,
    /// Targets whose statements did not hold.
    pub rejected: Vec<Rejected>,
    /// The codes it was asked for so far; nothing means all.
    pub only: Option<Vec<DivisionCode>>,
    /// The budget it was asked with.
    pub budget_ms: u64,
    /// The attempt it was asked with.
    pub attempt: u32,
}

impl Body for AccountBody {
    fn judge(&self) -> Result<(), NotALine> {
        let nodes: Vec<_> = self.neighbours.iter().map(|observed| observed.node).collect();
        if rises(&nodes) && self.only.as_ref().is_none_or(|only| rises(only)) {
            Ok(())
        } else {
            Err(NotALine::because("nodes do not rise"))
        }
    }
}

/// Body of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultBody {
    /// Salt.
    pub salt: Salt,
    /// Leaf hashes of all statements merged; rises.
    pub merged: Vec<Hash>,
    /// SHA-256 of the merged result's bytes.
    pub digest: Hash,
    /// The result that this one supersedes.
    pub supersedes: Option<Hash>,
}

impl Body for ResultBody {}

/// Body of a withdrawal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalBody {
    /// Salt.
    pub salt: Salt,
    /// Why.
    pub reason: String,
}

impl Body for WithdrawalBody {}

/// Body of an act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActBody {
    /// Salt.
    pub salt: Salt,
    /// Who acted.
    pub who: String,
    /// What exactly.
    pub what: String,
    /// For what purpose, where one was given.
    pub purpose: Option<String>,
    /// SHA-256 of what the act put in or gave out.
    pub digest: Option<Hash>,
    /// The statement that the act is about.
    pub about: Option<StatementId>,
}

impl Body for ActBody {}
