//! A service: a host name, virtual addresses and how an endpoint is chosen.
//!
//! Layer 3. The domain type and its conversion from xDS; endpoints are joined in the store.

use std::sync::Arc;

use crate::addr::{Cidr, NamespacedHostname, NetworkAddress};
use crate::identity::Identity;
use crate::proto::workload as proto;
use crate::workload::{Error, GatewayAddress, PortMap, known, port, port_map};

/// A protocol hint on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppProtocol {
    /// Not known.
    #[default]
    Unknown,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// gRPC
    Grpc,
    /// TCP
    Tcp,
    /// TLS
    Tls,
}

/// One port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Port {
    /// What clients use.
    pub service_port: u16,
    /// What workloads listen on; 0 when it is named and differs per workload.
    pub target_port: u16,
    /// The protocol hint.
    pub app_protocol: AppProtocol,
}

/// A part of a place that load balancing compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Locality region.
    Region,
    /// Locality zone.
    Zone,
    /// Locality subzone.
    Subzone,
    /// Node.
    Node,
    /// Cluster.
    Cluster,
    /// Network.
    Network,
}

/// What the scopes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// All endpoints are equal.
    #[default]
    Standard,
    /// Every scope must match.
    Strict,
    /// The most matched leading scopes win.
    Failover,
    /// No choice: the original address.
    Passthrough,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LoadBalancing {
    /// Scopes in the order they are compared.
    pub routing_preference: Vec<Scope>,
    /// What they mean.
    pub mode: Mode,
    /// Whether unhealthy endpoints count too.
    pub allow_unhealthy: bool,
}

/// Families a service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamilies {
    /// Whatever its addresses are.
    #[default]
    Automatic,
    /// IPv4.
    Ipv4Only,
    /// IPv6.
    Ipv6Only,
    /// Both.
    Dual,
}

impl IpFamilies {
    /// Whether endpoints of this family may be used.
    pub fn accepts(self, address: std::net::IpAddr) -> bool {
        match self {
            Self::Automatic | Self::Dual => true,
            Self::Ipv4Only => address.is_ipv4(),
            Self::Ipv6Only => address.is_ipv6(),
        }
    }
}

/// Who sees a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Clients in its namespace.
    Namespace,
}

/// One of several waypoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightedWaypoint {
    /// The waypoint.
    pub destination: GatewayAddress,
    /// Relative weight; 0 is never chosen.
    pub weight: u32,
}

/// A block of virtual addresses in a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CidrVip {
    /// Network.
    pub network: Arc<str>,
    /// The block.
    pub block: Cidr,
}

/// One service. Immutable once stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Fully qualified host name, possibly with a leading `*.`.
    pub hostname: Arc<str>,
    /// Virtual addresses.
    pub vips: Vec<NetworkAddress>,
    /// Blocks of virtual addresses.
    pub cidr_vips: Vec<CidrVip>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Names to accept in place of the workload's identity (double HBONE), as istiod sends them.
    pub subject_alt_names: Vec<Arc<str>>,
    /// Waypoint of traffic to the service.
    pub waypoint: Option<GatewayAddress>,
    /// Waypoints sampled by weight; take the place of `waypoint` when not empty.
    pub weighted_waypoints: Vec<WeightedWaypoint>,
    /// How an endpoint is chosen.
    pub load_balancing: LoadBalancing,
    /// Families it answers.
    pub ip_families: IpFamilies,
    /// Whether it is the main one for its host name.
    pub canonical: bool,
    /// Whether ingress gateways send through the waypoint too.
    pub ingress_use_waypoint: bool,
    /// Who sees it.
    pub visibility: Visibility,
    targets: PortMap,
}

impl Service {
    /// Its key.
    pub fn key(&self) -> NamespacedHostname {
        NamespacedHostname::new(Arc::clone(&self.namespace), Arc::clone(&self.hostname))
    }

    /// The port that clients use as `service_port`.
    pub fn port(&self, service_port: u16) -> Option<&Port> {
        self.ports
            .iter()
            .find(|port| port.service_port == service_port)
    }

    /// The numeric target of a service port; `None` when the port is unknown or named.
    pub fn target_port(&self, service_port: u16) -> Option<u16> {
        self.targets.target(service_port)
    }

    /// Whether a client in `namespace` may know it.
    pub fn is_visible_from(&self, namespace: &str) -> bool {
        self.visibility == Visibility::Public || &*self.namespace == namespace
    }

    /// The subject alternative names that are identities. A `ServiceEntry` may also list DNS names, which no
    /// peer inside the mesh presents.
    pub fn identities(&self) -> Vec<Identity> {
        self.subject_alt_names
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect()
    }

    /// The waypoint for one connection. `sample` is any number, drawn evenly; it decides between weighted waypoints.
    pub fn waypoint(&self, sample: u64) -> Option<&GatewayAddress> {
        let total: u64 = self
            .weighted_waypoints
            .iter()
            .map(|way| u64::from(way.weight))
            .sum();
        if total == 0 {
            return self.waypoint.as_ref();
        }
        let mut left = sample % total;
        for way in &self.weighted_waypoints {
            let weight = u64::from(way.weight);
            if left < weight {
                return Some(&way.destination);
            }
            left -= weight;
        }
        None
    }
}

