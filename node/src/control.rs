//! What this machine's own commands ask of the running node over its socket. Answers are lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRef, FromRequest, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{StatusCode, header};
use sanku_exchange::lost::Lost;
use sanku_exchange::{Asked, CASES, Case, ExchangeError, Line, Progress, trace};
use sanku_federation_protocol::body::Subject;
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::Statement;
use sanku_federation_protocol::trace::Trace;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use crate::operations::Running;
use crate::operations::work::{Work, until_its_end};
use crate::peer_api::SharedExchange;
use crate::result::{self, Document};

/// What the handlers share.
#[derive(Clone)]
struct Desk(Arc<Running>);

impl FromRef<Desk> for SharedExchange {
    fn from_ref(desk: &Desk) -> Self {
        Self::clone(&desk.0.exchange)
    }
}

impl FromRef<Desk> for Work {
    fn from_ref(desk: &Desk) -> Self {
        desk.0.work.clone()
    }
}

pub(crate) fn router(node: Arc<Running>) -> Router {
    let desk = Desk(node);
    Router::new()
        .route("/query", post(query))
        .route("/again", post(again))
        .route("/batch", post(batch))
        .route("/withdraw", post(withdraw))
        .layer(from_fn_with_state(desk.clone(), admit))
        // Whoever only looks on is not waited for.
        .route("/follow", post(follow))
        .route("/status", post(status))
        .route("/seen", post(seen))
        .route("/lost", post(lost))
        .layer(DefaultBodyLimit::max(4 << 20))
        .with_state(desk)
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

/// What was lost of an earlier log, the newest unless a number is given.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LostOf {
    pub(crate) number: Option<u32>,
}

/// A mandate is withdrawn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Withdraw {
    pub(crate) mandate: StatementId,
    pub(crate) reason: String,
}

/// Lets a person's request in, within the trace it names or a fresh one; refuses it while the node stops.
async fn admit(State(Desk(node)): State<Desk>, request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok());
    let within = Trace::received(header.unwrap_or_default());
    let Some(token) = node.work.begin() else {
        return failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "节点正在停止",
            "the node is stopping; ask again when it is up",
        );
    };
    until_its_end(trace::within(within, next.run(request)).await, token)
}

fn failed(status: StatusCode, title: &str, detail: &str) -> Response {
    let trace = trace::current().id();
    let body = json!({ "title": title, "detail": detail, "status": status.as_u16(), "trace": trace }).to_string();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

async fn query(State(exchange): State<SharedExchange>, State(work): State<Work>, body: Bytes) -> Response {
    match Case::parse(&body) {
        Ok(case) => lines(&work, move |sender| async move {
            let progress = |step: Progress| drop(sender.try_send(progress_line(&step)));
            let asked = exchange.ask(case, progress).await;
            conclude(&exchange, &sender, asked).await;
        }),
        Err(why) => failed(StatusCode::BAD_REQUEST, "案件文件不对 the case file is wrong:", &why),
    }
}

/// What a command, or a program of the centre, asks for: one JSON document, whatever type it claims.
struct Wish<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Wish<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let read = serde_json::from_slice(&bytes).map(Self);
        read.map_err(|error| {
            failed(
                StatusCode::BAD_REQUEST,
                "请求不对 the request is wrong:",
                &error.to_string(),
            )
        })
    }
}

/// Part of a batch, one case a line. What came of each is told as it is known, by its place among the lines.
async fn batch(State(exchange): State<SharedExchange>, State(work): State<Work>, body: Bytes) -> Response {
    let cases: Result<Vec<_>, _> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(Case::parse)
        .collect();
    let cases = match cases {
        Ok(cases) if cases.len() <= CASES => cases,
        Ok(_) => return failed(StatusCode::BAD_REQUEST, "案件过多", "more than 256 cases in one call"),
        Err(why) => return failed(StatusCode::BAD_REQUEST, "案件文件不对 the case file is wrong:", &why),
    };
    lines(&work, move |sender| async move {
        let each = |place: usize, came: Line| {
            let line = match came {
                Ok(asked) => {
                    let subjects = result::subjects(&asked.question);
                    result_line(Head::Place(place), &exchange, &asked, subjects.as_deref())
                }
                Err(error) => {
                    let rule = match &error {
                        ExchangeError::Refused(rule) => Some(rule.as_str()),
                        _ => None,
                    };
                    let refused = json!({ "place": place, "refused": rule, "message": error.to_string() });
                    Ok(format!("{refused}\n"))
                }
            };
            // There is room for every case of a call; whoever listened may have gone.
            let _ = line.map(|line| sender.try_send(line));
        };
        exchange.ask_batch(cases, each).await;
    })
}

async fn again(State(exchange): State<SharedExchange>, State(work): State<Work>, Wish(again): Wish<Again>) -> Response {
    lines(&work, move |sender| async move {
        let progress = |step: Progress| drop(sender.try_send(progress_line(&step)));
        let asked = exchange
            .ask_again(again.id, Duration::from_millis(again.budget_ms), progress)
            .await;
        conclude(&exchange, &sender, asked).await;
    })
}

