//! A table: where a connection of the pod `client` goes.

use super::super::testbed::{
    bytes, gateway_at, gateway_named, member, mesh, mode, plain, pod, service,
};
use super::*;
use crate::proto::workload as proto;

/// One of everything that a connection can be made to.
fn scene() -> Arc<Snapshot> {
    let workloads = vec![
        member(pod("client", "10.0.0.1"), &["own"]),
        pod("server", "10.0.0.2"),
        plain("legacy", "10.0.0.3"),
        member(pod("cart-1", "10.0.0.4"), &["cart", "headless"]),
        member(plain("mail-1", "10.0.0.5"), &["mail"]),
        member(pod("way-1", "10.0.0.6"), &["way"]),
        proto::Workload {
            waypoint: gateway_at("10.9.0.6"),
            ..pod("guarded", "10.0.0.7")
        },
        proto::Workload {
            waypoint: gateway_named("way.shop"),
            ..pod("guarded-by-name", "10.0.0.8")
        },
        proto::Workload {
            waypoint: gateway_at("10.0.0.6"),
            ..pod("guarded-by-pod", "10.0.0.9")
        },
        proto::Workload {
            waypoint: gateway_at("10.0.0.99"),
            ..pod("guarded-by-nobody", "10.0.0.10")
        },
        proto::Workload {
            waypoint: gateway_named("own.shop"),
            ..pod("guarded-by-client", "10.0.0.11")
        },
        member(
            proto::Workload {
                status: proto::WorkloadStatus::Unhealthy.into(),
                ..pod("sick-1", "10.0.0.12")
            },
            &["sick"],
        ),
        member(
            proto::Workload {
                addresses: Vec::new(),
                hostname: "db.example".into(),
                ..plain("db", "0.0.0.0")
            },
            &["database"],
        ),
        member(
            proto::Workload {
                network: "far".into(),
                network_gateway: gateway_at("192.0.2.1"),
                ..pod("distant-1", "10.0.0.4")
            },
            &["distant"],
        ),
        member(
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
            &[],
        ),
        proto::Workload {
            waypoint: gateway_at("10.9.0.6"),
            ..member(pod("free-1", "10.0.0.14"), &["free"])
        },
        member(
            proto::Workload {
                addresses: vec![bytes("fd00::15"), bytes("10.0.0.15")],
                ..pod("both-1", "10.0.0.15")
            },
            &["both"],
        ),
        member(
            proto::Workload {
                application_tunnel: Some(proto::ApplicationTunnel {
                    protocol: 1,
                    port: 15088,
                }),
                ..pod("tunnelled", "10.0.0.16")
            },
            &[],
        ),
    ];
    let services = vec![
        service("own", "10.9.0.1"),
        service("cart", "10.9.0.4"),
        service("mail", "10.9.0.5"),
        service("way", "10.9.0.6"),
        proto::Service {
            waypoint: gateway_at("10.9.0.6"),
            ..service("guarded", "10.9.0.7")
        },
        proto::Service {
            waypoint: gateway_named("way.shop"),
            ..service("guarded-by-name", "10.9.0.8")
        },
        proto::Service {
            waypoint: gateway_named("own.shop"),
            ..service("cart-by-client", "10.9.0.9")
        },
        service("sick", "10.9.0.12"),
        proto::Service {
            load_balancing: mode(proto::load_balancing::Mode::Passthrough),
            ..service("outside", "10.9.0.13")
        },
        service("database", "10.9.0.14"),
        service("distant", "10.9.0.15"),
        service("named", "10.9.0.16"),
        service("free", "10.9.0.17"),
        proto::Service {
            visibility: proto::Visibility::Namespace.into(),
            namespace: "other".into(),
            ..service("hidden", "10.9.0.18")
        },
        proto::Service {
            waypoint: gateway_named("nobody.shop"),
            ..service("lost", "10.9.0.19")
        },
        proto::Service {
            waypoint: gateway_at("10.9.0.12"),
            ..service("guarded-by-the-sick", "10.9.0.20")
        },
        proto::Service {
            subject_alt_names: vec!["spiffe://other/ns/a/sa/b".into()],
            ..service("both", "10.9.0.21")
        },
    ];
    mesh(workloads, services)
}

