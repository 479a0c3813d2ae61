//! What nodes say to each other: statements, streams, sealing, notes, scope, routing, accounts, merging, evidence.
//!
//! `PROTOCOL.md` beside this crate is the specification. No I/O happens here, and time comes in as an argument.

pub mod acts;
pub mod body;
pub mod entry;
pub mod evidence;
pub mod forks;
pub mod gather;
pub mod json;
pub mod merge;
pub mod names;
pub mod notes;
pub mod outcomes;
pub mod people;
pub mod problem;
pub mod remembered;
pub mod seal;
pub mod statement;
pub mod stream;
pub mod trace;
pub mod tree;
pub mod trust;
pub mod witness;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod vectors;
