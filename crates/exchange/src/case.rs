//! A case as a centre hands it in (案件): who commissions what about whom, on which mandate.

use sanku_catalogue::CategoryId;
use sanku_federation_protocol::names::{Priority, ScopeLabel, StatementId, Word};
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, IdentityKind, IdentityNumber, PersonName, Time};
use serde::{Deserialize, Serialize};

/// The file that `sanku query` reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For what (查询目的).
    pub purpose: Word,
    /// The centre's own case number (案号); only a pseudonym of it leaves.
    pub case: String,
    /// The commissioning department (委托单位).
    pub requester: String,
    /// 初审员.
    pub examiner: Staff,
    /// 审批员.
    pub approver: Staff,
    /// 授权书.
    pub mandate: CaseMandate,
    /// The household.
    pub subjects: Vec<CaseSubject>,
    /// What is asked.
    pub categories: Vec<CategoryId>,
    /// Whom it goes to.
    pub scope: CaseScope,
    /// Whether a person waits.
    #[serde(default = "person")]
    pub priority: Priority,
    /// How long the person waits.
    #[serde(default = "five_seconds")]
    pub budget_ms: u64,
    /// Until when late answers count.
    #[serde(default = "twenty_days")]
    pub expires_days: u32,
}

/// A member of staff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staff {
    /// Legal name.
    pub name: PersonName,
    /// Staff number.
    pub staff_number: String,
}

/// What the family signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseMandate {
    /// Its id.
    pub id: StatementId,
    /// Who signed.
    pub signatories: Vec<PersonName>,
    /// Whom it covers.
    pub subjects: Vec<IdentityNumber>,
    /// What it covers.
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

/// One person of the household.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseSubject {
    /// Identity number.
    pub number: IdentityNumber,
    /// Its kind.
    pub kind: IdentityKind,
    /// Name.
    pub name: PersonName,
    /// Role in the household.
    pub role: Word,
}

/// Whom a case goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseScope {
    /// Here, all superiors, all subordinates (三库).
    Lineage,
    /// Every active node.
    Federation,
    /// These codes.
    Codes(Vec<DivisionCode>),
}

impl CaseScope {
    /// The scope as the question's entry writes it; codes sorted.
    pub fn parts(&self) -> (ScopeLabel, Option<Vec<DivisionCode>>) {
        match self {
            Self::Lineage => (ScopeLabel::Lineage, None),
            Self::Federation => (ScopeLabel::Federation, None),
            Self::Codes(codes) => {
                let mut codes = codes.clone();
                codes.sort_unstable();
                codes.dedup();
                (ScopeLabel::Codes, Some(codes))
            }
        }
    }
}

const fn person() -> Priority {
    Priority::Person
}

const fn five_seconds() -> u64 {
    5000
}

const fn twenty_days() -> u32 {
    20
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    /// Where in the file and what, without the value that stands there.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut case: Self = serde_json::from_slice(bytes).map_err(|error| {
            let what = error.to_string();
            let known = ["missing field", "unknown field", "not ", "duplicate field"];
            let what = if known.iter().any(|start| what.starts_with(start)) {
                what.split(" at line").next().unwrap_or_default().to_owned()
            } else {
                "不是应有的值 not the value it should be".to_owned()
            };
            format!(
                "第 {} 行第 {} 列 line {} column {}: {what}",
                error.line(),
                error.column(),
                error.line(),
                error.column()
            )
        })?;
        case.categories.sort();
        case.categories.dedup();
        case.mandate.categories.sort();
        case.mandate.categories.dedup();
        if case.subjects.is_empty() || case.subjects.len() > 250 {
            return Err("subjects: 1 至 250 人 1 to 250 people".to_owned());
        }
        if case.categories.is_empty() {
            return Err("categories: 至少一类 at least one".to_owned());
        }
        if !(100..=300_000).contains(&case.budget_ms) {
            return Err("budget_ms: 100 至 300000 100 to 300000".to_owned());
        }
        if !(1..=30).contains(&case.expires_days) {
            return Err("expires_days: 1 至 30 1 to 30".to_owned());
        }
        Ok(case)
    }
}
