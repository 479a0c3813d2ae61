//! One question, one disclosure: the key is (asker's origin, id). A repeat gets what was said before; a repeat during the
//! first search waits for it; other bytes under the same id are refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sanku_federation_protocol::entry::Said;
use sanku_federation_protocol::names::{Origin, Rule, StatementId, Status};
use sanku_federation_protocol::statement::VerifiedRun;
use tokio::sync::OwnedMutexGuard;

use crate::accept::{Accepted, Question};
use crate::network::Network;
use crate::{Exchange, ExchangeError};

type Key = (Origin, StatementId);

/// Questions that are being answered now.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>);

/// A question's place here: what was said before, and the right to say more.
pub(crate) struct Seat {
    pub(crate) said: Vec<VerifiedRun>,
    pub(crate) guard: OwnedMutexGuard<()>,
}

impl Seats {
    /// The lock of one question, which lasts while somebody holds it.
    pub(crate) fn place(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|_, seat| seat.strong_count() > 0);
        let held = seats.get(&key).and_then(Weak::upgrade);
        held.unwrap_or_else(|| {
            let seat = Arc::new(tokio::sync::Mutex::new(()));
            seats.insert(key, Arc::downgrade(&seat));
            seat
        })
    }
}

impl<N: Network> Exchange<N> {
    /// The questions' places if nobody sits in any: nothing if one of them is being searched now.
    ///
    /// # Errors
    /// `Conflict` if other bytes came under the same id.
    pub(crate) async fn seats_at_once(&self, asked: &Accepted) -> Result<Option<Vec<Seat>>, ExchangeError> {
        let mut guards = BTreeMap::new();
        for question in &asked.questions {
            match self.seats.place((asked.origin.clone(), question.id)).try_lock_owned() {
                Ok(guard) => guards.insert(question.id, guard),
                Err(_) => return Ok(None),
            };
        }
        self.seated(asked, guards).await.map(Some)
    }

    /// The questions' places: waits while one of them is being searched.
    ///
    /// # Errors
    /// `Conflict` if other bytes came under the same id.
    pub(crate) async fn seat(&self, asked: &Accepted) -> Result<Vec<Seat>, ExchangeError> {
        let guards = self.guards(asked).await;
        self.seated(asked, guards).await
    }

    /// The places of questions that this node itself just made: nothing can have been said before.
    pub(crate) async fn seats_of_new(&self, asked: &Accepted) -> Vec<Seat> {
        let mut guards = self.guards(asked).await;
        let seat = |question: &Arc<Question>| {
            let guard = guards.remove(&question.id)?;
            Some(Seat {
                said: Vec::new(),
                guard,
            })
        };
        asked.questions.iter().filter_map(seat).collect()
    }

    /// All locks, in the order of their ids, so that two that wait for each other's do not exist.
    async fn guards(&self, asked: &Accepted) -> BTreeMap<StatementId, OwnedMutexGuard<()>> {
        let ids: BTreeSet<_> = asked.questions.iter().map(|question| question.id).collect();
        let mut guards = BTreeMap::new();
        for id in ids {
            let guard = self.seats.place((asked.origin.clone(), id)).lock_owned().await;
            guards.insert(id, guard);
        }
        guards
    }

    async fn seated(
        &self,
        asked: &Accepted,
        mut guards: BTreeMap<StatementId, OwnedMutexGuard<()>>,
    ) -> Result<Vec<Seat>, ExchangeError> {
        let ids: Vec<_> = asked.questions.iter().map(|question| question.id).collect();
        let before = self.store.questions(&asked.origin, &ids).await?;
        let mut seats = Vec::new();
        for question in &asked.questions {
            let said = match before.get(&question.id) {
                None => Vec::new(),
                Some(before) if before.leaf == question.leaf => self.store.said(&asked.origin, question.id).await?,
                Some(_) => return Err(ExchangeError::Conflict),
            };
            // Each id stands once.
            let guard = guards.remove(&question.id).ok_or(ExchangeError::Conflict)?;
            seats.push(Seat { said, guard });
        }
        Ok(seats)
    }
}

/// Whether a run holds accounts alone.
pub(crate) fn only_accounts(run: &VerifiedRun) -> bool {
    run.statements
        .iter()
        .all(|statement| matches!(statement.entry.said, Said::Account(_)))
}

/// Whether a run holds answers.
pub(crate) fn discloses(run: &VerifiedRun) -> bool {
    run.statements
        .iter()
        .any(|statement| matches!(statement.entry.said, Said::Answer(_)))
}

/// Subjects of whom nothing is left to be searched: their newest answer holds nothing that was unavailable.
pub(crate) fn answered(said: &[VerifiedRun]) -> BTreeSet<u32> {
    let mut newest = BTreeMap::new();
    for statement in said.iter().flat_map(|run| &run.statements) {
        if let (Said::Answer(answer), Ok(body)) = (&statement.entry.said, statement.answer_body()) {
            newest.insert(answer.subject, body);
        }
    }
    let whole = newest.into_iter().filter(|(_, body)| {
        let mut categories = body.categories.iter();
        categories.all(|category| category.status != Status::Unavailable)
    });
    whole.map(|(subject, _)| subject).collect()
}

/// Whether it was refused by this rule before.
pub(crate) fn refused(said: &[VerifiedRun], rule: Rule) -> bool {
    said.iter()
        .flat_map(|run| &run.statements)
        .any(|statement| matches!(&statement.entry.said, Said::Refusal(refusal) if refusal.rule == rule))
}
