//! A workload: a pod, virtual machine or other endpoint, as istiod describes it.
//!
//! Layer 3. The domain type and its conversion from xDS; no lookups.

mod ports;

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::addr::{self, NamespacedHostname, NetworkAddress};
use crate::baggage::{Baggage, WorkloadKind};
use crate::identity::{self, Identity};
use crate::proto::workload as proto;
pub use ports::{Memberships, PortMap};

/// Trust domain when istiod leaves it out.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";
/// Service account when istiod leaves it out.
pub const DEFAULT_SERVICE_ACCOUNT: &str = "default";
/// Cluster when istiod leaves it out.
pub const DEFAULT_CLUSTER: &str = "Kubernetes";

/// Why a resource was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The key field is empty.
    #[error("the resource has no {0}")]
    Missing(&'static str),
    /// Neither a workload nor a service.
    #[error("the address resource holds neither a workload nor a service this proxy knows")]
    Kind,
    /// A number this version does not know.
    #[error("{field} has the value {value}, which this proxy does not know")]
    Enum {
        /// The field.
        field: &'static str,
        /// Its number on the wire.
        value: i32,
    },
    /// The sidecar's protocol.
    #[error("tunnel protocol LEGACY_ISTIO_MTLS is not supported by a node proxy")]
    LegacyTunnel,
    /// An address, port or host name that cannot be read.
    #[error("{field} cannot be read")]
    Address {
        /// The field.
        field: &'static str,
        /// The reason.
        #[source]
        source: addr::Error,
    },
    /// The identity cannot be formed.
    #[error("the workload's identity cannot be formed")]
    Identity(#[from] identity::Error),
}

/// How a workload takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TunnelProtocol {
    /// Plain TCP.
    #[default]
    None,
    /// HBONE on 15008.
    Hbone,
}

/// Health as istiod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// May get traffic.
    #[default]
    Healthy,
    /// May not, unless the service says otherwise.
    Unhealthy,
}

/// Whether a workload has its own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetworkMode {
    /// Own addresses.
    #[default]
    Standard,
    /// Its node's addresses; such a workload is not found by address.
    HostNetwork,
}

/// Region, zone and subzone; empty where unknown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Subzone.
    pub subzone: Arc<str>,
}

/// What a tunnel's bytes look like when they reach the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApplicationProtocol {
    /// Raw.
    None,
    /// PROXY protocol version 2 first.
    Proxy,
}

/// A listener inside the workload that takes tunnelled traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationTunnel {
    /// What it speaks.
    pub protocol: ApplicationProtocol,
    /// Where it listens; absent means the requested port.
    pub port: Option<u16>,
}

/// Where a waypoint or gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// Name or address.
    pub destination: Destination,
    /// The port that takes HBONE.
    pub hbone_mtls_port: u16,
}

/// Name or address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A service, or a workload without addresses.
    Hostname(NamespacedHostname),
    /// An address in a network.
    Address(NetworkAddress),
}

/// One workload. Immutable once stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Unique id, the key: `cluster//Pod/namespace/name`.
    pub uid: Arc<str>,
    /// Pod name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Addresses in `network`; empty for a workload known by host name or gateway only.
    pub addresses: Vec<IpAddr>,
    /// Network; empty is the default one.
    pub network: Arc<str>,
    /// How it takes traffic.
    pub tunnel_protocol: TunnelProtocol,
    /// Whether it handles HBONE itself.
    pub native_tunnel: bool,
    /// Who it is.
    pub identity: Identity,
    /// Waypoint of traffic that addresses the workload directly.
    pub waypoint: Option<GatewayAddress>,
    /// Gateway of its network.
    pub network_gateway: Option<GatewayAddress>,
    /// Node.
    pub node: Arc<str>,
    /// Canonical service name.
    pub canonical_name: Arc<str>,
    /// Canonical revision.
    pub canonical_revision: Arc<str>,
    /// Kind of the owner.
    pub workload_type: WorkloadKind,
    /// Name of the owner.
    pub workload_name: Arc<str>,
    /// `namespace/name` of the policies that select it.
    pub authorization_policies: Vec<Arc<str>>,
    /// Health.
    pub status: Status,
    /// Cluster.
    pub cluster_id: Arc<str>,
    /// Host name of a workload without addresses; empty otherwise.
    pub hostname: Arc<str>,
    /// Services it belongs to.
    pub services: Memberships,
    /// Listener for tunnelled traffic.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Place.
    pub locality: Locality,
    /// Whether it has its own network.
    pub network_mode: NetworkMode,
    /// Relative weight in load balancing.
    pub capacity: u32,
}

