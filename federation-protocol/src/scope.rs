//! Which targets a question has (查询范围): a function of its scope, its asker and the registry that it names.

use std::collections::BTreeSet;

use sanku_values::DivisionCode;

use crate::names::ScopeLabel;
use crate::notes::Registry;

/// The most targets a question may have.
pub const MOST_TARGETS: usize = 4096;

/// A scope with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Here, all superiors, all subordinates (三库).
    Lineage,
    /// Every active node.
    Federation,
    /// These. Codes that the registry does not have are targets too and end as `unknown_node`.
    Codes(Vec<DivisionCode>),
}

/// A question without targets that hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The asker is no active node of this registry.
    #[error("the asker is not active in the registry that the question names")]
    AskerUnknown,
    /// More than [`MOST_TARGETS`].
    #[error("more than 4,096 targets")]
    TooMany,
    /// The label `codes` without codes, or codes with another label.
    #[error("scope and targets do not go together")]
    Shape,
}

impl Scope {
    /// A scope as an entry writes it.
    pub fn read(label: ScopeLabel, targets: Option<&[DivisionCode]>) -> Result<Self, ScopeError> {
        match (label, targets) {
            (ScopeLabel::Lineage, None) => Ok(Self::Lineage),
            (ScopeLabel::Federation, None) => Ok(Self::Federation),
            (ScopeLabel::Codes, Some(codes)) if !codes.is_empty() => Ok(Self::Codes(codes.to_vec())),
            _ => Err(ScopeError::Shape),
        }
    }

    /// As an entry writes it.
    pub const fn label(&self) -> ScopeLabel {
        match self {
            Self::Lineage => ScopeLabel::Lineage,
            Self::Federation => ScopeLabel::Federation,
            Self::Codes(_) => ScopeLabel::Codes,
        }
    }
}

/// The targets of a question.
pub fn targets(registry: &Registry, asker: DivisionCode, scope: &Scope) -> Result<BTreeSet<DivisionCode>, ScopeError> {
    let tree = registry.tree();
    if !tree.contains(asker) {
        return Err(ScopeError::AskerUnknown);
    }
    let targets: BTreeSet<_> = match scope {
        Scope::Federation => tree.codes().collect(),
        Scope::Codes(codes) => codes.iter().copied().collect(),
        Scope::Lineage => {
            let mut lineage = tree.descendants(asker);
            lineage.insert(asker);
            lineage.extend(tree.superiors(asker));
            lineage
        }
    };
    if targets.len() > MOST_TARGETS { Err(ScopeError::TooMany) } else { Ok(targets) }
}
