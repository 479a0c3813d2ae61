//! Closed logs (关闭的日志): what a node said in a log that the registry closed counts up to its final size. Above it a
//! statement counts only if it was witnessed before the closing, or another node, witnessed before the closing, named it.

use std::collections::BTreeMap;

use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::body::ResultBody;
use crate::entry::Said;
use crate::notes::LogRow;
use crate::statement::VerifiedRun;

/// Leaf hashes that witnessed statements name: by whom, and when the cosignature that counts was made over the naming one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<Hash, BTreeMap<DivisionCode, Time>>);

impl Names {
    /// Takes in what a run names, which the cosignature that counts covered at this instant: what its entries respond to,
    /// and what its results merged.
    pub fn take(&mut self, run: &VerifiedRun, witnessed: Time) {
        for statement in &run.statements {
            let mut leaves = Vec::new();
            match &statement.entry.said {
                Said::Answer(answer) => leaves.push(answer.re),
                Said::Refusal(refusal) => leaves.push(refusal.re),
                Said::Account(account) => leaves.push(account.re),
                Said::Result(result) => {
                    leaves.push(result.re);
                    // The entry binds the body: who cosigned the one could not change the other.
                    let body = statement.body_as::<ResultBody>();
                    leaves.extend(body.map(|body| body.merged).unwrap_or_default());
                }
                Said::Query(_) | Said::Withdrawal(_) | Said::Act(_) => {}
            }
            for leaf in leaves {
                let by = self.0.entry(leaf).or_default();
                let first = by.entry(run.origin.node).or_insert(witnessed);
                *first = witnessed.min(*first);
            }
        }
    }

    /// Whether another node than this one named a leaf, witnessed by then.
    pub(crate) fn name(&self, leaf: &Hash, of: DivisionCode, until: Time) -> bool {
        let by = self.0.get(leaf).into_iter().flatten();
        by.into_iter()
            .any(|(node, witnessed)| *node != of && *witnessed <= until)
    }
}

/// Of these entries of a log, which stand from `first` on, those above its final size; none of a log that is open.
pub(crate) fn above<'a>(row: &LogRow, first: u64, leaves: &'a [Hash]) -> &'a [Hash] {
    let Some(size) = row.final_size else {
        return &[];
    };
    let below = usize::try_from(size.saturating_sub(first)).unwrap_or(usize::MAX);
    leaves.get(below..).unwrap_or_default()
}
