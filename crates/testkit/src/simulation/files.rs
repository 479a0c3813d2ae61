//! Files of cases: a batch that somebody asks, asks again while it is under way, and once more when all is calm.

use std::sync::Arc;

use sanku_exchange::{Case, Line};
use tokio::task::JoinHandle;

use crate::Node;

/// A file of cases that somebody asks, and asks again.
pub(super) struct CaseFile {
    pub(super) asker: u32,
    cases: Vec<Case>,
    /// Whoever asks it, by the same or another process.
    pub(super) asking: Vec<JoinHandle<()>>,
}

impl CaseFile {
    pub(super) const fn new(asker: u32, cases: Vec<Case>) -> Self {
        Self {
            asker,
            cases,
            asking: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, node: Arc<Node>, each: impl Fn(usize, Line) + Send + Sync + 'static) {
        let cases = self.cases.clone();
        self.asking
            .push(tokio::spawn(async move { node.ask_batch(cases, each).await }));
    }

    pub(super) fn again(&mut self, node: &Arc<Node>) {
        self.ask(Arc::clone(node), |_, _| {});
    }
}
