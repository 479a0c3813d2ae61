//! Whether a question may be answered, and whether it may be passed on. Pure; every rule of the protocol has its line here.

use std::time::Duration;

use sanku_federation_protocol::body::QueryBody;
use sanku_federation_protocol::entry::QueryEntry;
use sanku_federation_protocol::names::{Rule, Word};
use sanku_values::{DivisionCode, Time};
use serde::Deserialize;

use crate::budgets::Limits;

/// How an asker stands to this node (关系).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// This node itself.
    Own,
    /// Above this node.
    Superior,
    /// Below this node.
    Subordinate,
    /// In another branch.
    Other,
}

/// Which relation may ask for what: the configuration's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Purposes that this node itself asks for.
    pub own: Vec<Word>,
    /// Purposes that nodes above may ask for.
    pub superior: Vec<Word>,
    /// Purposes that nodes below may ask for.
    pub subordinate: Vec<Word>,
    /// Purposes that nodes of other branches may ask for.
    pub other: Vec<Word>,
    /// How much may be asked.
    pub budgets: Limits,
}

/// Purposes of social assistance and the checks that the regulation names.
const PURPOSES: [&str; 8] = [
    "minimum_living_allowance",
    "low_income_family",
    "special_hardship",
    "temporary_assistance",
    "medical_assistance",
    "housing_assistance",
    "review",
    "complaint",
];

impl Default for Policy {
    fn default() -> Self {
        let all: Vec<Word> = PURPOSES.iter().filter_map(|purpose| purpose.parse().ok()).collect();
        Self {
            own: all.clone(),
            superior: all.clone(),
            subordinate: all.clone(),
            other: all,
            budgets: Limits::default(),
        }
    }
}

impl Policy {
    fn of(&self, relation: Relation) -> &[Word] {
        match relation {
            Relation::Own => &self.own,
            Relation::Superior => &self.superior,
            Relation::Subordinate => &self.subordinate,
            Relation::Other => &self.other,
        }
    }

    /// Whether this relation may ask for this purpose.
    pub fn judge(&self, relation: Relation, purpose: &Word) -> Result<(), Rule> {
        if self.of(relation).contains(purpose) {
            return Ok(());
        }
        let anybody = [
            Relation::Own,
            Relation::Superior,
            Relation::Subordinate,
            Relation::Other,
        ];
        Err(if anybody.iter().any(|relation| self.of(*relation).contains(purpose)) {
            Rule::Relation
        } else {
            Rule::Purpose
        })
    }
}

/// How `asker` stands to `here`.
pub fn relation(here: DivisionCode, asker: DivisionCode) -> Relation {
    if here == asker {
        Relation::Own
    } else if here.is_below(asker) {
        Relation::Superior
    } else if asker.is_below(here) {
        Relation::Subordinate
    } else {
        Relation::Other
    }
}

/// What is known of a question besides its own words.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When it was asked, by its entry.
    pub asked: Time,
    /// The present.
    pub now: Time,
    /// Whether its mandate was withdrawn.
    pub withdrawn: bool,
    /// Whether the registry that it names was good when it was asked.
    pub registry: bool,
}

/// Checks that stop a question wherever it is, at the asker, at relays and at targets.
pub fn stop(entry: &QueryEntry, body: &QueryBody, known: Circumstances) -> Option<Rule> {
    let now = [
        (!known.registry, Rule::Registry),
        (entry.expires <= known.now, Rule::Expired),
        (known.now > body.mandate.valid_until, Rule::MandateNotInForce),
        (known.withdrawn, Rule::MandateWithdrawn),
    ];
    let now = now.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule);
    now.or_else(|| body.broken_rule(entry, known.asked))
}

/// Leave to search for one question. Only this module makes one: no search without it (S-11).
#[derive(Debug)]
pub struct Permit(());

