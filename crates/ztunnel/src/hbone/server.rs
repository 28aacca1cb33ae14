//! The end of a tunnel that takes streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ahead::Ahead;
use super::error::reason;
use super::request::status;
use super::stream::Silence;
use super::{
    Answer, Error, Request, SERVER_HEADER_LIST, SERVER_SEND_BUFFER, SERVER_STREAMS, Settings,
    Stream, TLS_BUFFER, keepalive,
};
use crate::identity::Identity;
use crate::tls;

/// How long a client may take for its handshakes; a silent one must not hold a place for ever.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A tunnel that a client made.
pub struct Server<T> {
    connection: Connection<TlsStream<Ahead<T>>, Bytes>,
    peer: Identity,
    lost: keepalive::Lost,
    silence: Silence,
}

/// A stream that a client asks for.
pub struct Incoming {
    request: Request,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    silence: Silence,
}

/// Takes a tunnel on an accepted connection: the client must prove an identity of our trust domain.
///
/// # Errors
/// [`Error::Tls`], [`Error::Identity`] or [`Error::Handshake`]; [`Error::TlsTimedOut`] after 10 s.
pub async fn accept<T>(io: T, config: tls::Acceptor, settings: Settings) -> Result<Server<T>, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    timeout(HANDSHAKE_TIMEOUT, shake(io, config, settings))
        .await
        .map_err(|_| Error::TlsTimedOut)?
}

async fn shake<T>(io: T, config: tls::Acceptor, settings: Settings) -> Result<Server<T>, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut io = TlsAcceptor::from(config.rustls())
        .accept(Ahead::new(io))
        .await
        .map_err(|error| Error::Tls(reason(error)))?;
    io.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let peer = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = peer.ok_or_else(|| {
        Error::Tls(reason(std::io::Error::from(
            std::io::ErrorKind::InvalidData,
        )))
    })?;
    let peer = tls::peer_identity(peer).map_err(|error| Error::Identity(reason(error)))?;
    let mut connection = Builder::new()
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.frame)
        .max_header_list_size(SERVER_HEADER_LIST)
        .max_send_buffer_size(SERVER_SEND_BUFFER)
        .max_concurrent_streams(SERVER_STREAMS)
        .handshake(io)
        .await
        .map_err(|error| Error::Handshake(reason(error)))?;
    let lost = keepalive::lost(connection.ping_pong(), &settings);
    Ok(Server {
        connection,
        peer,
        lost,
        silence: Arc::new(AtomicBool::new(false)),
    })
}

impl<T> Server<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    /// Who the client proved to be.
    pub fn peer(&self) -> &Identity {
        &self.peer
    }

    /// The next stream; `None` when the tunnel is over. Moves the bytes of all streams, so it has to be awaited all the
    /// time. Cancel safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        loop {
            let next = tokio::select! {
                next = self.connection.accept() => next?,
                () = &mut self.lost => {
                    self.silence.store(true, Ordering::Relaxed);
                    return None;
                }
            };
            let (request, mut respond) = match next {
                Ok(next) => next,
                Err(error) => {
                    tracing::debug!(%error, "tunnel ended");
                    return None;
                }
            };
            match Request::decode(&request) {
                Ok(read) => {
                    return Some(Incoming {
                        request: read,
                        body: request.into_body(),
                        respond,
                        silence: Arc::clone(&self.silence),
                    });
                }
                Err(code) => refuse(&mut respond, code),
            }
        }
    }

    /// Tells the client to open no more streams here; those open go on.
    pub fn close(&mut self) {
        self.connection.graceful_shutdown();
    }
}

impl Incoming {
    /// What is asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Says yes.
    ///
    /// # Errors
    /// [`Error::Reset`] when the client has gone meanwhile.
    pub fn accept(mut self, answer: &Answer) -> Result<Stream, Error> {
        let send = self
            .respond
            .send_response(answer.encode(), false)
            .map_err(|error| Error::Reset(reason(error)))?;
        Ok(Stream::new(send, self.body, self.silence, ()))
    }

    /// Says no, with a status.
    pub fn refuse(mut self, status: u16) {
        refuse(&mut self.respond, status);
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, code: u16) {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A client that is gone needs no answer.
    let _ = respond.send_response(status(code), true);
}

impl<T> std::fmt::Debug for Server<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
