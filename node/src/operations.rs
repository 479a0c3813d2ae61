//! What an administrator and a supervisor see of a running node (运维): readiness, status, metrics, orderly end.
//!
//! `Running` is made once, by `serve`; the socket's `/status`, the operations' port and the gauges read from it. Nothing
//! here says anything about a person: labels and fields are codes, closed words, numbers and times.

pub(crate) mod clock;
mod gauges;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod ready;
pub(crate) mod status;
pub(crate) mod supervisor;
pub(crate) mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use sanku_values::Time;

use crate::config::Loaded;
use crate::operations::work::Work;
use crate::peer_api::SharedExchange;

/// How long a check of the database may take before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node that runs.
pub(crate) struct Running {
    pub(crate) loaded: Loaded,
    pub(crate) exchange: SharedExchange,
    pub(crate) work: Work,
    began: Instant,
    /// When its own certificate expires, in Unix milliseconds; a new one changes it.
    certificate: AtomicI64,
}

impl Running {
    /// A node that has just been wired.
    pub(crate) fn new(loaded: Loaded, exchange: SharedExchange, work: Work, certificate: Time) -> Arc<Self> {
        Arc::new(Self {
            loaded,
            exchange,
            work,
            began: Instant::now(),
            certificate: AtomicI64::new(certificate.millis()),
        })
    }

    /// When this node's certificate expires.
    pub(crate) fn certificate(&self) -> Time {
        Time::from_millis(self.certificate.load(Ordering::SeqCst))
    }

    /// A new certificate counts.
    pub(crate) fn certified_until(&self, time: Time) {
        self.certificate.store(time.millis(), Ordering::SeqCst);
    }

    /// Since when it runs.
    pub(crate) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