/// What a node does with a question.
#[derive(Debug)]
pub enum Leave {
    /// Search here; pass it on.
    Search(Permit),
    /// Refuse here; pass it on: relation and purpose concern this node's own records.
    Refuse(Rule),
    /// Refuse and pass it on to nobody.
    Stop(Rule),
}

/// The answering node's own decision.
pub fn authorise(
    here: DivisionCode,
    asker: DivisionCode,
    entry: &QueryEntry,
    body: &QueryBody,
    policy: &Policy,
    known: Circumstances,
) -> Leave {
    if let Some(rule) = stop(entry, body, known) {
        return Leave::Stop(rule);
    }
    match policy.judge(relation(here, asker), &entry.purpose) {
        Ok(()) => Leave::Search(Permit(())),
        Err(rule) => Leave::Refuse(rule),
    }
}

/// Whether a rule stops a question on its way.
pub const fn stops(rule: Rule) -> bool {
    !matches!(rule, Rule::Relation | Rule::Purpose)
}

/// Words for the person who asked: Chinese and English.
pub const fn words(rule: Rule) -> (&'static str, &'static str) {
    match rule {
        Rule::Relation => (
            "本节点不向该单位提供此类用途的查询",
            "this node does not answer that centre for this purpose",
        ),
        Rule::Purpose => (
            "本节点不受理此用途的查询",
            "this node answers no question of this purpose",
        ),
        Rule::MandateNotInForce => (
            "授权书不在有效期内或用途不符",
            "the mandate is not in force, or is for another purpose",
        ),
        Rule::MandateSubject => ("查询对象中有授权书未涵盖的人", "a person is not covered by the mandate"),
        Rule::MandateCategory => (
            "查询类别中有授权书未涵盖的内容",
            "a category is not covered by the mandate",
        ),
        Rule::MandateWithdrawn => ("授权书已撤回", "the mandate was withdrawn"),
        Rule::SamePerson => ("初审员与审批员不得为同一人", "examiner and approver must be two people"),
        Rule::Expired => ("查询已过期", "the question has expired"),
        Rule::Registry => (
            "查询所依据的登记公告已失效",
            "the registry that the question names is too old or unknown",
        ),
    }
}

