//! A table: where a stream that arrived in the pod `cart-1` (10.0.0.4) goes.

use super::super::testbed::{gateway_at, gateway_named, member, mesh, pod, service};
use super::*;
use crate::proto::workload as proto;

fn tunnelled(name: &str, address: &str, protocol: i32, port: u32) -> proto::Workload {
    proto::Workload {
        application_tunnel: Some(proto::ApplicationTunnel { protocol, port }),
        ..member(pod(name, address), &["way"])
    }
}

fn scene() -> Arc<Snapshot> {
    let workloads = vec![
        member(pod("cart-1", "10.0.0.4"), &["cart"]),
        member(pod("cart-2", "10.0.0.5"), &["cart"]),
        member(pod("way-1", "10.0.0.6"), &["way"]),
        tunnelled("sandwich", "10.0.0.7", 1, 15088),
        tunnelled("raw", "10.0.0.8", 0, 15088),
        tunnelled("any-port", "10.0.0.9", 1, 0),
        tunnelled("looping", "10.0.0.10", 1, 15008),
        proto::Workload {
            waypoint: gateway_at("10.9.0.6"),
            ..pod("guarded", "10.0.0.20")
        },
        proto::Workload {
            waypoint: gateway_named("way.shop"),
            ..pod("guarded-by-name", "10.0.0.21")
        },
        proto::Workload {
            waypoint: gateway_at("10.0.0.6"),
            ..pod("guarded-by-pod", "10.0.0.22")
        },
        member(pod("six", "fd00::4"), &["cart"]),
        proto::Workload {
            services: [(
                "shop/named.shop".to_owned(),
                proto::PortList {
                    ports: vec![proto::Port {
                        service_port: 81,
                        target_port: 9999,
                        app_protocol: 0,
                    }],
                },
            )]
            .into(),
            ..pod("named-1", "10.0.0.13")
        },
    ];
    let weighted = proto::WeightedWaypoint {
        destination: gateway_named("way.shop"),
        weight: 1,
    };
    let services = vec![
        service("cart", "10.9.0.4"),
        service("way", "10.9.0.6"),
        service("named", "10.9.0.13"),
        proto::Service {
            waypoint: gateway_at("10.9.0.6"),
            ..service("guarded", "10.9.0.20")
        },
        proto::Service {
            weighted_waypoints: vec![weighted],
            ..service("weighted", "10.9.0.21")
        },
        proto::Service {
            namespace: "other".into(),
            visibility: proto::Visibility::Namespace.into(),
            ..service("hidden", "10.9.0.22")
        },
    ];
    mesh(workloads, services)
}

fn asked(
    mesh: &Snapshot,
    pod: &str,
    arrived: &str,
    authority: &str,
    localhost_tunnel: bool,
) -> String {
    let pod = mesh
        .workload(&format!("Kubernetes//Pod/shop/{pod}"))
        .unwrap();
    let question = Question {
        mesh,
        network: &"".into(),
        pod: &pod,
        authority: &authority.parse().unwrap(),
        arrived: arrived.parse().unwrap(),
        localhost_tunnel,
    };
    match target(&question) {
        Ok(target) => {
            let header = if target.has_proxy_header {
                " with header"
            } else {
                ""
            };
            let by = if target.keeps_source() {
                ""
            } else {
                " from loopback"
            };
            format!("{} at {}{header}{by}", target.destination, target.connect)
        }
        Err(refusal) => format!("{}: {refusal}", refusal.status()),
    }
}

