//! Package `istio.workload`: workloads and services. Field numbers of Istio 1.31.

use std::collections::HashMap;

/// One resource of type [`super::ADDRESS_TYPE`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// What the resource is.
    #[prost(oneof = "address::Type", tags = "1, 2")]
    pub r#type: Option<address::Type>,
}

/// The variants of [`Address`].
pub mod address {
    /// A workload or a service.
    #[expect(
        clippy::large_enum_variant,
        reason = "short-lived: decoded and converted at once"
    )]
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Type {
        /// A pod, virtual machine or other endpoint.
        #[prost(message, tag = "1")]
        Workload(super::Workload),
        /// A group of workloads.
        #[prost(message, tag = "2")]
        Service(super::Service),
    }
}

/// One workload; its key is `uid`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Workload {
    /// Pod name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Addresses, 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub addresses: Vec<Vec<u8>>,
    /// Network of the addresses.
    #[prost(string, tag = "4")]
    pub network: String,
    /// How to reach the workload.
    #[prost(enumeration = "TunnelProtocol", tag = "5")]
    pub tunnel_protocol: i32,
    /// Trust domain; empty means `cluster.local`.
    #[prost(string, tag = "6")]
    pub trust_domain: String,
    /// Service account; empty means `default`.
    #[prost(string, tag = "7")]
    pub service_account: String,
    /// Waypoint all traffic to the workload passes.
    #[prost(message, optional, tag = "8")]
    pub waypoint: Option<GatewayAddress>,
    /// Node the workload runs on.
    #[prost(string, tag = "9")]
    pub node: String,
    /// Canonical service name, for telemetry.
    #[prost(string, tag = "10")]
    pub canonical_name: String,
    /// Canonical revision, for telemetry.
    #[prost(string, tag = "11")]
    pub canonical_revision: String,
    /// Kind of the owner, for telemetry.
    #[prost(enumeration = "WorkloadType", tag = "12")]
    pub workload_type: i32,
    /// Name of the owner, for telemetry.
    #[prost(string, tag = "13")]
    pub workload_name: String,
    /// Whether the workload handles HBONE itself.
    #[prost(bool, tag = "14")]
    pub native_tunnel: bool,
    /// `namespace/name` of the policies that select this workload.
    #[prost(string, repeated, tag = "16")]
    pub authorization_policies: Vec<String>,
    /// Health.
    #[prost(enumeration = "WorkloadStatus", tag = "17")]
    pub status: i32,
    /// Cluster the workload belongs to.
    #[prost(string, tag = "18")]
    pub cluster_id: String,
    /// Gateway of the workload's network.
    #[prost(message, optional, tag = "19")]
    pub network_gateway: Option<GatewayAddress>,
    /// Unique id.
    #[prost(string, tag = "20")]
    pub uid: String,
    /// Host name of a workload without an address.
    #[prost(string, tag = "21")]
    pub hostname: String,
    /// Services the workload belongs to: `namespace/hostname` to ports.
    #[prost(map = "string, message", tag = "22")]
    pub services: HashMap<String, PortList>,
    /// A listener in the workload that takes tunnelled traffic.
    #[prost(message, optional, tag = "23")]
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Where the workload is.
    #[prost(message, optional, tag = "24")]
    pub locality: Option<Locality>,
    /// Whether the workload shares its node's network.
    #[prost(enumeration = "NetworkMode", tag = "25")]
    pub network_mode: i32,
    /// Relative weight; absent means 1.
    #[prost(message, optional, tag = "27")]
    pub capacity: Option<u32>,
}

/// One service; its key is `namespace/hostname`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Fully qualified host name.
    #[prost(string, tag = "3")]
    pub hostname: String,
    /// Virtual addresses, single or blocks.
    #[prost(message, repeated, tag = "4")]
    pub addresses: Vec<NetworkAddress>,
    /// Ports.
    #[prost(message, repeated, tag = "5")]
    pub ports: Vec<Port>,
    /// Identities to accept instead of the workload's.
    #[prost(string, repeated, tag = "6")]
    pub subject_alt_names: Vec<String>,
    /// Waypoint all traffic to the service passes.
    #[prost(message, optional, tag = "7")]
    pub waypoint: Option<GatewayAddress>,
    /// How an endpoint is chosen.
    #[prost(message, optional, tag = "8")]
    pub load_balancing: Option<LoadBalancing>,
    /// Families the service answers.
    #[prost(enumeration = "IpFamilies", tag = "9")]
    pub ip_families: i32,
    /// Whether this service is the main one for its host name.
    #[prost(bool, tag = "11")]
    pub canonical: bool,
    /// Whether ingress gateways send through the waypoint too.
    #[prost(bool, tag = "12")]
    pub ingress_use_waypoint: bool,
    /// Waypoints sampled by weight; take the place of `waypoint`.
    #[prost(message, repeated, tag = "13")]
    pub weighted_waypoints: Vec<WeightedWaypoint>,
    /// Who sees the service.
    #[prost(enumeration = "Visibility", tag = "14")]
    pub visibility: i32,
}

/// How an endpoint of a service is chosen.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoadBalancing {
    /// Scopes in the order they are compared.
    #[prost(enumeration = "load_balancing::Scope", repeated, tag = "1")]
    pub routing_preference: Vec<i32>,
    /// What the scopes mean.
    #[prost(enumeration = "load_balancing::Mode", tag = "2")]
    pub mode: i32,
    /// Which endpoints count.
    #[prost(enumeration = "load_balancing::HealthPolicy", tag = "3")]
    pub health_policy: i32,
}

