//! Nodes that speak over real TLS on the loopback, with clocks and notes that a test holds.

mod addresses;
mod bounds;
mod life;
mod limits;
mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, body::Body};
use bytes::Bytes;
use futures_util::StreamExt;
use sanku_certs::federation::notes_in;
use sanku_certs::{Federation, NewNode, NodeKeys, PeerIdentity};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trust::Trust;
use sanku_values::{DivisionCode, FederationName, FixedClock, Time};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tls::{Strict, client_config};
use crate::{Material, PeerClients, Server, TransportError, problem_response, read_body};

const PROVINCE: &str = "420000";
const CITY: &str = "421000";
const DISTRICT: &str = "421002";

fn code(text: &str) -> DivisionCode {
    text.parse().unwrap()
}

fn start_of_time() -> Time {
    "2026-03-01T00:00:00.000Z".parse().unwrap()
}

/// A federation in a directory.
struct World {
    place: tempfile::TempDir,
    federation: Federation,
}

impl World {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let name: FederationName = "sanku.test".parse().unwrap();
        let new = node(PROVINCE, "127.0.0.1:1".to_owned());
        let federation = Federation::init(place.path(), &name, new, start_of_time()).unwrap();
        Self { place, federation }
    }

    fn add(&self, code: &str, endpoint: String) {
        self.federation.add(node(code, endpoint), start_of_time()).unwrap();
    }

    fn add_with(&self, code: &str, endpoints: Vec<String>) {
        let new = NewNode {
            endpoints,
            ..node(code, String::new())
        };
        self.federation.add(new, start_of_time()).unwrap();
    }

    fn trust(&self) -> Trust {
        let notes = notes_in(&self.place.path().join(PROVINCE)).unwrap();
        let notes = notes.iter().map(Vec::as_slice);
        Trust::from_notes(
            self.federation.name.clone(),
            self.federation.fingerprint,
            notes,
            start_of_time(),
        )
        .0
    }

    fn material(&self, of: &str) -> Material {
        let keys = NodeKeys::load(&self.place.path().join(of), &self.federation.name, code(of), 1).unwrap();
        Material {
            chain: keys.chain,
            key: keys.tls,
        }
    }

    /// A node that serves; it becomes a member with its address.
    async fn serve(&self, of: &str) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.add(of, listener.local_addr().unwrap().to_string());
        self.run(of, listener)
    }

    fn run(&self, of: &str, listener: TcpListener) -> Node {
        self.run_as(of, listener, |server| server)
    }

    fn run_as(&self, of: &str, listener: TcpListener, change: impl FnOnce(Server) -> Server) -> Node {
        let clock = Arc::new(FixedClock::at(start_of_time()));
        let trust = Arc::new(ArcSwap::from_pointee(self.trust()));
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(code(of), &self.material(of), Arc::clone(&trust), clock.clone()).unwrap();
        let server = change(server);
        let (stop, asked) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(server.clone().serve(listener, router(Arc::clone(&asked)), stop.clone()));
        Node {
            address,
            server,
            trust,
            clock,
            stop,
            asked,
            task,
        }
    }

    /// A node that calls.
    fn caller(&self, of: &str) -> Caller {
        let clock = Arc::new(FixedClock::at(start_of_time()));
        let trust = Arc::new(ArcSwap::from_pointee(self.trust()));
        let clients = PeerClients::new(self.material(of), Arc::clone(&trust), clock.clone());
        Caller { clients, trust, clock }
    }

    /// A node that serves, its server changed.
    async fn serve_as(&self, of: &str, change: impl FnOnce(Server) -> Server) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.add(of, listener.local_addr().unwrap().to_string());
        self.run_as(of, listener, change)
    }

    /// A bare TLS connection that shows a node's certificate.
    async fn dial(&self, of: &str, to: &Node) -> TlsStream<TcpStream> {
        self.dial_with(of, to, b"http/1.1").await
    }

    async fn dial_with(&self, of: &str, to: &Node, protocol: &[u8]) -> TlsStream<TcpStream> {
        let strict = Strict::new(Arc::clone(&to.trust), Arc::new(FixedClock::at(start_of_time())), None);
        let mut config = client_config(&self.material(of), strict).unwrap();
        config.alpn_protocols = vec![protocol.to_vec()];
        connect(config, &to.address).await.unwrap()
    }
}

