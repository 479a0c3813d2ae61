//! A federation on simulated time and network; its faults, times and questions follow from one seed.
//!
//! `plan` draws, `air` is the network with its spells and `lies`, `machine` what a process runs on, `world` runs a plan, `ledger`
//! and `promises` check. A process that dies is cut off from network and database at that instant: a call that the database
//! took is durable, though nobody knows of it; what it had not taken never happens. Databases live in memory: what power loss
//! does to a disk is shown elsewhere.

mod air;
mod files;
mod ledger;
mod lies;
mod machine;
mod plan;
mod promises;
mod world;

pub use air::{Air, Spell, Trouble, Where};
pub use ledger::Ledger;
pub use plan::{Plan, Size};
pub use world::{Report, run};
