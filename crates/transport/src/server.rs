//! The peer port: an accept loop with a limit and a time for every phase, and the peer judged at each request.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use sanku_certs::{PeerIdentity, Role, verify_chain};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trace::Trace;
use sanku_federation_protocol::trust::Trust;
use sanku_values::{Clock, DivisionCode};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::TransportError;
use crate::budgets::Budgets;
use crate::hand::{Hand, Hands};
use crate::reader::{LISTENING, Read, Streams};
use crate::request::Arriving;
use crate::seats::{Counts, Seat};
use crate::tls::{Material, Strict, server_config};

const HANDSHAKE: Duration = Duration::from_secs(5);
const HEADERS: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(20);
const CONNECTIONS: usize = 1024;
const CONNECTIONS_OF_A_PEER: usize = 32;
/// Connections of one address that show no certificate yet.
const HANDSHAKES_OF_AN_ADDRESS: usize = 64;
const STREAMS: u32 = 64;
/// What a peer may send on a stream, and on all of a connection, before we have read it.
const WINDOW: u32 = 256 << 10;
const WINDOW_OF_ALL: u32 = 512 << 10;
/// What waits on a stream until the peer reads.
const UNREAD: usize = 64 << 10;
const HEADER_LIST: usize = 16 * 1024;
const DRAIN: Duration = Duration::from_secs(10);

/// Hears of requests that no good node makes: who, and one of a few fixed words.
type Watcher = Arc<dyn Fn(DivisionCode, &'static str) + Send + Sync>;

/// The peer port's state: replaced by reloads, judged at each request.
#[derive(Clone)]
pub struct Server {
    here: DivisionCode,
    config: Arc<ArcSwap<ServerConfig>>,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<u64>,
    peers: Counts<DivisionCode>,
    addresses: Counts<IpAddr>,
    watcher: Option<Watcher>,
    budgets: Arc<Budgets>,
    in_hand: Hands,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Server({})", self.here)
    }
}