/// A running server, with what it knows.
struct Node {
    address: String,
    server: Server,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<FixedClock>,
    stop: CancellationToken,
    /// How many requests reached the router.
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Clients, with what they know.
struct Caller {
    clients: PeerClients,
    trust: Arc<ArcSwap<Trust>>,
    clock: Arc<FixedClock>,
}

impl Caller {
    async fn get(&self, to: &str, path: &str) -> Result<String, TransportError> {
        self.send(to, http::Method::GET, path, Bytes::new()).await
    }

    async fn send(&self, to: &str, method: http::Method, path: &str, body: Bytes) -> Result<String, TransportError> {
        let mut response = self.clients.send(code(to), method, path, &[], body).await?;
        let mut text = Vec::new();
        while let Some(part) = response.body.next().await {
            text.extend_from_slice(&part?);
        }
        Ok(String::from_utf8(text).unwrap())
    }
}

/// The problem's code, where that is why.
fn problem(result: Result<String, TransportError>) -> String {
    match result {
        Err(TransportError::Refused(problem)) => problem.kind.replace("urn:sanku:problem:", ""),
        other => format!("{other:?}"),
    }
}

fn node(code_text: &str, endpoint: String) -> NewNode {
    NewNode {
        code: code(code_text),
        name: code_text.to_owned(),
        endpoints: vec![endpoint],
        categories: Vec::new(),
    }
}

fn router(asked: Arc<AtomicUsize>) -> Router {
    let count = |State(asked): State<Arc<AtomicUsize>>,
                 request: axum::extract::Request,
                 next: axum::middleware::Next| async move {
        asked.fetch_add(1, Ordering::SeqCst);
        next.run(request).await
    };
    Router::new()
        .route(
            "/who",
            get(|Extension(peer): Extension<PeerIdentity>| async move { format!("{} {}", peer.code, peer.serial) }),
        )
        .route(
            "/version",
            get(|request: axum::extract::Request| async move { format!("{:?}", request.version()) }),
        )
        .route("/echo", post(|body: Bytes| async move { body }))
        .route("/read", post(read))
        .route(
            "/hold",
            post(|headers: http::HeaderMap, body: Body| async move {
                let read = read_body(&headers, body, 128 << 10).await.unwrap();
                let lines = futures_util::stream::unfold(read, |read| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((Ok::<_, std::convert::Infallible>("drop\n"), read))
                });
                Body::from_stream(lines)
            }),
        )
        .route("/large", get(|| async { vec![7; 64 << 20] }))
        .route("/panic", get(panics))
        .route("/away", get(|| async { Redirect::temporary("/who") }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }),
        )
        .route(
            "/drip",
            get(|| async {
                Body::from_stream(futures_util::stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((Ok::<_, std::convert::Infallible>("drop\n"), ()))
                }))
            }),
        )
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&asked), count))
        .with_state(asked)
}

/// Reads at most 128 KiB as a node's own routes do, and refuses what is no letter `x` as they refuse what is malformed.
async fn read(headers: http::HeaderMap, body: Body) -> Response {
    let problem = match read_body(&headers, body, 128 << 10).await {
        Ok(bytes) if bytes.iter().all(|byte| *byte == b'x') => return bytes.len().to_string().into_response(),
        Ok(_) => Problem::new(ProblemKind::Malformed, ""),
        Err(problem) => problem,
    };
    problem_response(&problem)
}

async fn panics() -> &'static str {
    panic!("11010519491231002X")
}

async fn connect(config: rustls::ClientConfig, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}
