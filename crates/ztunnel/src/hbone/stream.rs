//! One byte stream in a tunnel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffer::SIZE;

/// Set when the peer was given up, so that streams can tell a silent death from an orderly end.
pub(super) type Silence = Arc<AtomicBool>;

/// A byte stream. Reading ends with the peer's half-close; shutting down the writer sends ours. A stream that is dropped
/// before both were exchanged is reset.
pub struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not yet read.
    unread: Bytes,
    /// Bytes taken last, which the peer may not send again before they have been delivered.
    taken: usize,
    has_sent_end: bool,
    silence: Silence,
    /// Whatever must live as long as the stream: its place in the tunnel.
    _place: Box<dyn Send + Sync>,
}

impl Stream {
    pub(super) fn new(
        send: SendStream<Bytes>,
        receive: RecvStream,
        silence: Silence,
        place: impl Send + Sync + 'static,
    ) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
            taken: 0,
            has_sent_end: false,
            silence,
            _place: Box::new(place),
        }
    }

    /// A reset by the peer and the end of the tunnel are how ends without half-close look here.
    fn fault(&self, error: h2::Error) -> io::Error {
        if self.silence.load(Ordering::Relaxed) {
            return io::Error::new(
                io::ErrorKind::TimedOut,
                "the tunnel's far end no longer answers",
            );
        }
        let is_end = error.is_reset() || error.is_go_away() || error.is_io();
        let kind = if is_end {
            io::ErrorKind::ConnectionReset
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, error)
    }

    fn gone(&self) -> io::Error {
        if self.silence.load(Ordering::Relaxed) {
            return io::Error::new(
                io::ErrorKind::TimedOut,
                "the tunnel's far end no longer answers",
            );
        }
        io::ErrorKind::BrokenPipe.into()
    }
}

impl Stream {
    /// The next bytes as they were received, none at the end. The peer may send as many anew only when the next are asked
    /// for: a slow reader slows its own peer, nobody else's.
    pub fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.taken > 0 {
            let opened = self.receive.flow_control().release_capacity(self.taken);
            self.taken = 0;
            if let Err(error) = opened {
                return Poll::Ready(Err(self.fault(error)));
            }
        }
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(self.took()));
        }
        loop {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.unread = data;
                    return Poll::Ready(Ok(self.took()));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.fault(error))),
                None => return Poll::Ready(Ok(Bytes::new())),
            }
        }
    }

    fn took(&mut self) -> Bytes {
        self.taken = self.unread.len();
        std::mem::take(&mut self.unread)
    }

    /// Sends from the front of `data` what the peer is ready for, without a copy.
    pub fn poll_give(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(data.len());
        // `poll_capacity` answers only when capacity has grown since it was last asked.
        let mut granted = self.send.capacity();
        while granted == 0 {
            granted = match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(granted)) => granted,
                Some(Err(error)) => return Poll::Ready(Err(self.fault(error))),
                None => return Poll::Ready(Err(self.gone())),
            };
        }
        let piece = data.split_to(data.len().min(granted));
        let count = piece.len();
        match self.send.send_data(piece, false) {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(self.gone())),
        }
    }

    /// Sends our half-close.
    pub fn poll_end(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.has_sent_end, true) {
            return Poll::Ready(Ok(()));
        }
        self.send.reserve_capacity(0);
        match self.send.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.gone())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut data = ready!(this.poll_take(cx))?;
        let count = data.len().min(space.remaining());
        space.put_slice(&data[..count]);
        data.advance(count);
        this.taken -= data.len();
        this.unread = data;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let data = &data[..data.len().min(SIZE)];
        self.get_mut()
            .poll_give(cx, &mut Bytes::copy_from_slice(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("unread", &self.unread.len())
            .finish_non_exhaustive()
    }
}
