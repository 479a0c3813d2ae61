//! The log of operations: JSON lines on standard error, no personal data (the crates that log never hand any over).

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for a node that serves.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = match log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}

/// Starts logging for a command: warnings only, for people.
pub(crate) fn start_for_command() {
    start(&Log {
        level: std::env::var("SANKU_LOG").unwrap_or_else(|_| "warn".to_owned()),
        format: LogFormat::Text,
    });
}
