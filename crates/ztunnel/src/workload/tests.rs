//! What istiod sends, and what becomes of it.

use super::*;

fn source() -> proto::Workload {
    proto::Workload {
        uid: "north//Pod/shop/cart-1".to_owned(),
        namespace: "shop".to_owned(),
        ..proto::Workload::default()
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let workload = Workload::try_from(source()).unwrap();
    assert_eq!(
        workload.identity.as_str(),
        "spiffe://cluster.local/ns/shop/sa/default"
    );
    assert_eq!(&*workload.cluster_id, "Kubernetes");
    assert_eq!((workload.capacity, workload.status), (1, Status::Healthy));
    assert_eq!(
        (workload.trust_domain(), workload.service_account()),
        ("cluster.local", "default")
    );
    assert!(workload.is_pod() && !workload.speaks_hbone() && workload.application_tunnel.is_none());
}

#[test]
fn every_field_arrives_where_it_belongs() {
    let hostname = proto::gateway_address::Destination::Hostname(proto::NamespacedHostname {
        namespace: "shop".to_owned(),
        hostname: "way".to_owned(),
    });
    let address = proto::gateway_address::Destination::Address(proto::NetworkAddress {
        network: "south".to_owned(),
        address: vec![10, 1, 0, 1],
        length: None,
    });
    let ports = proto::PortList {
        ports: vec![
            proto::Port {
                service_port: 80,
                target_port: 8080,
                app_protocol: 0,
            },
            proto::Port {
                service_port: 90,
                target_port: 0,
                app_protocol: 0,
            },
        ],
    };
    let workload = Workload::try_from(proto::Workload {
        name: "cart-1".to_owned(),
        addresses: vec![
            vec![10, 0, 0, 7],
            [vec![0; 10], vec![0xff, 0xff, 10, 0, 0, 8]].concat(),
        ],
        network: "north".to_owned(),
        tunnel_protocol: proto::TunnelProtocol::Hbone.into(),
        trust_domain: "example.com".to_owned(),
        service_account: "cart".to_owned(),
        waypoint: Some(proto::GatewayAddress {
            destination: Some(hostname),
            hbone_mtls_port: 15008,
        }),
        network_gateway: Some(proto::GatewayAddress {
            destination: Some(address),
            hbone_mtls_port: 15009,
        }),
        node: "n1".to_owned(),
        canonical_name: "cart-service".to_owned(),
        canonical_revision: "v1".to_owned(),
        workload_type: proto::WorkloadType::Job.into(),
        workload_name: "cart".to_owned(),
        native_tunnel: true,
        authorization_policies: vec!["shop/p".to_owned()],
        status: proto::WorkloadStatus::Unhealthy.into(),
        cluster_id: "c1".to_owned(),
        hostname: "cart.example.com".to_owned(),
        services: [("shop/web".to_owned(), ports)].into(),
        application_tunnel: Some(proto::ApplicationTunnel {
            protocol: 1,
            port: 15088,
        }),
        locality: Some(proto::Locality {
            region: "r".to_owned(),
            zone: "z".to_owned(),
            subzone: "s".to_owned(),
        }),
        network_mode: proto::NetworkMode::HostNetwork.into(),
        capacity: Some(5),
        ..source()
    })
    .unwrap();
    let service = NamespacedHostname::new("shop", "web");
    let expected = Workload {
        uid: "north//Pod/shop/cart-1".into(),
        name: "cart-1".into(),
        namespace: "shop".into(),
        addresses: vec![[10, 0, 0, 7].into(), [10, 0, 0, 8].into()],
        network: "north".into(),
        tunnel_protocol: TunnelProtocol::Hbone,
        native_tunnel: true,
        identity: "spiffe://example.com/ns/shop/sa/cart".parse().unwrap(),
        waypoint: Some(GatewayAddress {
            destination: Destination::Hostname(NamespacedHostname::new("shop", "way")),
            hbone_mtls_port: 15008,
        }),
        network_gateway: Some(GatewayAddress {
            destination: Destination::Address(NetworkAddress::new("south", [10, 1, 0, 1].into())),
            hbone_mtls_port: 15009,
        }),
        node: "n1".into(),
        canonical_name: "cart-service".into(),
        canonical_revision: "v1".into(),
        workload_type: WorkloadKind::Job,
        workload_name: "cart".into(),
        authorization_policies: vec!["shop/p".into()],
        status: Status::Unhealthy,
        cluster_id: "c1".into(),
        hostname: "cart.example.com".into(),
        services: [(service, [(80, 8080)].into_iter().collect())]
            .into_iter()
            .collect(),
        application_tunnel: Some(ApplicationTunnel {
            protocol: ApplicationProtocol::Proxy,
            port: Some(15088),
        }),
        locality: Locality {
            region: "r".into(),
            zone: "z".into(),
            subzone: "s".into(),
        },
        network_mode: NetworkMode::HostNetwork,
        capacity: 5,
    };
    assert_eq!(workload, expected);
    assert_eq!(
        workload.baggage().encode(),
        "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.job.name=cart,service.name=cart-service,\
         service.version=v1,cloud.region=r,cloud.availability_zone=z"
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let refused = |change: &dyn Fn(&mut proto::Workload)| {
        let mut source = source();
        change(&mut source);
        Workload::try_from(source).unwrap_err()
    };
    assert_eq!(refused(&|w| w.uid.clear()), Error::Missing("uid"));
    assert_eq!(refused(&|w| w.tunnel_protocol = 2), Error::LegacyTunnel);
    assert_eq!(
        refused(&|w| w.tunnel_protocol = 3),
        Error::Enum {
            field: "tunnel_protocol",
            value: 3
        }
    );
    assert_eq!(
        refused(&|w| w.status = 9),
        Error::Enum {
            field: "status",
            value: 9
        }
    );
    assert_eq!(
        refused(&|w| w.network_mode = 9),
        Error::Enum {
            field: "network_mode",
            value: 9
        }
    );
    assert_eq!(
        refused(&|w| w.workload_type = 9),
        Error::Enum {
            field: "workload_type",
            value: 9
        }
    );
    let address = |field, source| Error::Address { field, source };
    assert_eq!(
        refused(&|w| w.addresses = vec![vec![1]]),
        address("addresses", addr::Error::Length(1))
    );
    let tunnel = |protocol, port| Some(proto::ApplicationTunnel { protocol, port });
    assert_eq!(
        refused(&|w| w.application_tunnel = tunnel(0, 65_536)),
        address("application_tunnel.port", addr::Error::Port(65_536))
    );
    assert_eq!(
        refused(&|w| w.application_tunnel = tunnel(2, 1)),
        Error::Enum {
            field: "application_tunnel.protocol",
            value: 2
        }
    );
    let services = |name: &str| [(name.to_owned(), proto::PortList::default())].into();
    assert_eq!(
        refused(&|w| w.services = services("nonsense")),
        address(
            "services",
            addr::Error::NamespacedHostname("nonsense".to_owned())
        )
    );
    assert!(matches!(
        refused(&|w| w.namespace.clear()),
        Error::Identity(_)
    ));
    assert!(matches!(
        refused(&|w| w.trust_domain = "a/b".to_owned()),
        Error::Identity(_)
    ));
    assert_eq!(
        refused(&|w| w.waypoint = Some(proto::GatewayAddress::default())),
        Error::Missing("gateway destination")
    );
}

#[test]
fn only_uids_of_pods_are_pods() {
    for (uid, expected) in [
        ("c//Pod/ns/name", true),
        ("/Pod/ns/name", false),
        ("c/networking.istio.io/WorkloadEntry/ns/name", false),
        ("Pod", false),
        ("c/Pod", false),
    ] {
        let workload = Workload::try_from(proto::Workload {
            uid: uid.to_owned(),
            ..source()
        })
        .unwrap();
        assert_eq!(workload.is_pod(), expected, "{uid}");
    }
}
