//! Places for work in hand. Batches have half of them, so that a person never waits behind a batch.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// So long a request waits for a place; then it is shed.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Slots {
    all: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    queue: watch::Sender<Queue>,
}

/// Who waits, and how many places were given up for them that nobody took yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Queue {
    waiting: usize,
    given_up: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(
    #[expect(dead_code, reason = "held for its drop")] (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
);

/// One that waits, until it has its place or goes away.
struct Waiting<'a>(&'a watch::Sender<Queue>);

impl<'a> Waiting<'a> {
    fn begins(queue: &'a watch::Sender<Queue>) -> Self {
        queue.send_modify(|queue| queue.waiting += 1);
        Self(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|queue| {
            queue.waiting -= 1;
            queue.given_up = queue.given_up.saturating_sub(1);
        });
    }
}

impl Slots {
    pub(crate) fn of(count: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(count)),
            batches: Arc::new(Semaphore::new((count / 2).max(1))),
            queue: watch::Sender::default(),
        }
    }

    /// Waits for a place. Nothing only if the slots were closed, which nobody does.
    pub(crate) async fn take(&self, batch: bool) -> Option<Slot> {
        let taking = async {
            let share = if batch {
                Some(Arc::clone(&self.batches).acquire_owned().await.ok()?)
            } else {
                None
            };
            let place = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Slot((place, share)))
        };
        tokio::pin!(taking);
        if let Some(slot) = taking.as_mut().now_or_never() {
            return slot;
        }
        let _waiting = Waiting::begins(&self.queue);
        taking.await
    }

    /// Waits for a place at most 100 ms.
    pub(crate) async fn take_soon(&self, batch: bool) -> Option<Slot> {
        tokio::time::timeout(PATIENCE, self.take(batch)).await.ok().flatten()
    }

    /// Ends when somebody waits for whom nobody gave a place up yet. Whoever sees it end gives its own up.
    pub(crate) async fn somebody_waits(&self) {
        let mut queue = self.queue.subscribe();
        loop {
            let mine = self.queue.send_if_modified(|queue| {
                let wanted = queue.given_up < queue.waiting;
                queue.given_up += usize::from(wanted);
                wanted
            });
            if mine || queue.changed().await.is_err() {
                return;
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn as_many_give_their_places_up_as_others_wait_and_no_more() {
        let slots = Arc::new(Slots::of(8));
        let held: Vec<_> = (0..8)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move {
                    let _place = slots.take(false).await;
                    slots.somebody_waits().await;
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(held.iter().all(|one| !one.is_finished()), "nobody waits");
        let later: Vec<_> = futures_util::future::join_all((0..3).map(|_| slots.take(false))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(held.iter().filter(|one| one.is_finished()).count(), 3);
        drop(later);
        let shed = slots.take_soon(false).await;
        assert!(shed.is_some(), "who goes away leaves the queue in order");
        assert_eq!(*slots.queue.borrow(), Queue::default());
    }
}
