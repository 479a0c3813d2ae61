//! Whoever simulates time must know when a database works: its threads are outside of the simulation, and a clock that jumps
//! ahead while they work would let everything time out. It may also let the database fail. In production nobody is told.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use crate::StoreError;

/// What comes later.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Is told of every call of a database.
pub trait Pace: Debug + Send + Sync {
    /// A call is about to begin: waits until the database takes it, or says why it does not. The call is under way until what
    /// this gives is ended or dropped.
    fn begin(&self) -> Later<Result<Box<dyn Call>, StoreError>>;
}

/// A call that is under way.
pub trait Call: Send + Sync {
    /// The database has done it: waits as long as its answer shall take to arrive, or says why it never does.
    fn end(self: Box<Self>) -> Later<Result<(), StoreError>>;
}
