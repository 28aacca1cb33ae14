//! Why a connection could not be carried.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use super::inbound::Refusal;
use crate::error::{Cause, Classified, Side};
use crate::hbone;
use crate::identity::Identity;

use crate::metrics::Flag;

/// Why a connection was refused or broke.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel does not say where the client wanted to go.
    #[error("the original destination is unknown; is traffic redirected by istio-cni?")]
    OriginalDestination(#[source] io::Error),
    /// A call to one of the proxy's own ports, which would go round in circles.
    #[error("{0} is a port of the proxy itself; refused to avoid a loop")]
    OwnPort(SocketAddr),
    /// istiod has not told about the pod that this proxy serves.
    #[error("the control plane does not know the pod {0}; is istiod reachable?")]
    UnknownPod(Arc<str>),
    /// A service without an endpoint that may be used.
    #[error("no healthy upstream: {0} has no usable endpoint")]
    NoHealthyUpstream(Arc<str>),
    /// A waypoint that cannot be found.
    #[error("unknown waypoint: {0} is named as a waypoint but is not known")]
    UnknownWaypoint(Arc<str>),
    /// A destination with a name only.
    #[error("the host name {0} cannot be resolved")]
    Unresolvable(Arc<str>, #[source] io::Error),
    /// Traffic that only a newer version can carry.
    #[error(
        "the destination is in the network {0}, behind a gateway; this version does not carry traffic between networks"
    )]
    OtherNetwork(Arc<str>),
    /// No certificate.
    #[error("no certificate for {identity}")]
    Certificate {
        /// The identity that was asked for.
        identity: Identity,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// No authority to ask for certificates.
    #[error("tunnels need certificates, and no certificate authority is configured (CA_ADDRESS)")]
    NoAuthority,
    /// No tunnel, or no stream in it.
    #[error("tunnel with {to} failed")]
    Tunnel {
        /// The peer.
        to: SocketAddr,
        /// Why.
        #[source]
        source: hbone::Error,
    },
    /// A stream that asks for what is not here.
    #[error(transparent)]
    Inbound(#[from] Refusal),
    /// The destination cannot be reached.
    #[error("connection to {to} failed")]
    Connect {
        /// The destination.
        to: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The destination does not answer.
    #[error("connection to {0} timed out after 10 s")]
    TimedOut(SocketAddr),
    /// The tunnel's far end does not answer.
    #[error(
        "connection to {0} timed out after 10 s, maybe a NetworkPolicy is blocking HBONE port 15008"
    )]
    TunnelTimedOut(SocketAddr),
    /// A policy refused it.
    #[error("connection denied by policy: {0}")]
    Denied(Arc<str>),
    /// A policy that has changed since refuses it.
    #[error("connection closed: {0}, after a policy change")]
    DeniedNow(Arc<str>),
    /// The proxy is stopping, or the pod is gone.
    #[error("connection closed: the proxy is draining and the deadline has passed")]
    Draining,
    /// The pod is gone.
    #[error("connection closed: the pod is gone")]
    PodGone,
    /// Bytes could not be moved.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

impl Error {
    /// The label `response_flags`.
    pub fn flag(&self) -> Flag {
        match self {
            Self::Denied(_) | Self::DeniedNow(_) => Flag::Deny,
            Self::Connect { .. } | Self::TimedOut(_) => Flag::Connect,
            Self::TunnelTimedOut(_) => Flag::NetworkPolicy,
            Self::Certificate { .. } | Self::NoAuthority => Flag::IdentityError,
            Self::Tunnel { source, .. } => tunnel_flag(source),
            _ => Flag::None,
        }
    }

    /// The error and its causes in one line, for the access log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

fn tunnel_flag(error: &hbone::Error) -> Flag {
    match error {
        hbone::Error::Certificate(_) => Flag::IdentityError,
        hbone::Error::Tls(_) | hbone::Error::TlsTimedOut | hbone::Error::Identity(_) => {
            Flag::TlsFailure
        }
        hbone::Error::Handshake(_) => Flag::H2Handshake,
        hbone::Error::TimedOut => Flag::NetworkPolicy,
        hbone::Error::Refused(401) => Flag::Deny,
        hbone::Error::Connect(_)
        | hbone::Error::Closed(_)
        | hbone::Error::Reset(_)
        | hbone::Error::Refused(_)
        | hbone::Error::Request(_)
        | hbone::Error::GivenUp => Flag::Connect,
    }
}

impl Classified for Error {
    fn class(&self) -> Cause {
        match self {
            Self::OwnPort(_)
            | Self::Denied(_)
            | Self::DeniedNow(_)
            | Self::OtherNetwork(_)
            | Self::Inbound(_) => Cause::Refused,
            Self::UnknownPod(_)
            | Self::NoHealthyUpstream(_)
            | Self::UnknownWaypoint(_)
            | Self::Unresolvable(..)
            | Self::Connect { .. }
            | Self::Tunnel { .. }
            | Self::Io(_) => Cause::Unreachable,
            Self::TimedOut(_) | Self::TunnelTimedOut(_) => Cause::TimedOut,
            Self::Certificate { .. } | Self::NoAuthority => Cause::Identity,
            Self::Draining | Self::PodGone => Cause::Draining,
            Self::OriginalDestination(_) => Cause::Internal,
        }
    }

    fn side(&self) -> Side {
        match self {
            Self::OwnPort(_) | Self::Denied(_) | Self::DeniedNow(_) | Self::Inbound(_) => {
                Side::Downstream
            }
            Self::UnknownPod(_) | Self::Certificate { .. } | Self::NoAuthority => {
                Side::ControlPlane
            }
            Self::Draining | Self::PodGone | Self::OriginalDestination(_) => Side::Own,
            _ => Side::Upstream,
        }
    }
}
