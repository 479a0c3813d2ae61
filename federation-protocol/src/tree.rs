//! The tree of a federation (层级树), and the targets of a scope. Both follow from the registry and nothing else.
//!
//! The superior of a node is the nearest ancestor code that is active; so a county that the province governs directly,
//! or one whose city's node left, hangs under the province by itself. Between two nodes of a tree there is one path, so
//! there are no loops to detect.

use std::collections::{BTreeMap, BTreeSet};

use sanku_values::DivisionCode;

use crate::names::ScopeLabel;
use crate::notes::{NodeState, Registry};

/// Most targets of a question.
pub const MOST_TARGETS: usize = 4096;

/// Who stands above whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    superiors: BTreeMap<DivisionCode, Option<DivisionCode>>,
    subordinates: BTreeMap<DivisionCode, BTreeSet<DivisionCode>>,
}

/// The registry does not make one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry does not have exactly one active node without superior")]
pub struct NotATree;

/// Why a scope has no targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// The asker is no active node.
    #[error("the asker is not active")]
    Asker,
    /// More than 4,096.
    #[error("more than 4,096 targets")]
    TooMany,
}

impl Tree {
    /// The tree of a registry's active nodes.
    pub fn of(registry: &Registry) -> Result<Self, NotATree> {
        let active = registry.nodes.iter().filter(|row| row.state == NodeState::Active);
        Self::build(active.map(|row| row.code))
    }

    /// The tree of these codes.
    ///
    /// # Errors
    /// If not exactly one of them has no superior.
    pub fn build(active: impl IntoIterator<Item = DivisionCode>) -> Result<Self, NotATree> {
        let codes: BTreeSet<_> = active.into_iter().collect();
        let mut tree = Self::default();
        for code in &codes {
            let superior = code.ancestors().find(|ancestor| codes.contains(ancestor));
            tree.superiors.insert(*code, superior);
            if let Some(superior) = superior {
                tree.subordinates.entry(superior).or_default().insert(*code);
            }
        }
        if tree.superiors.values().filter(|superior| superior.is_none()).count() == 1 {
            Ok(tree)
        } else {
            Err(NotATree)
        }
    }

    /// Every node, rising.
    pub fn nodes(&self) -> impl Iterator<Item = DivisionCode> {
        self.superiors.keys().copied()
    }

    /// Whether it is a node of this tree.
    pub fn contains(&self, code: DivisionCode) -> bool {
        self.superiors.contains_key(&code)
    }

    /// The node directly above (上级).
    pub fn superior(&self, code: DivisionCode) -> Option<DivisionCode> {
        self.superiors.get(&code).copied().flatten()
    }

    /// All nodes above, nearest first.
    pub fn superiors(&self, code: DivisionCode) -> impl Iterator<Item = DivisionCode> {
        std::iter::successors(self.superior(code), |above| self.superior(*above))
    }

    /// The nodes directly below (下级), rising.
    pub fn subordinates(&self, code: DivisionCode) -> impl Iterator<Item = DivisionCode> {
        self.subordinates.get(&code).into_iter().flatten().copied()
    }

