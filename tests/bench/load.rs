//! What was measured in one round.

/// Throughput and latencies of one measurement.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
}

impl Measured {
    /// From every answer's microseconds.
    pub(crate) fn of(mut micros: Vec<u64>, seconds: f64) -> Self {
        assert!(!micros.is_empty(), "nothing was answered");
        micros.sort_unstable();
        let at = |share: usize| micros[(micros.len() * share / 100).min(micros.len() - 1)] as f64 / 1000.0;
        Self {
            per_second: micros.len() as f64 / seconds,
            p50: at(50),
            p99: at(99),
        }
    }
}
