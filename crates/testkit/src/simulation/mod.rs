//! A federation on simulated time and network, its faults, times and questions all drawn from one seed.
//!
//! `air` is the network, `world` runs a seed and checks the promises after every question. A process that ends leaves its
//! database, which its successor takes up; the database itself lives in memory and its sequencer goes on, so this shows
//! what a dead process owes its neighbours, not what power loss does to a disk.

mod air;
mod world;

pub use air::{Air, Spell, Trouble, Where};
pub use world::{Report, Size, run};
