//! Which workload or service an address or name stands for.

use super::*;

fn hbone(workload: proto::Workload) -> proto::Workload {
    proto::Workload {
        tunnel_protocol: 1,
        ..workload
    }
}

#[test]
fn a_workload_is_found_by_network_and_address() {
    let north = |w: proto::Workload| proto::Workload {
        network: "north".to_owned(),
        ..w
    };
    let host = |w: proto::Workload| proto::Workload {
        network_mode: 1,
        ..w
    };
    let pod = "c//Pod/shop/a";
    let entry = "c/networking.istio.io/WorkloadEntry/shop/a";
    let table: Vec<(&str, Vec<proto::Workload>, &str, Option<&str>)> = vec![
        (
            "its address",
            vec![at(pod, &["10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "another address",
            vec![at(pod, &["10.0.0.1"])],
            "/10.0.0.2",
            None,
        ),
        (
            "second address",
            vec![at(pod, &["10.0.0.1", "fd00::1"])],
            "/fd00::1",
            Some(pod),
        ),
        (
            "mapped address",
            vec![at(pod, &["10.0.0.1"])],
            "/::ffff:10.0.0.1",
            Some(pod),
        ),
        (
            "its network",
            vec![north(at(pod, &["10.0.0.1"]))],
            "north/10.0.0.1",
            Some(pod),
        ),
        (
            "another network",
            vec![north(at(pod, &["10.0.0.1"]))],
            "/10.0.0.1",
            None,
        ),
        (
            "the node's network",
            vec![host(at(pod, &["10.0.0.1"]))],
            "/10.0.0.1",
            None,
        ),
        (
            "beside one in the node's network",
            vec![host(at("h", &["10.0.0.1"])), at(pod, &["10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "a pod wins",
            vec![at(entry, &["10.0.0.1"]), at(pod, &["10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "a pod wins, other order",
            vec![at(pod, &["10.0.0.1"]), at(entry, &["10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "a pod wins over a tunnel",
            vec![hbone(at(entry, &["10.0.0.1"])), at(pod, &["10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "a tunnel wins",
            vec![at("a", &["10.0.0.1"]), hbone(at("b", &["10.0.0.1"]))],
            "/10.0.0.1",
            Some("b"),
        ),
        (
            "a tunnel wins between pods",
            vec![
                at("c//Pod/n/a", &["10.0.0.1"]),
                hbone(at("c//Pod/n/b", &["10.0.0.1"])),
            ],
            "/10.0.0.1",
            Some("c//Pod/n/b"),
        ),
        (
            "else the lowest uid",
            vec![at("b", &["10.0.0.1"]), at("a", &["10.0.0.1"])],
            "/10.0.0.1",
            Some("a"),
        ),
        (
            "the same address twice",
            vec![at(pod, &["10.0.0.1", "10.0.0.1"])],
            "/10.0.0.1",
            Some(pod),
        ),
        (
            "moved away",
            vec![at(pod, &["10.0.0.1"]), at(pod, &["10.0.0.2"])],
            "/10.0.0.1",
            None,
        ),
        (
            "moved here",
            vec![at(pod, &["10.0.0.1"]), at(pod, &["10.0.0.2"])],
            "/10.0.0.2",
            Some(pod),
        ),
    ];
    for (case, workloads, asked, expected) in table {
        let snapshot = filled(workloads.into_iter().map(Into::into));
        let found = snapshot.workload_by_address(&network(asked));
        assert_eq!(found.as_deref().map(|w| &*w.uid), expected, "{case}");
    }
}

#[test]
fn the_loser_takes_over_when_the_winner_leaves() {
    let store = Store::default();
    let (pod, entry) = ("c//Pod/shop/a", "entry");
    store.apply(
        [at(pod, &["10.0.0.1"]), at(entry, &["10.0.0.1"])]
            .map(Update::address)
            .into(),
    );
    store.apply(vec![Update::RemoveAddress(pod.to_owned())]);
    let found = store
        .snapshot()
        .workload_by_address(&network("/10.0.0.1"))
        .unwrap();
    assert_eq!(&*found.uid, entry);
}

/// `namespace/host` with `*` for canonical and `!` for namespace-only visibility in front, then its addresses.
fn entry(text: &str, addresses: &[&str]) -> proto::Service {
    let (canonical, text) = text
        .strip_prefix('*')
        .map_or((false, text), |rest| (true, rest));
    let (hidden, text) = text
        .strip_prefix('!')
        .map_or((false, text), |rest| (true, rest));
    let (namespace, hostname) = text.split_once('/').unwrap();
    proto::Service {
        canonical,
        visibility: i32::from(hidden),
        addresses: addresses.iter().map(|address| vip(address)).collect(),
        ..service(namespace, hostname)
    }
}

#[test]
fn a_service_is_found_by_virtual_address_as_the_client_sees_it() {
    let v = "/10.96.0.1";
    let table: Vec<(&str, Vec<proto::Service>, &str, Option<&str>)> = vec![
        (
            "its address",
            vec![entry("shop/web", &[v])],
            v,
            Some("shop"),
        ),
        (
            "another address",
            vec![entry("shop/web", &[v])],
            "/10.96.0.2",
            None,
        ),
        (
            "another network",
            vec![entry("shop/web", &["north/10.96.0.1"])],
            v,
            None,
        ),
        (
            "its network",
            vec![entry("shop/web", &["north/10.96.0.1"])],
            "north/10.96.0.1",
            Some("shop"),
        ),
        (
            "the client's namespace wins",
            vec![entry("*bank/web", &[v]), entry("client/web", &[v])],
            v,
            Some("client"),
        ),
        (
            "canonical wins",
            vec![entry("bank/web", &[v]), entry("*shop/web", &[v])],
            v,
            Some("shop"),
        ),
        (
            "canonical before preferred",
            vec![entry("preferred/web", &[v]), entry("*shop/web", &[v])],
            v,
            Some("shop"),
        ),
        (
            "preferred before the rest",
            vec![entry("bank/web", &[v]), entry("preferred/web", &[v])],
            v,
            Some("preferred"),
        ),
        (
            "else the lowest key",
            vec![entry("shop/web", &[v]), entry("bank/web", &[v])],
            v,
            Some("bank"),
        ),
        (
            "hidden from others",
            vec![entry("!shop/web", &[v])],
            v,
            None,
        ),
        (
            "seen in its namespace",
            vec![entry("!client/web", &[v])],
            v,
            Some("client"),
        ),
        (
            "a hidden one does not hide others",
            vec![entry("*!bank/web", &[v]), entry("shop/web", &[v])],
            v,
            Some("shop"),
        ),
        (
            "a block",
            vec![entry("shop/web", &["/10.96.0.0/16"])],
            v,
            Some("shop"),
        ),
        (
            "outside of the block",
            vec![entry("shop/web", &["/10.96.0.0/16"])],
            "/10.97.0.1",
            None,
        ),
        (
            "an address before a block",
            vec![
                entry("*bank/web", &["/10.96.0.0/16"]),
                entry("shop/web", &[v]),
            ],
            v,
            Some("shop"),
        ),
        (
            "a longer block first",
            vec![
                entry("*bank/web", &["/10.96.0.0/16"]),
                entry("shop/web", &["/10.96.0.0/24"]),
            ],
            v,
            Some("shop"),
        ),
        (
            "a hidden longer block",
            vec![
                entry("bank/web", &["/10.96.0.0/16"]),
                entry("!shop/web", &["/10.96.0.0/24"]),
            ],
            v,
            Some("bank"),
        ),
        (
            "a block of one address",
            vec![entry("shop/web", &["/10.96.0.1/32"])],
            v,
            Some("shop"),
        ),
        (
            "everything",
            vec![entry("shop/web", &["/0.0.0.0/0"])],
            v,
            Some("shop"),
        ),
        (
            "everything of the other family",
            vec![entry("shop/web", &["/::/0"])],
            v,
            None,
        ),
        (
            "an IPv6 block",
            vec![entry("shop/web", &["/fd00::/64"])],
            "/fd00::7",
            Some("shop"),
        ),
        (
            "a block in another network",
            vec![entry("shop/web", &["north/10.96.0.0/16"])],
            v,
            None,
        ),
        (
            "two services in one block",
            vec![
                entry("bank/web", &["/10.96.0.0/16"]),
                entry("client/web", &["/10.96.0.0/16"]),
            ],
            v,
            Some("client"),
        ),
        (
            "the last version counts",
            vec![
                entry("shop/web", &["/10.96.0.0/16"]),
                entry("shop/web", &["/10.97.0.0/16"]),
            ],
            v,
            None,
        ),
        (
            "host bits do not matter",
            vec![entry("shop/web", &["/10.96.3.4/16"])],
            v,
            Some("shop"),
        ),
    ];
    for (case, services, asked, expected) in table {
        let store = Store::new("preferred");
        let rejected = store.apply(services.into_iter().map(Update::address).collect());
        assert_eq!(rejected, [], "{case}");
        let found = store.snapshot().service_by_vip(&network(asked), "client");
        assert_eq!(found.as_deref().map(|s| &*s.namespace), expected, "{case}");
    }
}

#[test]
fn services_of_one_name_are_listed_best_first() {
    let store = Store::new("preferred");
    let services = [
        "zoo/web",
        "bank/web",
        "*shop/web",
        "client/web",
        "preferred/web",
        "!hidden/web",
        "client/other",
    ];
    store.apply(
        services
            .map(|text| Update::address(entry(text, &[])))
            .into(),
    );
    let found = store.snapshot().services_by_hostname("web", "client");
    let namespaces: Vec<_> = found.iter().map(|service| &*service.namespace).collect();
    assert_eq!(namespaces, ["client", "shop", "preferred", "bank", "zoo"]);
    assert!(
        store
            .snapshot()
            .services_by_hostname("nothing", "client")
            .is_empty()
    );
}

#[test]
fn a_gateway_is_found_by_name_or_address_and_a_service_comes_first() {
    use crate::workload::{Destination, GatewayAddress};
    let named = proto::Workload {
        hostname: "way.example.com".to_owned(),
        ..workload("by-name")
    };
    let snapshot = filled([
        entry("shop/way", &["/10.96.0.9"]).into(),
        at("pod", &["10.0.0.9"]).into(),
        at("shadowed", &["10.96.0.9"]).into(),
        named.into(),
    ]);
    let find = |destination| match snapshot.find_gateway(
        &GatewayAddress {
            destination,
            hbone_mtls_port: 15008,
        },
        "client",
    )? {
        Found::Service(service) => Some(service.hostname.to_string()),
        Found::Workload(workload) => Some(workload.uid.to_string()),
    };
    let address = |text| Destination::Address(network(text));
    let host = |text| Destination::Hostname(key(text));
    assert_eq!(find(address("/10.96.0.9")).as_deref(), Some("way"));
    assert_eq!(find(address("/10.0.0.9")).as_deref(), Some("pod"));
    assert_eq!(find(address("/10.0.0.8")), None);
    assert_eq!(find(host("shop/way")).as_deref(), Some("way"));
    assert_eq!(
        find(host("shop/way.example.com")).as_deref(),
        Some("by-name")
    );
    assert_eq!(find(host("bank/way")), None);
}

#[test]
fn weighted_waypoints_are_sampled_and_take_the_place_of_the_plain_one() {
    let way = |name: &str| proto::GatewayAddress {
        destination: Some(proto::gateway_address::Destination::Hostname(
            proto::NamespacedHostname {
                namespace: "shop".to_owned(),
                hostname: name.to_owned(),
            },
        )),
        hbone_mtls_port: 15008,
    };
    let chosen = |weights: &[(&str, u32)], sample| {
        let weighted = |(name, weight): &(&str, u32)| proto::WeightedWaypoint {
            destination: Some(way(name)),
            weight: *weight,
        };
        let source = proto::Service {
            waypoint: Some(way("plain")),
            weighted_waypoints: weights.iter().map(weighted).collect(),
            ..service("shop", "web")
        };
        let service = Service::try_from(source).unwrap();
        match &service.waypoint(sample).unwrap().destination {
            crate::workload::Destination::Hostname(name) => name.hostname.to_string(),
            crate::workload::Destination::Address(_) => panic!("a host name is expected"),
        }
    };
    assert_eq!(chosen(&[], 5), "plain");
    assert_eq!(chosen(&[("a", 0)], 5), "plain");
    let split = [("a", 80), ("never", 0), ("b", 20)];
    let counted = |name: &str| {
        (0..100)
            .filter(|sample| chosen(&split, *sample) == name)
            .count()
    };
    assert_eq!((counted("a"), counted("b"), counted("never")), (80, 20, 0));
}