    /// All nodes below.
    pub fn descendants(&self, code: DivisionCode) -> BTreeSet<DivisionCode> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = self.subordinates(code).collect();
        while let Some(next) = open.pop() {
            found.insert(next);
            open.extend(self.subordinates(next));
        }
        found
    }

    /// Superior and subordinates, rising.
    pub fn neighbours(&self, code: DivisionCode) -> BTreeSet<DivisionCode> {
        self.superior(code).into_iter().chain(self.subordinates(code)).collect()
    }

    /// The neighbour of `from` on the way to `to`; none if they are the same or not both in the tree.
    pub fn next_hop(&self, from: DivisionCode, to: DivisionCode) -> Option<DivisionCode> {
        if from == to || !self.contains(from) || !self.contains(to) {
            return None;
        }
        let below = std::iter::once(to)
            .chain(self.superiors(to))
            .find(|code| self.superior(*code) == Some(from));
        below.or_else(|| self.superior(from))
    }

    /// All nodes from `from` to `to`, both included; none if they are not both in the tree.
    pub fn path(&self, from: DivisionCode, to: DivisionCode) -> Option<Vec<DivisionCode>> {
        if !self.contains(from) || !self.contains(to) {
            return None;
        }
        Some(std::iter::successors(Some(from), |at| self.next_hop(*at, to)).collect())
    }

    /// The targets of a scope, asked by a node. Codes that are no active node stay targets: they end as `unknown_node`.
    pub fn targets(
        &self,
        asker: DivisionCode,
        scope: ScopeLabel,
        named: Option<&[DivisionCode]>,
    ) -> Result<BTreeSet<DivisionCode>, ScopeError> {
        if !self.contains(asker) {
            return Err(ScopeError::Asker);
        }
        let targets: BTreeSet<_> = match scope {
            ScopeLabel::Federation => self.nodes().collect(),
            ScopeLabel::Codes => named.unwrap_or_default().iter().copied().collect(),
            ScopeLabel::Lineage => {
                let mut lineage = self.descendants(asker);
                lineage.insert(asker);
                lineage.extend(self.superiors(asker));
                lineage
            }
        };
        if targets.len() > MOST_TARGETS {
            Err(ScopeError::TooMany)
        } else {
            Ok(targets)
        }
    }

    /// Every node that `node` reaches through `neighbour`, which is one of them; empty if they are no neighbours.
    pub fn behind(&self, node: DivisionCode, neighbour: DivisionCode) -> BTreeSet<DivisionCode> {
        if self.superior(neighbour) == Some(node) {
            let mut below = self.descendants(neighbour);
            below.insert(neighbour);
            return below;
        }
        if self.superior(node) != Some(neighbour) {
            return BTreeSet::new();
        }
        let own = self.descendants(node);
        self.nodes()
            .filter(|code| *code != node && !own.contains(code))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(number: u32) -> DivisionCode {
        number.try_into().unwrap()
    }

    fn tree(codes: &[u32]) -> Tree {
        Tree::build(codes.iter().copied().map(code)).unwrap()
    }

    #[test]
    fn a_directly_governed_county_hangs_under_the_province() {
        let tree = tree(&[420_000, 421_000, 421_002, 429_004]);
        assert_eq!(tree.superior(code(429_004)), Some(code(420_000)));
        assert_eq!(tree.superior(code(421_002)), Some(code(421_000)));
        assert_eq!(
            tree.path(code(421_002), code(429_004)).unwrap(),
            [421_002, 421_000, 420_000, 429_004].map(code)
        );
    }

    #[test]
    fn districts_of_a_city_that_left_hang_under_the_province() {
        let tree = tree(&[420_000, 421_002, 421_003]);
        assert_eq!(tree.neighbours(code(421_002)), [code(420_000)].into());
        assert_eq!(
            tree.path(code(421_002), code(421_003)).unwrap(),
            [421_002, 420_000, 421_003].map(code)
        );
    }

    #[test]
    fn exactly_one_node_has_no_superior() {
        assert_eq!(Tree::build([420_000, 430_000].map(code)), Err(NotATree));
        assert_eq!(Tree::build([421_002, 421_003].map(code)), Err(NotATree));
        assert_eq!(Tree::build([]), Err(NotATree));
        assert!(Tree::build([code(421_000)]).is_ok());
    }

    #[test]
    fn strangers_have_no_path() {
        let tree = tree(&[420_000, 421_000]);
        assert_eq!(tree.path(code(421_000), code(421_002)), None);
        assert_eq!(tree.next_hop(code(421_000), code(421_000)), None);
        assert!(tree.behind(code(421_000), code(421_000)).is_empty());
    }

    #[test]
    fn lineage_is_here_all_above_and_all_below() {
        let tree = tree(&[420_000, 421_000, 421_002, 421_003, 429_004]);
        let lineage = |asker: u32| tree.targets(code(asker), ScopeLabel::Lineage, None).unwrap();
        assert_eq!(lineage(421_002), [420_000, 421_000, 421_002].map(code).into());
        assert_eq!(lineage(421_000), [420_000, 421_000, 421_002, 421_003].map(code).into());
        assert_eq!(lineage(420_000), tree.nodes().collect());
    }

    #[test]
    fn targets_have_a_limit_and_an_asker_of_the_tree() {
        let one = tree(&[420_000]);
        assert_eq!(
            one.targets(code(421_000), ScopeLabel::Federation, None),
            Err(ScopeError::Asker)
        );
        let many: Vec<_> = (420_100..=429_999)
            .filter_map(|number| DivisionCode::try_from(number).ok())
            .collect();
        let ask = |count: usize| {
            one.targets(code(420_000), ScopeLabel::Codes, Some(&many[..count]))
                .map(|targets| targets.len())
        };
        assert_eq!(ask(MOST_TARGETS), Ok(MOST_TARGETS));
        assert_eq!(ask(MOST_TARGETS + 1), Err(ScopeError::TooMany));
    }

    /// A province with gaps: some cities have no node, some counties are governed directly.
    fn any_tree() -> impl Strategy<Value = Tree> {
        let district = (0_u32..14, 0_u32..8).prop_map(|(city, district)| 420_000 + city * 100 + district);
        proptest::collection::btree_set(district, 0..60).prop_map(|numbers| {
            let codes = numbers
                .into_iter()
                .filter_map(|number| DivisionCode::try_from(number).ok());
            Tree::build(codes.chain([code(420_000)])).unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_pair_has_one_path_that_goes_the_same_way_back(tree in any_tree()) {
            let codes: Vec<_> = tree.nodes().collect();
            for from in &codes {
                for to in &codes {
                    let path = tree.path(*from, *to).unwrap();
                    prop_assert_eq!(path.first(), Some(from));
                    prop_assert_eq!(path.last(), Some(to));
                    prop_assert_eq!(path.iter().collect::<BTreeSet<_>>().len(), path.len());
                    for pair in path.windows(2) {
                        prop_assert!(tree.neighbours(pair[0]).contains(&pair[1]));
                        prop_assert!(tree.behind(pair[0], pair[1]).contains(to));
                    }
                    let mut back = tree.path(*to, *from).unwrap();
                    back.reverse();
                    prop_assert_eq!(back, path);
                }
            }
        }

        #[test]
        fn what_lies_behind_the_neighbours_is_everything_else_once(tree in any_tree()) {
            for node in tree.nodes() {
                let mut seen = BTreeSet::from([node]);
                for neighbour in tree.neighbours(node) {
                    for behind in tree.behind(node, neighbour) {
                        prop_assert!(seen.insert(behind));
                    }
                }
                prop_assert_eq!(seen, tree.nodes().collect::<BTreeSet<_>>());
            }
        }
    }
}
