//! Places for work in hand. Batches have half of them, so that a person never waits behind a batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So long a request waits for a place; then it is shed.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    batches: Arc<Semaphore>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(
    #[expect(dead_code, reason = "held for its drop")] (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
);

impl Slots {
    pub(crate) fn of(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count)),
            batches: Arc::new(Semaphore::new((count / 2).max(1))),
        }
    }

    /// Waits for a place. Nothing only if the slots were closed, which nobody does.
    pub(crate) async fn take(&self, batch: bool) -> Option<Slot> {
        let share = if batch {
            Some(Arc::clone(&self.batches).acquire_owned().await.ok()?)
        } else {
            None
        };
        let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Slot((place, share)))
    }

    /// Waits for a place at most 100 ms.
    pub(crate) async fn take_soon(&self, batch: bool) -> Option<Slot> {
        tokio::time::timeout(PATIENCE, self.take(batch)).await.ok().flatten()
    }

    /// Places that are taken.
    #[cfg(test)]
    fn taken(&self, of: usize) -> usize {
        of - self.all.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_within_100_ms_is_shed() {
        let slots = Slots::of(2);
        let (first, _second) = (
            slots.take_soon(false).await.unwrap(),
            slots.take_soon(false).await.unwrap(),
        );
        let began = tokio::time::Instant::now();
        assert!(slots.take_soon(false).await.is_none());
        assert_eq!(began.elapsed(), PATIENCE);
        drop(first);
        assert!(slots.take_soon(false).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn batches_leave_half_to_people() {
        let slots = Slots::of(4);
        let _batch = (
            slots.take_soon(true).await.unwrap(),
            slots.take_soon(true).await.unwrap(),
        );
        assert!(slots.take_soon(true).await.is_none());
        let person = slots.take_soon(false).await;
        assert!(person.is_some());
        assert_eq!(slots.taken(4), 3);
    }
}
