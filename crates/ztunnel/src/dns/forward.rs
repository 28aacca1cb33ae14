//! Asks the node's resolvers with sockets made inside the pod, so that network policies see the pod.
//!
//! The packet goes as it came and the reply comes back as it is: no cache, no rewriting.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::answer::{Transport, is_reply_to};
use super::resolvers::Resolvers;

/// Largest message there is.
const LARGEST: usize = 65_535;

/// Makes sockets inside one pod, marked so that they are not captured again.
pub trait Sockets: Send + Sync {
    /// A datagram socket connected to `to`.
    ///
    /// # Errors
    /// What the kernel says.
    fn datagram(&self, to: SocketAddr) -> io::Result<UdpSocket>;

    /// A stream to `to`.
    ///
    /// # Errors
    /// What the kernel says.
    fn stream(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Why no resolver answered.
#[derive(Debug, thiserror::Error)]
#[error("no resolver of the node answered; the last one asked was {server}")]
pub struct Error {
    /// The last server.
    pub server: SocketAddr,
    /// What happened there.
    pub source: io::Error,
}

/// The reply to `query`, from the first server that gives one.
///
/// # Errors
/// [`Error`] when all servers failed in all rounds.
pub async fn ask(
    query: &[u8],
    transport: Transport,
    resolvers: &Resolvers,
    sockets: &Arc<dyn Sockets>,
) -> Result<Vec<u8>, Error> {
    let mut last = None;
    for _ in 0..resolvers.attempts.max(1) {
        for &server in &resolvers.servers {
            let asked = async {
                match transport {
                    Transport::Udp => by_datagram(query, server, sockets).await,
                    Transport::Tcp => by_stream(query, server, sockets).await,
                }
            };
            match patient(resolvers.timeout, asked).await {
                Ok(reply) => return Ok(reply),
                Err(source) => last = Some(Error { server, source }),
            }
        }
    }
    Err(last.unwrap_or_else(|| Error {
        server: SocketAddr::from(([0, 0, 0, 0], 0)),
        source: io::Error::other("no resolver is configured"),
    }))
}

async fn patient<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn by_datagram(
    query: &[u8],
    server: SocketAddr,
    sockets: &Arc<dyn Sockets>,
) -> io::Result<Vec<u8>> {
    let socket = sockets.datagram(server)?;
    socket.send(query).await?;
    let mut reply = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut reply).await?;
        // Anything else on this port is a late or forged packet: keep waiting.
        if is_reply_to(&reply[..length], query) {
            reply.truncate(length);
            reply.shrink_to_fit();
            return Ok(reply);
        }
    }
}

async fn by_stream(
    query: &[u8],
    server: SocketAddr,
    sockets: &Arc<dyn Sockets>,
) -> io::Result<Vec<u8>> {
    let mut stream = sockets.stream(server).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream)
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    if is_reply_to(&reply, query) {
        Ok(reply)
    } else {
        Err(io::Error::other("the reply is to another question"))
    }
}

/// One message with its length in front; `None` at a clean end.
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes one message with its length in front.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len())
        .map_err(|_| io::Error::other("a DNS message above 65535 bytes"))?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
