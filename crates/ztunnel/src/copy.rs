//! Moves bytes between two ends of a connection, both ways at once, with half-close.
//!
//! Layer 5. Owns byte counts and turns; knows nothing of sockets or tunnels. Bytes go from one end to the other without
//! being copied, in pieces as large as there is something to move; while nothing moves, nothing is held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer;

/// Pieces of one direction before the other one and other tasks get their turn: a millisecond or less.
const TURN: usize = 4;

/// One end of a connection.
pub trait End {
    /// The next bytes; none at the end.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Takes from the front of `data` what can be sent now, at least one byte, and says how many.
    fn poll_give(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>>;

    /// Says that no more will be given.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// An end that reads and writes plain buffers, such as a socket. What is written leaves at once.
#[derive(Debug)]
pub struct Plain<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> End for Plain<T> {
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut buffer = buffer::lend();
        let mut space = ReadBuf::new(buffer.space());
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        Poll::Ready(Ok(buffer.into_bytes(count)))
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.0).poll_write(cx, data))?;
        drop(data.split_to(count.min(data.len())));
        Poll::Ready(Ok(count))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

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
    A: End,
    B: End,
{
    let (mut forward, mut back) = (Half::default(), Half::default());
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
#[derive(Default)]
struct Half {
    /// Taken and not yet given.
    unsent: Bytes,
    has_ended: bool,
    is_closed: bool,
}

impl Half {
    fn poll<R: End, W: End>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut delivered: impl FnMut(u64),
    ) -> Poll<io::Result<()>> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            while !self.unsent.is_empty() {
                let count = ready!(writer.poll_give(cx, &mut self.unsent))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                delivered(count as u64);
            }
            // Its buffer may be needed elsewhere.
            self.unsent = Bytes::new();
            if self.has_ended {
                ready!(writer.poll_end(cx))?;
                self.is_closed = true;
                return Poll::Ready(Ok(()));
            }
            self.unsent = ready!(reader.poll_take(cx))?;
            self.has_ended = self.unsent.is_empty();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

    /// Many pieces.
    const SIZE: usize = 12 * 1024 * 1024;

    /// A running copy and how it ended.
    type Copying = tokio::task::JoinHandle<(io::Result<()>, Moved, Counts)>;

    /// A copy between two in-memory pipes; the returned ends are the client and the server.
    fn pipe() -> (DuplexStream, DuplexStream, Copying) {
        let (client, a) = duplex(64 * 1024);
        let (b, server) = duplex(64 * 1024);
        let (mut a, mut b) = (Plain(a), Plain(b));
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
    async fn every_byte_arrives_in_order() {
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

    /// An end that gives one piece and then waits for ever.
    struct Once(Option<Bytes>);

    impl End for Once {
        fn poll_take(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
            self.0
                .take()
                .map_or(Poll::Pending, |data| Poll::Ready(Ok(data)))
        }

        fn poll_give(&mut self, _: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(std::mem::take(data).len()))
        }

        fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_direction_in_which_nothing_moves_holds_nothing() {
        let (mut from, mut to) = (Once(Some(Bytes::from(vec![1; 100_000]))), Once(None));
        let mut half = Half::default();
        let mut moved = 0;
        poll_fn(|cx| {
            assert!(
                half.poll(cx, &mut from, &mut to, |bytes| moved += bytes)
                    .is_pending()
            );
            Poll::Ready(())
        })
        .await;
        assert_eq!(moved, 100_000);
        assert!(half.unsent.is_empty());
    }

    #[test]
    fn resets_are_told_from_faults() {
        assert!(is_reset(&io::ErrorKind::BrokenPipe.into()));
        assert!(!is_reset(&io::ErrorKind::PermissionDenied.into()));
    }
}
