//! Reads ahead of TLS: as much as there is in one system call, instead of a record at a time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::{self, Lent};

/// A connection. Holds a buffer only while bytes are in it.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    io: T,
    /// What was read and not yet taken: a buffer, and the range in it.
    unread: Option<(Lent, usize, usize)>,
}

impl<T> Ahead<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, unread: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Ahead<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (buffer, start, end) = if let Some(unread) = this.unread.take() {
            unread
        } else {
            let mut buffer = buffer::lend();
            let mut all = ReadBuf::new(buffer.space());
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut all))?;
            let end = all.filled().len();
            (buffer, 0, end)
        };
        let taken = (end - start).min(space.remaining());
        space.put_slice(&buffer.filled(end)[start..start + taken]);
        if start + taken < end {
            this.unread = Some((buffer, start + taken, end));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ahead<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn every_byte_comes_once_and_in_order_however_little_is_asked_for() {
        let (mut far, near) = duplex(3 * buffer::SIZE);
        let sent: Vec<u8> = (0..2 * buffer::SIZE + 5)
            .map(|at| u8::try_from(at * 13 % 251).unwrap())
            .collect();
        far.write_all(&sent).await.unwrap();
        far.shutdown().await.unwrap();
        let mut ahead = Ahead::new(near);
        let (mut got, mut piece) = (Vec::new(), vec![0; 4099]);
        loop {
            let count = ahead.read(&mut piece).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&piece[..count]);
        }
        assert!(got == sent);
        assert!(ahead.unread.is_none(), "nothing is held when all is read");
    }
}