/// How long a replaced registry still counts for questions.
pub const REPLACED_FOR: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use sanku_federation_protocol::body::{Mandate, Person, Salt, Subject};
    use sanku_federation_protocol::entry::NoteRef;
    use sanku_federation_protocol::names::{Priority, ScopeLabel, StatementId};
    use sanku_tlog::Hash;
    use sanku_values::{Date, IdentityNumber, PersonName};

    use super::*;

    fn at(minutes: i64) -> Time {
        Time::from_millis(1_790_000_000_000 + minutes * 60_000)
    }

    fn code(number: u32) -> DivisionCode {
        number.try_into().unwrap()
    }

    fn good() -> Circumstances {
        Circumstances {
            asked: at(0),
            now: at(0),
            withdrawn: false,
            registry: true,
        }
    }

    fn question() -> (QueryEntry, QueryBody) {
        let number = IdentityNumber::parse("11010519491231002X", Date::new(2026, 9, 1).unwrap()).unwrap();
        let name = PersonName::parse("张三").unwrap();
        let person = |staff_number: &str| Person {
            name: name.clone(),
            staff_number: staff_number.to_owned(),
            time: at(0),
        };
        let purpose: Word = "minimum_living_allowance".parse().unwrap();
        let body = QueryBody {
            salt: Salt::generate().unwrap(),
            requester: "民政局".to_owned(),
            examiner: person("1"),
            approver: person("2"),
            mandate: Mandate {
                signatories: vec![name.clone()],
                subjects: vec![number.clone()],
                categories: vec!["vehicle".parse().unwrap()],
                purpose: purpose.clone(),
                valid_from: at(-60),
                valid_until: at(60),
                letter: Hash::of(b"letter"),
            },
            subjects: vec![Subject {
                kind: number.kind(),
                number,
                name,
                role: "applicant".parse().unwrap(),
            }],
        };
        let entry = QueryEntry {
            purpose,
            case: Hash::of(b"case"),
            subjects: 1,
            categories: vec!["vehicle".parse().unwrap()],
            scope: ScopeLabel::Federation,
            registry: NoteRef {
                number: 1,
                digest: Hash::of(b"registry"),
            },
            catalogue: 1,
            targets: None,
            priority: Priority::Person,
            expires: at(30),
            mandate_id: StatementId::generate(at(0)),
        };
        (entry, body)
    }

    #[test]
    fn what_holds_is_stopped_by_no_rule() {
        let (entry, body) = question();
        assert_eq!(stop(&entry, &body, good()), None);
        let leave = authorise(code(421_000), code(421_002), &entry, &body, &Policy::default(), good());
        assert!(matches!(leave, Leave::Search(_)));
    }

    #[test]
    fn each_rule_that_is_broken_stops_it_by_its_name() {
        type Break = fn(&mut QueryEntry, &mut QueryBody, &mut Circumstances);
        let broken: [(Break, Rule); 11] = [
            (|_, _, known| known.registry = false, Rule::Registry),
            (|_, _, known| known.now = at(30), Rule::Expired),
            (|_, _, known| known.withdrawn = true, Rule::MandateWithdrawn),
            (|_, body, _| body.mandate.valid_from = at(1), Rule::MandateNotInForce),
            (|_, body, _| body.mandate.valid_until = at(-1), Rule::MandateNotInForce),
            (
                |entry, body, known| {
                    entry.expires = at(90);
                    body.mandate.valid_until = at(60);
                    known.now = at(61);
                },
                Rule::MandateNotInForce,
            ),
            (
                |_, body, _| body.mandate.purpose = "review".parse().unwrap(),
                Rule::MandateNotInForce,
            ),
            (|_, body, _| body.mandate.subjects.clear(), Rule::MandateSubject),
            (|_, body, _| body.mandate.categories.clear(), Rule::MandateCategory),
            (
                |entry, _, _| entry.categories.push("pension".parse().unwrap()),
                Rule::MandateCategory,
            ),
            (
                |_, body, _| body.approver.staff_number = "1".to_owned(),
                Rule::SamePerson,
            ),
        ];
        for (spoil, rule) in broken {
            let (mut entry, mut body) = question();
            let mut known = good();
            spoil(&mut entry, &mut body, &mut known);
            assert_eq!(stop(&entry, &body, known), Some(rule));
            let leave = authorise(code(421_000), code(421_002), &entry, &body, &Policy::default(), known);
            assert!(matches!(leave, Leave::Stop(found) if found == rule), "{rule}");
            assert!(stops(rule));
        }
    }

    #[test]
    fn relation_and_purpose_refuse_here_and_pass_on() {
        let (entry, body) = question();
        let closed = Policy {
            other: Vec::new(),
            ..Policy::default()
        };
        let judge = |asker, policy: &Policy| authorise(code(421_002), code(asker), &entry, &body, policy, good());
        assert!(matches!(judge(421_003, &closed), Leave::Refuse(Rule::Relation)));
        assert!(matches!(judge(421_000, &closed), Leave::Search(_)));
        let nobody = Policy {
            own: Vec::new(),
            superior: Vec::new(),
            subordinate: Vec::new(),
            other: Vec::new(),
            budgets: Limits::default(),
        };
        assert!(matches!(judge(421_000, &nobody), Leave::Refuse(Rule::Purpose)));
        assert!(!stops(Rule::Relation) && !stops(Rule::Purpose));
    }

    #[test]
    fn every_rule_has_words_in_both_languages() {
        for rule in [
            Rule::Relation,
            Rule::Purpose,
            Rule::Registry,
            Rule::SamePerson,
            Rule::Expired,
        ] {
            let (zh, en) = words(rule);
            assert!(!zh.is_ascii() && en.is_ascii());
        }
    }
}
