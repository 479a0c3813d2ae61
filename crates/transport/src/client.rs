//! Calling neighbours: one HTTP/2 client for each, which knows whom it means to call. Addresses come from the registry alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trust::Trust;
use sanku_values::{Clock, DivisionCode};

use crate::TransportError;
use crate::tls::{Material, Strict, client_config};

/// Largest problem document that is read.
const LARGEST_PROBLEM: usize = 64 << 10;

const CONNECT: Duration = Duration::from_secs(5);

/// Clients of all neighbours.
pub struct PeerClients {
    material: ArcSwap<Material>,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<dyn Clock>,
    clients: Mutex<HashMap<DivisionCode, Called>>,
}

#[derive(Clone)]
struct Called {
    endpoint: String,
    client: reqwest::Client,
    strict: Arc<Strict>,
}

/// A neighbour's response: its headers and bytes as they come.
pub struct Response {
    /// The digest over its notes.
    pub notes: Option<String>,
    /// Its body.
    pub body: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>,
}

impl std::fmt::Debug for PeerClients {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("PeerClients")
    }
}

impl PeerClients {
    /// Clients that show this material.
    pub fn new(material: Material, trust: Arc<ArcSwap<Trust>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            material: ArcSwap::from_pointee(material),
            trust,
            clock,
            clients: Mutex::default(),
        }
    }

    /// From now on shows this material; connections of the old end when their requests do. Bad material changes nothing
    /// and is said: [`Server::reload`](crate::Server::reload), which a node calls first, refuses it with an error.
    pub fn reload(&self, material: Material) {
        let strict = Strict::new(Arc::clone(&self.trust), Arc::clone(&self.clock), None);
        if let Err(error) = client_config(&material, strict) {
            return tracing::error!(%error, "the new certificate is bad; calls go on with the old one");
        }
        self.material.store(Arc::new(material));
        self.clients().clear();
    }

    /// After notes changed: clients of whoever is trusted no more are dropped, and with them their connections.
    pub fn trust_changed(&self) {
        let trust = self.trust.load();
        self.clients()
            .retain(|code, called| trust.judge_member(*code).is_ok() && called.strict.still_holds());
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<DivisionCode, Called>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, to: DivisionCode) -> Result<Called, TransportError> {
        let trust = self.trust.load();
        trust
            .judge_member(to)
            .map_err(|kind| TransportError::Refused(Box::new(Problem::new(kind, to.to_string()))))?;
        let endpoint = trust
            .registry()
            .and_then(|(_, registry, _)| registry.node(to).and_then(|row| row.endpoints.first().cloned()))
            .ok_or(TransportError::NoEndpoint)?;
        let mut clients = self.clients();
        if let Some(called) = clients.get(&to)
            && called.endpoint == endpoint
            && called.strict.still_holds()
        {
            return Ok(called.clone());
        }
        let strict = Strict::new(Arc::clone(&self.trust), Arc::clone(&self.clock), Some(to));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(client_config(&self.material.load(), Arc::clone(&strict))?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_prior_knowledge()
            .http2_keep_alive_interval(Duration::from_secs(5))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_adaptive_window(true)
            .build()?;
        let called = Called {
            endpoint,
            client,
            strict,
        };
        clients.insert(to, called.clone());
        drop(clients);
        Ok(called)
    }

    /// Sends a request to a neighbour. Problem documents come back as [`TransportError::Refused`].
    pub async fn send(
        &self,
        to: DivisionCode,
        method: http::Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Response, TransportError> {
        let response = self.answered(to, method, path, headers, body).await?;
        let notes = response
            .headers()
            .get("sanku-notes")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let bytes = beginning(response, LARGEST_PROBLEM).await;
            let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| of_status(status));
            return Err(TransportError::Refused(Box::new(problem)));
        }
        Ok(Response {
            notes,
            body: Box::pin(self.while_trusted(to, response.bytes_stream().map_err(TransportError::from))),
        })
    }

    /// Sends a short text and gives status and beginning of what comes back, whatever the status: for protocols of others,
    /// whose refusals are no problem documents.
    pub async fn post_text(
        &self,
        to: DivisionCode,
        path: &str,
        body: String,
    ) -> Result<(u16, Vec<u8>), TransportError> {
        let headers = [("content-type", "text/plain; charset=utf-8".to_owned())];
        let response = self
            .answered(to, http::Method::POST, path, &headers, body.into())
            .await?;
        let status = response.status().as_u16();
        Ok((status, beginning(response, LARGEST_PROBLEM).await))
    }

    /// The response's head, or why there is none.
    async fn answered(
        &self,
        to: DivisionCode,
        method: http::Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<reqwest::Response, TransportError> {
        let called = self.client(to)?;
        let mut request = called
            .client
            .request(method, format!("https://{}{path}", called.endpoint))
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send().await {
            Ok(response) => Ok(response),
            Err(error) => {
                // Whatever was wrong with the connection, the next request makes a new one.
                self.forget(to, &called);
                Err(match called.strict.refused() {
                    Some(refused) => {
                        let problem = Problem::new(refused.problem(), refused.to_string());
                        TransportError::Refused(Box::new(problem))
                    }
                    None => error.into(),
                })
            }
        }
    }

    /// Drops a neighbour's client, unless another took its place meanwhile.
    fn forget(&self, to: DivisionCode, called: &Called) {
        let mut clients = self.clients();
        if clients
            .get(&to)
            .is_some_and(|held| Arc::ptr_eq(&held.strict, &called.strict))
        {
            clients.remove(&to);
        }
    }

    /// A body that ends with an error as soon as notes say that its sender is trusted no more.
    fn while_trusted(
        &self,
        to: DivisionCode,
        body: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    ) -> impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static {
        let trust = Arc::clone(&self.trust);
        let mut judged = trust.load_full();
        body.and_then(move |bytes| {
            let now = trust.load_full();
            let verdict = if Arc::ptr_eq(&now, &judged) {
                Ok(())
            } else {
                judged = now;
                judged.judge_member(to)
            };
            std::future::ready(verdict.map(|()| bytes).map_err(|kind| {
                let problem = Problem::new(kind, to.to_string());
                TransportError::Refused(Box::new(problem))
            }))
        })
    }
}

/// The first bytes of a body, however long it is.
async fn beginning(mut response: reqwest::Response, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(part)) = response.chunk().await {
        bytes.extend_from_slice(&part[..part.len().min(most - bytes.len())]);
        if bytes.len() >= most {
            break;
        }
    }
    bytes
}

/// A response without a problem document.
fn of_status(status: u16) -> Problem {
    let kind = match status {
        413 => ProblemKind::TooLarge,
        415 => ProblemKind::MediaType,
        426 => ProblemKind::Version,
        429 => ProblemKind::TooMany,
        503 => ProblemKind::Unavailable,
        _ => ProblemKind::Internal,
    };
    Problem::new(kind, format!("HTTP {status}"))
}
