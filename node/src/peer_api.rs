//! What neighbours may ask of this node over the peer port.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use sanku_certs::PeerIdentity;
use sanku_exchange::{Exchange, Hop, LogFile, WitnessAnswer, trace};
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::stream::MEDIA_TYPE;
use sanku_federation_protocol::trace::Trace;
use sanku_tlog::{Hash, NotCosigned};
use sanku_transport::{problem_response, read_body};
use serde_json::json;

use crate::network::PeerNetwork;
use crate::operations::work::{Work, admit_peer};

pub(crate) type SharedExchange = Arc<Exchange<PeerNetwork>>;

/// A request holds one run: its limit and a checkpoint.
const LARGEST: usize = (8 << 20) + (16 << 10);
/// A checkpoint's limit, with its proof.
const LARGEST_CHECKPOINT: usize = 16 << 10;
/// A note's limit.
const LARGEST_NOTE: usize = 8 << 20;

pub(crate) fn router(exchange: SharedExchange, work: Work) -> Router {
    let here = exchange.here();
    Router::new()
        .route("/v1/statements", post(statements))
        .route("/v1/notes", get(list_notes).post(take_note))
        .route("/v1/notes/{*name}", get(note))
        .route("/v1/status", get(status))
        .route("/v1/logs/{node}/{number}/{*file}", get(log_file))
        .route("/v1/witness/add-checkpoint", post(add_checkpoint))
        .route("/v1/witness/{origin}/checkpoint", get(seen_checkpoint))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state((work, here), admit_peer))
        .with_state(exchange)
}

async fn statements(
    State(exchange): State<SharedExchange>,
    Extension(peer): Extension<PeerIdentity>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let here = exchange.here();
    let trace = Trace::received(header_text(&headers, "traceparent").unwrap_or_default());
    let refuse = |kind: ProblemKind, why: &str| problem_response(&Problem::new(kind, why).of(here).in_trace(&trace));
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != MEDIA_TYPE) {
        return refuse(ProblemKind::MediaType, MEDIA_TYPE);
    }
    let hop = match hop(&headers, &trace) {
        Ok(hop) => hop,
        Err(problem) => return problem_response(&problem.of(here).in_trace(&trace)),
    };
    let bytes = match tokio::time::timeout(hop.budget, read_body(&headers, body, LARGEST)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(problem)) => return problem_response(&problem.of(here).in_trace(&trace)),
        Err(_) => return refuse(ProblemKind::Budget, "the request did not come within its budget"),
    };
    let asked = exchange.question(peer.code, hop, bytes.into());
    match trace::within(trace, asked).await {
        Ok(lines) => {
            let stream = futures_util::stream::unfold(lines, |mut lines| async move {
                Some((Ok::<_, std::convert::Infallible>(lines.recv().await?), lines))
            });
            ([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(stream)).into_response()
        }
        Err(problem) => {
            tracing::warn!(peer = %peer.code, kind = %problem.kind, detail = %problem.detail, trace = trace.id(), "a statement is not accepted");
            problem_response(&problem.in_trace(&trace))
        }
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The headers of the hop.
fn hop(headers: &HeaderMap, trace: &Trace) -> Result<Hop, Problem> {
    let text = |name: &str| header_text(headers, name);
    let malformed = |why: &str| Problem::new(ProblemKind::Malformed, why);
    let budget = text("sanku-budget-ms")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| malformed("sanku-budget-ms is missing"))?;
    if budget < 20 {
        return Err(Problem::new(ProblemKind::Budget, "less than 20 ms are left"));
    }
    let only = match text("sanku-only") {
        None => None,
        Some(codes) => {
            let codes: Vec<_> = codes
                .split(',')
                .filter(|code| !code.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| malformed("sanku-only holds what is no code"))?;
            if codes.len() > 1000 {
                return Err(malformed("sanku-only names more than 1,000 codes"));
            }
            Some(codes)
        }
    };
    let attempt = text("sanku-attempt")
        .map_or(Ok(1), str::parse)
        .map_err(|_| malformed("sanku-attempt is no number"))?;
    Ok(Hop {
        budget: Duration::from_millis(u64::min(budget, 300_000)),
        only,
        attempt,
        traceparent: trace.to_string(),
    })
}

async fn list_notes(State(exchange): State<SharedExchange>) -> Response {
    let trust = exchange.trust();
    let list: Vec<_> = trust
        .list()
        .map(|(name, held)| json!([name, held.reference.number, held.reference.digest]))
        .collect();
    Json(list).into_response()
}

async fn note(State(exchange): State<SharedExchange>, Path(path): Path<String>) -> Response {
    let trust = exchange.trust();
    let (name, number) = match path.rsplit_once('/') {
        Some((name, number)) if number.len() > 6 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, number.parse().ok())
        }
        _ => (path.as_str(), None),
    };
    match trust.note(name, number) {
        Some(held) => (
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            // However many read it at once, it stands in memory once.
            Bytes::from_owner(Text(Arc::clone(&held.bytes))),
        )
            .into_response(),
        None => problem_response(&Problem::new(ProblemKind::NotFound, "no such note").of(exchange.here())),
    }
}