fn asked(mesh: &Snapshot, client: &str, to: &str, resolved: Option<(&str, IpAddr)>) -> String {
    let client = mesh
        .workload(&format!("Kubernetes//Pod/shop/{client}"))
        .unwrap();
    let question = Question {
        mesh,
        network: &"".into(),
        client: &client,
        to: to.parse().unwrap(),
        sample: 7,
        resolved,
    };
    match route(&question) {
        Ok(Route {
            hop: Hop::Plain(to),
            ..
        }) => format!("plain {to}"),
        Ok(Route {
            hop:
                Hop::Tunnel {
                    to,
                    authority,
                    expected,
                },
            ..
        }) => {
            let accounts: Vec<&str> = expected.iter().map(Identity::service_account).collect();
            format!("tunnel {to} for {authority} as {}", accounts.join("+"))
        }
        Err(Unanswered::Resolve(host)) => format!("resolve {host}"),
        Err(Unanswered::Refused(error)) => format!("refused: {error}"),
    }
}

#[test]
fn every_kind_of_destination_has_its_way() {
    let mesh = scene();
    let rows = [
        ("an unknown address", "192.0.2.9:443", "plain 192.0.2.9:443"),
        (
            "an unknown IPv6 address",
            "[2001:db8::9]:443",
            "plain [2001:db8::9]:443",
        ),
        (
            "a pod",
            "10.0.0.2:8080",
            "tunnel 10.0.0.2:15008 for 10.0.0.2:8080 as server",
        ),
        (
            "a pod without tunnels",
            "10.0.0.3:8080",
            "plain 10.0.0.3:8080",
        ),
        (
            "itself",
            "10.0.0.1:8080",
            "tunnel 10.0.0.1:15008 for 10.0.0.1:8080 as client",
        ),
        (
            "a service",
            "10.9.0.4:80",
            "tunnel 10.0.0.4:15008 for 10.0.0.4:8080 as cart-1",
        ),
        (
            "a service of plain pods",
            "10.9.0.5:80",
            "plain 10.0.0.5:8080",
        ),
        (
            "a service port that does not exist",
            "10.9.0.4:82",
            "refused: no healthy upstream: cart.shop has no usable endpoint",
        ),
        (
            "a named port of one pod",
            "10.9.0.16:81",
            "tunnel 10.0.0.13:15008 for 10.0.0.13:9999 as named-1",
        ),
        (
            "a service without healthy pods",
            "10.9.0.12:80",
            "refused: no healthy upstream: sick.shop has no usable endpoint",
        ),
        (
            "an unhealthy pod by its address",
            "10.0.0.12:80",
            "tunnel 10.0.0.12:15008 for 10.0.0.12:80 as sick-1",
        ),
        (
            "a service with a waypoint by address",
            "10.9.0.7:80",
            "tunnel 10.0.0.6:15008 for 10.9.0.7:80 as way-1",
        ),
        (
            "a service with a waypoint by name",
            "10.9.0.8:80",
            "tunnel 10.0.0.6:15008 for 10.9.0.8:80 as way-1",
        ),
        (
            "any port of a service with a waypoint",
            "10.9.0.7:9",
            "tunnel 10.0.0.6:15008 for 10.9.0.7:9 as way-1",
        ),
        (
            "a pod with a waypoint service",
            "10.0.0.7:8080",
            "tunnel 10.0.0.6:15008 for 10.0.0.7:8080 as way-1",
        ),
        (
            "a pod with a waypoint by name",
            "10.0.0.8:8080",
            "tunnel 10.0.0.6:15008 for 10.0.0.8:8080 as way-1",
        ),
        (
            "a pod whose waypoint is a pod",
            "10.0.0.9:8080",
            "tunnel 10.0.0.6:15008 for 10.0.0.9:8080 as way-1",
        ),
        (
            "a pod whose waypoint is unknown",
            "10.0.0.10:80",
            "refused: unknown waypoint: /10.0.0.99 is named as a waypoint but is not known",
        ),
        (
            "a service whose waypoint is unknown",
            "10.9.0.19:80",
            "refused: unknown waypoint: shop/nobody.shop is named as a waypoint but is not known",
        ),
        (
            "a service whose waypoint is down",
            "10.9.0.20:80",
            "refused: no healthy upstream: sick.shop has no usable endpoint",
        ),
        (
            "a pod whose waypoint is the client",
            "10.0.0.11:80",
            "tunnel 10.0.0.11:15008 for 10.0.0.11:80 as guarded-by-client",
        ),
        (
            "a service whose waypoint is the client",
            "10.9.0.9:80",
            "refused: no healthy upstream: cart-by-client.shop has no usable endpoint",
        ),
        (
            "a service without waypoint, of pods that have one",
            "10.9.0.17:80",
            "tunnel 10.0.0.14:15008 for 10.0.0.14:8080 as free-1",
        ),
        (
            "a service that leaves the choice to the client",
            "10.9.0.13:5432",
            "plain 10.9.0.13:5432",
        ),
        ("a service of hosts", "10.9.0.14:80", "resolve db.example"),
        (
            "a service in another network",
            "10.9.0.15:80",
            "refused: the destination is in the network far, behind a gateway; this version does not carry traffic between networks",
        ),
        (
            "a service of another namespace only",
            "10.9.0.18:80",
            "plain 10.9.0.18:80",
        ),
        (
            "a service that names more identities",
            "10.9.0.21:80",
            "tunnel 10.0.0.15:15008 for 10.0.0.15:8080 as both-1+b",
        ),
        (
            "the outbound port of its own",
            "10.0.0.1:15001",
            "refused: 10.0.0.1:15001 is a port of the proxy itself; refused to avoid a loop",
        ),
        (
            "the tunnel port on loopback",
            "127.0.0.1:15008",
            "refused: 127.0.0.1:15008 is a port of the proxy itself; refused to avoid a loop",
        ),
        (
            "the plain port on IPv6 loopback",
            "[::1]:15006",
            "refused: [::1]:15006 is a port of the proxy itself; refused to avoid a loop",
        ),
        (
            "the tunnel port of another pod",
            "10.0.0.2:15008",
            "tunnel 10.0.0.2:15008 for 10.0.0.2:15008 as server",
        ),
    ];
    for (what, to, expected) in rows {
        assert_eq!(asked(&mesh, "client", to, None), expected, "{what}");
    }
}

