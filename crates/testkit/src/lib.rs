//! In-process federations on a simulated network and clock.
