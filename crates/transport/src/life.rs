//! Connections whose other end vanished without a word (半开连接): whoever gives up on a call that brought no sign of life for a
//! while lets go of the client it used, so that the next request makes a new connection. One request may fail on such a
//! connection, a second does not. What nobody calls over is found by the pings of HTTP/2.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sanku_values::DivisionCode;

use crate::tls::Strict;

/// Silence that is too short tells nothing: a caller may go away for reasons of its own.
const QUIET: Duration = Duration::from_secs(1);

/// A client of one address, and when it last brought anything.
#[derive(Clone)]
pub(crate) struct Called {
    pub(crate) endpoint: String,
    pub(crate) client: reqwest::Client,
    pub(crate) strict: Arc<Strict>,
    heard: Arc<Mutex<Instant>>,
}

impl Called {
    pub(crate) fn new(endpoint: String, client: reqwest::Client, strict: Arc<Strict>) -> Self {
        Self {
            endpoint,
            client,
            strict,
            heard: Arc::new(Mutex::new(Instant::now())),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clients of all addresses.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<(DivisionCode, String), Called>>>);

impl Clients {
    pub(crate) fn held(&self) -> MutexGuard<'_, HashMap<(DivisionCode, String), Called>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a client, unless another took its place meanwhile. Whoever is using it goes on.
    pub(crate) fn forget(&self, to: DivisionCode, called: &Called) {
        let key = (to, called.endpoint.clone());
        let mut clients = self.held();
        if clients
            .get(&key)
            .is_some_and(|held| Arc::ptr_eq(&held.strict, &called.strict))
        {
            clients.remove(&key);
        }
    }
}

/// A call that waits for something to come.
pub(crate) struct Waiting {
    clients: Clients,
    to: DivisionCode,
    called: Called,
    since: Instant,
    over: bool,
}

impl Waiting {
    pub(crate) fn begin(clients: &Clients, to: DivisionCode, called: &Called) -> Self {
        Self {
            clients: clients.clone(),
            to,
            called: called.clone(),
            since: Instant::now(),
            over: false,
        }
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        *self.called.heard() = Instant::now();
    }

    /// The call came to its end.
    pub(crate) const fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let heard = *self.called.heard();
        if heard.max(self.since).elapsed() >= QUIET {
            tracing::info!(peer = %self.to, "a call was given up in silence: the next one makes a new connection");
            self.clients.forget(self.to, &self.called);
        }
    }
}
