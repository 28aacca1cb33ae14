//! The end of a tunnel that opens streams.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::ahead::Ahead;
use super::error::reason;
use super::stream::Silence;
use super::{
    Answer, CLIENT_HEADER_LIST, CLIENT_SEND_BUFFER, Error, Request, Settings, Stream, TLS_BUFFER,
    keepalive,
};
use crate::identity::Identity;
use crate::tls;

/// Marks a tunnel that takes no more streams; the rest of the number counts those open.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// How often per idle time a tunnel looks whether it is idle.
const LOOKS: u32 = 4;

/// A tunnel. Cheap to clone; it closes by itself when no clone and no stream is left, or after it was idle for long.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    requests: SendRequest<Bytes>,
    peer: Identity,
    load: Arc<Load>,
    limit: usize,
    silence: Silence,
    ended: CancellationToken,
}

/// How many streams are and were open.
#[derive(Debug, Default)]
struct Load {
    open: AtomicUsize,
    total: AtomicU64,
}

/// Which tunnel a client belongs to; does not keep it open.
#[derive(Debug, Clone)]
pub(super) struct Tunnel(Weak<Inner>);

impl PartialEq for Tunnel {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

/// A place for one stream in a tunnel.
#[derive(Debug)]
pub(super) struct Place {
    client: Client,
}

/// Makes a tunnel over an established connection: proves our identity, verifies the peer's, sets up HTTP/2.
///
/// # Errors
/// [`Error::Tls`], [`Error::Identity`] or [`Error::Handshake`]. Has no deadline of its own.
pub async fn connect<T>(io: T, config: tls::Connector, settings: Settings) -> Result<Client, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The name is neither sent nor checked: the expected identities are part of the configuration.
    let name = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    let mut io = TlsConnector::from(config.rustls())
        .connect(name, Ahead::new(io))
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
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.frame)
        .max_header_list_size(CLIENT_HEADER_LIST)
        .max_send_buffer_size(CLIENT_SEND_BUFFER)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(|error| Error::Handshake(reason(error)))?;
    let inner = Inner {
        requests,
        peer,
        load: Arc::default(),
        limit: settings.streams_per_connection,
        silence: Arc::new(AtomicBool::new(false)),
        ended: CancellationToken::new(),
    };
    let lost = keepalive::lost(connection.ping_pong(), &settings);
    tokio::spawn(drive(
        connection,
        lost,
        Arc::clone(&inner.load),
        settings.idle_release,
        Arc::clone(&inner.silence),
        inner.ended.clone(),
    ));
    Ok(Client(Arc::new(inner)))
}

/// Moves the tunnel's bytes until it ends.
async fn drive<T>(
    connection: Connection<TlsStream<Ahead<T>>, Bytes>,
    lost: keepalive::Lost,
    load: Arc<Load>,
    idle_release: Duration,
    silence: Silence,
    ended: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _ended = ended.drop_guard();
    tokio::select! {
        end = connection => {
            if let Err(error) = end {
                tracing::debug!(%error, "tunnel ended");
            }
        }
        () = lost => {
            silence.store(true, Ordering::Relaxed);
            tracing::debug!("tunnel given up: its far end no longer answers");
        }
        () = idle(&load, idle_release) => tracing::debug!("idle tunnel closed"),
    }
}

/// Resolves, and closes the tunnel for new streams, when it had none for so long.
async fn idle(load: &Load, release: Duration) {
    let (mut seen, mut quiet) = (0, 0);
    loop {
        tokio::time::sleep(release / LOOKS).await;
        let total = load.total.load(Ordering::Relaxed);
        let is_quiet = load.open.load(Ordering::Acquire) == 0 && total == seen;
        quiet = if is_quiet { quiet + 1 } else { 0 };
        seen = total;
        let close = || {
            load.open
                .compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire)
        };
        if quiet >= LOOKS && close().is_ok() {
            return;
        }
    }
}

impl Client {
    /// Who the peer proved to be.
    pub fn peer(&self) -> &Identity {
        &self.0.peer
    }

    /// Opens a stream and waits for the peer's answer.
    ///
    /// # Errors
    /// [`Error::Refused`] with the peer's status; [`Error::Closed`] when the tunnel is over or full.
    pub async fn open(&self, request: &Request) -> Result<(Stream, Answer), Error> {
        self.open_with(request, &Bytes::new()).await
    }

    /// The same, and sends the first bytes of the stream along with the request: that saves waiting for an answer that is
    /// nearly always yes. They are lost when it is no. They should be few, because the peer's window is not known yet.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_with(
        &self,
        request: &Request,
        early: &Bytes,
    ) -> Result<(Stream, Answer), Error> {
        let place = self.place().ok_or_else(|| Error::Closed(reason(Full)))?;
        place.open(request, early).await
    }

    /// Resolves when the tunnel is over. Cancel safe.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Takes a place for a stream, if the tunnel is open and not full.
    pub(super) fn place(&self) -> Option<Place> {
        if self.0.ended.is_cancelled() {
            return None;
        }
        let limit = self.0.limit.min(self.0.requests.current_max_send_streams());
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.0
            .load
            .open
            .try_update(Ordering::AcqRel, Ordering::Acquire, more)
            .ok()?;
        self.0.load.total.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            client: self.clone(),
        })
    }

    /// Which tunnel this is.
    pub(super) fn tunnel(&self) -> Tunnel {
        Tunnel(Arc::downgrade(&self.0))
    }

    /// A token for the end of the tunnel that does not keep it open.
    pub(super) fn end(&self) -> CancellationToken {
        self.0.ended.clone()
    }
}

impl Place {
    /// Who the peer proved to be.
    pub(super) fn peer(&self) -> &Identity {
        self.client.peer()
    }

    /// Which tunnel it is in.
    pub(super) fn tunnel(&self) -> Tunnel {
        self.client.tunnel()
    }

    /// Opens the stream.
    pub(super) async fn open(
        self,
        request: &Request,
        early: &Bytes,
    ) -> Result<(Stream, Answer), Error> {
        let wire = request.encode()?;
        let inner = Arc::clone(&self.client.0);
        let requests = inner.requests.clone().ready().await;
        let mut requests = requests.map_err(|error| Error::Closed(reason(error)))?;
        let opened = requests.send_request(wire, false);
        let (response, mut send) = opened.map_err(|error| Error::Closed(reason(error)))?;
        if !early.is_empty() {
            send.send_data(early.clone(), false)
                .map_err(|error| Error::Closed(reason(error)))?;
        }
        let response = response.await.map_err(unanswered)?;
        let answer = Answer::decode(&response)?;
        Ok((
            Stream::new(send, response.into_body(), Arc::clone(&inner.silence), self),
            answer,
        ))
    }
}

/// A stream that was refused before the peer looked at it, or a tunnel that broke, is not the stream's fault.
fn unanswered(error: h2::Error) -> Error {
    if error.is_reset() && error.reason() != Some(h2::Reason::REFUSED_STREAM) {
        return Error::Reset(reason(error));
    }
    Error::Closed(reason(error))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.client.0.load.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel")
            .field("peer", &self.peer)
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no place for another stream")]
struct Full;
