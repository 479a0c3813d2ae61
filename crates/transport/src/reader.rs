//! Whoever reads a response (S-22): what was handed over is taken within 10 s, 16 KiB at a time, else the stream is reset.
//!
//! HTTP/2 lets a reader hold its window shut while it answers every ping, and hyper asks a body for more only when there is
//! room. So the body notes since when its last part waits, and the task of its stream, which only the executor sees, ends
//! when that is too long. A reader that takes nothing of its socket is found by the limit on writing to it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as Inner;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use sanku_values::DivisionCode;
use tokio::time::Instant;

use crate::hand::Hand;

/// How long a reader may take nothing.
pub(crate) const LISTENING: Duration = Duration::from_secs(10);
/// What is handed over at once.
const PART: usize = 16 << 10;

tokio::task_local! {
    static WAITING: Arc<Waiting>;
}

/// Since when a response waits for its reader.
#[derive(Debug, Default)]
struct Waiting {
    since: Mutex<Option<Instant>>,
    peer: OnceLock<DivisionCode>,
}

impl Waiting {
    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Ends when the reader took nothing for too long.
    async fn too_long(&self) {
        loop {
            let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let until = since.unwrap_or_else(Instant::now) + LISTENING;
            if since.is_some() && until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Runs the streams of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(async move {
            let served = WAITING.scope(Arc::clone(&waiting), stream);
            tokio::select! {
                _ = served => {}
                () = waiting.too_long() => {
                    let peer = waiting.peer.get().map(ToString::to_string).unwrap_or_default();
                    metrics::counter!("sanku_readers_cut_off_total", "peer" => peer.clone()).increment(1);
                    tracing::warn!(peer, "a reader took nothing of its response for 10 s and is cut off");
                }
            }
        });
    }
}

/// A response's body on its way to its reader; what the request brought is in hand until it is read.
pub(crate) struct Read {
    body: Inner,
    rest: Bytes,
    waiting: Option<Arc<Waiting>>,
    _hand: Arc<Hand>,
}

impl Read {
    pub(crate) fn new(body: Inner, peer: DivisionCode, hand: Arc<Hand>) -> Self {
        // Over HTTP/1.1 there is no stream, and the connection is the limit.
        let waiting = WAITING.try_with(Arc::clone).ok();
        if let Some(waiting) = &waiting {
            let _ = waiting.peer.set(peer);
        }
        Self {
            body,
            rest: Bytes::new(),
            waiting,
            _hand: hand,
        }
    }
}

impl Body for Read {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        // Whoever asks for more took what was handed over.
        if let Some(waiting) = &this.waiting {
            waiting.set(None);
        }
        if this.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let part = this.rest.split_to(PART.min(this.rest.len()));
        if let Some(waiting) = &this.waiting {
            waiting.set(Some(Instant::now()));
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
