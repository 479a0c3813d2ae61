//! Spreading of notes: whoever sees another digest than its own fetches; a changed note is pushed to neighbours at once.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sanku_federation_protocol::notes::{NoteRefused, RawNote};
use sanku_federation_protocol::stream::write_note;
use sanku_federation_protocol::trust::{Accepted, Trust};
use sanku_values::DivisionCode;
use tokio::time::Instant;

use crate::network::{Network, in_time};
use crate::{Exchange, ExchangeError};

/// How long a neighbour that had nothing new is left alone.
const PULL_AGAIN: Duration = Duration::from_secs(1);

impl<N: Network> Exchange<N> {
    /// Fetches a neighbour's notes. Says whether anything changed here. A neighbour that had nothing new a moment ago is
    /// not asked: bad statements or a lasting difference must not become a storm of requests.
    pub async fn pull_notes(self: &Arc<Self>, from: DivisionCode) -> bool {
        let lately = self
            .fruitless
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&from)
            .is_some_and(|at| at.elapsed() < PULL_AGAIN);
        if lately {
            return false;
        }
        let at_hand = self.trust.load_full();
        let notes = match in_time(self.network.notes_of(from, &at_hand)).await {
            Ok(notes) => notes,
            Err(failure) => {
                tracing::info!(%from, why = %failure.why, "a neighbour's notes could not be fetched");
                return false;
            }
        };
        let changed = self.take_notes(notes, Some(from)).await.unwrap_or(false);
        let mut fruitless = self.fruitless.lock().unwrap_or_else(PoisonError::into_inner);
        if changed {
            fruitless.clear();
        } else {
            fruitless.insert(from, Instant::now());
        }
        changed
    }

    /// Takes in notes from a neighbour or from files; what is new is kept and pushed on. Says whether anything changed.
    pub async fn take_notes(
        self: &Arc<Self>,
        notes: Vec<String>,
        from: Option<DivisionCode>,
    ) -> Result<bool, ExchangeError> {
        let _turn = self.note_turn.lock().await;
        let mut trust = Trust::clone(&self.trust.load());
        let before: std::collections::BTreeSet<_> = trust
            .all()
            .map(|(name, held)| (name.to_owned(), held.reference.number))
            .collect();
        for refused in trust.accept_all(notes.iter().map(String::as_bytes), self.clock.now()) {
            if !matches!(refused, NoteRefused::Older) {
                tracing::warn!(%refused, "a note is refused");
            }
        }
        let forks: Vec<_> = trust.forks()[self.trust.load().forks().len()..].to_vec();
        for fork in &forks {
            self.found_forked_note(&trust, fork).await?;
        }
        let new: Vec<_> = trust
            .all()
            .filter(|(name, held)| !before.contains(&((*name).to_owned(), held.reference.number)))
            .map(|(name, held)| (name.to_owned(), held.reference.number, Arc::clone(&held.bytes)))
            .collect();
        if new.is_empty() && forks.is_empty() {
            return Ok(false);
        }
        for (name, number, bytes) in &new {
            self.store.keep_note(name, *number, bytes).await?;
        }
        let neighbours = trust
            .registry()
            .map(|(_, _, tree)| tree.neighbours(self.here()))
            .unwrap_or_default();
        self.trust.store(Arc::new(trust));
        tracing::info!(count = new.len(), "new notes count from now on");
        for neighbour in neighbours.into_iter().filter(|neighbour| Some(*neighbour) != from) {
            let node = Arc::clone(self);
            let held = new.iter().map(|(_, _, bytes)| bytes.to_string());
            let notes: Vec<_> = held.chain(forks.iter().cloned()).collect();
            tokio::spawn(async move {
                for note in notes {
                    // Whoever is away fetches them when its digest is seen to differ.
                    let _ = in_time(node.network.give_note(neighbour, note)).await;
                }
            });
        }
        Ok(true)
    }

    /// Takes in notes that another process of this node kept since.
    pub async fn learn_notes(self: &Arc<Self>) -> Result<bool, ExchangeError> {
        let kept = self.store.notes_kept().await?;
        if self.notes_kept.swap(kept, Ordering::SeqCst) == kept {
            return Ok(false);
        }
        let notes = self.store.notes().await?;
        self.take_notes(notes, None).await
    }

    /// A note says a second thing under one name and number: the proof is kept, and `trust` obeys both lists of revocations.
    async fn found_forked_note(&self, trust: &Trust, fork: &str) -> Result<(), ExchangeError> {
        let Ok(second) = RawNote::parse(fork.as_bytes()) else {
            return Ok(());
        };
        let subject = format!("{} {}", second.name, second.number);
        let first = trust.note(&second.name, Some(second.number));
        let first = first.map(|held| write_note(held.bytes.as_bytes())).unwrap_or_default();
        let both = first + &write_note(fork.as_bytes());
        if self.store.keep_fork(&subject, self.clock.now(), &both).await? {
            tracing::error!(fork = %subject, "two notes under one name and number say different things");
            metrics::counter!("sanku_forks_found_total").increment(1);
        }
        Ok(())
    }

    /// A neighbour pushes a note. What rests on older ones that are not here is judged again once they were fetched from it; one that
    /// says a second thing is refused and kept as proof.
    pub async fn take_note(self: &Arc<Self>, note: String, from: DivisionCode) -> Result<Accepted, NoteRefused> {
        let judged = || Trust::clone(&self.trust.load()).accept(note.as_bytes(), self.clock.now());
        let curable = |why: &NoteRefused| matches!(why, NoteRefused::Signer | NoteRefused::Missing(_));
        let verdict = match judged() {
            Err(why) if curable(&why) && self.pull_notes(from).await => judged(),
            verdict => verdict,
        };
        if matches!(verdict, Ok(Accepted::New | Accepted::Archived) | Err(NoteRefused::Fork)) {
            self.take_notes(vec![note], Some(from))
                .await
                .map_err(|_| NoteRefused::Missing("database"))?;
        }
        verdict
    }
}
