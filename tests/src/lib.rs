//! Helpers for tests of whole processes.
