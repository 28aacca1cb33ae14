//! Where a tunnel stream that arrived in a pod goes: a pure function of the mesh, the pod and the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

use super::GUARDED;
use super::outbound::is_gateway;
use crate::addr::NetworkAddress;
use crate::balance;
use crate::hbone::Authority;
use crate::service::Service;
use crate::store::{Found, Snapshot};
use crate::workload::{ApplicationProtocol, Workload};

/// Why a stream is refused before any policy is asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The address is not the one the tunnel arrived at.
    #[error(
        "the request is for {asked} but arrived at {arrived}; is the address of a deleted pod in use again?"
    )]
    OtherAddress {
        /// What was asked for.
        asked: SocketAddr,
        /// Where the tunnel ends.
        arrived: IpAddr,
    },
    /// A port of the proxy itself.
    #[error("{0} is a port of the proxy itself; refused to avoid a loop")]
    OwnPort(SocketAddr),
    /// The service is not known, or the pod is not part of it.
    #[error("the service {0} is not known here")]
    UnknownService(Arc<str>),
    /// The service has no such port here.
    #[error("the service {0} has no port {1} here")]
    UnknownPort(Arc<str>, u16),
}

impl Refusal {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::OtherAddress { .. } => 400,
            Self::OwnPort(_) | Self::UnknownService(_) | Self::UnknownPort(..) => 503,
        }
    }
}

/// One stream.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The mesh.
    pub mesh: &'a Snapshot,
    /// This node's network.
    pub network: &'a Arc<str>,
    /// The pod.
    pub pod: &'a Workload,
    /// What the stream asks for.
    pub authority: &'a Authority,
    /// The address the tunnel arrived at.
    pub arrived: IpAddr,
    /// Whether applications behind an application tunnel are reached on loopback.
    pub localhost_tunnel: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What policies are asked about: the pod's address and the real port.
    pub destination: SocketAddr,
    /// Where the connection is made to.
    pub connect: SocketAddr,
    /// Whether the PROXY header goes before the bytes.
    pub has_proxy_header: bool,
    /// The service that was named, if one was.
    pub service: Option<Arc<Service>>,
}

impl Target {
    /// Whether the connection comes from the client's address. Loopback would not answer it.
    pub fn keeps_source(&self) -> bool {
        !self.connect.ip().is_loopback()
    }
}

/// Decides about one stream. The address is always the one the tunnel arrived at; only the port comes from the request.
///
/// # Errors
/// The reason, which also knows the HTTP status.
pub fn target(question: &Question<'_>) -> Result<Target, Refusal> {
    let (port, service) = match question.authority {
        Authority::Address(asked) => {
            if !may_ask(question, *asked) {
                return Err(Refusal::OtherAddress {
                    asked: *asked,
                    arrived: question.arrived,
                });
            }
            (asked.port(), None)
        }
        Authority::Host(hostname, port) => {
            let service = service(question, hostname)
                .ok_or_else(|| Refusal::UnknownService(Arc::clone(hostname)))?;
            let target = balance::target_port(&service, &service.key(), question.pod, *port);
            let target = target.ok_or_else(|| Refusal::UnknownPort(Arc::clone(hostname), *port))?;
            (target, Some(service))
        }
    };
    let tunnel = question.pod.application_tunnel;
    let port = tunnel.and_then(|tunnel| tunnel.port).unwrap_or(port);
    let destination = SocketAddr::new(question.arrived, port);
    if GUARDED.contains(&port) {
        return Err(Refusal::OwnPort(destination));
    }
    let has_proxy_header =
        tunnel.is_some_and(|tunnel| tunnel.protocol == ApplicationProtocol::Proxy);
    let connect = if has_proxy_header && question.localhost_tunnel {
        SocketAddr::new(loopback(question.arrived), port)
    } else {
        destination
    };
    Ok(Target {
        destination,
        connect,
        has_proxy_header,
        service,
    })
}

/// Whether a request for an address is for this pod: it is the pod's own, or the pod stands in for it.
fn may_ask(question: &Question<'_>, asked: SocketAddr) -> bool {
    if asked.ip() == question.arrived || question.pod.application_tunnel.is_some() {
        return true;
    }
    let address = NetworkAddress::new(Arc::clone(question.network), asked.ip());
    match question
        .mesh
        .find_address(&address, &question.pod.namespace)
    {
        Some(Found::Service(service)) => {
            let weighted = service
                .weighted_waypoints
                .iter()
                .map(|way| &way.destination);
            let mut waypoints = service.waypoint.iter().chain(weighted);
            waypoints.any(|waypoint| is_gateway(question.mesh, question.pod, waypoint))
        }
        Some(Found::Workload(workload)) => {
            let waypoint = workload.waypoint.as_ref();
            waypoint.is_some_and(|waypoint| is_gateway(question.mesh, question.pod, waypoint))
        }
        None => false,
    }
}

/// The service of a host name: one that the pod belongs to, if there is such a one.
fn service(question: &Question<'_>, hostname: &str) -> Option<Arc<Service>> {
    let all = question
        .mesh
        .services_by_hostname(hostname, &question.pod.namespace);
    let own = all
        .iter()
        .find(|service| question.pod.services.contains_key(&service.key()));
    own.or_else(|| all.first()).cloned()
}

/// The service a connection to a port of a pod was most likely made for: the one that was named, else the only one that
/// has the port.
pub fn likely_service(
    mesh: &Snapshot,
    pod: &Workload,
    named: Option<&str>,
    port: u16,
) -> Option<Arc<Service>> {
    if let Some(hostname) = named {
        return mesh
            .services_by_hostname(hostname, &pod.namespace)
            .into_iter()
            .next();
    }
    let mut having = pod
        .services
        .iter()
        .filter(|(_, ports)| ports.iter().any(|(_, target)| target == port))
        .filter_map(|(key, _)| mesh.service(key));
    let only = having.next()?;
    having.next().is_none().then_some(only)
}

fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests;
