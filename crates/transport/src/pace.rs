//! The pace of a request's body (S-22): after its first 5 s it has brought at least 1 KiB for each second.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

const AT_FIRST: Duration = Duration::from_secs(5);
const BYTES_A_SECOND: u64 = 1024;

/// Why a body is not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("the request came slower than 1 KiB a second")]
pub struct TooSlow;

/// A body that fails with [`TooSlow`] when it drips.
pub(crate) struct Paced<B> {
    body: B,
    began: Instant,
    bytes: u64,
    /// Made when first waited for: most bodies come at once.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<B> Paced<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body,
            began: Instant::now(),
            bytes: 0,
            patience: None,
        }
    }
}

impl<B> Body for Paced<B>
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
            if let Some(Ok(frame)) = &frame {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
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
