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
    /// The JSON path, the line and what is wrong, without the value that stands there.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let mut case: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            let what = error.to_string();
            // Other messages quote the value, and values here are personal.
            let known = ["missing field", "unknown field", "not ", "duplicate field"];
            let what = if known.iter().any(|start| what.starts_with(start)) {
                what.split(" at line").next().unwrap_or_default().to_owned()
            } else if error.is_syntax() || error.is_eof() {
                "此处不是 JSON 或没有写完 this is no JSON here, or it breaks off".to_owned()
            } else if path.contains("subjects") && (path.ends_with(']') || path.ends_with("number")) {
                "证件号码不成立（位数、出生日期或校验码） the identity number does not hold: length, birth date or check character".to_owned()
            } else {
                "不是应有的值 not the value it should be".to_owned()
            };
            let path = if path == "." || path == "?" { "文件 file" } else { path.as_str() };
            format!("{path}（第 {} 行 line {}）: {what}", error.line(), error.line())
        })?;
        reader
            .end()
            .map_err(|error| format!("文件之后还有内容 something follows the case, line {}", error.line()))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{
        "purpose": "minimum_living_allowance", "case": "1", "requester": "民政局",
        "examiner": {"name": "王一", "staff_number": "1"}, "approver": {"name": "李二", "staff_number": "2"},
        "mandate": {
            "id": "019a0000-0000-7000-8000-000000000001", "signatories": ["张三"],
            "subjects": ["11010519491231002X"], "categories": ["vehicle"], "purpose": "minimum_living_allowance",
            "valid_from": "2026-01-01T00:00:00.000Z", "valid_until": "2026-12-31T00:00:00.000Z",
            "letter": "0000000000000000000000000000000000000000000000000000000000000000"
        },
        "subjects": [{"number": "11010519491231002X", "kind": "resident", "name": "张三", "role": "applicant"}],
        "categories": ["vehicle", "pension", "vehicle"], "scope": {"codes": ["421003", "421002", "421003"]}
    }"#;

    #[test]
    fn what_is_wrong_with_a_case_is_said_without_the_value() {
        let wrong = SAMPLE.replace("\"11010519491231002X\"]", "\"110105194912310021\"]");
        let said = Case::parse(wrong.as_bytes()).unwrap_err();
        assert!(
            said.starts_with("mandate.subjects[0]") && said.contains("check character"),
            "{said}"
        );
        assert!(!said.contains("110105"), "{said}");
        let cut = Case::parse(b"{").unwrap_err();
        assert!(cut.starts_with("文件 file") && cut.contains("breaks off"), "{cut}");
    }

    #[test]
    fn a_case_is_read_with_what_is_usual() {
        let case = Case::parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(case.budget_ms, 5000);
        assert_eq!(case.expires_days, 20);
        assert_eq!(case.categories.len(), 2);
        let (scope, codes) = case.scope.parts();
        assert_eq!(scope, ScopeLabel::Codes);
        assert_eq!(
            codes.unwrap().iter().map(|code| code.number()).collect::<Vec<_>>(),
            [421_002, 421_003]
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path_and_never_quoted() {
        let spoilt = [
            (
                "\"number\": \"11010519491231002X\"",
                "\"number\": \"110105194912310021\"",
                "subjects[0].number",
            ),
            (
                "\"kind\": \"resident\"",
                "\"kind\": \"10105194912310021\"",
                "subjects[0].kind",
            ),
            (
                "\"staff_number\": \"2\"",
                "\"staff_number\": 10105194912310021",
                "approver.staff_number",
            ),
            ("\"requester\": \"民政局\"", "\"requestor\": \"民政局\"", "requestor"),
            (
                "\"valid_from\": \"2026-01-01T00:00:00.000Z\"",
                "\"valid_from\": \"2026-01-01\"",
                "mandate.valid_from",
            ),
            ("\"421002\"", "\"42\"", "scope"),
        ];
        for (from, to, path) in spoilt {
            let text = SAMPLE.replacen(from, to, 1);
            assert_ne!(text, SAMPLE);
            let error = Case::parse(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(path), "{error}");
            assert!(!error.contains("10105194912310021"), "{error}");
        }
    }
}