impl Workload {
    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        self.identity.trust_domain()
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        self.identity.service_account()
    }

    /// What the `baggage` header says about this workload.
    pub fn baggage(&self) -> Baggage {
        let known = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
        Baggage {
            cluster: known(&self.cluster_id),
            namespace: known(&self.namespace),
            workload: known(&self.workload_name).map(|name| (self.workload_type, name)),
            service: known(&self.canonical_name),
            revision: known(&self.canonical_revision),
            region: known(&self.locality.region),
            zone: known(&self.locality.zone),
        }
    }

    /// Whether the uid is one that istiod gives to pods: `cluster/group/Pod/namespace/name`.
    pub fn is_pod(&self) -> bool {
        self.uid.split('/').nth(2) == Some("Pod")
    }

    /// Whether connections to it may go through a tunnel.
    pub fn speaks_hbone(&self) -> bool {
        self.tunnel_protocol == TunnelProtocol::Hbone
    }
}

impl TryFrom<proto::Workload> for Workload {
    type Error = Error;

    fn try_from(source: proto::Workload) -> Result<Self, Error> {
        if source.uid.is_empty() {
            return Err(Error::Missing("uid"));
        }
        let identity = Identity::new(
            or(&source.trust_domain, DEFAULT_TRUST_DOMAIN),
            &source.namespace,
            or(&source.service_account, DEFAULT_SERVICE_ACCOUNT),
        )?;
        let addresses = source
            .addresses
            .iter()
            .map(|bytes| ip("addresses", bytes))
            .collect::<Result<_, _>>()?;
        let services = source
            .services
            .into_iter()
            .map(membership)
            .collect::<Result<_, _>>()?;
        let locality = source.locality.unwrap_or_default();
        Ok(Self {
            tunnel_protocol: tunnel_protocol(source.tunnel_protocol)?,
            status: match known("status", source.status)? {
                proto::WorkloadStatus::Healthy => Status::Healthy,
                proto::WorkloadStatus::Unhealthy => Status::Unhealthy,
            },
            network_mode: match known("network_mode", source.network_mode)? {
                proto::NetworkMode::Standard => NetworkMode::Standard,
                proto::NetworkMode::HostNetwork => NetworkMode::HostNetwork,
            },
            workload_type: match known("workload_type", source.workload_type)? {
                proto::WorkloadType::Deployment => WorkloadKind::Deployment,
                proto::WorkloadType::Cronjob => WorkloadKind::CronJob,
                proto::WorkloadType::Pod => WorkloadKind::Pod,
                proto::WorkloadType::Job => WorkloadKind::Job,
            },
            waypoint: source.waypoint.map(GatewayAddress::try_from).transpose()?,
            network_gateway: source
                .network_gateway
                .map(GatewayAddress::try_from)
                .transpose()?,
            application_tunnel: source
                .application_tunnel
                .map(ApplicationTunnel::try_from)
                .transpose()?,
            locality: Locality {
                region: locality.region.into(),
                zone: locality.zone.into(),
                subzone: locality.subzone.into(),
            },
            identity,
            addresses,
            services,
            uid: source.uid.into(),
            name: source.name.into(),
            namespace: source.namespace.into(),
            network: source.network.into(),
            native_tunnel: source.native_tunnel,
            node: source.node.into(),
            canonical_name: source.canonical_name.into(),
            canonical_revision: source.canonical_revision.into(),
            workload_name: source.workload_name.into(),
            authorization_policies: source
                .authorization_policies
                .into_iter()
                .map(Into::into)
                .collect(),
            cluster_id: or(&source.cluster_id, DEFAULT_CLUSTER).into(),
            hostname: source.hostname.into(),
            capacity: source.capacity.unwrap_or(1),
        })
    }
}

