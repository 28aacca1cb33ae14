//! What istiod sends, and what becomes of it.

use super::*;
use crate::addr;

fn source() -> proto::Service {
    proto::Service {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        hostname: "web.shop.svc.cluster.local".to_owned(),
        ..proto::Service::default()
    }
}

fn address(bytes: &[u8], length: Option<u32>) -> proto::NetworkAddress {
    proto::NetworkAddress {
        network: "north".to_owned(),
        address: bytes.to_vec(),
        length,
    }
}

#[test]
fn every_field_arrives_where_it_belongs() {
    use proto::load_balancing as wire;
    let gateway = proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Address(address(
            &[10, 0, 0, 9],
            None,
        ))),
        hbone_mtls_port: 15008,
    };
    let service = Service::try_from(proto::Service {
        addresses: vec![
            address(&[10, 96, 0, 1], None),
            address(&[10, 97, 1, 2], Some(16)),
            address(&[10, 96, 0, 2], Some(32)),
        ],
        ports: vec![
            proto::Port {
                service_port: 80,
                target_port: 8080,
                app_protocol: 1,
            },
            proto::Port {
                service_port: 90,
                target_port: 0,
                app_protocol: 99,
            },
        ],
        subject_alt_names: vec![
            "spiffe://td/ns/a/sa/b".to_owned(),
            "db.example.com".to_owned(),
        ],
        waypoint: Some(gateway.clone()),
        weighted_waypoints: vec![proto::WeightedWaypoint {
            destination: Some(gateway),
            weight: 7,
        }],
        load_balancing: Some(proto::LoadBalancing {
            routing_preference: vec![wire::Scope::Network.into(), wire::Scope::Node.into()],
            mode: wire::Mode::Failover.into(),
            health_policy: wire::HealthPolicy::AllowAll.into(),
        }),
        ip_families: proto::IpFamilies::Dual.into(),
        canonical: true,
        ingress_use_waypoint: true,
        visibility: proto::Visibility::Namespace.into(),
        ..source()
    })
    .unwrap();
    assert_eq!(service.key().to_string(), "shop/web.shop.svc.cluster.local");
    let vips: Vec<_> = service.vips.iter().map(ToString::to_string).collect();
    assert_eq!(
        vips,
        ["north/10.96.0.1", "north/10.96.0.2"],
        "a block of one address is an address"
    );
    assert_eq!(service.cidr_vips[0].block.to_string(), "10.97.0.0/16");
    assert_eq!(
        (
            service.target_port(80),
            service.target_port(90),
            service.target_port(1)
        ),
        (Some(8080), None, None)
    );
    assert_eq!(
        service.port(90).unwrap().app_protocol,
        AppProtocol::Unknown,
        "only a hint"
    );
    assert_eq!(
        service.identities(),
        ["spiffe://td/ns/a/sa/b".parse().unwrap()]
    );
    assert_eq!(service.subject_alt_names.len(), 2);
    assert_eq!(service.waypoint.as_ref(), service.waypoint(3));
    let expected = LoadBalancing {
        routing_preference: vec![Scope::Network, Scope::Node],
        mode: Mode::Failover,
        allow_unhealthy: true,
    };
    assert_eq!(service.load_balancing, expected);
    assert_eq!(
        (service.ip_families, service.visibility),
        (IpFamilies::Dual, Visibility::Namespace)
    );
    assert!(service.canonical && service.ingress_use_waypoint);
    assert!(service.is_visible_from("shop") && !service.is_visible_from("bank"));
}

#[test]
fn what_is_left_out_has_its_default() {
    let service = Service::try_from(source()).unwrap();
    assert_eq!(service.load_balancing, LoadBalancing::default());
    assert_eq!(
        (service.visibility, service.ip_families),
        (Visibility::Public, IpFamilies::Automatic)
    );
    assert_eq!(service.waypoint(0), None);
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |change: &dyn Fn(&mut proto::Service)| {
        let mut source = source();
        change(&mut source);
        Service::try_from(source).unwrap_err()
    };
    let address_error = |source| Error::Address {
        field: "addresses",
        source,
    };
    assert_eq!(refused(&|s| s.hostname.clear()), Error::Missing("hostname"));
    assert_eq!(
        refused(&|s| s.namespace.clear()),
        Error::Missing("namespace")
    );
    assert_eq!(
        refused(&|s| s.addresses = vec![address(&[1, 2], None)]),
        address_error(addr::Error::Length(2))
    );
    assert_eq!(
        refused(&|s| s.addresses = vec![address(&[10, 0, 0, 1], Some(33))]),
        address_error(addr::Error::Prefix {
            address: [10, 0, 0, 1].into(),
            length: 33
        })
    );
    assert_eq!(
        refused(&|s| s.ports = vec![proto::Port {
            service_port: 70_000,
            target_port: 1,
            app_protocol: 0
        }]),
        Error::Address {
            field: "service_port",
            source: addr::Error::Port(70_000)
        }
    );
    assert_eq!(
        refused(&|s| s.visibility = 2),
        Error::Enum {
            field: "visibility",
            value: 2
        }
    );
    assert_eq!(
        refused(&|s| s.ip_families = -1),
        Error::Enum {
            field: "ip_families",
            value: -1
        }
    );
    let scope = |value| proto::LoadBalancing {
        routing_preference: vec![value],
        ..Default::default()
    };
    assert_eq!(
        refused(&|s| s.load_balancing = Some(scope(0))),
        Error::Enum {
            field: "routing_preference",
            value: 0
        }
    );
    assert_eq!(
        refused(&|s| s.weighted_waypoints = vec![proto::WeightedWaypoint::default()]),
        Error::Missing("weighted waypoint destination")
    );
    assert_eq!(
        refused(&|s| s.waypoint = Some(proto::GatewayAddress::default())),
        Error::Missing("gateway destination")
    );
}
