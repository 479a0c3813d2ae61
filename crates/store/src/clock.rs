//! The log's clock (日志时钟): the machine's, believed only while it agrees with what others said of the time.
//!
//! Judged whenever a statement gets its time, not only when others are asked: times in a log never go back, so one statement
//! under a clock that jumped ahead by a day would hold all later ones to that day.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sanku_values::{Clock, Time};
use tokio::time::Instant;

use crate::{Store, StoreError};

/// A time that others said, when it was said, and how far the clock may be from it.
#[derive(Clone, Copy, Debug)]
struct Said {
    time: Time,
    at: Instant,
    apart: Duration,
}

pub(crate) struct LogClock {
    clock: Arc<dyn Clock>,
    said: Mutex<Option<Said>>,
}

impl fmt::Debug for LogClock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LogClock")
    }
}

impl LogClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            said: Mutex::default(),
        }
    }

    /// The time of what is said now.
    ///
    /// # Errors
    /// `Clock` while it is too far from what others said.
    pub(crate) fn now(&self) -> Result<Time, StoreError> {
        let now = self.clock.now();
        let Some(Said { time, at, apart }) = *self.said.lock().unwrap_or_else(PoisonError::into_inner) else {
            return Ok(now);
        };
        let theirs = time.plus(at.elapsed());
        if now.since(theirs).max(theirs.since(now)) > apart {
            return Err(StoreError::Clock);
        }
        Ok(now)
    }
}

impl Store {
    /// From now on the log takes nothing while its clock is further than `apart` from one that now shows `time`: every append
    /// ends with [`StoreError::Clock`]. Without a time its clock is believed.
    pub fn keep_within(&self, apart: Duration, time: Option<Time>) {
        let at = Instant::now();
        let said = time.map(|time| Said { time, at, apart });
        *self.clock.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Whether the log takes nothing for now, since its clock is wrong.
    pub fn is_held(&self) -> bool {
        self.clock.now().is_err()
    }
}