#[test]
fn a_waypoint_goes_to_what_it_guards_itself() {
    let mesh = scene();
    let rows = [
        (
            "10.0.0.7:8080",
            "tunnel 10.0.0.7:15008 for 10.0.0.7:8080 as guarded",
        ),
        (
            "10.0.0.8:8080",
            "tunnel 10.0.0.8:15008 for 10.0.0.8:8080 as guarded-by-name",
        ),
        (
            "10.0.0.9:8080",
            "tunnel 10.0.0.9:15008 for 10.0.0.9:8080 as guarded-by-pod",
        ),
    ];
    for (to, expected) in rows {
        assert_eq!(asked(&mesh, "way-1", to, None), expected);
    }
}

#[test]
fn a_resolved_host_is_used_and_another_one_is_not() {
    let mesh = scene();
    let address: IpAddr = "192.0.2.50".parse().unwrap();
    assert_eq!(
        asked(
            &mesh,
            "client",
            "10.9.0.14:80",
            Some(("db.example", address))
        ),
        "plain 192.0.2.50:8080"
    );
    assert_eq!(
        asked(
            &mesh,
            "client",
            "10.9.0.14:80",
            Some(("other.example", address))
        ),
        "resolve db.example"
    );
}

#[test]
fn the_route_names_the_service_and_the_workload() {
    let mesh = scene();
    let client = mesh.workload("Kubernetes//Pod/shop/client").unwrap();
    let ask = |to: &str| {
        let question = Question {
            mesh: &mesh,
            network: &"".into(),
            client: &client,
            to: to.parse().unwrap(),
            sample: 7,
            resolved: None,
        };
        let route = route(&question).unwrap();
        (
            route.service.map(|s| s.name.to_string()),
            route.workload.map(|w| w.name.to_string()),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ask("10.9.0.4:80"), (some("cart"), some("cart-1")));
    assert_eq!(ask("10.9.0.7:80"), (some("guarded"), some("way-1")));
    assert_eq!(ask("10.0.0.7:80"), (None, some("way-1")));
    assert_eq!(ask("10.0.0.2:80"), (None, some("server")));
    assert_eq!(ask("10.9.0.13:80"), (some("outside"), None));
    assert_eq!(ask("192.0.2.9:80"), (None, None));
}
