//! Calling neighbours: one HTTP/2 client for each address, which knows whom it means to call. Addresses come from the registry alone.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt, stream};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trust::Trust;
use sanku_values::{Clock, DivisionCode};

use crate::TransportError;
use crate::endpoints::Record;
use crate::life::{Called, Clients, Waiting};
use crate::tls::{Material, Strict, client_config};

/// Largest problem document that is read.
const LARGEST_PROBLEM: usize = 64 << 10;

const CONNECT: Duration = Duration::from_secs(5);
/// How long what was sent may stay unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Clients of all neighbours.
pub struct PeerClients {
    material: ArcSwap<Material>,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<dyn Clock>,
    clients: Clients,
    records: Mutex<HashMap<DivisionCode, Record>>,
}

/// Bytes as they come.
type Body = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>> + Send>>;

/// A neighbour's response: its headers and bytes as they come.
pub struct Response {
    /// The digest over its notes.
    pub notes: Option<String>,
    /// Its body.
    pub body: Body,
}

/// A request, for whichever address takes it.
#[derive(Clone)]
struct Request<'a> {
    method: http::Method,
    path: &'a str,
    headers: &'a [(&'static str, String)],
    body: Bytes,
    /// By then somebody has answered a handshake, or there is no connection.
    connected_by: Option<Instant>,
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
            clients: Clients::default(),
            records: Mutex::default(),
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
        self.clients.held().clear();
    }

    /// After notes changed: clients of whoever is trusted no more are dropped, and with them their connections.
    pub fn trust_changed(&self) {
        let trust = self.trust.load();
        self.clients
            .held()
            .retain(|(code, _), called| trust.judge_member(*code).is_ok() && called.strict.still_holds());
        self.records().retain(|code, _| trust.judge_member(*code).is_ok());
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, HashMap<DivisionCode, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a neighbour's responses took to begin but for the slowest five of a hundred, once there are enough to tell.
    pub fn p95(&self, of: DivisionCode) -> Option<Duration> {
        self.records().get(&of).and_then(Record::p95)
    }

    /// A node's addresses, as the registry has them now.
    fn endpoints(&self, of: DivisionCode) -> Result<Vec<String>, TransportError> {
        let trust = self.trust.load();
        trust
            .judge_member(of)
            .map_err(|kind| TransportError::Refused(Box::new(Problem::new(kind, of.to_string()))))?;
        let row = trust.registry().and_then(|(_, registry, _)| registry.node(of));
        let endpoints = row.map(|row| row.endpoints.clone()).unwrap_or_default();
        if endpoints.is_empty() {
            return Err(TransportError::NoEndpoint);
        }
        // A client of an address that the registry names no more is not kept.
        self.clients
            .held()
            .retain(|(code, endpoint), _| *code != of || endpoints.contains(endpoint));
        Ok(endpoints)
    }

    fn client(&self, to: DivisionCode, endpoint: &str) -> Result<Called, TransportError> {
        let key = (to, endpoint.to_owned());
        let mut clients = self.clients.held();
        if let Some(called) = clients.get(&key)
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
            .tcp_user_timeout(UNACKNOWLEDGED)
            .http2_prior_knowledge()
            .http2_keep_alive_interval(Duration::from_secs(5))
            .http2_keep_alive_timeout(Duration::from_secs(5))
            .http2_keep_alive_while_idle(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_adaptive_window(true)
            .build()?;
        let called = Called::new(key.1.clone(), client, strict);
        clients.insert(key, called.clone());
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
        self.send_connected_by(None, to, method, path, headers, body).await
    }

    /// The same; where nobody has answered a handshake by an instant it fails with [`TransportError::NotConnected`].
    pub async fn send_connected_by(
        &self,
        connected_by: Option<Instant>,
        to: DivisionCode,
        method: http::Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Response, TransportError> {
        let request = Request {
            method,
            path,
            headers,
            body,
            connected_by,
        };
        let (response, mut waiting) = self.answered(to, request).await?;
        let notes = response
            .headers()
            .get("sanku-notes")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let bytes = beginning(response, LARGEST_PROBLEM).await;
            waiting.over();
            let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| of_status(status));
            return Err(TransportError::Refused(Box::new(problem)));
        }
        Ok(Response {
            notes,
            body: self.while_trusted(to, response, waiting),
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
        let request = Request {
            method: http::Method::POST,
            path,
            headers: &[("content-type", "text/plain; charset=utf-8".to_owned())],
            body: body.into(),
            connected_by: None,
        };
        let (response, mut waiting) = self.answered(to, request).await?;
        let status = response.status().as_u16();
        let text = beginning(response, LARGEST_PROBLEM).await;
        waiting.over();
        Ok((status, text))
    }

    /// The response's head, or why there is none.
    async fn answered(
        &self,
        to: DivisionCode,
        request: Request<'_>,
    ) -> Result<(reqwest::Response, Waiting), TransportError> {
        let endpoints = self.endpoints(to)?;
        let (order, hedge_after) = self.records().entry(to).or_default().call(endpoints.len());
        let call = |address: usize| {
            let endpoint = endpoints.get(address).map_or("", String::as_str);
            let request = request.clone();
            async move { (address, self.call(to, endpoint, request).await) }
        };
        let began = Instant::now();
        let mut unanswered = Unanswered {
            clients: self,
            to,
            addresses: endpoints.len(),
            address: order.first().copied(),
        };
        let mut order = order.into_iter();
        let mut calls: FuturesUnordered<_> = order.next().map(call).into_iter().collect();
        let hedge = async {
            match hedge_after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(hedge);
        let mut hedged = false;
        loop {
            tokio::select! {
                Some((address, end)) = calls.next() => match end {
                    Ok(response) => {
                        unanswered.address = None;
                        self.records().entry(to).or_default().answered(address, began.elapsed());
                        return Ok(response);
                    }
                    Err(error) => {
                        self.records().entry(to).or_default().failed(address, endpoints.len());
                        if !calls.is_empty() {
                            continue;
                        }
                        let Some(next) = order.next() else {
                            unanswered.address = None;
                            return Err(error);
                        };
                        tracing::info!(peer = %to, %error, "an address failed, the next is called");
                        metrics::counter!("sanku_failovers_total", "peer" => to.to_string()).increment(1);
                        unanswered.address = Some(next);
                        calls.push(call(next));
                    }
                },
                () = &mut hedge, if !hedged => {
                    hedged = true;
                    if order.len() > 0
                        && self.records().entry(to).or_default().may_hedge()
                        && let Some(next) = order.next()
                    {
                        metrics::counter!("sanku_hedges_total", "peer" => to.to_string()).increment(1);
                        calls.push(call(next));
                    }
                }
            }
        }
    }

    /// The head of what one address answers.
    async fn call(
        &self,
        to: DivisionCode,
        endpoint: &str,
        request: Request<'_>,
    ) -> Result<(reqwest::Response, Waiting), TransportError> {
        let called = self.client(to, endpoint)?;
        let Request { path, connected_by, .. } = request;
        let mut sending = called
            .client
            .request(request.method, format!("https://{}{path}", called.endpoint))
            .body(request.body);
        for (name, value) in request.headers {
            sending = sending.header(*name, value);
        }
        let mut waiting = Waiting::begin(&self.clients, to, &called);
        let sent = sending.send();
        tokio::pin!(sent);
        if let Some(by) = connected_by {
            tokio::select! {
                biased;
                sent = &mut sent => return self.head(to, &called, waiting, sent),
                () = tokio::time::sleep_until(by.into()) => {}
            }
            if !called.strict.has_met() {
                waiting.over();
                self.clients.forget(to, &called);
                return Err(TransportError::NotConnected);
            }
        }
        let sent = sent.await;
        self.head(to, &called, waiting, sent)
    }

    /// What came of sending.
    fn head(
        &self,
        to: DivisionCode,
        called: &Called,
        mut waiting: Waiting,
        sent: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<(reqwest::Response, Waiting), TransportError> {
        match sent {
            Ok(response) => {
                waiting.heard();
                Ok((response, waiting))
            }
            Err(error) => {
                // Whatever was wrong with the connection, the next request makes a new one.
                waiting.over();
                self.clients.forget(to, called);
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

    /// A body that ends with an error as soon as notes say that its sender is trusted no more.
    fn while_trusted(&self, to: DivisionCode, response: reqwest::Response, waiting: Waiting) -> Body {
        let trust = Arc::clone(&self.trust);
        let state = (Box::pin(response.bytes_stream()), waiting, trust.load_full());
        Box::pin(stream::unfold(state, move |(mut body, mut waiting, mut judged)| {
            let trust = Arc::clone(&trust);
            async move {
                let Some(came) = body.next().await else {
                    waiting.over();
                    return None;
                };
                waiting.heard();
                let now = trust.load_full();
                let verdict = if Arc::ptr_eq(&now, &judged) {
                    Ok(())
                } else {
                    judged = now;
                    judged.judge_member(to)
                };
                let came = match verdict {
                    Ok(()) => came.map_err(TransportError::from),
                    Err(kind) => {
                        let problem = Problem::new(kind, to.to_string());
                        Err(TransportError::Refused(Box::new(problem)))
                    }
                };
                Some((came, (body, waiting, judged)))
            }
        }))
    }
}

/// A call until its head came or every address failed. Whoever goes away before blames the address that was called.
struct Unanswered<'a> {
    clients: &'a PeerClients,
    to: DivisionCode,
    addresses: usize,
    address: Option<usize>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut records = self.clients.records();
            records.entry(self.to).or_default().failed(address, self.addresses);
        }
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
