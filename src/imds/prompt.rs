//! How long a client may take: to send a request's headers, and to send nothing between two requests. hyper has one timer
//! for both and arms it anew for every request; this stream keeps one alarm for as long as a connection lasts, which
//! looks when it rings whether it is time yet. Reading fails when it is.
//!
//! The start of a request that came in one segment with the end of the one before goes unseen until its next byte. It
//! is then closed like an idle connection, which costs no more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Whether a request has begun whose headers are not whole. The stream sees it begin, the service sees it end.
#[derive(Clone, Debug)]
pub(super) struct Pending(Arc<AtomicBool>);

impl Pending {
    /// The headers are whole.
    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// True where it is news.
    fn begin(&self) -> bool {
        // One task owns both ends: nothing comes between the look and the touch.
        !self.is_on() && !self.0.swap(true, Ordering::Relaxed)
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a request's headers, from their first byte or from the connection's start on.
    pub(super) headers: Duration,
    /// From the start of one request to the next.
    pub(super) idle: Duration,
}

/// A connection whose client must be prompt: reading fails with [`io::ErrorKind::TimedOut`] when it is not. A new
/// connection counts as a request that has begun. Belongs to one task, which the alarm wakes.
#[derive(Debug)]
pub(super) struct PromptStream<S> {
    stream: S,
    patience: Patience,
    pending: Pending,
    began: Instant,
    /// Made when there is first something to wait for.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<S> PromptStream<S> {
    /// Wraps a new connection.
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        Self {
            stream,
            patience,
            pending: Pending(Arc::new(AtomicBool::new(true))),
            began: Instant::now(),
            alarm: None,
        }
    }

    /// For the service, to say when headers are whole.
    pub(super) fn pending(&self) -> Pending {
        self.pending.clone()
    }

    /// There is nothing to read. An alarm that is set to the right time or an earlier one is left alone.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let patience = if self.pending.is_on() {
            self.patience.headers
        } else {
            self.patience.idle
        };
        let due = self.began + patience;
        if let Some(alarm) = &self.alarm
            && alarm.deadline() <= due
            && !alarm.is_elapsed()
        {
            return Poll::Pending;
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm
            .as_mut()
            .poll(cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PromptStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                if self.pending.begin() {
                    self.began = Instant::now();
                }
                read
            }
            Poll::Pending => self.poll_alarm(cx).map(Err),
            Poll::Ready(_) => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PromptStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, advance, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(60);

    fn pair() -> (PromptStream<DuplexStream>, Pending, DuplexStream) {
        let (near, far) = duplex(64);
        let stream = PromptStream::new(
            near,
            Patience {
                headers: LIMIT,
                idle: IDLE,
            },
        );
        let pending = stream.pending();
        (stream, pending, far)
    }

    async fn timed_out_after(stream: &mut PromptStream<DuplexStream>) -> Duration {
        let start = Instant::now();
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_or_half_a_request_is_given_up_after_the_limit() {
        let (mut silent, _, _far) = pair();
        assert!(timed_out_after(&mut silent).await.abs_diff(LIMIT) < Duration::from_millis(5));

        let (mut half, _, mut far) = pair();
        far.write_all(b"G").await.unwrap();
        half.read_u8().await.unwrap();
        assert!(timed_out_after(&mut half).await.abs_diff(LIMIT) < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_bytes_do_not_move_the_limit() {
        let (mut stream, _, mut far) = pair();
        for _ in 0..4 {
            advance(Duration::from_secs(1)).await;
            far.write_all(b"x").await.unwrap();
            stream.read_u8().await.unwrap();
        }
        assert!(timed_out_after(&mut stream).await <= Duration::from_millis(1005));
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_the_limit_rests_and_each_request_has_its_own() {
        let (mut stream, pending, mut far) = pair();
        for _ in 0..2 {
            far.write_all(b"r").await.unwrap();
            stream.read_u8().await.unwrap();
            pending.end();
            let idle = timeout(LIMIT * 10, stream.read_u8()).await;
            assert!(idle.is_err(), "it may be idle for longer");
        }
        far.write_all(b"r").await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(timed_out_after(&mut stream).await.abs_diff(LIMIT) < Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_given_up_counted_from_its_last_request() {
        let (mut stream, pending, mut far) = pair();
        for _ in 0..5 {
            far.write_all(b"r").await.unwrap();
            stream.read_u8().await.unwrap();
            pending.end();
            let idle = timeout(IDLE - LIMIT, stream.read_u8()).await;
            assert!(idle.is_err(), "each request begins the count anew");
        }
        assert!(timed_out_after(&mut stream).await.abs_diff(LIMIT) < Duration::from_millis(5));
    }
}