impl TryFrom<proto::GatewayAddress> for GatewayAddress {
    type Error = Error;

    fn try_from(source: proto::GatewayAddress) -> Result<Self, Error> {
        use proto::gateway_address::Destination as Wire;
        let destination = match source
            .destination
            .ok_or(Error::Missing("gateway destination"))?
        {
            Wire::Hostname(name) if name.hostname.is_empty() => {
                return Err(Error::Missing("gateway hostname"));
            }
            Wire::Hostname(name) => {
                Destination::Hostname(NamespacedHostname::new(name.namespace, name.hostname))
            }
            Wire::Address(at) => Destination::Address(NetworkAddress::new(
                at.network,
                ip("gateway address", &at.address)?,
            )),
        };
        Ok(Self {
            destination,
            hbone_mtls_port: port("hbone_mtls_port", source.hbone_mtls_port)?,
        })
    }
}

impl TryFrom<proto::ApplicationTunnel> for ApplicationTunnel {
    type Error = Error;

    fn try_from(source: proto::ApplicationTunnel) -> Result<Self, Error> {
        let protocol = match known("application_tunnel.protocol", source.protocol)? {
            proto::application_tunnel::Protocol::None => ApplicationProtocol::None,
            proto::application_tunnel::Protocol::Proxy => ApplicationProtocol::Proxy,
        };
        let port = port("application_tunnel.port", source.port)?;
        Ok(Self {
            protocol,
            port: (port != 0).then_some(port),
        })
    }
}

fn membership(
    (name, ports): (String, proto::PortList),
) -> Result<(NamespacedHostname, PortMap), Error> {
    let service = name.parse().map_err(|source| Error::Address {
        field: "services",
        source,
    })?;
    Ok((service, port_map(&ports.ports)?))
}

/// The ports of an endpoint or a service.
pub(crate) fn port_map(ports: &[proto::Port]) -> Result<PortMap, Error> {
    let pair = |at: &proto::Port| {
        Ok((
            port("service_port", at.service_port)?,
            port("target_port", at.target_port)?,
        ))
    };
    ports.iter().map(pair).collect()
}

fn tunnel_protocol(value: i32) -> Result<TunnelProtocol, Error> {
    match known("tunnel_protocol", value)? {
        proto::TunnelProtocol::None => Ok(TunnelProtocol::None),
        proto::TunnelProtocol::Hbone => Ok(TunnelProtocol::Hbone),
        proto::TunnelProtocol::LegacyIstioMtls => Err(Error::LegacyTunnel),
    }
}

/// An enumeration value, or the error that names the field.
pub(crate) fn known<T: TryFrom<i32>>(field: &'static str, value: i32) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::Enum { field, value })
}

/// An address, or the error that names the field. IPv4-mapped IPv6 becomes IPv4.
pub(crate) fn ip(field: &'static str, bytes: &[u8]) -> Result<IpAddr, Error> {
    let address = addr::ip_from_bytes(bytes).map_err(|source| Error::Address { field, source })?;
    Ok(address.to_canonical())
}

/// A port, or the error that names the field.
pub(crate) fn port(field: &'static str, value: u32) -> Result<u16, Error> {
    addr::port(value).map_err(|source| Error::Address { field, source })
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

#[cfg(test)]
mod tests;
