//! What is in hand: requests that came in and are not answered to their end. An orderly end refuses new ones and waits.

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use sanku_certs::PeerIdentity;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trace::Trace;
use sanku_transport::problem_response;
use sanku_values::DivisionCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What is in hand. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Work {
    in_hand: TaskTracker,
    stopping: CancellationToken,
}

impl Work {
    /// A piece of work that the end waits for, until the token is dropped; nothing once the node is stopping.
    pub(crate) fn begin(&self) -> Option<TaskTrackerToken> {
        let token = self.in_hand.token();
        (!self.stopping.is_cancelled()).then_some(token)
    }

    /// Whether new work is refused.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ends when new work is refused.
    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// How many pieces are in hand.
    pub(crate) fn count(&self) -> usize {
        self.in_hand.len()
    }

    /// From now on new work is refused; ends when nothing is in hand any more.
    pub(crate) async fn finish(&self) {
        self.stopping.cancel();
        self.in_hand.close();
        self.in_hand.wait().await;
    }
}

/// Lets a neighbour's request in and counts it, or refuses it with 503 while the node stops.
pub(crate) async fn admit_peer(
    State((work, here)): State<(Work, DivisionCode)>,
    Extension(peer): Extension<PeerIdentity>,
    request: Request,
    next: Next,
) -> Response {
    let began = std::time::Instant::now();
    let response = match work.begin() {
        Some(token) => until_its_end(next.run(request).await, token),
        None => {
            let header = request
                .headers()
                .get("traceparent")
                .and_then(|value| value.to_str().ok());
            let problem = Problem::new(ProblemKind::Unavailable, "the node is stopping").of(here);
            problem_response(&problem.in_trace(&Trace::received(header.unwrap_or_default())))
        }
    };
    let labels = [
        ("peer", peer.code.to_string()),
        ("status", response.status().as_u16().to_string()),
    ];
    metrics::counter!("sanku_served_total", &labels).increment(1);
    // Until the response begins: a stream of answers goes on for as long as its question.
    metrics::histogram!("sanku_serve_seconds", "peer" => peer.code.to_string()).record(began.elapsed());
    response
}

/// The same response; its work is in hand until the last byte went out.
pub(crate) fn until_its_end(response: Response, token: TaskTrackerToken) -> Response {
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _in_hand = &token;
            frame
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_in_hand_is_waited_for_and_nothing_new_is_taken() {
        let work = Work::default();
        let token = work.begin().unwrap();
        let end = tokio::spawn({
            let work = work.clone();
            async move { work.finish().await }
        });
        while !work.is_stopping() {
            tokio::task::yield_now().await;
        }
        assert!(work.begin().is_none());
        assert!(!end.is_finished() && work.count() == 1);
        drop(token);
        tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_response_is_in_hand_until_its_body_is_read() {
        let work = Work::default();
        let response = until_its_end(Response::new(Body::from("answer")), work.begin().unwrap());
        assert_eq!(work.count(), 1);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        assert_eq!(work.count(), 0);
    }
}
