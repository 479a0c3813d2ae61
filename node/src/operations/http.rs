//! The operations' port: `/healthz`, `/readyz`, `/metrics`. On the loopback unless the configuration says otherwise; for a
//! supervisor and for Prometheus, and for nobody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::operations::ready::look;
use crate::operations::{Running, gauges};

/// Upper bounds of times, in seconds: from an index lookup to the largest budget.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
const UPKEEP: Duration = Duration::from_secs(5);
/// A gauge that nobody set for so long, such as one of a neighbour that left, is shown no more.
const STALE: Duration = Duration::from_secs(15 * 60);

/// Begins to count. Called once, before anything runs that counts.
pub(crate) fn start_counting() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .context("the histograms' bounds")?
        .idle_timeout(MetricKindMask::GAUGE, Some(STALE))
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| anyhow::anyhow!("metrics are counted already"))?;
    gauges::describe();
    Ok(handle)
}

#[derive(Clone)]
struct Desk {
    node: Arc<Running>,
    metrics: PrometheusHandle,
}

/// Serves until it is stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    node: Arc<Running>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    let upkeep = tokio::spawn({
        let (metrics, stop) = (metrics.clone(), stop.clone());
        async move {
            while tokio::time::timeout(UPKEEP, stop.cancelled()).await.is_err() {
                metrics.run_upkeep();
            }
        }
    });
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(scrape))
        .with_state(Desk { node, metrics });
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the operations' port ended");
    }
    let _ = upkeep.await;
}

/// The process lives and gets its turns. Says nothing about anything else: that is what readiness is for.
async fn health() -> &'static str {
    "ok\n"
}

async fn readiness(State(desk): State<Desk>) -> Response {
    let look = look(&desk.node).await;
    let status = if look.missing.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": look.missing.is_empty(), "missing": look.missing })),
    )
        .into_response()
}

async fn scrape(State(desk): State<Desk>) -> Response {
    gauges::refresh(&desk.node).await;
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        desk.metrics.render(),
    )
        .into_response()
}