/// A text that many responses share.
struct Text(Arc<str>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

async fn take_note(
    State(exchange): State<SharedExchange>,
    Extension(peer): Extension<PeerIdentity>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let here = exchange.here();
    let refuse = |why: String| problem_response(&Problem::new(ProblemKind::Malformed, why).of(here));
    let bytes = match read_body(&headers, body, LARGEST_NOTE).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem_response(&problem.of(here)),
    };
    let Ok(note) = String::from_utf8(bytes.to_vec()) else {
        return refuse("a note is UTF-8".to_owned());
    };
    match exchange.take_note(note, peer.code).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(error.to_string()),
    }
}

/// C2SP tlog-witness: refusals are its status codes and no problem documents, so that other witnesses' clients understand.
async fn add_checkpoint(State(exchange): State<SharedExchange>, headers: HeaderMap, body: Body) -> Response {
    let bytes = match read_body(&headers, body, LARGEST_CHECKPOINT).await {
        Ok(bytes) => bytes,
        Err(problem) => return problem_response(&problem.of(exchange.here())),
    };
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_default();
    match exchange.add_checkpoint(&text).await {
        Ok(WitnessAnswer::Cosigned(line)) => line.into_response(),
        Ok(WitnessAnswer::Unknown) => StatusCode::NOT_FOUND.into_response(),
        Ok(WitnessAnswer::Refused(refused)) => match refused {
            NotCosigned::Malformed => StatusCode::BAD_REQUEST.into_response(),
            NotCosigned::Unsigned => StatusCode::FORBIDDEN.into_response(),
            NotCosigned::BadProof => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            NotCosigned::Conflict(size) => (
                StatusCode::CONFLICT,
                [(header::CONTENT_TYPE, "text/x.tlog.size")],
                format!("{size}\n"),
            )
                .into_response(),
        },
        Err(error) => {
            tracing::error!(%error, "a checkpoint could not be witnessed");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// The newest checkpoint that this node saw of a neighbour's log; the log is named by the SHA-256 of its origin.
async fn seen_checkpoint(State(exchange): State<SharedExchange>, Path(hash): Path<String>) -> Response {
    let trust = exchange.trust();
    let origins = trust.registry().into_iter().flat_map(|(_, registry, _)| {
        let origin = |code, number| Origin {
            federation: trust.federation().clone(),
            node: code,
            number,
        };
        let rows = registry.nodes.iter();
        let all = rows.flat_map(move |row| row.logs.iter().map(move |log| origin(row.code, log.number)));
        all.collect::<Vec<_>>()
    });
    let named = origins
        .into_iter()
        .find(|origin| Hash::of(origin.to_string().as_bytes()).to_string() == hash);
    let seen = match named {
        Some(origin) => exchange.seen_checkpoint(&origin).await.ok().flatten(),
        None => None,
    };
    match seen {
        Some(note) => note.to_string().into_response(),
        None => problem_response(&Problem::new(ProblemKind::NotFound, "no such log was seen").of(exchange.here())),
    }
}

/// C2SP tlog-tiles: the newest checkpoint and tiles of hashes, of this node's log and of those beyond it. No entries.
async fn log_file(
    State(exchange): State<SharedExchange>,
    Extension(peer): Extension<PeerIdentity>,
    Path((node, number, file)): Path<(String, u32, String)>,
) -> Response {
    let federation = exchange.trust().federation().clone();
    let named = node.parse().ok().zip(LogFile::parse(&file));
    let found = match named {
        Some((node, file)) => {
            let log = Origin {
                federation,
                node,
                number,
            };
            exchange.log_file(&log, file, Some(peer.code)).await
        }
        None => Ok(None),
    };
    match found {
        Ok(Some(bytes)) => {
            let kind = if file == "checkpoint" {
                "text/plain; charset=utf-8"
            } else {
                "application/octet-stream"
            };
            ([(header::CONTENT_TYPE, kind)], bytes).into_response()
        }
        Ok(None) => problem_response(&Problem::new(ProblemKind::NotFound, "no such file").of(exchange.here())),
        Err(_) => problem_response(
            &Problem::new(ProblemKind::Unavailable, "the database does not answer").of(exchange.here()),
        ),
    }
}

/// What this node says of itself to a neighbour, and what it has seen of that neighbour's logs; also while it may say nothing
/// else.
async fn status(State(exchange): State<SharedExchange>, Extension(peer): Extension<PeerIdentity>) -> Response {
    let store = exchange.store();
    let recovering = store.recovering();
    let state = match &recovering {
        Some(_) => "recovering",
        None if store.is_held() => "clock",
        None => "working",
    };
    let checkpoint = match store.checkpoint().await {
        Ok((_, note)) => Some(note.to_string()),
        Err(_) if recovering.is_some() => None,
        Err(_) => {
            return problem_response(
                &Problem::new(ProblemKind::Unavailable, "the database does not answer").of(exchange.here()),
            );
        }
    };
    let seen = exchange.seen_of(peer.code).await.unwrap_or_default();
    let why = recovering.map(|recovering| recovering.to_string());
    Json(json!({ "node": exchange.here(), "state": state, "why": why, "time": exchange.now(), "checkpoint": checkpoint, "seen": seen })).into_response()
}