impl Server {
    /// A server with this material.
    pub fn new(
        here: DivisionCode,
        material: &Material,
        trust: Arc<ArcSwap<Trust>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TransportError> {
        let strict = Strict::new(Arc::clone(&trust), Arc::clone(&clock), None);
        let config = server_config(material, strict)?;
        Ok(Self {
            here,
            config: Arc::new(ArcSwap::from_pointee(config)),
            trust,
            clock,
            changed: watch::Sender::new(0),
            peers: Counts::default(),
            addresses: Counts::default(),
            watcher: None,
            budgets: Arc::default(),
            in_hand: Hands::default(),
        })
    }

    /// The same server; somebody hears of requests that no good node makes.
    #[must_use]
    pub fn with_watcher(self, watcher: impl Fn(DivisionCode, &'static str) + Send + Sync + 'static) -> Self {
        Self {
            watcher: Some(Arc::new(watcher)),
            ..self
        }
    }

    /// The same server with another budget of requests for each peer, in a second and at once.
    #[must_use]
    pub fn with_budget(self, a_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        Self {
            budgets: Arc::new(Budgets::new(a_second, at_once)),
            ..self
        }
    }

    /// The same server with another bound on the bytes of requests in hand, of each peer and of all.
    #[must_use]
    pub fn with_hands(self, of_a_peer: usize, of_all: usize) -> Self {
        Self {
            in_hand: Hands::new(of_a_peer, of_all),
            ..self
        }
    }

    /// Replaces chain and key. Built first, swapped after: bad material leaves the old serving.
    pub fn reload(&self, material: &Material) -> Result<(), TransportError> {
        let strict = Strict::new(Arc::clone(&self.trust), Arc::clone(&self.clock), None);
        self.config.store(Arc::new(server_config(material, strict)?));
        Ok(())
    }

    /// After notes changed: connections of peers that are trusted no more end.
    pub fn trust_changed(&self) {
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// Serves until it is stopped, then finishes what runs.
    pub async fn serve(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            let slot = tokio::select! {
                () = stop.cancelled() => break,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { break };
            let (socket, address) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let address_seat = Seat::take(&self.addresses, address.ip(), HANDSHAKES_OF_AN_ADDRESS);
            let Some(address_seat) = address_seat else {
                metrics::counter!("sanku_connections_shed_total").increment(1);
                continue;
            };
            let (server, router, stop) = (self.clone(), router.clone(), stop.clone());
            tasks.spawn(async move {
                let _slot = slot;
                server.connection(socket, address, address_seat, router, stop).await;
            });
        }
        drop(listener);
        tasks.close();
        // What does not end in time is ended with the process.
        let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
    }

    async fn connection(
        self,
        socket: tokio::net::TcpStream,
        address: SocketAddr,
        address_seat: Seat<IpAddr>,
        router: Router,
        stop: CancellationToken,
    ) {
        let _ = socket.set_nodelay(true);
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(Some(LISTENING));
        let acceptor = TlsAcceptor::from(self.config.load_full());
        let mut changed = self.changed.subscribe();
        let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(Box::pin(socket))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::info!(%address, %error, "a handshake was refused"),
            Err(_) => return tracing::info!(%address, "a handshake took too long"),
        };
        let chain: Vec<CertificateDer<'static>> = stream
            .get_ref()
            .1
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let peer = match verify_chain(&chain, Role::Client, &self.trust.load(), self.clock.now()) {
            Ok(peer) => peer,
            Err(refused) => return tracing::warn!(%address, code = refused.reason.code(), "a peer is refused"),
        };
        drop(address_seat);
        let Some(_seat) = Seat::take(&self.peers, peer.code, CONNECTIONS_OF_A_PEER) else {
            return tracing::warn!(%address, peer = %peer.code, "more than 32 connections of one peer");
        };
        let serving = self.clone();
        let code = peer.code;
        let spoke = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&spoke);
        let ending = CancellationToken::new();
        let too_much = ending.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            heard.store(true, Ordering::Relaxed);
            let (server, router, peer, too_much) = (serving.clone(), router.clone(), peer.clone(), too_much.clone());
            async move { Ok::<_, Infallible>(server.request(request, router, peer, &too_much).await) }
        });
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // Nobody connects without something to ask: the first request has the time of a header, preface included.
        let first = tokio::time::sleep(HEADERS);
        tokio::pin!(first);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "a connection ended");
                        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                            self.fault(code, "malformed");
                        }
                    }
                    return;
                }
                () = stop.cancelled() => break,
                () = ending.cancelled() => break,
                () = first.as_mut(), if !spoke.load(Ordering::Relaxed) => {
                    if !spoke.load(Ordering::Relaxed) {
                        return tracing::info!(%address, peer = %code, "a connection without a request is closed");
                    }
                }
                _ = changed.changed() => {
                    if let Err(refused) = verify_chain(&chain, Role::Client, &self.trust.load(), self.clock.now()) {
                        tracing::warn!(peer = %code, code = refused.reason.code(), "a connection is closed: the peer is trusted no more");
                        return;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(DRAIN, connection).await;
    }

    /// A request that no good node makes: it costs as much as many, and whoever watches hears of it.
    fn fault(&self, peer: DivisionCode, what: &'static str) {
        self.budgets.fault(peer);
        if let Some(watcher) = &self.watcher {
            watcher(peer, what);
        }
    }

    /// Judges the peer again, then lets the router answer; every response says the digest of our notes. What the request
    /// brought is in hand until its response is read; whoever sent too much is told to make a new connection.
    async fn request(
        &self,
        mut request: Request<Incoming>,
        router: Router,
        peer: PeerIdentity,
        too_much: &CancellationToken,
    ) -> http::Response<Read> {
        let trust = self.trust.load_full();
        let code = peer.code;
        let hand = Arc::new(Hand::of(&self.in_hand, code));
        let traceparent = request
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        let trace = Trace::received(traceparent.unwrap_or_default());
        let refused =
            |kind: ProblemKind, why: &str| problem_response(&Problem::new(kind, why).of(self.here).in_trace(&trace));
        let judged = peer.judge(&trust, self.clock.now());
        let judged = judged.and_then(|()| self.budgets.take(code).then_some(()).ok_or(ProblemKind::TooMany));
        let mut response = match judged {
            Ok(()) if request.headers().contains_key(header::CONTENT_ENCODING) => {
                // S-21: what is small here would be large once it is unpacked.
                refused(ProblemKind::MediaType, "nothing is compressed here")
            }
            Ok(()) => {
                request.extensions_mut().insert(peer);
                let request = request.map(|body| Arriving::new(body, Arc::clone(&hand)));
                // A panic ends one request, not the connection with all its others.
                match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
                    Ok(response) => response.unwrap_or_else(|never| match never {}),
                    Err(_) => {
                        tracing::error!(peer = %code, trace = trace.id(), "a request ended in a panic");
                        refused(ProblemKind::Internal, "")
                    }
                }
            }
            Err(kind) => {
                if kind == ProblemKind::TooMany {
                    metrics::counter!("sanku_budget_refused_total", "peer" => code.to_string()).increment(1);
                }
                tracing::warn!(peer = %code, code = %kind, trace = trace.id(), "a request is refused");
                refused(kind, "")
            }
        };
        let kind = response.extensions().get::<ProblemKind>().copied();
        if let Some(kind) = kind.filter(|kind| is_fault(*kind)) {
            self.fault(code, kind.as_str());
        }
        if kind == Some(ProblemKind::TooLarge) {
            too_much.cancel();
        }
        if let Ok(digest) = HeaderValue::from_str(&trust.digest().to_string()) {
            response.headers_mut().insert("sanku-notes", digest);
        }
        response.map(|body| Read::new(body, code, hand))
    }
}

/// Whether no good node makes a request that is refused so.
const fn is_fault(kind: ProblemKind) -> bool {
    matches!(
        kind,
        ProblemKind::Malformed | ProblemKind::BadProof | ProblemKind::TooLarge | ProblemKind::MediaType
    )
}

/// HTTP with the limits of the peer port, timers set: without them hyper's limits of time do nothing.
fn builder() -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_LIST);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(PING))
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW_OF_ALL)
        .max_send_buf_size(UNREAD)
        .max_pending_accept_reset_streams(Some(32))
        .max_local_error_reset_streams(Some(32));
    builder
}

/// A problem document as a response.
pub fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(problem).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.extensions_mut().insert(problem.known());
    response
}
