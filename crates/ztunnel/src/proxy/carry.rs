//! Moves the bytes of an established connection until an end, a cut or a policy stops it.

use std::future::Future;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Error;
use super::pod::Pod;
use crate::copy::{self, End, Meter, Moved};
use crate::hbone::Stream;
use crate::report::Live;

impl End for Stream {
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Self::poll_take(self, cx)
    }

    fn poll_give(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        Self::poll_give(self, cx, data)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_end(self, cx)
    }
}

/// Counts what is delivered.
struct Count<'a>(&'a Live);

impl Meter for Count<'_> {
    fn forward(&self, bytes: u64) {
        self.0.add_request_bytes(bytes);
    }

    fn back(&self, bytes: u64) {
        self.0.add_response_bytes(bytes);
    }
}

/// Carries and reports. `denied` resolves when the connection may no longer go on.
pub(super) async fn carry<A, B>(
    pod: &Pod,
    mut client: A,
    mut server: B,
    live: Live,
    denied: impl Future<Output = Error>,
) where
    A: End,
    B: End,
{
    let (bytes, mut moved) = (Count(&live), Moved::default());
    let end = tokio::select! {
        biased;
        () = pod.drain.cut() => Err(pod.cut_reason()),
        end = copy::both(&mut client, &mut server, &bytes, &mut moved) => end.map_err(Error::Io),
        error = denied => Err(error),
    };
    finish(live, end);
}

/// Reports how a connection ended.
pub(super) fn finish(live: Live, end: Result<(), Error>) {
    match end {
        Ok(()) => live.complete(),
        Err(error) => live.fail(error.flag(), &error.chain()),
    }
}