impl TryFrom<proto::Service> for Service {
    type Error = Error;

    fn try_from(source: proto::Service) -> Result<Self, Error> {
        if source.hostname.is_empty() {
            return Err(Error::Missing("hostname"));
        }
        if source.namespace.is_empty() {
            return Err(Error::Missing("namespace"));
        }
        let (mut vips, mut cidr_vips) = (Vec::new(), Vec::new());
        for at in source.addresses {
            let address = crate::workload::ip("addresses", &at.address)?;
            let network: Arc<str> = at.network.into();
            let block = at
                .length
                .map(|length| Cidr::new(address, length))
                .transpose()
                .map_err(|source| Error::Address {
                    field: "addresses",
                    source,
                })?;
            match block.filter(|block| !block.is_single()) {
                Some(block) => cidr_vips.push(CidrVip { network, block }),
                None => vips.push(NetworkAddress::new(network, address)),
            }
        }
        Ok(Self {
            targets: port_map(&source.ports)?,
            ports: source
                .ports
                .into_iter()
                .map(Port::try_from)
                .collect::<Result<_, _>>()?,
            subject_alt_names: source
                .subject_alt_names
                .into_iter()
                .map(Into::into)
                .collect(),
            waypoint: source.waypoint.map(GatewayAddress::try_from).transpose()?,
            weighted_waypoints: source
                .weighted_waypoints
                .into_iter()
                .map(WeightedWaypoint::try_from)
                .collect::<Result<_, _>>()?,
            load_balancing: source
                .load_balancing
                .map(LoadBalancing::try_from)
                .transpose()?
                .unwrap_or_default(),
            ip_families: match known("ip_families", source.ip_families)? {
                proto::IpFamilies::Automatic => IpFamilies::Automatic,
                proto::IpFamilies::Ipv4Only => IpFamilies::Ipv4Only,
                proto::IpFamilies::Ipv6Only => IpFamilies::Ipv6Only,
                proto::IpFamilies::Dual => IpFamilies::Dual,
            },
            visibility: match known("visibility", source.visibility)? {
                proto::Visibility::Public => Visibility::Public,
                proto::Visibility::Namespace => Visibility::Namespace,
            },
            vips,
            cidr_vips,
            name: source.name.into(),
            namespace: source.namespace.into(),
            hostname: source.hostname.into(),
            canonical: source.canonical,
            ingress_use_waypoint: source.ingress_use_waypoint,
        })
    }
}

impl TryFrom<proto::Port> for Port {
    type Error = Error;

    fn try_from(source: proto::Port) -> Result<Self, Error> {
        Ok(Self {
            service_port: port("service_port", source.service_port)?,
            target_port: port("target_port", source.target_port)?,
            // Only a hint: a number from the future must not cost the whole service.
            app_protocol: match proto::AppProtocol::try_from(source.app_protocol) {
                Ok(proto::AppProtocol::Http11) => AppProtocol::Http11,
                Ok(proto::AppProtocol::Http2) => AppProtocol::Http2,
                Ok(proto::AppProtocol::Grpc) => AppProtocol::Grpc,
                Ok(proto::AppProtocol::Tcp) => AppProtocol::Tcp,
                Ok(proto::AppProtocol::Tls) => AppProtocol::Tls,
                Ok(proto::AppProtocol::Unknown) | Err(_) => AppProtocol::Unknown,
            },
        })
    }
}

impl TryFrom<proto::WeightedWaypoint> for WeightedWaypoint {
    type Error = Error;

    fn try_from(source: proto::WeightedWaypoint) -> Result<Self, Error> {
        let destination = source
            .destination
            .ok_or(Error::Missing("weighted waypoint destination"))?;
        Ok(Self {
            destination: destination.try_into()?,
            weight: source.weight,
        })
    }
}

impl TryFrom<proto::LoadBalancing> for LoadBalancing {
    type Error = Error;

    fn try_from(source: proto::LoadBalancing) -> Result<Self, Error> {
        use proto::load_balancing as wire;
        let scope = |value: i32| -> Result<Scope, Error> {
            Ok(match known("routing_preference", value)? {
                wire::Scope::UnspecifiedScope => {
                    return Err(Error::Enum {
                        field: "routing_preference",
                        value,
                    });
                }
                wire::Scope::Region => Scope::Region,
                wire::Scope::Zone => Scope::Zone,
                wire::Scope::Subzone => Scope::Subzone,
                wire::Scope::Node => Scope::Node,
                wire::Scope::Cluster => Scope::Cluster,
                wire::Scope::Network => Scope::Network,
            })
        };
        Ok(Self {
            routing_preference: source
                .routing_preference
                .into_iter()
                .map(scope)
                .collect::<Result<_, _>>()?,
            mode: match known("load_balancing.mode", source.mode)? {
                wire::Mode::UnspecifiedMode => Mode::Standard,
                wire::Mode::Strict => Mode::Strict,
                wire::Mode::Failover => Mode::Failover,
                wire::Mode::Passthrough => Mode::Passthrough,
            },
            allow_unhealthy: match known("load_balancing.health_policy", source.health_policy)? {
                wire::HealthPolicy::OnlyHealthy => false,
                wire::HealthPolicy::AllowAll => true,
            },
        })
    }
}

#[cfg(test)]
mod tests;
