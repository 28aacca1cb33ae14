//! One line per connection.
//!
//! Owns the fields, their order and the level; the line is written by the log's own thread (`logging`). Layer 5.
//!
//! Source of field names and order: istio/ztunnel `62d8265`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::{Labels, Reporter};

/// The log scope of every line.
pub const SCOPE: &str = "access";

/// What a line says about a connection apart from its labels.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// The next hop: the endpoint, or the tunnel's far end.
    pub destination: SocketAddr,
    /// Where the tunnel leads (`ip:port` or `hostname:port`), when there is one.
    pub hbone: Option<Arc<str>>,
}

/// What was carried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Carried {
    /// Bytes from client to server.
    pub request: u64,
    /// Bytes from server to client.
    pub response: u64,
    /// From accept to end.
    pub duration: Duration,
}

macro_rules! line {
    ($level:expr, $message:literal, $labels:expr, $addresses:expr $(, $($rest:tt)*)?) => {
        tracing::event!(
            target: "access",
            $level,
            src.addr = %$addresses.source,
            src.workload = $labels.source.pod.as_deref(),
            src.namespace = $labels.source.namespace.as_deref(),
            src.identity = $labels.source.principal.as_deref(),
            src.cluster = $labels.source.cluster.as_deref(),
            dst.addr = %$addresses.destination,
            dst.hbone_addr = $addresses.hbone.as_deref().map(tracing::field::display),
            dst.service = $labels.service.as_ref().map(|s| &*s.hostname),
            dst.workload = $labels.destination.pod.as_deref(),
            dst.namespace = $labels.destination.namespace.as_deref(),
            dst.identity = $labels.destination.principal.as_deref(),
            dst.cluster = $labels.destination.cluster.as_deref(),
            direction = $labels.reporter.direction(),
            $($($rest)*,)?
            $message
        )
    };
}

/// The connection was accepted (debug).
pub fn opened(labels: &Labels, addresses: &Addresses) {
    line!(
        tracing::Level::DEBUG,
        "connection opened",
        labels,
        addresses
    );
}

/// The connection ended: info, or error when it failed. Bytes are told from the local workload's side: a client's proxy
/// has sent what it requested, a server's proxy what it answered.
pub fn complete(
    labels: &Labels,
    addresses: &Addresses,
    carried: Carried,
    error: Option<&dyn Display>,
) {
    let (sent, received) = match labels.reporter {
        Reporter::Source => (carried.request, carried.response),
        Reporter::Destination => (carried.response, carried.request),
    };
    let duration = format!("{}ms", carried.duration.as_millis());
    match error.map(ToString::to_string) {
        None => line!(
            tracing::Level::INFO,
            "connection complete",
            labels,
            addresses,
            bytes_sent = sent,
            bytes_recv = received,
            duration = duration.as_str()
        ),
        Some(error) => line!(
            tracing::Level::ERROR,
            "connection complete",
            labels,
            addresses,
            bytes_sent = sent,
            bytes_recv = received,
            duration = duration.as_str(),
            error = error.as_str()
        ),
    }
}

/// The connection was refused before anything was decided about it (warn).
pub fn failed(labels: &Labels, addresses: &Addresses, error: &dyn Display) {
    let error = error.to_string();
    line!(
        tracing::Level::WARN,
        "connection failed",
        labels,
        addresses,
        error = error.as_str()
    );
}
