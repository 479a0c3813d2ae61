//! What neighbours may ask of this node over the peer port.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use sanku_certs::PeerIdentity;
use sanku_exchange::{Exchange, Hop, trace};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::stream::MEDIA_TYPE;
use sanku_federation_protocol::trace::Trace;
use sanku_transport::problem_response;
use serde_json::json;

use crate::network::PeerNetwork;
use crate::operations::work::{Work, admit_peer};

pub(crate) type SharedExchange = Arc<Exchange<PeerNetwork>>;

/// A request holds one run: its limit and a checkpoint.
const LARGEST: usize = (8 << 20) + (16 << 10);
/// A note's limit.
const LARGEST_NOTE: usize = 8 << 20;

pub(crate) fn router(exchange: SharedExchange, work: Work) -> Router {
    let here = exchange.here();
    Router::new()
        .route("/v1/statements", post(statements))
        .route("/v1/notes", get(list_notes).post(take_note))
        .route("/v1/notes/{*name}", get(note))
        .route("/v1/status", get(status))
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
    let budget = hop.budget;
    let Ok(Ok(bytes)) = tokio::time::timeout(budget, to_bytes(body, LARGEST)).await else {
        return refuse(
            ProblemKind::TooLarge,
            "a request is at most 8 MiB and comes within its budget",
        );
    };
    let asked = exchange.question(peer.code, hop, bytes.to_vec());
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
            held.bytes.to_string(),
        )
            .into_response(),
        None => problem_response(&Problem::new(ProblemKind::NotFound, "no such note").of(exchange.here())),
    }
}

async fn take_note(
    State(exchange): State<SharedExchange>,
    Extension(peer): Extension<PeerIdentity>,
    body: Body,
) -> Response {
    let here = exchange.here();
    let refuse = |why: String| problem_response(&Problem::new(ProblemKind::Malformed, why).of(here));
    let Ok(bytes) = to_bytes(body, LARGEST_NOTE).await else {
        return refuse("a note is at most 8 MiB".to_owned());
    };
    let Ok(note) = String::from_utf8(bytes.to_vec()) else {
        return refuse("a note is UTF-8".to_owned());
    };
    match exchange.take_note(note, peer.code).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(error.to_string()),
    }
}

async fn status(State(exchange): State<SharedExchange>) -> Response {
    match exchange.store().checkpoint().await {
        Ok((_, note)) => {
            let state = if exchange.store().is_held() { "clock" } else { "working" };
            Json(json!({ "node": exchange.here(), "state": state, "time": exchange.now(), "checkpoint": note.to_string() })).into_response()
        }
        Err(_) => problem_response(
            &Problem::new(ProblemKind::Unavailable, "the database does not answer").of(exchange.here()),
        ),
    }
}
