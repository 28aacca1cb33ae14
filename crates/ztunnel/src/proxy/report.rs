//! What a connection is, for logs and metrics.
//!
//! The proxy fills in [`Facts`] and tells a [`Report`] when a connection opens, moves bytes, ends or is refused. What is
//! written where is the business of the edge that implements the trait.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::baggage::Baggage;
use crate::copy::Meter;
use crate::hbone::Authority;
use crate::identity::Identity;
use crate::service::Service;
use crate::workload::Workload;

use super::Error;

/// Which end of the mesh this proxy was for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The server's proxy; metrics call the reporter `destination`.
    Inbound,
    /// The client's proxy; metrics call the reporter `source`.
    Outbound,
}

/// How the bytes travelled between the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carried {
    /// In a tunnel with both identities verified: `mutual_tls`.
    MutualTls,
    /// In the clear: `unknown`.
    Plain,
}

/// Why a connection failed, as the label `response_flags` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flag {
    /// `-`: it did not fail, or for a reason without a name.
    #[default]
    None,
    /// `DENY`: a policy refused it.
    Deny,
    /// `CONNECT`: the next hop could not be reached.
    Connect,
    /// `TLS_FAILURE`: the handshake failed.
    TlsFailure,
    /// `H2_HANDSHAKE_FAILURE`: HTTP/2 could not be set up inside the tunnel.
    H2HandshakeFailure,
    /// `NETWORK_POLICY`: a timeout on the tunnel port, most likely a `NetworkPolicy` that blocks it.
    NetworkPolicy,
    /// `IDENTITY_ERROR`: no certificate for the pod's identity.
    IdentityError,
    /// `CERT_REVOKED`: the peer's certificate is revoked.
    CertRevoked,
}

impl Flag {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about one end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Party {
    /// The workload, when the store knows it.
    pub workload: Option<Arc<Workload>>,
    /// What the other proxy said; to be used where `workload` is absent and `identity` is known.
    pub baggage: Option<Baggage>,
    /// The verified identity of a peer, or this proxy's own for the pod. Absent in plain text.
    pub identity: Option<Identity>,
}

/// Everything by which connections are logged and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which end this proxy is.
    pub direction: Direction,
    /// How the bytes travel between the proxies.
    pub carried: Carried,
    /// The client's address; inbound the one its proxy told, if it did.
    pub src: SocketAddr,
    /// Where the connection goes: in a tunnel the tunnel's far end (port 15008), otherwise the destination.
    pub dst: SocketAddr,
    /// What the tunnel's CONNECT names; absent without a tunnel.
    pub hbone: Option<Authority>,
    /// The client.
    pub source: Party,
    /// The server, or the waypoint in front of it.
    pub destination: Party,
    /// The service that was addressed, when that is known.
    pub service: Option<Arc<Service>>,
}

/// Sums at the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes from client to server: `istio_tcp_received_bytes_total`.
    pub request_bytes: u64,
    /// Bytes from server to client: `istio_tcp_sent_bytes_total`.
    pub response_bytes: u64,
    /// From accepted to ended.
    pub duration: Duration,
}

/// Where connections are told. Implementations must not block.
pub trait Report: fmt::Debug + Send + Sync {
    /// A connection is established end to end.
    fn opened(&self, facts: &Facts) -> Box<dyn Open>;

    /// A connection ended before it was established.
    fn refused(&self, facts: &Facts, error: &Error, duration: Duration);
}

/// An established connection. [`Meter`] tells its bytes as they move: forward is client to server.
pub trait Open: Meter {
    /// The connection ended; `error` is `None` for a clean end.
    fn closed(&self, facts: &Facts, totals: Totals, error: Option<&Error>);
}

/// A report that tells nobody, for tests and for traffic of the proxy's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Report for Silent {
    fn opened(&self, _: &Facts) -> Box<dyn Open> {
        Box::new(Self)
    }

    fn refused(&self, _: &Facts, _: &Error, _: Duration) {}
}

impl Open for Silent {
    fn closed(&self, _: &Facts, _: Totals, _: Option<&Error>) {}
}

impl Meter for Silent {
    fn forward(&self, _: u64) {}

    fn back(&self, _: u64) {}
}
