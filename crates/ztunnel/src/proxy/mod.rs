//! The data path of one pod: captured connections out, tunnels and plain connections in.
//!
//! Layer 6. Decisions ([`outbound`], [`inbound`]) are pure functions of a snapshot; everything around them opens sockets,
//! moves bytes and reports.

mod authorize;
mod carry;
pub mod connections;
mod error;
pub mod inbound;
mod listen;
pub mod outbound;
mod party;
mod passthrough;
mod pod;
mod proxy_header;
mod receive;
mod send;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::ca::Certificates;
use crate::hbone;
use crate::report::Reports;
use crate::socket;
use crate::store::Store;

pub use error::Error;
pub use pod::{Info, Listeners, serve};

/// Captured outbound connections.
pub const OUTBOUND_PORT: u16 = 15001;
/// Captured plain inbound connections.
pub const PLAIN_PORT: u16 = 15006;
/// Tunnels.
pub const TUNNEL_PORT: u16 = 15008;
/// Ports that nothing may be forwarded to, because they would bring it back here.
const GUARDED: [u16; 3] = [OUTBOUND_PORT, PLAIN_PORT, TUNNEL_PORT];
/// How long a destination may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the control plane may take to tell about a pod that is already running.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What can be set.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four switches that have nothing to do with each other"
)]
pub struct Settings {
    /// This node's network.
    pub network: Arc<str>,
    /// This cluster.
    pub cluster_id: Arc<str>,
    /// Sockets.
    pub sockets: socket::Options,
    /// Tunnels.
    pub hbone: hbone::Settings,
    /// Whether connections to an application come from the client's address.
    pub keeps_source: bool,
    /// Whether answers in tunnels tell about the server's workload.
    pub response_baggage: bool,
    /// Whether applications behind an application tunnel are reached on loopback.
    pub localhost_tunnel: bool,
    /// Whether each authorization decision is logged.
    pub logs_authorization: bool,
}

/// What the proxies of all pods share.
pub struct Shared {
    /// The mesh.
    pub store: Arc<Store>,
    /// Certificates; `None` when there is no authority, and then no tunnels.
    pub certificates: Option<Certificates>,
    /// Logs and metrics.
    pub reports: Reports,
    /// What can be set.
    pub settings: Settings,
}
