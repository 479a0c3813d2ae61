//! Simulated time: a clock that follows the runtime's paused one, and databases that keep it from running ahead.
//!
//! A paused runtime jumps to the next timer whenever no task is ready. A database works on threads of its own, so the runtime
//! would seem idle while a query runs, and the jump would end every limit that is being waited for. It does not jump while a
//! blocking task runs: so one such task stands still for as long as any call of any database is under way. Each call takes one
//! millisecond of simulated time, after which its answer arrives: in whatever order the databases' threads finish, tasks go on
//! in the order in which they asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use sanku_store::{Call, Later, Pace, StoreError};
use sanku_values::{Clock, FixedClock, Time};
use tokio::time::{Instant, Sleep};

use crate::network::held;

/// How long a call of a database takes.
const CALL: Duration = Duration::from_millis(1);

/// The time that all clocks of a federation are put by.
#[derive(Debug)]
pub struct TrueTime {
    base: FixedClock,
    since: Option<Instant>,
}

impl TrueTime {
    /// It stands until it is moved.
    pub const fn at(time: Time) -> Self {
        Self {
            base: FixedClock::at(time),
            since: None,
        }
    }

    /// It follows the runtime's clock from now on.
    pub fn flowing(time: Time) -> Self {
        Self {
            base: FixedClock::at(time),
            since: Some(Instant::now()),
        }
    }

    /// Sets it.
    pub fn set(&self, time: Time) {
        self.base.set(time);
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.base.advance(by);
    }
}

impl Clock for TrueTime {
    fn now(&self) -> Time {
        let flown = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.base.now().plus(flown)
    }
}

#[derive(Debug, Default)]
struct Count {
    under_way: usize,
    calls: u64,
    held: bool,
}

/// Holds simulated time still while databases work.
#[derive(Clone, Debug, Default)]
pub struct Stillness(Arc<(Mutex<Count>, Condvar)>);

impl Stillness {
    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        held(&self.0.0).calls
    }

    /// A call begins now.
    pub(crate) fn begin_now(&self) -> UnderWay {
        let mut count = held(&self.0.0);
        count.under_way += 1;
        count.calls += 1;
        if !count.held {
            count.held = true;
            let shared = Arc::clone(&self.0);
            tokio::task::spawn_blocking(move || {
                let count = held(&shared.0);
                let waited = shared.1.wait_while(count, |count| count.under_way > 0);
                if let Ok(mut count) = waited {
                    count.held = false;
                }
            });
        }
        drop(count);
        // Its place among the timers is taken now, not when the database's thread happens to be done.
        let mut arrives = Box::pin(tokio::time::sleep(CALL));
        let _ = arrives.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        UnderWay {
            still: Some(Guard(Arc::clone(&self.0))),
            arrives,
        }
    }
}

impl Pace for Stillness {
    fn begin(&self) -> Later<Result<Box<dyn Call>, StoreError>> {
        let call: Box<dyn Call> = Box::new(self.begin_now());
        Box::pin(std::future::ready(Ok(call)))
    }
}

struct Guard(Arc<(Mutex<Count>, Condvar)>);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut count = held(&self.0.0);
        count.under_way -= 1;
        if count.under_way == 0 {
            self.0.1.notify_all();
        }
    }
}

/// A call during which simulated time stands still.
pub(crate) struct UnderWay {
    still: Option<Guard>,
    arrives: Pin<Box<Sleep>>,
}

impl UnderWay {
    /// The database is done; waits for its answer to arrive.
    pub(crate) fn done(mut self) -> Pin<Box<Sleep>> {
        self.still = None;
        self.arrives
    }
}

impl Call for UnderWay {
    fn end(self: Box<Self>) -> Later<Result<(), StoreError>> {
        let arrives = self.done();
        Box::pin(async move {
            arrives.await;
            Ok(())
        })
    }
}