#[test]
fn every_kind_of_request_has_its_target() {
    let mesh = scene();
    let plain = |port: u16| format!("10.0.0.4:{port} at 10.0.0.4:{port}");
    let own = |port: u16| {
        format!("503: 10.0.0.4:{port} is a port of the proxy itself; refused to avoid a loop")
    };
    let other = |asked: &str, arrived: &str| {
        format!(
            "400: the request is for {asked} but arrived at {arrived}; is the address of a deleted pod in use again?"
        )
    };
    let rows: Vec<(&str, &str, &str, &str, String)> = vec![
        (
            "the pod",
            "cart-1",
            "10.0.0.4",
            "10.0.0.4:8080",
            plain(8080),
        ),
        (
            "a port nobody announced",
            "cart-1",
            "10.0.0.4",
            "10.0.0.4:9",
            plain(9),
        ),
        (
            "the pod in the mapped form",
            "cart-1",
            "10.0.0.4",
            "[::ffff:10.0.0.4]:80",
            plain(80),
        ),
        (
            "an IPv6 pod",
            "six",
            "fd00::4",
            "[fd00::4]:80",
            "[fd00::4]:80 at [fd00::4]:80".into(),
        ),
        (
            "another pod",
            "cart-1",
            "10.0.0.4",
            "10.0.0.5:8080",
            other("10.0.0.5:8080", "10.0.0.4"),
        ),
        (
            "an unknown address",
            "cart-1",
            "10.0.0.4",
            "192.0.2.1:80",
            other("192.0.2.1:80", "10.0.0.4"),
        ),
        (
            "loopback",
            "cart-1",
            "10.0.0.4",
            "127.0.0.1:8080",
            other("127.0.0.1:8080", "10.0.0.4"),
        ),
        (
            "any address",
            "cart-1",
            "10.0.0.4",
            "0.0.0.0:8080",
            other("0.0.0.0:8080", "10.0.0.4"),
        ),
        (
            "the service's address",
            "cart-1",
            "10.0.0.4",
            "10.9.0.4:80",
            other("10.9.0.4:80", "10.0.0.4"),
        ),
        (
            "another family",
            "cart-1",
            "10.0.0.4",
            "[fd00::4]:80",
            other("[fd00::4]:80", "10.0.0.4"),
        ),
        (
            "the outbound port",
            "cart-1",
            "10.0.0.4",
            "10.0.0.4:15001",
            own(15001),
        ),
        (
            "the plain port",
            "cart-1",
            "10.0.0.4",
            "10.0.0.4:15006",
            own(15006),
        ),
        (
            "the tunnel port",
            "cart-1",
            "10.0.0.4",
            "10.0.0.4:15008",
            own(15008),
        ),
        (
            "a service it belongs to",
            "cart-1",
            "10.0.0.4",
            "cart.shop:80",
            plain(8080),
        ),
        (
            "the name in capitals",
            "cart-1",
            "10.0.0.4",
            "CART.shop:80",
            plain(8080),
        ),
        (
            "the guarded port by name",
            "cart-1",
            "10.0.0.4",
            "cart.shop:15008",
            own(15008),
        ),
        (
            "a named port without a number",
            "cart-1",
            "10.0.0.4",
            "cart.shop:81",
            "503: the service cart.shop has no port 81 here".into(),
        ),
        (
            "a port the service lacks",
            "cart-1",
            "10.0.0.4",
            "cart.shop:82",
            "503: the service cart.shop has no port 82 here".into(),
        ),
        (
            "a named port with its own number",
            "named-1",
            "10.0.0.13",
            "named.shop:81",
            "10.0.0.13:9999 at 10.0.0.13:9999".into(),
        ),
        (
            "an unknown service",
            "cart-1",
            "10.0.0.4",
            "nobody.shop:80",
            "503: the service nobody.shop is not known here".into(),
        ),
        (
            "a hidden service",
            "cart-1",
            "10.0.0.4",
            "hidden.shop:80",
            "503: the service hidden.shop is not known here".into(),
        ),
        (
            "what a waypoint guards: a service",
            "way-1",
            "10.0.0.6",
            "10.9.0.20:80",
            "10.0.0.6:80 at 10.0.0.6:80".into(),
        ),
        (
            "what a weighted waypoint guards",
            "way-1",
            "10.0.0.6",
            "10.9.0.21:80",
            "10.0.0.6:80 at 10.0.0.6:80".into(),
        ),
        (
            "what a waypoint guards: a pod",
            "way-1",
            "10.0.0.6",
            "10.0.0.20:80",
            "10.0.0.6:80 at 10.0.0.6:80".into(),
        ),
        (
            "by the waypoint's name",
            "way-1",
            "10.0.0.6",
            "10.0.0.21:80",
            "10.0.0.6:80 at 10.0.0.6:80".into(),
        ),
        (
            "by the waypoint's own address",
            "way-1",
            "10.0.0.6",
            "10.0.0.22:80",
            "10.0.0.6:80 at 10.0.0.6:80".into(),
        ),
        (
            "what the waypoint does not guard",
            "way-1",
            "10.0.0.6",
            "10.0.0.4:80",
            other("10.0.0.4:80", "10.0.0.6"),
        ),
        (
            "what somebody else guards",
            "cart-1",
            "10.0.0.4",
            "10.9.0.20:80",
            other("10.9.0.20:80", "10.0.0.4"),
        ),
        (
            "an application tunnel",
            "sandwich",
            "10.0.0.7",
            "192.0.2.1:80",
            "10.0.0.7:15088 at 127.0.0.1:15088 with header from loopback".into(),
        ),
        (
            "one that takes raw bytes",
            "raw",
            "10.0.0.8",
            "192.0.2.1:80",
            "10.0.0.8:15088 at 10.0.0.8:15088".into(),
        ),
        (
            "one without a port",
            "any-port",
            "10.0.0.9",
            "10.9.0.20:80",
            "10.0.0.9:80 at 127.0.0.1:80 with header from loopback".into(),
        ),
        (
            "one on a guarded port",
            "looping",
            "10.0.0.10",
            "10.9.0.20:80",
            "503: 10.0.0.10:15008 is a port of the proxy itself; refused to avoid a loop".into(),
        ),
    ];
    for (what, pod, arrived, authority, expected) in rows {
        assert_eq!(
            asked(&mesh, pod, arrived, authority, true),
            expected,
            "{what}"
        );
    }
}

#[test]
fn an_application_tunnel_may_be_reached_by_the_pods_address() {
    let answer = asked(&scene(), "sandwich", "10.0.0.7", "192.0.2.1:80", false);
    assert_eq!(answer, "10.0.0.7:15088 at 10.0.0.7:15088 with header");
}

#[test]
fn the_service_is_the_one_named_or_the_only_one_with_the_port() {
    let mesh = scene();
    let cart = mesh.workload("Kubernetes//Pod/shop/cart-1").unwrap();
    let name = |named, port| {
        likely_service(&mesh, &cart, named, port).map(|service| service.name.to_string())
    };
    assert_eq!(name(None, 8080), Some("cart".into()));
    assert_eq!(name(None, 9), None);
    assert_eq!(name(Some("way.shop"), 8080), Some("way".into()));
    assert_eq!(name(Some("nobody"), 8080), None);
    let both = mesh_of_two();
    let pod = both.workload("Kubernetes//Pod/shop/two").unwrap();
    assert_eq!(
        likely_service(&both, &pod, None, 8080),
        None,
        "two services have the port"
    );
}

fn mesh_of_two() -> Arc<Snapshot> {
    mesh(
        vec![member(pod("two", "10.0.0.30"), &["one", "other"])],
        vec![service("one", "10.9.0.30"), service("other", "10.9.0.31")],
    )
}
