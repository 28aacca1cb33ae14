//! Moves bytes between two streams, both ways at once, with half-close.
//!
//! Layer 5. Owns buffers and byte counts; knows nothing of sockets or tunnels. Buffers start small, grow with what a
//! direction has moved, and shrink again while it is idle, so that thousands of quiet connections cost little.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// First buffer of a direction. Steps as istio/ztunnel `62d8265` takes them.
const SMALL: usize = 1024;
/// Buffer after [`MEDIUM_AFTER`] bytes.
const MEDIUM: usize = 16 * 1024;
/// Bytes after which a direction is no longer a short exchange.
const MEDIUM_AFTER: u64 = 128 * 1024;
/// Buffer after [`LARGE_AFTER`] bytes.
const LARGE: usize = 256 * 1024;
/// Bytes after which a direction is bulk.
const LARGE_AFTER: u64 = 10 * 1024 * 1024;
/// A direction that moved nothing for so long gives its large buffer back.
const IDLE: Duration = Duration::from_secs(10);
/// Reads of one direction before the other one and other tasks get their turn.
const TURN: usize = 16;

/// Told about bytes as they are delivered.
pub trait Meter: Send + Sync {
    /// Bytes from the first stream to the second.
    fn forward(&self, bytes: u64);

    /// Bytes from the second stream to the first.
    fn back(&self, bytes: u64);
}

/// How much was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// From the first stream to the second.
    pub forward: u64,
    /// From the second stream to the first.
    pub back: u64,
}

