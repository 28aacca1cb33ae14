//! One byte stream in a tunnel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest piece that is handed to the tunnel at once: several TLS records, and small enough to be fair to other streams.
const MAX_PIECE: usize = 64 * 1024;

/// Set when the peer was given up, so that streams can tell a silent death from an orderly end.
pub(super) type Silence = Arc<AtomicBool>;

/// A byte stream. Reading ends with the peer's half-close; shutting down the writer sends ours. A stream that is dropped
/// before both were exchanged is reset.
pub struct Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// Received and not yet read.
    unread: Bytes,
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

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.receive.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(this.fault(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.unread.len().min(space.remaining());
        space.put_slice(&this.unread[..count]);
        this.unread.advance(count);
        // Only what was read opens the window again: a slow reader slows its own peer, nobody else's.
        match this.receive.flow_control().release_capacity(count) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(this.fault(error))),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = data.len().min(MAX_PIECE);
        this.send.reserve_capacity(wanted);
        // `poll_capacity` answers only when capacity has grown since it was last asked.
        let mut granted = this.send.capacity();
        while granted == 0 {
            granted = match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(granted)) => granted,
                Some(Err(error)) => return Poll::Ready(Err(this.fault(error))),
                None => return Poll::Ready(Err(this.gone())),
            };
        }
        let count = wanted.min(granted);
        match this
            .send
            .send_data(Bytes::copy_from_slice(&data[..count]), false)
        {
            Ok(()) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(this.gone())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if std::mem::replace(&mut this.has_sent_end, true) {
            return Poll::Ready(Ok(()));
        }
        this.send.reserve_capacity(0);
        match this.send.send_data(Bytes::new(), true) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(this.gone())),
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("unread", &self.unread.len())
            .finish_non_exhaustive()
    }
}
