//! Policy (授权策略): which relation may ask this node for what purpose, and for which categories.
//!
//! A table of the configuration and nothing else: the rules that hold everywhere (mandate, two persons, path, clock) are
//! `authorise`'s and cannot be configured away.

use std::collections::{BTreeMap, BTreeSet};

use sanku_values::DivisionCode;
use serde::Deserialize;

/// How the asker stands to the node that is asked, by their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The node asks itself (本级).
    Own,
    /// The asker stands above the node that is asked (上级).
    Superior,
    /// The asker stands below the node that is asked (下级).
    Subordinate,
    /// Another branch of the tree (异地).
    Other,
}

impl Relation {
    /// How `asker` stands to `asked`.
    pub fn of(asker: DivisionCode, asked: DivisionCode) -> Self {
        if asker == asked {
            Self::Own
        } else if asked.is_below(asker) {
            Self::Superior
        } else if asker.is_below(asked) {
            Self::Subordinate
        } else {
            Self::Other
        }
    }
}

/// What one purpose opens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposePolicy {
    /// Who may ask this node for the purpose. A relation that is not listed is refused with `relation`.
    #[serde(default = "every_relation")]
    pub asked_by: BTreeSet<Relation>,
    /// The ids of the categories that the purpose opens here; absent: every category of the catalogue.
    #[serde(default)]
    pub categories: Option<BTreeSet<String>>,
}

impl Default for PurposePolicy {
    fn default() -> Self {
        Self {
            asked_by: every_relation(),
            categories: None,
        }
    }
}

fn every_relation() -> BTreeSet<Relation> {
    BTreeSet::from([
        Relation::Own,
        Relation::Superior,
        Relation::Subordinate,
        Relation::Other,
    ])
}

/// The policy table of one node. A purpose that is not in it is refused with `purpose`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// By purpose.
    pub purposes: BTreeMap<String, PurposePolicy>,
}

/// The purposes that the regulation names: minimum living allowance, extreme poverty, low income, temporary assistance,
/// medical and education assistance, housing, and review of those who receive.
const PURPOSES: [&str; 9] = [
    "minimum_living_allowance",
    "minimum_living_margin",
    "extreme_poverty",
    "low_income",
    "temporary_assistance",
    "medical_assistance",
    "education_assistance",
    "housing_security",
    "review",
];

impl Default for Policy {
    /// Every purpose of the regulation, for every relation and category.
    fn default() -> Self {
        let open = |purpose: &str| (purpose.to_owned(), PurposePolicy::default());
        Self {
            purposes: PURPOSES.into_iter().map(open).collect(),
        }
    }
}

impl Policy {
    /// What `purpose` opens here, if this node knows the purpose.
    pub fn purpose(&self, purpose: &str) -> Option<&PurposePolicy> {
        self.purposes.get(purpose)
    }
}

impl PurposePolicy {
    /// Whether the purpose opens this category here.
    pub fn opens(&self, category: &str) -> bool {
        self.categories
            .as_ref()
            .is_none_or(|categories| categories.contains(category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> DivisionCode {
        text.parse().unwrap()
    }

    #[test]
    fn relation_follows_from_the_codes() {
        assert_eq!(Relation::of(code("421002"), code("421002")), Relation::Own);
        assert_eq!(Relation::of(code("421000"), code("421002")), Relation::Superior);
        assert_eq!(Relation::of(code("421002"), code("420000")), Relation::Subordinate);
        assert_eq!(Relation::of(code("421002"), code("421003")), Relation::Other);
    }

    #[test]
    fn the_default_opens_the_purposes_of_the_regulation_and_no_other() {
        let policy = Policy::default();
        assert!(policy.purpose("minimum_living_allowance").unwrap().opens("vehicle"));
        assert!(policy.purpose("curiosity").is_none());
    }

    #[test]
    fn a_table_narrows_relations_and_categories() {
        let table = r#"{"purposes":{"low_income":{"asked_by":["own","superior"],"categories":["vehicle"]}}}"#;
        let policy: Policy = serde_json::from_str(table).unwrap();
        let low_income = policy.purpose("low_income").unwrap();
        assert!(low_income.opens("vehicle") && !low_income.opens("pension"));
        assert!(!low_income.asked_by.contains(&Relation::Other));
    }
}
