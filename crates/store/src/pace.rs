//! Whoever simulates time must know when a database works: its threads are outside of the simulation, and a clock that jumps
//! ahead while they work would let everything time out. In production nobody is told.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

/// Is told of every call of a database.
pub trait Pace: Debug + Send + Sync {
    /// A call begins. It is under way until what this gives is ended or dropped.
    fn begin(&self) -> Box<dyn Call>;
}

/// A call that is under way.
pub trait Call: Send + Sync {
    /// The database has answered; waits as long as the answer shall take to arrive.
    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
