//! What this machine's own commands ask of the running node over its socket. Answers are lines of JSON.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{StatusCode, header};
use sanku_exchange::{Case, ExchangeError, Progress};
use sanku_federation_protocol::names::StatementId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::peer_api::SharedExchange;
use crate::result;

pub(crate) fn router(exchange: SharedExchange) -> Router {
    Router::new()
        .route("/query", post(query))
        .route("/again", post(again))
        .route("/follow", post(follow))
        .route("/withdraw", post(withdraw))
        .route("/status", post(status))
        .layer(DefaultBodyLimit::max(4 << 20))
        .with_state(exchange)
}

/// An earlier question is asked again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Again {
    pub(crate) id: StatementId,
    pub(crate) budget_ms: u64,
}

/// An earlier question is followed until it is complete or asked no more.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Follow {
    pub(crate) id: StatementId,
}

/// A mandate is withdrawn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Withdraw {
    pub(crate) mandate: StatementId,
    pub(crate) reason: String,
}

fn failed(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = json!({ "title": title, "detail": detail, "status": status.as_u16() }).to_string();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

async fn query(State(exchange): State<SharedExchange>, body: Bytes) -> Response {
    match Case::parse(&body) {
        Ok(case) => lines(move |sender| async move {
            let progress = |step: Progress| drop(sender.try_send(progress_line(&step)));
            let asked = exchange.ask(case, progress).await;
            conclude(&exchange, &sender, asked).await;
        }),
        Err(why) => failed(StatusCode::BAD_REQUEST, "案件文件不对 the case file is wrong:", &why),
    }
}

async fn again(State(exchange): State<SharedExchange>, Json(again): Json<Again>) -> Response {
    lines(move |sender| async move {
        let progress = |step: Progress| drop(sender.try_send(progress_line(&step)));
        let asked = exchange
            .ask_again(again.id, Duration::from_millis(again.budget_ms), progress)
            .await;
        conclude(&exchange, &sender, asked).await;
    })
}

/// What is known now, then a line for each change as late answers join; ends with `end`. Whoever goes away ends it.
async fn follow(State(exchange): State<SharedExchange>, Json(follow): Json<Follow>) -> Response {
    lines(move |sender| async move {
        let known = exchange.known(follow.id).await;
        let subjects = known.ok().and_then(|(run, _)| result::subjects(&run));
        let followed = exchange.follow(follow.id, |asked| {
            let result = result::document(asked, subjects.as_ref(), &exchange.trust());
            sender.try_send(json!({ "event": "changed", "result": result })).is_ok()
        });
        let line = tokio::select! {
            end = followed => match end {
                Ok(()) => json!({ "event": "end" }),
                Err(error) => json!({ "event": "failed", "message": error.to_string() }),
            },
            () = sender.closed() => return,
        };
        let _ = sender.send(line).await;
    })
}

async fn withdraw(State(exchange): State<SharedExchange>, Json(withdraw): Json<Withdraw>) -> Response {
    match exchange
        .withdraw(withdraw.mandate, &withdraw.reason, Duration::from_secs(10))
        .await
    {
        Ok(told) => {
            let targets: Vec<_> = told
                .iter()
                .map(|(node, outcome)| json!({ "node": node, "acknowledged": outcome.as_str() == "answered" }))
                .collect();
            Json(json!({ "mandate": withdraw.mandate, "targets": targets }))
                .into_response()
                .map_newline()
        }
        Err(error) => failed(StatusCode::CONFLICT, "", &error.to_string()),
    }
}

async fn status(State(exchange): State<SharedExchange>) -> Response {
    Json(json!({ "node": exchange.here(), "state": "working" }))
        .into_response()
        .map_newline()
}

/// Answers that are one line.
trait MapNewline {
    fn map_newline(self) -> Response;
}

impl MapNewline for Response {
    fn map_newline(self) -> Response {
        let (mut parts, body) = self.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        let stream = futures_util::StreamExt::chain(
            body.into_data_stream(),
            futures_util::stream::once(async { Ok(Bytes::from_static(b"\n")) }),
        );
        Self::from_parts(parts, Body::from_stream(stream))
    }
}

/// Runs work that sends lines; whoever goes away does not end it, since what was asked stands in the log.
fn lines<W: Future<Output = ()> + Send + 'static>(work: impl FnOnce(mpsc::Sender<Value>) -> W) -> Response {
    let (sender, receiver) = mpsc::channel(4096);
    tokio::spawn(work(sender));
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((
            Ok::<_, std::convert::Infallible>(Bytes::from(format!("{line}\n"))),
            receiver,
        ))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(stream),
    )
        .into_response()
}

fn progress_line(step: &Progress) -> Value {
    match step {
        Progress::Asked(id, targets) => json!({ "event": "asked", "query": id, "targets": targets }),
        Progress::Heard(node) => json!({ "event": "heard", "node": node }),
    }
}

async fn conclude(
    exchange: &SharedExchange,
    sender: &mpsc::Sender<Value>,
    asked: Result<sanku_exchange::Asked, ExchangeError>,
) {
    let line = match asked {
        Ok(asked) => {
            let subjects = result::subjects(&asked.question);
            json!({ "event": "result", "result": result::document(&asked, subjects.as_ref(), &exchange.trust()) })
        }
        Err(error) => json!({ "event": "failed", "message": error.to_string() }),
    };
    // Whoever listened may have gone.
    let _ = sender.send(line).await;
}
