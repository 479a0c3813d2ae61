//! The trace that the work at hand belongs to: beside the task, so that whatever is logged or sent on within it bears one id.

use sanku_federation_protocol::trace::Trace;
use tracing::Instrument;

tokio::task_local! {
    static TRACE: Trace;
}

/// Runs work within a trace. Tasks that it spawns need a `within` of their own.
pub async fn within<F: Future>(trace: Trace, work: F) -> F::Output {
    let span = tracing::error_span!("question", trace = trace.id());
    TRACE.scope(trace, work).instrument(span).await
}

/// The trace of the work at hand; outside of any, a fresh one.
pub fn current() -> Trace {
    TRACE.try_with(|trace| *trace).unwrap_or_else(|_| Trace::generate())
}
