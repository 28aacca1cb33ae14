//! Why a tunnel or a stream in it could not be had.

use std::sync::Arc;

use thiserror::Error;

/// The cause, whatever is inside the tunnel.
type Reason = Arc<dyn std::error::Error + Send + Sync>;

/// Why a tunnel or a stream in it could not be had. Cheap to clone: connections that wait for one tunnel share its failure.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// We cannot prove who we are.
    #[error("no certificate")]
    Certificate(#[source] Reason),
    /// The TCP connection to the peer failed or took too long.
    #[error("the tunnel's connection failed")]
    Connect(#[source] Arc<std::io::Error>),
    /// The peer did not take the TCP connection in time.
    #[error("the tunnel's connection timed out")]
    TimedOut,
    /// No mutual trust, or no TLS at all.
    #[error("the TLS handshake failed")]
    Tls(#[source] Reason),
    /// The TLS handshake took too long.
    #[error("the TLS handshake was not done in time")]
    TlsTimedOut,
    /// The peer proved to be nobody.
    #[error("the peer's certificate names no identity")]
    Identity(#[source] Reason),
    /// HTTP/2 could not be set up.
    #[error("the HTTP/2 handshake failed")]
    Handshake(#[source] Reason),
    /// This tunnel was closed or broke before the stream was open; another one may do.
    #[error("the tunnel closed before the stream was open")]
    Closed(#[source] Reason),
    /// The peer broke off this stream.
    #[error("the peer reset the stream before it was open")]
    Reset(#[source] Reason),
    /// A CONNECT that cannot be written.
    #[error("the request for {0} cannot be written")]
    Request(String),
    /// The peer said no.
    #[error("{}", refusal(*.0))]
    Refused(u16),
    /// The task that made the tunnel was ended.
    #[error("the tunnel was given up while it was made")]
    GivenUp,
}

impl Error {
    /// We cannot prove who we are.
    pub fn certificate(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Certificate(reason(error))
    }

    /// Whether nothing of the request can have had an effect, so that a fresh tunnel is worth a try.
    pub(super) fn is_stale_tunnel(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

fn refusal(status: u16) -> String {
    let meaning = match status {
        400 => "the destination's proxy does not understand the request",
        401 => "the destination's authorization policies deny it",
        503 => "the destination's proxy cannot reach the workload",
        _ => "unexpected answer",
    };
    format!("http status {status}: {meaning}")
}

/// Hides the type of a cause.
pub(super) fn reason(error: impl std::error::Error + Send + Sync + 'static) -> Reason {
    Arc::new(error)
}
