//! A new log number (换新日志号), this node's side of it: once the registry names the next log, and whoever witnesses this node
//! said that nobody has seen that one yet, it is opened. Its first entry names the log before; where nobody closed that one,
//! its last entry names the next.

use std::sync::Arc;

use sanku_federation_protocol::acts::{LogClose, LogOpen, Public};
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{Draft, Said};
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Before, Opening, StoreError, Unfit};
use sanku_tlog::{Checkpoint, SignedNote, VerifierKey};
use sanku_values::{DivisionCode, Time};

use crate::network::{Network, in_time};
use crate::{Exchange, ExchangeError};

impl<N: Network> Exchange<N> {
    /// Opens this log if it is new and its witnesses were heard: what they have seen of it before would bind.
    pub(crate) async fn open_if_new(self: &Arc<Self>) {
        let waits = |why: &Unfit| matches!(why, Unfit::NotOpened);
        if !self.store.recovering().is_some_and(|state| waits(&state.why)) {
            return;
        }
        let trust = self.trust.load_full();
        if !self.hear_witnesses(&trust).await {
            return;
        }
        match self.open(&trust).await {
            Ok(Some(before)) => {
                let (log, number) = (self.store.origin().to_string(), before.origin.number);
                tracing::warn!(%log, before = number, size = before.size, "a new log is open: it takes over from the one before");
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the new log cannot be opened"),
        }
    }

    /// Whoever witnesses this node: its superior; for the province, its direct subordinates.
    pub(crate) fn witnesses(&self, trust: &Trust) -> Vec<DivisionCode> {
        let tree = trust.registry().map(|(_, _, tree)| tree);
        tree.map_or_else(Vec::new, |tree| match tree.superior(self.here()) {
            Some(superior) => vec![superior],
            None => tree.subordinates(self.here()).collect(),
        })
    }

    /// Asks witnesses that were not heard since the start; says whether as many were as make a cosignature count.
    async fn hear_witnesses(&self, trust: &Trust) -> bool {
        let witnesses = self.witnesses(trust);
        let heard = |code: &DivisionCode| crate::held(&self.heard).contains(code);
        for witness in witnesses.iter().filter(|code| !heard(code)) {
            if let Ok(status) = in_time(self.network.status_of(*witness)).await {
                self.heed(*witness, &status.seen);
            }
        }
        witnesses.is_empty() || witnesses.iter().filter(|code| heard(code)).count() * 2 > witnesses.len()
    }

    async fn open(&self, trust: &Trust) -> Result<Option<Before>, ExchangeError> {
        let own = self.store.origin().clone();
        let (_, registry, _) = trust.registry().ok_or(ExchangeError::NoRegistry)?;
        let rows = registry.node(self.here()).into_iter().flat_map(|row| &row.logs);
        let earlier: Vec<_> = rows.filter(|row| row.number < own.number).collect();
        let keys: Vec<VerifierKey> = earlier.iter().map(|row| row.key.clone()).collect();
        let now = self.clock.now();
        // One that the registry closed has its end already.
        let open = earlier.last().filter(|row| row.final_size.is_none());
        let signing = open.and_then(|row| self.earlier.iter().find(|key| *key.verifier() == row.key));
        let here = self.here();
        let last = match signing {
            Some(signing) => {
                let (next, key) = (own, self.store.verifier().clone());
                Some((signing, act(Public::Close(LogClose { next, key }), here, now)?))
            }
            None => None,
        };
        let first = |before: &Before| {
            let public = Public::Open(LogOpen {
                before: before.origin.clone(),
                size: before.size,
                root: before.root,
            });
            act(public, here, now).map_err(|error| StoreError::Draft(error.to_string()))
        };
        let opening = Opening {
            keys: &keys,
            last,
            first: &first,
            now,
        };
        Ok(self.store.open_log(opening).await?)
    }

    /// A neighbour, or a file, remembers a checkpoint of an earlier log of this node.
    pub fn remember_earlier(&self, note: &SignedNote, teller: sanku_store::Teller) {
        remember_earlier(&self.store, &self.trust.load(), note, teller);
    }
}

/// Takes in a checkpoint of an earlier log of this node, if the registry has the key that signed it.
pub fn remember_earlier(store: &sanku_store::Store, trust: &Trust, note: &SignedNote, teller: sanku_store::Teller) {
    let own = store.origin();
    let origin = Checkpoint::parse(note.text())
        .ok()
        .and_then(|said| said.origin.parse().ok());
    let earlier = |origin: &sanku_federation_protocol::names::Origin| {
        origin.federation == own.federation && origin.node == own.node && origin.number < own.number
    };
    let key = origin
        .filter(earlier)
        .and_then(|origin| trust.registered_log_key(&origin).cloned());
    if let Some(checkpoint) = key.and_then(|key| Checkpoint::verify(note, &key).ok()) {
        store.remember_earlier(checkpoint, note, teller);
    }
}

/// An act that says something to everybody.
fn act(public: Public, here: DivisionCode, now: Time) -> Result<Draft, ExchangeError> {
    let action = public.action();
    let body = ActBody {
        salt: Salt::generate()?,
        who: "node".to_owned(),
        what: action.to_owned(),
        purpose: None,
        digest: None,
        about: None,
    };
    Ok(Draft {
        id: StatementId::generate(now),
        said: Said::Act(public.entry(here, None)),
        body: body.line()?,
    })
}
