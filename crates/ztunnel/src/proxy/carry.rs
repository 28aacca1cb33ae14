//! Moves the bytes of an established connection until an end, a cut or a policy stops it.

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::pod::Pod;
use crate::copy::{self, Meter, Moved};
use crate::report::Live;

struct Bytes<'a>(&'a Live);

impl Meter for Bytes<'_> {
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
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (bytes, mut moved) = (Bytes(&live), Moved::default());
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
