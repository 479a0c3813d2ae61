//! What a node's process runs on: its calls of the database take time, fail or lose their answers while a spell says so, and end
//! with the process. A call that the database took when the process died may be durable, and nobody knows of it.

use std::sync::Arc;

use sanku_store::{Call, Later, Pace, StoreError};
use sanku_values::DivisionCode;
use tokio::time::sleep;

use super::air::{Air, Trouble};
use crate::network::{Process, Wires};
use crate::time::{Stillness, UnderWay};

pub(super) struct Machine {
    node: DivisionCode,
    process: Process,
    air: Arc<Air>,
    still: Stillness,
}

impl Machine {
    /// What the process that starts now runs on.
    pub(super) fn new(node: DivisionCode, wires: &Wires, air: &Arc<Air>, still: &Stillness) -> Self {
        Self {
            node,
            process: Process::now(node, wires),
            air: Arc::clone(air),
            still: still.clone(),
        }
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Machine({})", self.node)
    }
}

impl Pace for Machine {
    fn begin(&self) -> Later<Result<Box<dyn Call>, StoreError>> {
        let (process, still) = (self.process.clone(), self.still.clone());
        let trouble = self.air.of_database(self.node);
        let luck = match trouble {
            Some(Trouble::Flaky) => self.air.draw(self.node, self.node).u8(0..3),
            _ => 2,
        };
        Box::pin(async move {
            process.lives().await;
            match trouble {
                Some(Trouble::Slow(by)) => sleep(by).await,
                Some(Trouble::Down) => return Err(StoreError::Database("it is down".to_owned())),
                Some(Trouble::Flaky) if luck == 0 => return Err(StoreError::Database("it refused".to_owned())),
                _ => {}
            }
            process.lives().await;
            let call: Box<dyn Call> = Box::new(OfProcess {
                call: still.begin_now(),
                process,
                lost: luck == 1,
            });
            Ok(call)
        })
    }
}

struct OfProcess {
    call: UnderWay,
    process: Process,
    lost: bool,
}

impl Call for OfProcess {
    fn end(self: Box<Self>) -> Later<Result<(), StoreError>> {
        let arrives = self.call.done();
        let (process, lost) = (self.process, self.lost);
        Box::pin(async move {
            arrives.await;
            process.lives().await;
            if lost {
                return Err(StoreError::Database("its answer was lost".to_owned()));
            }
            Ok(())
        })
    }
}