/// Copies both ways until both directions have ended. The end of one direction is passed on as a half-close and leaves the
/// other running. A reset by either side ends both and is not an error: that is how many programs close.
///
/// What was moved is in `moved` also when the future is dropped half way.
///
/// # Errors
/// What reading, writing or closing either stream reports, except resets.
pub async fn both<A, B>(
    a: &mut A,
    b: &mut B,
    meter: &dyn Meter,
    moved: &mut Moved,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut forward, mut back) = (Half::new(), Half::new());
    let end = poll_fn(|cx| {
        let there = forward.poll(cx, a, b, |bytes| {
            moved.forward += bytes;
            meter.forward(bytes);
        })?;
        let here = back.poll(cx, b, a, |bytes| {
            moved.back += bytes;
            meter.back(bytes);
        })?;
        match (there, here) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await;
    match end {
        Err(error) if is_reset(&error) => Ok(()),
        other => other,
    }
}

/// Whether an error only says that the other side has gone.
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// One direction.
struct Half {
    buffer: Vec<u8>,
    /// Delivered and filled parts of `buffer`.
    start: usize,
    end: usize,
    total: u64,
    has_ended: bool,
    is_closed: bool,
    needs_flush: bool,
    idle_after: Duration,
    idle: Option<(Pin<Box<Sleep>>, u64)>,
}

impl Half {
    fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            total: 0,
            has_ended: false,
            is_closed: false,
            needs_flush: false,
            idle_after: IDLE,
            idle: None,
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut delivered: impl FnMut(u64),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            while self.start < self.end {
                let unsent = &self.buffer[self.start..self.end];
                let written = ready!(Pin::new(&mut *writer).poll_write(cx, unsent))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += written;
                self.total += written as u64;
                self.needs_flush = true;
                delivered(written as u64);
            }
            if self.has_ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.is_closed = true;
                self.buffer = Vec::new();
                self.idle = None;
                return Poll::Ready(Ok(()));
            }
            self.fit();
            let mut space = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut *reader).poll_read(cx, &mut space) {
                Poll::Ready(read) => {
                    read?;
                    (self.start, self.end) = (0, space.filled().len());
                    self.has_ended = self.end == 0;
                }
                Poll::Pending => {
                    if self.needs_flush {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.needs_flush = false;
                    }
                    self.rest(cx);
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The buffer that what was moved so far asks for. An idle direction has none and starts over with a small one.
    fn fit(&mut self) {
        let size = match self.total {
            _ if self.buffer.is_empty() => SMALL,
            moved if moved >= LARGE_AFTER => LARGE,
            moved if moved >= MEDIUM_AFTER => MEDIUM,
            _ => SMALL,
        };
        if size > self.buffer.len() {
            self.buffer = vec![0; size];
        }
    }

    /// Gives a buffer back when nothing has moved since the timer was armed. One timer per direction at most, and none
    /// for short exchanges.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if self.buffer.len() <= SMALL {
            return;
        }
        let (total, after) = (self.total, self.idle_after);
        let (timer, armed_at) = self
            .idle
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep(after)), total));
        while timer.as_mut().poll(cx).is_ready() {
            if *armed_at == total {
                self.buffer = vec![0; SMALL];
                self.total = 0;
                self.idle = None;
                return;
            }
            *armed_at = total;
            timer.as_mut().reset(Instant::now() + after);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicU64, AtomicU64);

    impl Meter for Counts {
        fn forward(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }

        fn back(&self, bytes: u64) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Enough for the largest buffer.
    const SIZE: usize = 12 * 1024 * 1024;

    /// A running copy and how it ended.
    type Copying = tokio::task::JoinHandle<(io::Result<()>, Moved, Counts)>;

    /// A copy between two in-memory pipes; the returned ends are the client and the server.
    fn pipe() -> (DuplexStream, DuplexStream, Copying) {
        let (client, mut a) = duplex(64 * 1024);
        let (mut b, server) = duplex(64 * 1024);
        let copy = tokio::spawn(async move {
            let (counts, mut moved) = (Counts::default(), Moved::default());
            let end = both(&mut a, &mut b, &counts, &mut moved).await;
            (end, moved, counts)
        });
        (client, server, copy)
    }

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_running() {
        let (mut client, mut server, copy) = pipe();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        server.write_all(b"a long answer").await.unwrap();
        server.shutdown().await.unwrap();
        text.clear();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "a long answer");
        let (end, moved, counts) = copy.await.unwrap();
        end.unwrap();
        assert_eq!(
            moved,
            Moved {
                forward: 8,
                back: 13
            }
        );
        assert_eq!((counts.0.into_inner(), counts.1.into_inner()), (8, 13));
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_while_buffers_grow() {
        let (mut client, mut server, copy) = pipe();
        let sent: Vec<u8> = (0..SIZE)
            .map(|at| u8::try_from(at * 31 % 251).unwrap())
            .collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        let mut got = Vec::with_capacity(SIZE);
        server.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
        drop(server);
        writer.await.unwrap();
        let (end, moved, _) = copy.await.unwrap();
        end.unwrap();
        assert_eq!(moved.forward, SIZE as u64);
    }

    #[tokio::test]
    async fn a_peer_that_goes_away_is_a_clean_end() {
        let (mut client, server, copy) = pipe();
        drop(server);
        // The copy may end at the first or a later write, depending on when it sees the closed pipe.
        let _ = client.write_all(&vec![7; 200_000]).await;
        drop(client);
        copy.await.unwrap().0.unwrap();
    }

    #[test]
    fn buffers_follow_what_was_moved() {
        let mut half = Half::new();
        half.fit();
        assert_eq!(half.buffer.len(), SMALL);
        half.total = MEDIUM_AFTER;
        half.fit();
        assert_eq!(half.buffer.len(), MEDIUM);
        half.total = LARGE_AFTER;
        half.fit();
        assert_eq!(half.buffer.len(), LARGE);
    }

    #[tokio::test]
    async fn an_idle_direction_gives_its_large_buffer_back() {
        let mut half = Half::new();
        half.buffer = vec![0; LARGE];
        half.total = LARGE_AFTER;
        half.idle_after = Duration::from_millis(1);
        poll_fn(|cx| {
            half.rest(cx);
            if half.buffer.len() == SMALL {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert_eq!(half.total, 0);
    }

    #[test]
    fn resets_are_told_from_faults() {
        assert!(is_reset(&io::ErrorKind::BrokenPipe.into()));
        assert!(!is_reset(&io::ErrorKind::PermissionDenied.into()));
    }
}
