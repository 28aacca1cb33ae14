//! Tunnels: many byte streams between two pods over one mutually authenticated connection.
//!
//! Layer 5, and a seam: what is inside (today rustls and HTTP/2 by the `h2` crate) shows nowhere outside this folder.
//! [`connect`] opens a tunnel and [`Client::open`] a stream in it; [`accept`] takes a tunnel and [`Server::next`] the next
//! stream; [`Pool`] shares tunnels between the connections of a pod.

mod ahead;
mod authority;
mod client;
mod error;
pub mod forwarded;
mod keepalive;
mod pool;
mod request;
mod server;
mod stream;

use std::time::Duration;

pub use authority::{Authority, AuthorityError};
pub use client::{Client, connect};
pub use error::Error;
pub use pool::{Key, Pool};
pub use request::{Answer, Request};
pub use server::{Incoming, Server, accept};
pub use stream::Stream;

/// Longest list of request headers a server reads, bytes.
const SERVER_HEADER_LIST: u32 = 64 * 1024;
/// Longest list of response headers a client reads, bytes.
const CLIENT_HEADER_LIST: u32 = 16 * 1024;
/// Bytes a client keeps per stream before its writer waits: a few pieces, so that they are still in the cache when they leave.
const CLIENT_SEND_BUFFER: usize = 1024 * 1024;
/// Bytes a server keeps per stream before its writer waits.
const SERVER_SEND_BUFFER: usize = 400 * 1024;
/// Bytes of records that wait for one system call. With less than a whole piece, records leave in several calls.
const TLS_BUFFER: usize = 2 * crate::buffer::SIZE;
/// Streams a server allows per tunnel.
const SERVER_STREAMS: u32 = 200;

/// What can be tuned. Defaults, and the constants above but for the buffers: istio/ztunnel `62d8265`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes a peer may send on a stream before they are read.
    pub stream_window: u32,
    /// Bytes a peer may send on all streams of a tunnel before they are read.
    pub connection_window: u32,
    /// Largest frame that is taken, bytes.
    pub frame: u32,
    /// Streams in one tunnel; the peer may allow fewer.
    pub streams_per_connection: usize,
    /// A tunnel without a stream for so long is closed.
    pub idle_release: Duration,
    /// Time between pings.
    pub ping_interval: Duration,
    /// A peer that does not answer a ping for so long is gone.
    pub ping_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: 4 * 1024 * 1024,
            connection_window: 16 * 1024 * 1024,
            frame: 1024 * 1024,
            streams_per_connection: 100,
            idle_release: Duration::from_mins(5),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests;