/// The enumerations of [`LoadBalancing`].
pub mod load_balancing {
    /// A part of a workload's place.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum Scope {
        /// Not set.
        UnspecifiedScope = 0,
        /// Locality region.
        Region = 1,
        /// Locality zone.
        Zone = 2,
        /// Locality subzone.
        Subzone = 3,
        /// Node.
        Node = 4,
        /// Cluster.
        Cluster = 5,
        /// Network.
        Network = 6,
    }

    /// What the scopes mean.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum Mode {
        /// All endpoints are equal.
        UnspecifiedMode = 0,
        /// Every scope must match.
        Strict = 1,
        /// The most matched leading scopes win.
        Failover = 2,
        /// No choice: the original address.
        Passthrough = 3,
    }

    /// Which endpoints count.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum HealthPolicy {
        /// Healthy ones.
        OnlyHealthy = 0,
        /// All.
        AllowAll = 1,
    }
}

/// Ports of a workload in one service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PortList {
    /// The ports.
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<Port>,
}

/// A port of a service.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Port {
    /// What clients use.
    #[prost(uint32, tag = "1")]
    pub service_port: u32,
    /// What the workload listens on; 0 when it is named and differs per workload.
    #[prost(uint32, tag = "2")]
    pub target_port: u32,
    /// The protocol, a hint.
    #[prost(enumeration = "AppProtocol", tag = "3")]
    pub app_protocol: i32,
}

/// Where a gateway is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GatewayAddress {
    /// Host name or address.
    #[prost(oneof = "gateway_address::Destination", tags = "1, 2")]
    pub destination: Option<gateway_address::Destination>,
    /// Port for HBONE.
    #[prost(uint32, tag = "3")]
    pub hbone_mtls_port: u32,
}

/// The variants of [`GatewayAddress`].
pub mod gateway_address {
    /// Host name or address.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Destination {
        /// A service by name.
        #[prost(message, tag = "1")]
        Hostname(super::NamespacedHostname),
        /// An address in a network.
        #[prost(message, tag = "2")]
        Address(super::NetworkAddress),
    }
}

/// A service's name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespacedHostname {
    /// Namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// Host name.
    #[prost(string, tag = "2")]
    pub hostname: String,
}

/// An address, or a block of them, in a network.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkAddress {
    /// Network.
    #[prost(string, tag = "1")]
    pub network: String,
    /// 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub address: Vec<u8>,
    /// Prefix length; absent means a single address.
    #[prost(uint32, optional, tag = "3")]
    pub length: Option<u32>,
}

/// One of several waypoints.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WeightedWaypoint {
    /// The waypoint.
    #[prost(message, optional, tag = "1")]
    pub destination: Option<GatewayAddress>,
    /// Relative weight.
    #[prost(uint32, tag = "2")]
    pub weight: u32,
}

/// A listener in the workload that takes tunnelled traffic.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ApplicationTunnel {
    /// What it speaks.
    #[prost(enumeration = "application_tunnel::Protocol", tag = "1")]
    pub protocol: i32,
    /// Where it listens; 0 means the requested port.
    #[prost(uint32, tag = "2")]
    pub port: u32,
}

/// The enumerations of [`ApplicationTunnel`].
pub mod application_tunnel {
    /// What the listener speaks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub enum Protocol {
        /// Raw bytes.
        None = 0,
        /// PROXY protocol version 2 before the bytes.
        Proxy = 1,
    }
}

/// Where a workload is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Locality {
    /// Region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// Zone.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// Subzone.
    #[prost(string, tag = "3")]
    pub subzone: String,
}

/// How to reach a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum TunnelProtocol {
    /// Plain.
    None = 0,
    /// HBONE.
    Hbone = 1,
    /// The sidecar's mTLS; refused.
    LegacyIstioMtls = 2,
}

/// Kind of a workload's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum WorkloadType {
    /// Deployment.
    Deployment = 0,
    /// `CronJob`.
    Cronjob = 1,
    /// Pod.
    Pod = 2,
    /// Job.
    Job = 3,
}

/// Health of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum WorkloadStatus {
    /// May get traffic.
    Healthy = 0,
    /// May not.
    Unhealthy = 1,
}

/// Whether a workload shares its node's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum NetworkMode {
    /// Own network.
    Standard = 0,
    /// The node's network.
    HostNetwork = 1,
}

/// Families a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum IpFamilies {
    /// Whatever its addresses are.
    Automatic = 0,
    /// IPv4.
    Ipv4Only = 1,
    /// IPv6.
    Ipv6Only = 2,
    /// Both.
    Dual = 3,
}

/// Who sees a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Visibility {
    /// Everybody.
    Public = 0,
    /// Clients in its namespace.
    Namespace = 1,
}

/// A port's protocol, a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AppProtocol {
    /// Not known.
    Unknown = 0,
    /// HTTP/1.1
    Http11 = 1,
    /// HTTP/2
    Http2 = 2,
    /// gRPC
    Grpc = 3,
    /// TCP
    Tcp = 4,
    /// TLS
    Tls = 5,
}

/// A workload or service as a resource.
impl From<Workload> for Address {
    fn from(workload: Workload) -> Self {
        Self {
            r#type: Some(address::Type::Workload(workload)),
        }
    }
}

impl From<Service> for Address {
    fn from(service: Service) -> Self {
        Self {
            r#type: Some(address::Type::Service(service)),
        }
    }
}