/// What is known now, then a line for each change as late answers join; ends with `end`. Whoever goes away ends it.
async fn follow(
    State(exchange): State<SharedExchange>,
    State(work): State<Work>,
    Wish(follow): Wish<Follow>,
) -> Response {
    lines(&Work::default(), move |sender| async move {
        let known = exchange.known(follow.id).await;
        let subjects = known.ok().and_then(|(run, _)| result::subjects(&run));
        let followed = exchange.follow(follow.id, |asked| {
            let line = result_line(Head::Event("changed"), &exchange, asked, subjects.as_deref());
            line.is_ok_and(|line| sender.try_send(line).is_ok())
        });
        let line = tokio::select! {
            end = followed => match end {
                Ok(()) => json!({ "event": "end" }),
                Err(error) => json!({ "event": "failed", "message": error.to_string() }),
            },
            () = sender.closed() => return,
            () = work.stopping() => json!({ "event": "failed", "message": "节点正在停止，之后再试 the node is stopping; try again later" }),
        };
        let line = format!("{line}\n");
        let _ = sender.send(line).await;
    })
}

async fn withdraw(State(exchange): State<SharedExchange>, Wish(withdraw): Wish<Withdraw>) -> Response {
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

/// What anybody is heard to remember of this node's logs, asked now.
async fn seen(State(exchange): State<SharedExchange>) -> Response {
    exchange.compare_clocks().await;
    exchange.look_at_ground().await;
    let remembered: Vec<_> = exchange
        .store()
        .remembered()
        .into_iter()
        .map(|one| json!({ "by": one.teller.to_string(), "log": one.checkpoint.origin, "size": one.checkpoint.size, "note": one.note }))
        .collect();
    let heard = exchange.heard();
    let not_heard: Vec<_> = exchange
        .neighbours()
        .into_iter()
        .filter(|code| !heard.contains(code))
        .collect();
    Json(json!({ "seen": remembered, "heard": heard, "not_heard": not_heard }))
        .into_response()
        .map_newline()
}

/// What others hold of an earlier log of this node and its database does not know: a line for each statement, then who was asked.
async fn lost(State(exchange): State<SharedExchange>, Json(log): Json<LostOf>) -> Response {
    lines(&Work::default(), move |sender| async move {
        let own = exchange.store().origin().clone();
        let number = log.number.unwrap_or_else(|| own.number.saturating_sub(1).max(1));
        let log = Origin { number, ..own };
        let (found, mut passed_on) = mpsc::unbounded_channel();
        let asked = async {
            let end = exchange.lost(&log, |lost| drop(found.send(lost))).await;
            drop(found);
            end
        };
        let pass_on = async {
            while let Some(lost) = passed_on.recv().await {
                for line in lost_lines(&lost) {
                    let _ = sender.send(line.to_string()).await;
                }
            }
        };
        let (end, ()) = tokio::join!(asked, pass_on);
        let line = match end {
            Ok(holders) => {
                let holders = holders
                    .iter()
                    .map(|holder| json!({ "node": holder.code, "failed": holder.failed }));
                json!({ "event": "end", "log": log, "holders": holders.collect::<Vec<_>>() })
            }
            Err(error) => json!({ "event": "failed", "message": error.to_string() }),
        };
        let _ = sender.send(format!("{line}\n")).await;
    })
}

/// A line for each statement of a lost run; the first bears the run itself.
fn lost_lines(lost: &Lost) -> Vec<String> {
    let statements = lost.run.statements.iter().enumerate();
    let line = |place: usize, statement: &Statement| {
        json!({
            "event": "lost", "holder": lost.holder, "log": lost.run.origin, "index": lost.run.first + place as u64,
            "kind": statement.entry.said.kind(), "leaf": statement.leaf, "time": statement.entry.time,
            "asker": lost.about.asker, "question": lost.about.question,
            "lines": (place == 0).then_some(&lost.about.lines),
        })
    };
    statements
        .map(|(place, statement)| format!("{}\n", line(place, statement)))
        .collect()
}

async fn status(State(Desk(node)): State<Desk>) -> Response {
    Json(crate::operations::status::document(&node).await)
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
/// An orderly end waits for it.
fn lines<W: Future<Output = ()> + Send + 'static>(
    in_hand: &Work,
    work: impl FnOnce(mpsc::Sender<String>) -> W,
) -> Response {
    let (sender, receiver) = mpsc::channel(4096);
    let (token, work) = (in_hand.begin(), work(sender));
    tokio::spawn(trace::within(trace::current(), async move {
        work.await;
        drop(token);
    }));
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), receiver))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(stream),
    )
        .into_response()
}

fn progress_line(step: &Progress) -> String {
    let line = match step {
        Progress::Asked(id, targets) => {
            json!({ "event": "asked", "query": id, "targets": targets, "trace": trace::current().id() })
        }
        Progress::Heard(node) => json!({ "event": "heard", "node": node }),
    };
    format!("{line}\n")
}

/// What stands before a result: what happened, or its place among the lines of a batch.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Head {
    Event(&'static str),
    Place(usize),
}

/// The line of a result.
fn result_line(
    head: Head,
    exchange: &SharedExchange,
    asked: &Asked,
    subjects: Option<&[Subject]>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(flatten)]
        head: Head,
        result: Document<'a>,
    }
    let trust = exchange.trust();
    let result = Document {
        asked,
        subjects,
        trust: &trust,
        now: exchange.now(),
    };
    let mut line = serde_json::to_string(&Whole { head, result })?;
    line.push('\n');
    Ok(line)
}

async fn conclude(exchange: &SharedExchange, sender: &mpsc::Sender<String>, asked: Result<Asked, ExchangeError>) {
    let line = asked.map_err(|error| error.to_string()).and_then(|asked| {
        let subjects = result::subjects(&asked.question);
        result_line(Head::Event("result"), exchange, &asked, subjects.as_deref()).map_err(|error| error.to_string())
    });
    let line = line.unwrap_or_else(|error| {
        let failed = json!({ "event": "failed", "message": error, "trace": trace::current().id() });
        format!("{failed}\n")
    });
    // Whoever listened may have gone.
    let _ = sender.send(line).await;
}
