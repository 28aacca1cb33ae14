//! A small mesh for the tables of decisions. Only in tests.
#![expect(
    clippy::unnecessary_wraps,
    reason = "values of optional message fields"
)]

use std::sync::Arc;

use crate::addr::ip_to_bytes;
use crate::proto::workload as proto;
use crate::store::{Snapshot, Store, Update};

/// Port on which waypoints take tunnels.
pub(super) const WAYPOINT_PORT: u32 = 15008;

pub(super) fn bytes(text: &str) -> Vec<u8> {
    ip_to_bytes(text.parse().unwrap())
}

/// A pod that takes tunnels, with an account of its own name.
pub(super) fn pod(name: &str, address: &str) -> proto::Workload {
    proto::Workload {
        uid: format!("Kubernetes//Pod/shop/{name}"),
        name: name.into(),
        namespace: "shop".into(),
        service_account: name.into(),
        addresses: vec![bytes(address)],
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        canonical_name: name.into(),
        ..proto::Workload::default()
    }
}

pub(super) fn plain(name: &str, address: &str) -> proto::Workload {
    proto::Workload {
        tunnel_protocol: proto::TunnelProtocol::None.into(),
        ..pod(name, address)
    }
}

/// Makes a workload a member of services; port 80 leads to 8080.
pub(super) fn member(mut workload: proto::Workload, services: &[&str]) -> proto::Workload {
    let port = |service_port, target_port| proto::Port {
        service_port,
        target_port,
        app_protocol: 0,
    };
    for service in services {
        let ports = vec![port(80, 8080), port(WAYPOINT_PORT, WAYPOINT_PORT)];
        workload
            .services
            .insert(format!("shop/{service}.shop"), proto::PortList { ports });
    }
    workload
}

/// A service with the host name `name.shop` and ports 80 and 15008.
pub(super) fn service(name: &str, vip: &str) -> proto::Service {
    let port = |service_port, target_port| proto::Port {
        service_port,
        target_port,
        app_protocol: 0,
    };
    proto::Service {
        name: name.into(),
        namespace: "shop".into(),
        hostname: format!("{name}.shop"),
        addresses: vec![address(vip)],
        ports: vec![
            port(80, 8080),
            port(81, 0),
            port(WAYPOINT_PORT, WAYPOINT_PORT),
        ],
        ..proto::Service::default()
    }
}

pub(super) fn address(ip: &str) -> proto::NetworkAddress {
    proto::NetworkAddress {
        network: String::new(),
        address: bytes(ip),
        length: None,
    }
}

pub(super) fn gateway_at(ip: &str) -> Option<proto::GatewayAddress> {
    Some(proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Address(address(ip))),
        hbone_mtls_port: WAYPOINT_PORT,
    })
}

pub(super) fn gateway_named(hostname: &str) -> Option<proto::GatewayAddress> {
    Some(proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Hostname(
            proto::NamespacedHostname {
                namespace: "shop".into(),
                hostname: hostname.into(),
            },
        )),
        hbone_mtls_port: WAYPOINT_PORT,
    })
}

pub(super) fn mode(mode: proto::load_balancing::Mode) -> Option<proto::LoadBalancing> {
    Some(proto::LoadBalancing {
        mode: mode.into(),
        ..proto::LoadBalancing::default()
    })
}

/// A store that holds these and refuses none.
pub(super) fn store(workloads: Vec<proto::Workload>, services: Vec<proto::Service>) -> Store {
    let store = Store::default();
    let updates = workloads
        .into_iter()
        .map(Update::address)
        .chain(services.into_iter().map(Update::address));
    assert_eq!(store.apply(updates.collect()), []);
    store
}

pub(super) fn mesh(
    workloads: Vec<proto::Workload>,
    services: Vec<proto::Service>,
) -> Arc<Snapshot> {
    store(workloads, services).snapshot()
}
