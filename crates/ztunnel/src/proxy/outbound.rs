//! Where a captured connection goes: a pure function of the mesh, the client and the original destination.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Error, GUARDED, TUNNEL_PORT};
use crate::addr::NetworkAddress;
use crate::balance::{Choice, Endpoint, Family, Place};
use crate::hbone::Authority;
use crate::identity::Identity;
use crate::service::Service;
use crate::store::{Found, Snapshot};
use crate::workload::{Destination, GatewayAddress, Workload};

/// One captured connection.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The mesh.
    pub mesh: &'a Snapshot,
    /// This node's network.
    pub network: &'a Arc<str>,
    /// The pod that connects.
    pub client: &'a Workload,
    /// Where it wanted to go.
    pub to: SocketAddr,
    /// Drawn evenly from all 64-bit numbers; decides wherever there is a choice.
    pub sample: u64,
    /// The address of a workload that is known by this host name only, once it is resolved.
    pub resolved: Option<(&'a str, IpAddr)>,
}

/// How the connection gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// Plain TCP.
    Plain(SocketAddr),
    /// A stream in a tunnel.
    Tunnel {
        /// The tunnel's far end.
        to: SocketAddr,
        /// Where the stream goes.
        authority: Authority,
        /// Who the far end may be, sorted.
        expected: Vec<Identity>,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// How it gets there.
    pub hop: Hop,
    /// The workload at the end of the hop, when it is known.
    pub workload: Option<Arc<Workload>>,
    /// The service that was addressed.
    pub service: Option<Arc<Service>>,
}

