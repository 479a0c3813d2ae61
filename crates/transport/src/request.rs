//! A request's body as it arrives (S-22): after its first 5 s it has brought at least 1 KiB for each second, it is never longer
//! than its kind may be, and it is in hand with all others of its peer.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::to_bytes;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use hyper::body::{Body, Frame, SizeHint};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use tokio::time::{Instant, Sleep};

use crate::hand::{Full, Hand};

const AT_FIRST: Duration = Duration::from_secs(5);
const BYTES_A_SECOND: u64 = 1024;

/// Why a body is not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("the request came slower than 1 KiB a second")]
struct TooSlow;

/// Reads a request's body, of at most so many bytes.
///
/// # Errors
/// `too_large` (413), told before anything is read where the header says so; `unavailable` (503) where too much of this peer or
/// of all is in hand; `budget` where it broke off or dripped.
pub async fn read_body(headers: &HeaderMap, body: axum::body::Body, most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("this request has at most {most} bytes"));
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if announced.is_some_and(|length| length.parse::<usize>().is_ok_and(|length| length > most)) {
        return Err(too_large());
    }
    to_bytes(body, most).await.map_err(|error| {
        let mut why = error.source();
        while let Some(cause) = why {
            if cause.is::<LengthLimitError>() {
                return too_large();
            }
            if let Some(full) = cause.downcast_ref::<Full>() {
                return Problem::new(ProblemKind::Unavailable, full.to_string());
            }
            if let Some(slow) = cause.downcast_ref::<TooSlow>() {
                return Problem::new(ProblemKind::Budget, slow.to_string());
            }
            why = cause.source();
        }
        Problem::new(ProblemKind::Budget, "the request broke off")
    })
}

/// A body that fails with [`TooSlow`] when it drips and with [`Full`] when too much is in hand.
pub(crate) struct Arriving<B> {
    body: B,
    hand: Arc<Hand>,
    began: Instant,
    bytes: u64,
    /// Made when first waited for: most bodies come at once.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B> Arriving<B> {
    pub(crate) fn new(body: B, hand: Arc<Hand>) -> Self {
        Self {
            body,
            hand,
            began: Instant::now(),
            bytes: 0,
            patience: None,
        }
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let until = self.began + AT_FIRST + Duration::from_millis(self.bytes * 1000 / BYTES_A_SECOND);
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let came = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            let came = came.map_or(0, Bytes::len);
            self.bytes += came as u64;
            if let Err(full) = self.hand.take(came) {
                metrics::counter!("sanku_requests_shed_total", "whose" => full.whose()).increment(1);
                return Poll::Ready(Some(Err(full.into())));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if patience.deadline() != until {
            patience.as_mut().reset(until);
        }
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