/// A question that cannot be answered, or not yet.
#[derive(Debug)]
pub enum Unanswered {
    /// Ask again with the address of this host name.
    Resolve(Arc<str>),
    /// There is no way.
    Refused(Error),
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// Decides about one connection.
///
/// # Errors
/// [`Unanswered::Refused`] names the reason: a loop, no usable endpoint, an unknown waypoint, another network.
pub fn route(question: &Question<'_>) -> Result<Route, Unanswered> {
    let to = question.to;
    let is_own = to.ip().is_loopback() || question.client.addresses.contains(&to.ip());
    if is_own && GUARDED.contains(&to.port()) {
        return Err(Error::OwnPort(to).into());
    }
    let address = NetworkAddress::new(Arc::clone(question.network), to.ip());
    if let Some(service) = question
        .mesh
        .service_by_vip(&address, &question.client.namespace)
    {
        return to_service(question, service);
    }
    let Some(workload) = question.mesh.workload_by_address(&address) else {
        return Ok(Route {
            hop: Hop::Plain(to),
            workload: None,
            service: None,
        });
    };
    if let Some(waypoint) = &workload.waypoint
        && !is_waypoint(question, waypoint)
    {
        return by_waypoint(question, waypoint, None);
    }
    to_workload(question, &workload, Some(to.ip()), to.port(), None)
}

fn to_service(question: &Question<'_>, service: Arc<Service>) -> Result<Route, Unanswered> {
    if let Some(waypoint) = service.waypoint(question.sample)
        && !is_waypoint(question, waypoint)
    {
        return by_waypoint(question, waypoint, Some(Arc::clone(&service)));
    }
    match choose(question, &service, question.to.port()) {
        Choice::Endpoint(endpoint) => to_workload(
            question,
            &endpoint.workload,
            endpoint.address,
            endpoint.port,
            Some(service),
        ),
        Choice::Passthrough => Ok(Route {
            hop: Hop::Plain(question.to),
            workload: None,
            service: Some(service),
        }),
        Choice::Nothing => Err(Error::NoHealthyUpstream(Arc::clone(&service.hostname)).into()),
    }
}

/// The last hop, to a workload itself.
fn to_workload(
    question: &Question<'_>,
    workload: &Arc<Workload>,
    address: Option<IpAddr>,
    port: u16,
    service: Option<Arc<Service>>,
) -> Result<Route, Unanswered> {
    // A tunnel inside a tunnel to the gateway of that network belongs here.
    if workload.network != *question.network && workload.network_gateway.is_some() {
        return Err(Error::OtherNetwork(Arc::clone(&workload.network)).into());
    }
    let to = SocketAddr::new(address_of(question, workload, address)?, port);
    let hop = if workload.speaks_hbone() {
        Hop::Tunnel {
            to: SocketAddr::new(to.ip(), TUNNEL_PORT),
            authority: to.into(),
            expected: expected(workload, service.as_deref()),
        }
    } else {
        Hop::Plain(to)
    };
    Ok(Route {
        hop,
        workload: Some(Arc::clone(workload)),
        service,
    })
}

/// The hop to a waypoint, which then decides about the rest by the original destination.
fn by_waypoint(
    question: &Question<'_>,
    waypoint: &GatewayAddress,
    service: Option<Arc<Service>>,
) -> Result<Route, Unanswered> {
    let port = waypoint.hbone_mtls_port;
    let (workload, to, expected) = match question
        .mesh
        .find_gateway(waypoint, &question.client.namespace)
    {
        Some(Found::Service(gateway)) => match choose(question, &gateway, port) {
            Choice::Endpoint(Endpoint {
                workload,
                address,
                port,
            }) => {
                let ip = address_of(question, &workload, address)?;
                let expected = expected(&workload, Some(&gateway));
                (workload, SocketAddr::new(ip, port), expected)
            }
            Choice::Passthrough | Choice::Nothing => {
                return Err(Error::NoHealthyUpstream(Arc::clone(&gateway.hostname)).into());
            }
        },
        Some(Found::Workload(gateway)) => {
            let address = match &waypoint.destination {
                Destination::Address(address) => Some(address.address),
                Destination::Hostname(_) => None,
            };
            let ip = address_of(question, &gateway, address)?;
            let expected = expected(&gateway, None);
            (gateway, SocketAddr::new(ip, port), expected)
        }
        None => return Err(Error::UnknownWaypoint(name(waypoint)).into()),
    };
    let hop = Hop::Tunnel {
        to,
        authority: question.to.into(),
        expected,
    };
    Ok(Route {
        hop,
        workload: Some(workload),
        service,
    })
}

fn choose(question: &Question<'_>, service: &Service, port: u16) -> Choice {
    let place = Place::of(question.client);
    question.mesh.choose(
        service,
        &place,
        port,
        Family::of(question.to.ip()),
        question.sample,
    )
}

/// The chosen address, else the workload's own in the client's family, else what its host name was resolved to.
fn address_of(
    question: &Question<'_>,
    workload: &Workload,
    chosen: Option<IpAddr>,
) -> Result<IpAddr, Unanswered> {
    let family = Family::of(question.to.ip());
    let own = || {
        let fits = |address: &&IpAddr| Family::of(**address) == family;
        workload
            .addresses
            .iter()
            .find(fits)
            .or_else(|| workload.addresses.first())
            .copied()
    };
    if let Some(address) = chosen.or_else(own) {
        return Ok(address);
    }
    match question.resolved {
        Some((hostname, address)) if *hostname == *workload.hostname => Ok(address),
        _ if workload.hostname.is_empty() => {
            Err(Error::NoHealthyUpstream(Arc::clone(&workload.name)).into())
        }
        _ => Err(Unanswered::Resolve(Arc::clone(&workload.hostname))),
    }
}

/// Whether the client is the waypoint: its own traffic must not come back to it.
fn is_waypoint(question: &Question<'_>, waypoint: &GatewayAddress) -> bool {
    is_gateway(question.mesh, question.client, waypoint)
}

/// Whether a workload is, or is part of, what a gateway address names.
pub(super) fn is_gateway(mesh: &Snapshot, workload: &Workload, gateway: &GatewayAddress) -> bool {
    match mesh.find_gateway(gateway, &workload.namespace) {
        Some(Found::Service(service)) => workload.services.contains_key(&service.key()),
        Some(Found::Workload(found)) => found.uid == workload.uid,
        None => false,
    }
}

/// Who may answer for a workload: itself, and for a service whoever the service names.
fn expected(workload: &Workload, service: Option<&Service>) -> Vec<Identity> {
    let mut all = service.map(Service::identities).unwrap_or_default();
    all.push(workload.identity.clone());
    all.sort_unstable();
    all.dedup();
    all
}

fn name(gateway: &GatewayAddress) -> Arc<str> {
    match &gateway.destination {
        Destination::Hostname(name) => name.to_string().into(),
        Destination::Address(address) => address.to_string().into(),
    }
}

#[cfg(test)]
mod tests;
